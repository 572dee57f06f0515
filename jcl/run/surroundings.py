"""What a process may lack: standard streams, a terminal, a home."""

from collections.abc import Iterable, Iterator
import contextlib
import io
import os
from pathlib import Path
import sys
from typing import Any


def open_streams() -> None:
  """Gives a process the standard streams that it was started without.

  A daemon has none, and what it opens first would then take their place and
  receive what libraries write to standard error. What a stream's encoding lacks
  is written as an escape (`\\u732b`) from here on, instead of being an error.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
  for name in ("stdout", "stderr"):
    stream = getattr(sys, name)
    if stream is None:
      stream = open(os.devnull, "w", encoding="utf-8")
      setattr(sys, name, stream)
    elif getattr(stream, "errors", None) == "strict":
      stream.reconfigure(errors="backslashreplace")


class _Lasting:
  """A text stream whose output is dropped from the first failure on."""

  def __init__(self, stream: io.TextIOWrapper) -> None:
    self._stream = stream

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    try:
      return self._stream.write(text)
    except OSError:
      self._drop()
      return len(text)

  def writelines(self, lines: Iterable[str]) -> None:
    self.write("".join(lines))

  def flush(self) -> None:
    try:
      self._stream.flush()
    except OSError:
      self._drop()

  def _drop(self) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, self._stream.fileno())
    os.close(nowhere)
    self._stream.flush()  # the rest of its buffer, which closing would write


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
  """Lets a program go on where its output cannot be written any more.

  A reader such as `head` ends early, a terminal is closed, a disk is full: what
  is printed from then on is dropped, and no work is lost for it.
  """
  before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
  lasting = {
    name: _Lasting(stream) if isinstance(stream, io.TextIOWrapper) else stream
    for name, stream in before.items()
  }
  for name, stream in lasting.items():
    setattr(sys, name, stream)
  try:
    yield
  finally:
    for name, stream in lasting.items():
      if isinstance(stream, _Lasting):
        stream.flush()
      if getattr(sys, name) is stream:
        setattr(sys, name, before[name])


def is_terminal(stream: Any) -> bool:
  """Tells whether a stream is a terminal; None stands for a missing one."""
  try:
    return stream is not None and stream.isatty()
  except ValueError:  # it was closed
    return False


def cache_folder() -> Path | None:
  """Returns the user's cache folder, which is made where it is missing.

  `$XDG_CACHE_HOME`, else `~/.cache`. None where there is no home or the folder
  cannot be written, as for users that services run under.
  """
  told = os.environ.get("XDG_CACHE_HOME", "")
  try:
    folder = Path(told) if os.path.isabs(told) else Path.home() / ".cache"
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):
    return None
  return folder if os.access(folder, os.W_OK | os.X_OK) else None
