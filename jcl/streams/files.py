"""Finds the files of a data set and says what is missing."""

from collections.abc import Iterable, Sequence
from pathlib import Path


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
  """The error to raise where a file is truncated or not what it should be."""
  return ValueError(
    f"{path} is damaged or not in the expected format ({reason}); delete it "
    "and fetch it again"
  )
