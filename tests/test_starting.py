"""When the command line begins anew, and what its process may lack."""

import os
from pathlib import Path
import subprocess
import sys

import pytest
import ready

ROOT = Path(__file__).parent.parent
RUN = ROOT / "run.py"
# In place of the first library that is imported: tells and ends, at once.
STUB = """
import os, sys
print(sys.argv[1:], os.environ.get("GLIBC_TUNABLES"), flush=True)
os._exit(0)
"""
CALLER = f"""
import runpy, sys
print("the caller starts", flush=True)
sys.argv = [{str(RUN)!r}, *sys.argv[{{skip}}:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# As pip writes it for the command `jcl`.
SCRIPT = """
import sys
from jcl.cli.start import jcl
sys.exit(jcl())
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="for glibc")


@pytest.fixture
def start(tmp_path):
  """Starts Python in a folder and returns what run.py's first import told."""
  (tmp_path / "stub" / "absl").mkdir(parents=True)
  (tmp_path / "stub" / "absl" / "__init__.py").write_text(STUB)
  (tmp_path / "twice.py").write_text(CALLER.format(skip=1))
  (tmp_path / "given.py").write_text(CALLER.format(skip=2))
  (tmp_path / "linked.py").symlink_to(RUN)
  (tmp_path / "jcl").write_text(SCRIPT)
  (tmp_path / "mine.py").write_text(SCRIPT)
  (tmp_path / "own").mkdir()
  (tmp_path / "own" / "run.py").write_text(
    f"import runpy\nrunpy.run_path({str(RUN)!r}, run_name='__main__')\n"
  )
  (tmp_path / "here").symlink_to(ROOT)

  def run(*command, **environment):
    known = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    path = f"{tmp_path / 'stub'}{os.pathsep}{ROOT}"
    done = subprocess.run(
      [sys.executable, *command, "--seed=1"],
      cwd=tmp_path,
      env={**known, "PYTHONPATH": path, **environment},
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

  return run


TUNED = "['--seed=1'] glibc.malloc.hugetlb=1\n"
AS_IS = "['--seed=1'] None\n"


@linux
@pytest.mark.parametrize(
  "command",
  [
    [str(RUN)],
    ["here/run.py"],
    ["./here/run.py"],
    ["linked.py"],
    ["jcl"],
    ["-u", "here/run.py"],
    ["-Wignore", "-X", "utf8", "-W", "default", "here/run.py"],
  ],
)
def test_a_plain_start_begins_anew(start, command):
  assert start(*command) == TUNED


@linux
@pytest.mark.parametrize(
  "command",
  [
    ["-m", "run"],
    ["-m", "runpy", "run"],
    ["-m", "cProfile", str(RUN)],
    ["-m", "trace", "--count", "-C", ".", str(RUN)],
    ["-c", CALLER.format(skip=1)],
    ["twice.py"],
    ["given.py", str(RUN)],
    ["own/run.py"],
    ["mine.py"],
  ],
  ids=lambda command: " ".join(command)[:20].replace(str(ROOT), ""),
)
def test_a_caller_is_never_replaced(start, command):
  told = start(*command)
  assert told.endswith(AS_IS)
  assert told.count("the caller starts") == (AS_IS != told)


@linux
def test_what_the_user_tunes_is_kept(start):
  told = start(str(RUN), GLIBC_TUNABLES="glibc.malloc.check=0")
  assert told == "['--seed=1'] glibc.malloc.check=0\n"


def test_a_run_without_streams_terminal_home_or_environment(tmp_path):
  """As a service's user has it: `env -i`, all three streams closed."""
  nowhere = tmp_path / "file"
  nowhere.write_text("")
  command = f"""exec {sys.executable} {RUN} --epochs=1 --compare=none \\
    --model=mlp:width=4,depth=1 --recipe=er:buffer=10 --batch_size=100 \\
    --workdir={tmp_path / "run"} <&- >&- 2>&-"""
  done = subprocess.run(
    ["/bin/sh", "-c", command],
    cwd=tmp_path,
    env={
      # How to compile, and what has been.
      **{k: v for k, v in os.environ.items() if k.startswith(("JAX_", "XLA_"))},
      "PYTHONPATH": str(ROOT),
      "JAX_PLATFORMS": "cpu",
      "HOME": str(nowhere),
    },
    timeout=300,
  )
  assert done.returncode == 0
  assert (tmp_path / "run" / "report.html").stat().st_size > 0
  assert nowhere.read_text() == ""


def test_two_runs_in_one_process_by_runpy(tmp_path):
  """What a notebook's `%run` does; the second has flags of its own."""
  caller = tmp_path / "caller.py"
  caller.write_text(f"""
import runpy, sys
for argument in ("--list", "--helpshort"):
  sys.argv = [{str(RUN)!r}, argument]
  try:
    runpy.run_path(sys.argv[0], run_name="__main__")
  except SystemExit as end:
    print("ended with", end.code)
""")
  done = ready.call(caller, cwd=tmp_path, timeout=120)
  assert done.stdout.count("Recipes (--recipe, --compare)") == 1
  assert done.stdout.count("ended with") == 2, done.stderr
