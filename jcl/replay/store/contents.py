"""Contents of a store's files, read when the store is opened."""

from collections.abc import Callable, Sequence
import dataclasses
import os
from pathlib import Path
import uuid

from absl import logging
import numpy as np

from jcl.replay.store import index as index_lib
from jcl.replay.store import names as names_lib
from jcl.replay.store import records, segments


@dataclasses.dataclass
class Segment:
  """An open segment file."""

  number: int
  path: Path
  fd: int
  first_id: int
  end: int  # first byte after its last intact record
  next_id: int = 0  # first id after its own; not updated for the last segment
  covered: int = 0  # bytes that its index file covers
  sound: bool = True  # no part of it is damaged

  def __del__(self, close: Callable[[int], None] = os.close) -> None:
    close(self.fd)  # once no thread reads from it


class Contents:
  """Segments, index and names of a store, with notes on damage.

  Args:
    folder: where its files are.
    writable: cuts off incomplete records that a crash left, and writes missing
      index files.
    rebuild: reads all segments instead of their index files.

  Raises:
    StoreError: where nothing tells which store it is, or segments contradict
      each other.
    OSError: where a file cannot be opened or read.
  """

  def __init__(self, folder: Path, writable: bool, rebuild: bool) -> None:
    self.folder = folder
    self.index = index_lib.Index()
    self.names = names_lib.Names()
    self.notes: list[str] = []
    # Replaced, never changed, so that a reading thread keeps what it took;
    # `segments` first, so that it is never shorter than `firsts`.
    self.segments: tuple[Segment, ...] = ()
    self.firsts = np.zeros(0, np.int64)  # first id of each
    self._writable = writable
    found = sorted({*segments.numbers(folder), *index_lib.numbers(folder)})
    self.next_number = found[-1] + 1 if found else 0
    self.identity = _identity(folder, found)
    self.seed = segments.seed_of(self.identity)
    parts = {number: index_lib.peek(folder, number) for number in found}
    self.index.reserve(sum(part.count for part in parts.values() if part))
    for number in found:
      part = parts[number]
      if part and (part.store, part.number) != (self.identity, number):
        part = None
      self._take_in(number, part, number == found[-1], rebuild)
    self.num_lost = len(self.index.lost())
    if self.num_lost:
      self.note(f"{self.num_lost} examples are lost")

  def note(self, text: str) -> None:
    """Adds a note on the files, and logs it."""
    self.notes.append(text)
    logging.warning("%s: %s", self.folder, text)

  def begin(self) -> None:
    """Begins another segment, which is then the last one.

    Raises:
      OSError: if it cannot be made; nothing has changed then.
    """
    number, first = self.next_number, self.index.count
    end = segments.create(
      self.folder, number, self.identity, first, self.names.tables()
    )
    path = segments.path_of(self.folder, number)
    if self.segments:
      self.segments[-1].next_id = first
    self._add(Segment(number, path, os.open(path, os.O_RDWR), first, end))
    self.next_number += 1

  def save(self, segment: Segment) -> None:
    """Writes a segment's index; after a failure, the segment is read again."""
    last = segment is self.segments[-1]
    end = self.index.count if last else segment.next_id
    part = index_lib.Part(
      self.identity,
      segment.number,
      segment.first_id,
      end - segment.first_id,
      segment.end,
      self.names.tables(),
    )
    try:
      index_lib.save(self.folder, part, self.index)
      segment.covered = segment.end
    except OSError as error:
      logging.warning("no index was written for %s: %s", segment.path, error)

  def _add(self, segment: Segment) -> None:
    if hasattr(os, "posix_fadvise"):  # reads will jump about
      os.posix_fadvise(segment.fd, 0, 0, os.POSIX_FADV_RANDOM)
    self.segments = (*self.segments, segment)
    self.firsts = np.append(self.firsts, segment.first_id)

  def _take_in(
    self, number: int, part: index_lib.Part | None, last: bool, rebuild: bool
  ) -> None:
    """Adds a segment's records, from its index file or from the segment."""
    path = segments.path_of(self.folder, number)
    try:
      fd = os.open(path, os.O_RDWR if self._writable else os.O_RDONLY)
    except FileNotFoundError:
      self.note(f"{path.name} is missing")
      if part:
        self.names.learn(part.tables)
        self.index.lose_until(part.first_id + part.count)
      return
    count, size = self.index.count, os.fstat(fd).st_size
    segment = Segment(number, path, fd, count, 0)
    header = segments.read_header(fd)
    if header:
      if header.store != self.identity:
        self.note(f"{path.name} belongs to another store and is left out")
        return
      segment.first_id = header.first_id
      self.names.learn(header.tables)
      if part and part.first_id != header.first_id:
        part = None  # a segment knows better than what only saves time
    else:
      self._fault(segment, "its header is damaged")
      segment.first_id = part.first_id if part else count
    if segment.first_id < count or (header and header.number != number):
      self.note(f"{path.name} repeats another segment and is left out")
      return
    self.index.lose_until(segment.first_id)
    start = header.end if header else 0
    if (
      part
      and not rebuild
      and part.first_id == segment.first_id
      and index_lib.load(self.folder, part, self.index)
    ):
      start = segment.covered = part.covered
    if part:
      self.names.learn(part.tables)
    segment.end = start
    if size > start:
      self._scan(segment, start)
    acknowledged = part.covered if part else 0
    if size < acknowledged:
      self._fault(segment, f"its last {acknowledged - size} bytes are missing")
      self._lose_beyond(segment, size)
    elif size > segment.end:
      self._rest(segment, size, last and segment.end >= acknowledged)
    if part:  # ids that were given are never given again
      self.index.lose_until(part.first_id + part.count)
    segment.next_id = self.index.count
    self._add(segment)

  def _scan(self, segment: Segment, start: int) -> None:
    found = segments.scan(segment.fd, start, self.seed, self.index.count)
    for table in found.tables:
      self.names.learn(table)
    if len(found.heads):  # also where damage has taken the definitions
      for kind, field in names_lib.TABLES.items():
        self.names.cover(kind, int(found.heads[field].max()) + 1)
    columns = {
      name: found.heads[name] for name in index_lib.COLUMNS if name != "offset"
    }
    self.index.extend(
      found.heads["id"].astype(np.int64), {"offset": found.offsets, **columns}
    )
    segment.end = found.end
    if found.damaged:
      lost = sum(to - begin for begin, to in found.damaged)
      self._fault(segment, f"{lost} bytes are damaged")

  def _lose_beyond(self, segment: Segment, size: int) -> None:
    """Marks records of the index as lost that lie after a segment's end."""
    ids = np.arange(segment.first_id, self.index.count)
    columns, strides = self.index.columns, np.array(self.names.strides())
    if len(ids):
      ends = columns["offset"][ids] + strides[columns["layout"][ids]]
      self.index.lose(ids[ends > size])

  def _rest(self, segment: Segment, size: int, torn: bool) -> None:
    """Cuts off or reports the bytes after the last intact record."""
    rest = size - segment.end
    if not torn:
      self._fault(segment, f"its last {rest} bytes are damaged")
    elif self._writable:
      logging.info("%s: cut %d bytes that a crash left", segment.path, rest)
      os.ftruncate(segment.fd, segment.end)
      os.fsync(segment.fd)

  def _fault(self, segment: Segment, what: str) -> None:
    segment.sound = False
    self.note(f"{segment.path.name}: {what}")


def _identity(folder: Path, found: Sequence[int]) -> str:
  """Returns the identity in the first legible file; a new one for no files."""
  for number in found:
    try:
      with open(segments.path_of(folder, number), "rb") as file:
        header = segments.read_header(file.fileno())
    except FileNotFoundError:
      header = None
    part = header or index_lib.peek(folder, number)
    if part is not None:
      return part.store
  if found:
    raise records.StoreError(
      f"no segment in {folder} can be read: it holds no store of jcl, or one "
      "that is damaged beyond repair: give another folder, or remove it"
    )
  return uuid.uuid4().hex
