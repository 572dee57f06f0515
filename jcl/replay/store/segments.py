"""Segment files: a header, then records, which are only ever appended.

A segment is made whole under another name and then renamed, so one that exists
has its header; the header repeats all names defined before it, so that no
segment needs another one to be understood. What follows is records in the order
of their ids. A crash can leave half a record behind, always at the end of the
last segment; `scan` finds where the intact ones end, and steps over damage
ahead of that.
"""

import array
from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
from pathlib import Path
import struct
from typing import Any
import zlib

import numpy as np

from jcl.replay.store import names, records

MAGIC = b"jclstore"
VERSION = 1
PREFIX = struct.Struct("<8sIII")  # magic, version, CRC-32 and length of JSON
SUFFIX = ".segment"
_WINDOW = 2**22  # bytes that a scan holds at a time, at least


@dataclasses.dataclass(frozen=True)
class Header:
  """Header of a segment."""

  store: str  # identity that all segments of a store share
  number: int
  first_id: int
  tables: Mapping[str, Sequence[str]]  # names defined before this segment
  end: int  # bytes of the header


def path_of(folder: Path, number: int) -> Path:
  return folder / f"{number:08d}{SUFFIX}"


def numbers(folder: Path) -> list[int]:
  """Returns the numbers of the segments in a folder, ascending."""
  return numbered(folder, SUFFIX)


def numbered(folder: Path, suffix: str) -> list[int]:
  """Numbers that files of this suffix have for names, ascending."""
  stems = (path.stem for path in folder.glob(f"*{suffix}"))
  return sorted(int(stem) for stem in stems if stem.isdecimal())


def seed_of(store: str) -> int:
  """Returns the start value of the checksums of a store's records."""
  return zlib.crc32(store.encode())


def sync_folder(folder: Path) -> None:
  """Syncs a folder, so that its file names survive a loss of power."""
  fd = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(fd)
  finally:
    os.close(fd)


