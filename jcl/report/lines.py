"""Files of JSON lines that grow at their end and survive a killed process.

Appended lines are on disk once `sync` returns. A second file, such as a
checkpoint, may then save the `Mark` of the lines that it knows. A run that
resumes from this file reads the lines up to the mark, and cuts off all later
ones, a half-written line included.
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
  """A file of lines that lost or changed lines which a mark covers."""


@dataclasses.dataclass(frozen=True)
class Mark:
  """A position in a file: the lines before it, their bytes, their checksum."""

  count: int = 0
  size: int = 0
  crc32: int = 0

  def beyond(self, data: bytes, count: int = 1) -> "Mark":
    """Returns the mark after `count` more lines, whose bytes are `data`."""
    crc32 = zlib.crc32(data, self.crc32)
    return Mark(self.count + count, self.size + len(data), crc32)


class Lines:
  """A file of JSON lines, one value each; `mark` is the position of its end.

  Between calls no line is held in memory, and the file is closed.
  """

  def __init__(self, path: Path) -> None:
    self.path = path
    self.mark = Mark()

  def replace(self, values: Iterable[Any]) -> None:
    """Replaces all lines of the file."""
    lines = [_line(value) for value in values]
    write_atomically(self.path, "".join(lines))
    self.mark = Mark().beyond("".join(lines).encode(), len(lines))

  def append(self, value: Any) -> None:
    """Adds a line."""
    data = _line(value).encode()
    # Without a buffer, a full disk raises here, and only once.
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
    """Returns the values up to a mark; `append` continues from there.

    Raises:
      MissingLinesError: if the file does not hold these lines any more.
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
    """Removes all bytes after the mark."""
    os.truncate(self.path, self.mark.size)


def write_atomically(path: Path, text: str) -> None:
  """Replaces a file's text so that no reader ever sees a part of it."""
  with replacing(path) as file:
    file.write(text.encode())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
  """Opens a temporary file that replaces `path` when the block ends.

  An error in the block, or its interruption, leaves `path` as it was and
  removes the temporary file.
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
