"""Finds the files of a data set and says what is missing."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

MOST_BYTES = 16 << 30  # of a file's decoded content that readers take


def first_existing(paths: Iterable[Path]) -> Path | None:
  """The first path that exists, or None."""
  return next((path for path in paths if path.exists()), None)


def missing(
  name: str, looked_for: Sequence[Path], published: str, remedy: str
) -> FileNotFoundError:
  """The error to raise where none of the paths `looked_for` exists.

  Args:
    name: of the data set.
    looked_for: every path that would have done.
    published: the project page or paper that says where the set is found.
    remedy: a flag to set, as the rest of "set ...".
  """
  places = "\n".join(f"  {path.absolute()}" for path in looked_for)
  return FileNotFoundError(
    f"{name}: none of these files exists:\n{places}\n"
    f"The set is published at: {published}.\nSet {remedy}."
  )


def damaged(path: Path, reason: object) -> ValueError:
  """The error to raise where a published file is not what it should be."""
  return ValueError(
    f"{path} is damaged or not in the expected format ({brief(reason)}); "
    "delete it and fetch it again"
  )


def unreadable(path: Path, reason: object) -> ValueError:
  """The error to raise where a file of the user's own cannot be read."""
  if isinstance(reason, OSError) and reason.strerror:
    reason = reason.strerror
  return ValueError(
    f"{path} is damaged or not in the expected format ({brief(reason)})"
  )


def too_large(path: Path, size: int) -> ValueError:
  """The error to raise where decoded content is above `MOST_BYTES`."""
  return ValueError(
    f"{path} would decode to {size / 2**30:.3g} GiB; at most "
    f"{MOST_BYTES >> 30} GiB are read from one file: split it"
  )


def text(path: Path) -> str:
  """A published text file in UTF-8; ValueError where it is none."""
  try:
    return path.read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise damaged(path, error) from error


def brief(value: object, most: int = 200) -> str:
  """The value on one line of at most that many letters, for a message.

  An exception without words is called by its name.
  """
  if isinstance(value, BaseException) and not str(value):
    value = type(value).__name__
  words = " ".join(str(value).split())
  return words if len(words) <= most else f"{words[: most - 3]}..."


def listed(values: Iterable[Any], most: int = 10) -> str:
  """Values with commas, the first few of many, for a message."""
  values = [brief(value, 40) for value in values]
  rest = len(values) - most
  return ", ".join(values[:most]) + (f" and {rest} more" if rest > 0 else "")
