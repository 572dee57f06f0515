"""Programs in processes that have imported what jcl builds on already.

Python takes two to three seconds to start with JAX, Flax and what reports need.
Here one process imports them once, and is forked for every program, those that
tests kill included. Tests of a start itself start Python anew.
"""

import atexit
from collections.abc import Mapping, Sequence
import contextlib
import functools
import gc
import json
import os
from pathlib import Path
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import types

ROOT = Path(__file__).parents[1]
# No module among them defines flags: programs define the same ones.
LIBRARIES = (
  "import jcl, optax, orbax.checkpoint, pandas, tqdm, matplotlib.pyplot, "
  "sklearn.datasets, jcl.living.opening, jcl.recipes, jcl.report.page, "
  "jcl.run.session, jcl.run.setup, jcl.streams.scenarios"
)


class Running:
  """A program that runs.

  Attributes:
    pid: of its process.
  """

  def __init__(
    self,
    asked: Mapping[str, object],
    streams: Sequence[int],
    path: str | None = None,
  ) -> None:
    """Begins a program.

    Args:
      asked: `words` as behind `python`, `cwd` and `env`.
      streams: file descriptors of its input, output and errors.
      path: of the socket that is asked; by default `address()`.
    """
    self._connection = socket.socket(socket.AF_UNIX)
    self._connection.connect(path or address())
    socket.send_fds(self._connection, [b"."], streams)
    self._file = self._connection.makefile("rw")
    self._file.write(json.dumps(asked) + "\n")
    self._file.flush()
    self.pid = int(self._file.readline())
    self._status: int | None = None

  def wait(self, timeout: float | None = None) -> int:
    """Returns its status once it ends: negative for a signal that ended it."""
    if self._status is None:
      self._connection.settimeout(timeout)
      with self._connection, self._file:
        self._status = int(self._file.readline())
    return self._status


def begin(
  *words: object,
  streams: Sequence[int],
  cwd: Path | None = None,
  env: Mapping[str, str] | None = None,
) -> Running:
  """Begins a program.

  Args:
    *words: as behind `python`: a file, `-c CODE` or `-m MODULE`, and arguments.
    streams: file descriptors of its input, output and errors.
    cwd: its working directory; by default this process's.
    env: its environment; by default this process's, on CPUs.
  """
  asked = {
    "words": [str(word) for word in words],
    "cwd": str(cwd or Path.cwd()),
    "env": dict(env or {**os.environ, "JAX_PLATFORMS": "cpu"}),
  }
  return Running(asked, streams)


def call(
  *words: object,
  cwd: Path | None = None,
  env: Mapping[str, str] | None = None,
  timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
  """Runs a program to its end, without input.

  Args:
    *words: as of `begin`.
    cwd: as of `begin`.
    env: as of `begin`.
    timeout: seconds to wait.

  Returns:
    Its status, and what it said.

  Raises:
    TimeoutError: when it takes longer.
  """
  told: list[str] = []
  with (
    open(os.devnull) as nothing,
    tempfile.TemporaryFile("w+") as out,
    tempfile.TemporaryFile("w+") as error,
  ):
    streams = [file.fileno() for file in (nothing, out, error)]
    status = begin(*words, streams=streams, cwd=cwd, env=env).wait(timeout)
    for file in (out, error):
      file.seek(0)
      told.append(file.read())
  return subprocess.CompletedProcess(list(words), status, *told)


@functools.cache
def address() -> str:
  """Returns the path of the socket that is asked for programs.

  The process behind it ends with this one, as it watches the end of a pipe.
  """
  path = str(Path(tempfile.mkdtemp(prefix="ready_")) / "socket")
  with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path)
    listener.listen()
    process = subprocess.Popen(
      [sys.executable, __file__, "serve", path, str(listener.fileno())],
      stdin=subprocess.PIPE,
      stdout=subprocess.DEVNULL,
      pass_fds=[listener.fileno()],
      env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
      start_new_session=True,  # no Ctrl-C: it ends when the tests do
    )
  atexit.register(process.communicate)
  return path


def tool(file: Path, *words: str) -> None:
  """Writes a command that runs a program with its own arguments behind.

  Args:
    file: of the command.
    *words: as of `begin`; none for `python` itself.
  """
  asking = f'exec "{sys.executable}" -IS "{__file__}" ask "{address()}"'
  given = "".join(f" '{word}'" for word in words)
  file.write_text(f'#!/bin/sh\n{asking}{given} "$@"\n')
  file.chmod(0o755)


def _serve(path: str, listening: int) -> None:
  """Forks for every request, until the tests end."""
  import contexts  # and JAX with it, which only the process behind needs

  exec(LIBRARIES, {})
  contexts.share()
  gc.collect()
  gc.freeze()
  gc.set_threshold(20_000, 10, 10)  # as of the tests
  with socket.socket(fileno=listening) as listener:
    while 0 not in select.select([listener, 0], [], [])[0]:
      connection, _ = listener.accept()
      if not os.fork():
        break
      connection.close()
      _reap(os.WNOHANG)
    else:
      signal.signal(signal.SIGTERM, signal.SIG_IGN)
      os.killpg(0, signal.SIGTERM)  # what tests have left behind
      _reap(0)  # what they took counts as the tests' own
      shutil.rmtree(Path(path).parent)
      return
  with connection:
    words = _begin(connection)
  _run(words)


def _reap(options: int) -> None:
  """Takes leave of processes that have ended; waits for others with 0."""
  with contextlib.suppress(ChildProcessError):
    while os.waitpid(-1, options)[0]:
      pass


def _begin(connection: socket.socket) -> list[str]:
  """Forks the process of a program, and returns there alone, with its words."""
  _, streams, _, _ = socket.recv_fds(connection, 1, 3)
  with connection.makefile("rw") as file:
    asked = json.loads(file.readline())
    if pid := os.fork():
      for stream in streams:
        os.close(stream)
      file.write(f"{pid}\n")
      file.flush()
      status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
      file.write(f"{status}\n")
      file.flush()
      os._exit(0)
  for number, stream in enumerate(streams):
    os.dup2(stream, number)
    os.close(stream)
  os.environ.clear()
  os.environ.update(asked["env"])
  os.chdir(asked["cwd"])
  return asked["words"]


def _run(words: list[str]) -> None:
  """Runs a program as `python` does."""
  first, *rest = words
  if first == "-c":
    sys.argv = ["-c", *rest[1:]]
    sys.path.insert(0, "")
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(rest[0], "<string>", "exec"), main.__dict__)
  elif first == "-m":
    sys.argv = rest
    sys.path.insert(0, "")
    runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
  else:
    sys.argv = words
    sys.path.insert(0, str(Path(first).resolve().parent))
    runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
  if sys.argv[1] == "serve":
    _serve(sys.argv[2], int(sys.argv[3]))
  else:
    given = {"words": sys.argv[3:], "cwd": os.getcwd(), "env": dict(os.environ)}
    sys.exit(Running(given, [0, 1, 2], sys.argv[2]).wait())
