"""Surroundings of a process: standard streams, a terminal, a cache folder."""

from collections.abc import Iterable, Iterator
import contextlib
import gc
import io
import os
from pathlib import Path
import sys
from typing import Any


def open_streams() -> None:
  """Opens the standard streams that a process was started without.

  A daemon has none: the first file that it opens would take the place of one
  and receive what libraries write to standard error. From here on, a character
  that a stream's encoding lacks is written as an escape (`\\u732b`) instead of
  raising an error.
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
  """Text stream that drops its output from the first failure on."""

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
  """Lets a program go on when its output cannot be written any more.

  When a reader such as `head` ends early, a terminal is closed or a disk is
  full, later output is dropped, and no work is lost.
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


@contextlib.contextmanager
def importing() -> Iterator[None]:
  """Leaves the collection of garbage out while modules are imported.

  What they make stays, and collections would look through it again and again;
  later ones skip it, too. It takes a tenth of the time to start.
  """
  collects = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if collects:
      gc.freeze()
      gc.enable()


def is_terminal(stream: Any) -> bool:
  """Tells whether a stream is a terminal; None, a missing stream, is none."""
  try:
    return stream is not None and stream.isatty()
  except ValueError:  # it was closed
    return False


def cache_folder() -> Path | None:
  """Returns the user's cache folder, made where it is missing.

  The folder is `$XDG_CACHE_HOME`, else `~/.cache`: see
  https://specifications.freedesktop.org/basedir-spec/latest/.

  Returns:
    The folder; None where there is no home or the folder cannot be written, as
    for users that services run under.
  """
  told = os.environ.get("XDG_CACHE_HOME", "")
  try:
    folder = Path(told) if os.path.isabs(told) else Path.home() / ".cache"
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):
    return None
  return folder if os.access(folder, os.W_OK | os.X_OK) else None