def replace(path: Path, content: Sequence[Any]) -> None:
  """Replaces a file durably; a crash leaves the old file or the new one."""
  partial = path.with_name(path.name + ".partial")
  try:
    with open(partial, "wb") as file:
      for part in content:
        file.write(part)
      file.flush()
      os.fsync(file.fileno())
    os.replace(partial, path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise
  sync_folder(path.parent)


def framed(magic: bytes, about: Mapping[str, Any]) -> bytes:
  """Returns JSON with a checksummed prefix, a multiple of 8 bytes."""
  text = json.dumps(about).encode()
  text = text.ljust(-(-(PREFIX.size + len(text)) // 8) * 8 - PREFIX.size)
  return PREFIX.pack(magic, VERSION, zlib.crc32(text), len(text)) + text


def unframed(magic: bytes, fd: int) -> tuple[dict[str, Any], int] | None:
  """Reads the value that `framed` put at the head of a file.

  Returns:
    The value, and the first byte after it; None for a file without one.

  Raises:
    StoreError: for a file of a later version of jcl.
  """
  prefix = os.pread(fd, PREFIX.size, 0)
  if len(prefix) < PREFIX.size or not prefix.startswith(magic):
    return None
  _, version, crc, length = PREFIX.unpack(prefix)
  text = os.pread(fd, length, PREFIX.size)
  if len(text) < length or zlib.crc32(text) != crc:
    return None
  if version != VERSION:
    raise records.StoreError(
      f"the store is of format {version} and this jcl reads {VERSION}: "
      "use the version of jcl that wrote it"
    )
  try:
    about = json.loads(text)
  except (ValueError, RecursionError):
    return None
  return (about, PREFIX.size + length) if isinstance(about, dict) else None


_HEADER = {"store": str, "number": int, "first_id": int, "tables": dict}
_MOST_RECORDS = 2**31 // records.stride(0)  # of a segment


def fits(about: Mapping[str, Any], kinds: Mapping[str, type]) -> bool:
  """Returns whether a description has exactly these fields, of valid values."""
  return (
    about.keys() == kinds.keys()
    and all(
      type(about[name]) is kind and (kind is not int or about[name] >= 0)
      for name, kind in kinds.items()
    )
    and about["store"].isprintable()  # no half of a character
    and names.are_tables(about["tables"])
  )


def is_possible(record_id: int, number: int) -> bool:
  """Returns whether so many ids fit the segments before this number."""
  return record_id <= number * _MOST_RECORDS


def create(
  folder: Path,
  number: int,
  store: str,
  first_id: int,
  tables: Mapping[str, Sequence[str]],
) -> int:
  """Makes an empty segment, durably, and returns its size."""
  head = framed(
    MAGIC,
    {
      "store": store,
      "number": number,
      "first_id": first_id,
      "tables": {name: list(names) for name, names in tables.items()},
    },
  )
  replace(path_of(folder, number), [head])
  return len(head)


def read_header(fd: int) -> Header | None:
  """Returns a segment's header; None if it is damaged or of another format."""
  found = unframed(MAGIC, fd)
  if found is None or not fits(found[0], _HEADER):
    return None
  header = Header(**found[0], end=found[1])
  return header if is_possible(header.first_id, header.number) else None


@dataclasses.dataclass
class Scan:
  """Records found in a part of a segment."""

  heads: np.ndarray  # [N] structured as `records.FIELDS` of intact records
  offsets: np.ndarray  # [N] int64 where they begin
  tables: list[dict[str, Any]]  # definitions, in their order
  end: int  # first byte after the last intact record
  damaged: list[tuple[int, int]]  # [from, to) before `end`


HEAD = np.dtype(
  {
    "names": list(records.FIELDS),
    "formats": ["<u4", "<u4", "<u8", "<u4", "<u4", "<u4", "<i4"],
  }
)


class _Window:
  """A window of a file, which is read in large pieces."""

  def __init__(self, fd: int) -> None:
    self._fd, self._start, self._data = fd, 0, b""

  def get(self, start: int, size: int) -> memoryview:
    """Returns bytes of the file, fewer where it ends."""
    if not (
      self._start <= start and start + size <= self._start + len(self._data)
    ):
      self._start = start
      self._data = os.pread(self._fd, max(size, _WINDOW), start)
    begin = start - self._start
    return memoryview(self._data)[begin : begin + size]

  def find(self, needle: bytes, start: int, stop: int) -> int:
    """Returns where a multiple of 8 bytes from 0 has `needle`, or -1."""
    while start < stop:
      piece = bytes(self.get(start, _WINDOW))
      if not piece:
        return -1
      at = piece.find(needle)
      while at >= 0 and (start + at) % 8:
        at = piece.find(needle, at + 1)
      if at >= 0:
        return start + at
      start += max(len(piece) // 8 * 8, 8)
    return -1


def _table(text: bytes) -> dict[str, Any] | None:
  """Returns the tables of a definition record; None if it is no definition."""
  try:
    table = json.loads(text)
  except (ValueError, RecursionError):
    return None
  return table if names.are_tables(table) else None


def scan(fd: int, start: int, seed: int, next_id: int) -> Scan:
  """Finds the intact records from `start`, a multiple of 8, to the end.

  A record counts if its checksum is right, its id is at least `next_id`, and
  ids ascend. Bytes within an example that look like a record do not count.
  """
  window, size = _Window(fd), os.fstat(fd).st_size
  heads, offsets, tables = bytearray(), array.array("Q"), []
  damaged: list[tuple[int, int]] = []
  needle = struct.pack("<I", records.MAGIC)
  at = end = start
  unpack, head_size = records.HEADER.unpack_from, records.HEADER.size
  while at + head_size < size:
    head = window.get(at, head_size)
    magic, length, record_id, layout, *_ = unpack(head)
    stride = records.stride(length)
    intact = (
      magic == records.MAGIC
      and record_id >= next_id
      and at + stride <= size
      and zlib.crc32(record := window.get(at, stride), seed) == records.RESIDUE
    )
    if not intact:
      at = window.find(needle, at + 8, size)
      if at < 0:
        break
      continue
    if layout == records.DEFINITION:
      table = _table(bytes(record[head_size : head_size + length]))
      if table is None:
        at += stride  # damaged, although its checksum holds
        continue
      tables.append(table)
      next_id = record_id
    else:
      heads += record[:head_size]
      offsets.append(at)
      next_id = record_id + 1
    if at > end:
      damaged.append((end, at))
    at = end = at + stride
  return Scan(
    heads=np.frombuffer(heads, HEAD),
    offsets=np.array(offsets, np.int64),
    tables=tables,
    end=end,
    damaged=damaged,
  )
