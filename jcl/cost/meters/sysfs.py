"""Files of the kernel that hold one value each."""

from collections.abc import Iterable
from pathlib import Path


def text(path: Path) -> str:
  """Returns the text of a file, without white space around it.

  Raises:
    OSError: where there is no such file, no permission, or no device behind.
  """
  with open(path, encoding="utf-8", errors="replace") as file:
    return file.read().strip("\0\n ")


def number(path: Path) -> float:
  """Returns the number that a file holds.

  Raises:
    OSError: as for `text`.
    ValueError: for a file that holds no number.
  """
  value = text(path)
  try:
    return float(value)
  except ValueError:
    raise ValueError(f'{path} holds "{value}", no number') from None


def folders(root: Path, patterns: Iterable[str]) -> list[Path]:
  """Returns the folders that match the patterns, in the patterns' order.

  The kernel shows one device in several places, linked to each other: a folder
  may be returned more than once, under different names.
  """
  return [
    path
    for pattern in patterns
    for path in sorted(root.glob(pattern))
    if path.is_dir()
  ]


def why(error: OSError | ValueError) -> str:
  """Returns why a file could not be read, and what helps."""
  if isinstance(error, ValueError):
    return str(error)
  name = error.filename
  if isinstance(error, PermissionError):
    return (
      f"no permission to read {name}: run as root, or let an administrator "
      f"grant it (chmod a+r {name})"
    )
  if isinstance(error, FileNotFoundError):
    return f"there is no {name}"
  return f"{name} cannot be read: {error.strerror}"
