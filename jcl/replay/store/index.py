"""Index of records: place, class, run and task of each, in 20 bytes of memory.

Next to each segment lies a file with its part of the index. This file only
saves time: it has a checksum, and the index is read from the segment itself if
the file is missing, damaged or out of date.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import os
from pathlib import Path
import zlib

import numpy as np

from jcl.replay.store import segments

MAGIC = b"jclindex"
SUFFIX = ".index"
# Offset 0, where no record can lie, marks an id whose record is lost.
COLUMNS = {
  "offset": np.dtype("<u4"),  # in the segment
  "layout": np.dtype("<u4"),
  "label": np.dtype("<u4"),
  "run": np.dtype("<u4"),
  "task": np.dtype("<i4"),
}
_CHUNK = 2**20  # records that a pass over the index handles at a time


class Index:
  """Columns over all ids, and the ids of each class.

  One thread may extend the index while others read it: columns are complete up
  to the `count` that a reader read first.
  """

  def __init__(self) -> None:
    self.count = 0
    self.columns = {name: np.empty(0, kind) for name, kind in COLUMNS.items()}
    self._groups: _Groups | None = None

  @property
  def bytes(self) -> int:
    """Bytes of memory, room for more records included."""
    grouped = self._groups.order.nbytes if self._groups else 0
    return grouped + sum(c.nbytes for c in self.columns.values())

  def reserve(self, count: int) -> None:
    """Makes room for `count` records in all."""
    if count <= len(self.columns["offset"]):
      return
    grown = {}
    for name, old in self.columns.items():
      grown[name] = np.empty(count, old.dtype)
      grown[name][: self.count] = old[: self.count]
    self.columns = grown

  def extend(self, ids: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
    """Adds records of ascending ids; ids that are left out count as lost.

    Args:
      ids: [N] at or above `count`.
      columns: [N] each, named as `COLUMNS`.
    """
    if not len(ids):
      return
    end = int(ids[-1]) + 1
    self._fit(end)
    dense = end - self.count == len(ids)
    where = slice(self.count, end) if dense else ids
    if not dense:
      for column in self.columns.values():
        column[self.count : end] = 0
    for name, values in columns.items():
      self.columns[name][where] = values
    self.count = end

  def lose_until(self, end: int) -> None:
    """Adds lost ids up to `end`."""
    if end > self.count:
      self._fit(end)
      for column in self.columns.values():
        column[self.count : end] = 0
      self.count = end

  def lose(self, ids: np.ndarray) -> None:
    """Marks records as lost."""
    self.columns["offset"][ids] = 0
    self._groups = None

  def counts(self, num_labels: int, run: int | None = None) -> np.ndarray:
    """Returns [num_labels] int64 records by class, of one run or of all."""
    total = np.zeros(num_labels, np.int64)
    columns, count = self.columns, self.count
    for start in range(0, count, _CHUNK):
      part = slice(start, min(start + _CHUNK, count))
      kept = columns["offset"][part] > 0
      if run is not None:
        kept &= columns["run"][part] == run
      total += np.bincount(columns["label"][part][kept], minlength=num_labels)
    return total

  def ids_of(self, label: int, run: int | None = None) -> np.ndarray:
    """Returns int64 ids of a class, ascending, of one run or of all."""
    count, columns, groups = self.count, self.columns, self._groups
    # Grouping takes a pass over everything; a short rest is searched instead.
    if groups is None or count - groups.count > max(_CHUNK, groups.count // 4):
      self._groups = groups = _group(columns, count)
    rest = np.flatnonzero(
      (columns["label"][groups.count : count] == label)
      & (columns["offset"][groups.count : count] > 0)
    )
    known = groups.of(label).astype(np.int64)
    ids = np.concatenate([known, rest + groups.count])
    return ids if run is None else ids[columns["run"][ids] == run]

  def lost(self) -> np.ndarray:
    """Returns the int64 ids of lost records."""
    return np.flatnonzero(self.columns["offset"][: self.count] == 0)

  def _fit(self, count: int) -> None:
    room = len(self.columns["offset"])
    if count > room:  # untouched room takes no memory of the machine
      self.reserve(max(count, room + room // 2, 1024))


@dataclasses.dataclass(frozen=True)
class _Groups:
  """Ids below `count`, by class and then ascending."""

  order: np.ndarray  # [kept] uint32, or int64 for very many
  starts: np.ndarray  # [labels + 1] int64, where each class begins in `order`
  count: int

  def of(self, label: int) -> np.ndarray:
    if label + 1 >= len(self.starts):
      return self.order[:0]
    return self.order[self.starts[label] : self.starts[label + 1]]


def _group(columns: Mapping[str, np.ndarray], count: int) -> _Groups:
  """Sorts ids by class in pieces, to save memory."""
  labels, offsets = columns["label"], columns["offset"]
  num_labels = 1 + max(
    (
      int(labels[i : min(i + _CHUNK, count)].max())
      for i in range(0, count, _CHUNK)
    ),
    default=-1,
  )
  narrow = np.uint16 if num_labels <= 2**16 else np.uint32  # sorts much faster

  def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, count, _CHUNK):
      part = slice(start, min(start + _CHUNK, count))
      kept = np.flatnonzero(offsets[part] > 0)
      yield kept + start, labels[part][kept].astype(narrow)

  totals = np.zeros(num_labels, np.int64)
  for _, piece in pieces():
    totals += np.bincount(piece, minlength=num_labels)
  starts = np.concatenate([[0], np.cumsum(totals)])
  order = np.empty(starts[-1], np.uint32 if count < 2**32 else np.int64)
  filled = starts[:-1].copy()
  for ids, piece in pieces():
    by_label = np.argsort(piece, kind="stable")
    amounts = np.bincount(piece, minlength=num_labels)
    first = np.cumsum(amounts) - amounts
    rank = np.arange(len(piece)) - np.repeat(first, amounts)
    order[np.repeat(filled, amounts) + rank] = ids[by_label]
    filled += amounts
  return _Groups(order, starts, count)


@dataclasses.dataclass(frozen=True)
class Part:
  """Description of a segment in its index file."""

  store: str
  number: int
  first_id: int
  count: int  # ids from `first_id`, lost ones included
  covered: int  # bytes of the segment that the index covers
  tables: Mapping[str, Sequence[str]]  # all names defined up to there


_PART = {
  "store": str,
  "number": int,
  "first_id": int,
  "count": int,
  "covered": int,
  "tables": dict,
  "crc": int,
}


def path_of(folder: Path, number: int) -> Path:
  return folder / f"{number:08d}{SUFFIX}"


def save(folder: Path, part: Part, index: Index) -> None:
  """Writes a segment's part of the index durably, all of it or nothing."""
  where = slice(part.first_id, part.first_id + part.count)
  arrays = [index.columns[name][where].view(np.uint8).data for name in COLUMNS]
  crc = 0
  for array in arrays:
    crc = zlib.crc32(array, crc)
  about = {**dataclasses.asdict(part), "crc": crc}
  head = segments.framed(MAGIC, about)
  segments.replace(path_of(folder, part.number), [head, *arrays])


