"""Files of JSON lines that grow at their end and outlast a kill.

What is appended is on disk once `sync` returns. Another file, written after
that, may note the `Mark` up to which it knows the lines; whoever goes on from
it reads the lines up to the mark and cuts off what came later, a half-written
line included.
"""

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import IO, Any
import zlib


class MissingLinesError(ValueError):
  """A file of lines that is shorter than, or other than, it once was."""


@dataclasses.dataclass(frozen=True)
class Mark:
  """How far a file goes: its lines, its size in bytes, and a checksum."""

  count: int = 0
  size: int = 0
  crc32: int = 0

  def beyond(self, data: bytes, count: int = 1) -> "Mark":
    """Returns the mark behind some more lines."""
    crc32 = zlib.crc32(data, self.crc32)
    return Mark(self.count + count, self.size + len(data), crc32)


class Lines:
  """A file of JSON lines, one value each; `mark` tells how far it goes.

  Between calls nothing is held back, and the file is closed.
  """

  def __init__(self, path: Path):
    self.path = path
    self.mark = Mark()

  def replace(self, values: Iterable[Any]) -> None:
    """Writes the file anew, as a whole."""
    lines = [_line(value) for value in values]
    write_atomically(self.path, "".join(lines))
    self.mark = Mark().beyond("".join(lines).encode(), len(lines))

  def append(self, value: Any) -> None:
    """Adds a line."""
    data = _line(value).encode()
    # Unbuffered, so that a full disk raises here, and only once.
    with open(self.path, "ab", buffering=0) as file:
      left = memoryview(data)
      while left:
        left = left[file.write(left) :]
    self.mark = self.mark.beyond(data)

  def sync(self) -> None:
    """Returns when all lines are on disk."""
    if self.mark.count:
      with open(self.path, "ab", buffering=0) as file:
        os.fsync(file.fileno())

  def read(self, mark: Mark) -> list[Any]:
    """Returns the values up to a mark, from where `append` goes on.

    Raises:
      MissingLinesError: where the file does not hold them any more.
    """
    data = b""
    if self.path.exists():
      with open(self.path, "rb") as file:
        data = file.read(mark.size)
    count = data.count(b"\n")
    if Mark().beyond(data, count) != mark:
      held = "other lines" if len(data) == mark.size else f"{count} lines"
      raise MissingLinesError(
        f"{self.path} holds {held} where {mark.count} were written"
      )
    self.mark = mark
    return [json.loads(line) for line in data.splitlines()]

  def cut(self) -> None:
    """Removes what lies behind the mark."""
    os.truncate(self.path, self.mark.size)


def write_atomically(path: Path, text: str) -> None:
  """Replaces a file's text so that no reader ever sees a part of it."""
  with replacing(path) as file:
    file.write(text.encode())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
  """Opens a file that becomes `path` once the block has written all of it.

  An error in the block, or its interruption, leaves `path` as it was and
  nothing beside it.
  """
  partial = path.with_name(f".{path.name}.partial")
  try:
    with open(partial, "wb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(partial, path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise


def _line(value: Any) -> str:
  return json.dumps(value) + "\n"
