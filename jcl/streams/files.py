"""Finds and reads the files of data sets, and reports what is wrong."""

import bz2
from collections.abc import Iterable, Sequence
import gzip
import lzma
from pathlib import Path
from typing import IO, Any
import zipfile
import zlib

from jcl.options.errors import MissingFileError, UsageError

MOST_BYTES = 16 << 30  # of a file's decoded content that readers take


def first_existing(paths: Iterable[Path]) -> Path | None:
  """Returns the first path that exists, or None."""
  return next((path for path in paths if path.exists()), None)


def places(data_dir: Path, path: str) -> list[Path]:
  """Returns where a path of the user's may lead, in the order of looking.

  Args:
    data_dir: the folder of --data_dir.
    path: absolute, below `data_dir`, or below the working directory.
  """
  return list(dict.fromkeys((data_dir / path, Path(path))))


def missing(
  name: str, looked_for: Sequence[Path], published: str, remedy: str
) -> MissingFileError:
  """Returns the error to raise where none of the paths `looked_for` exists.

  Args:
    name: of the data set.
    looked_for: every path that would have done.
    published: the project page or paper that says where to find the data set;
      "" for a user's own.
    remedy: a flag to set, as the rest of "Set ...".
  """
  places = "\n".join(f"  {_shown(path.absolute())}" for path in looked_for)
  return MissingFileError(
    f"{_shown(name)}: none of these files exists:\n{places}\n"
    + (f"The set is published at: {published}.\n" if published else "")
    + f"Set {remedy}."
  )


def _shown(path: object) -> str:
  """Returns a path, its middle left out where it is very long."""
  text = str(path)
  return text if len(text) <= 250 else f"{text[:120]}...{text[-120:]}"


def damaged(path: Path, reason: object) -> UsageError:
  """Returns the error to raise for a damaged file of a published data set."""
  return UsageError(
    f"{_shown(path)} is damaged or not in the expected format "
    f"({brief(reason)}); delete it and fetch it again"
  )


def unreadable(path: Path, reason: object) -> UsageError:
  """Returns the error to raise for an unreadable file of the user's own."""
  if isinstance(reason, OSError) and reason.strerror:
    reason = reason.strerror
  return UsageError(
    f"{_shown(path)} is damaged or not in the expected format ({brief(reason)})"
  )


def too_large(path: Path, size: int, most: int | None = None) -> UsageError:
  """Returns the error to raise for content of more than `most` bytes."""
  most = MOST_BYTES if most is None else most
  return UsageError(
    f"{path} has {min(size, 10**18):,} bytes or more, decoded; at most "
    f"{most:,} are read from one file"
  )


def text(path: Path) -> str:
  """Reads a published text file in UTF-8; ValueError where it is damaged."""
  try:
    return path.read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise damaged(path, error) from error


def content(path: Path) -> bytes:
  """Reads a file, decompressed if its name ends in .gz, .bz2, .xz or .zip.

  Raises:
    ValueError: where the file is damaged, cannot be read, or decodes to more
      than `MOST_BYTES`.
  """
  if path.is_dir():
    raise UsageError(f"{path} is a folder; give a file")
  try:
    if path.suffix.lower() == ".zip":
      return _only_member(path)
    openers = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    opener: Any = openers.get(path.suffix.lower(), open)
    with opener(path, "rb") as file:
      return up_to(path, file)
  except (
    OSError,
    EOFError,
    MemoryError,
    NotImplementedError,  # a compression that the library lacks
    RuntimeError,  # an archive with a password
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise unreadable(path, error) from error


def up_to(path: Path, file: IO[bytes], most: int | None = None) -> bytes:
  """Reads the rest of a file; ValueError above `most` bytes.

  Args:
    path: for messages.
    file: open for reading.
    most: bytes at most, `MOST_BYTES` by default.
  """
  most = MOST_BYTES if most is None else most
  found = first(file, most + 1)
  if len(found) > most:
    raise too_large(path, len(found), most)
  return found


def first(file: IO[bytes], count: int) -> bytes:
  """Reads the next `count` bytes of a file, fewer where it ends."""
  parts = []
  # In pieces: a call for many bytes takes that much memory before any is read.
  while count and (part := file.read(min(count, 1 << 20))):
    parts.append(part)
    count -= len(part)
  return b"".join(parts)


def _only_member(path: Path) -> bytes:
  with zipfile.ZipFile(path) as archive:
    members = [
      m
      for m in archive.infolist()
      if not m.is_dir() and not m.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
      raise UsageError(
        f"{path} holds {len(members)} files "
        f"({listed([m.filename for m in members], 5)}); unpack it and give one"
      )
    (member,) = members
    with archive.open(member) as file:
      return up_to(path, file)


def brief(value: object, most: int = 200) -> str:
  """Returns a value on one line of at most `most` letters, for a message.

  An exception without a message is called by the name of its class.

  >>> brief("a  b\\n" + 100 * "c", most=12)
  'a b ccccc...'
  """
  if isinstance(value, BaseException) and not str(value):
    value = type(value).__name__
  words = " ".join(str(value).split())
  return words if len(words) <= most else f"{words[: most - 3]}..."


def listed(values: Iterable[Any], most: int = 10) -> str:
  """Joins values with commas, the first few of many, for a message.

  >>> listed(range(2), most=2), listed(range(4), most=2)
  ('0, 1', '0, 1 and 2 more')
  >>> listed(range(12))
  '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more'
  """
  values = [brief(value, 40) for value in values]
  if len(values) <= most:
    return ", ".join(values)
  return f"{', '.join(values[:most])} and {len(values) - most} more"
