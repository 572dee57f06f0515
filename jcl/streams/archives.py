"""Reads NumPy archives, no further than they declare and hold."""

import math
from pathlib import Path
import sys
from typing import IO
import zipfile

import numpy as np

from jcl.streams import files

_DEFLATED = 1032  # bytes that one compressed byte can stand for at most


def arrays(path: Path) -> dict[str, np.ndarray]:
  """Reads all arrays of an archive, by name.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where the file is damaged, is no archive, holds Python objects,
      or declares more than it holds or than `files.MOST_BYTES`.
  """
  try:
    check(path)
    with np.load(path, allow_pickle=False) as archive:
      return {key: legible(archive[key]) for key in archive.files}
  except FileNotFoundError:
    raise
  except Exception as error:  # a damaged archive may raise almost anything
    raise files.unreadable(path, error) from error


def check(path: Path) -> None:
  """Checks the sizes that an archive declares, before memory is taken for them.

  Raises:
    ValueError: where the archive declares more than it holds or than
      `files.MOST_BYTES`. Damaged archives raise other errors too.
  """
  if not zipfile.is_zipfile(path):
    return  # an array, or a file for which NumPy has the right message
  with zipfile.ZipFile(path) as archive:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > files.MOST_BYTES:
      raise files.too_large(path, total)
    for member in members:
      if member.file_size > _DEFLATED * (member.compress_size + 1):
        raise ValueError(f"{files.brief(member.filename, 40)} is not so large")
      if member.filename.endswith(".npy"):
        with archive.open(member) as file:
          _check_array(member, file)


def legible(array: np.ndarray) -> np.ndarray:
  """Returns the array; ValueError for text with codes of no character."""
  if array.dtype.kind == "U" and array.size:
    codes = np.ascontiguousarray(array).view(np.uint32)
    if array.dtype.byteorder == (">" if sys.byteorder == "little" else "<"):
      codes = codes.byteswap()
    if codes.max() > sys.maxunicode:
      raise ValueError("text that is none")
  return array


def _check_array(member: zipfile.ZipInfo, file: IO[bytes]) -> None:
  version = np.lib.format.read_magic(file)
  if version == (1, 0):
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
  elif version == (2, 0):
    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
  else:
    raise ValueError(f"an array of version {version}")
  declared = math.prod(shape) * dtype.itemsize
  held = member.file_size - file.tell()
  if not dtype.hasobject and (declared != held or min(shape, default=0) < 0):
    name = files.brief(member.filename, 40)
    raise ValueError(f"{name} declares {declared} bytes and holds {held}")