def peek(folder: Path, number: int) -> Part | None:
  """Reads the description in an index file; None if it cannot be used."""
  try:
    with open(path_of(folder, number), "rb") as file:
      found = segments.unframed(MAGIC, file.fileno())
      size = os.fstat(file.fileno()).st_size
  except OSError:
    return None
  if found is None or not segments.fits(found[0], _PART):
    return None
  about, end = found
  about.pop("crc")
  part = Part(**about)
  held = size - end == part.count * sum(c.itemsize for c in COLUMNS.values())
  whole = held and segments.is_possible(part.first_id, part.number)
  return part if whole else None


def load(folder: Path, part: Part, index: Index) -> bool:
  """Adds a segment's part to the end of the index; False if it is damaged.

  Lost ids between the index and the part must have been added before.
  """
  start, end = part.first_id, part.first_id + part.count
  if start != index.count:
    return False
  index.reserve(end)
  try:
    with open(path_of(folder, part.number), "rb") as file:
      found = segments.unframed(MAGIC, file.fileno())
      if found is None:
        return False
      file.seek(found[1])
      crc = 0
      for name in COLUMNS:
        array = index.columns[name][start:end].view(np.uint8).data
        if file.readinto(array) != len(array):
          return False
        crc = zlib.crc32(array, crc)
      if crc != found[0]["crc"] or file.read(1):
        return False
  except OSError:
    return False
  index.count = end
  return True


def numbers(folder: Path) -> list[int]:
  """Returns the numbers of the segments that have index files."""
  return segments.numbered(folder, SUFFIX)
