"""Records: bytes on disk, and arrays on either side of them.

A record is a header of 32 bytes, the example's arrays, zeros up to a multiple
of eight bytes less four, and a CRC-32 of all that. The checksum begins from a
number of the store's own, so that a record of another store is as damaged as
one with a flipped bit. Records of one layout have one size and no pointers: a
batch of them is a structured array, written and read as it lies.

A definition record, `layout` `DEFINITION`, holds JSON instead of arrays: names
that later records refer to by number.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import errno
import functools
import json
import math
from pathlib import Path
import struct
from typing import Any, NamedTuple
import zlib

from absl import logging
import numpy as np

from jcl.options.errors import UsageError, short

MAGIC = 0x52_6C_63_6A  # "jclR"
HEADER = struct.Struct("<IIQIIIi")
FIELDS = ("magic", "length", "id", "layout", "label", "run", "task")
DEFINITION = 0xFFFF_FFFF
# CRC-32 of any bytes followed by their own CRC-32, for every start value.
RESIDUE = 0x2144_DF1C
LARGEST = 2**31 - 64  # bytes of one record


class StoreError(RuntimeError):
  """A store that cannot be used; the message says what to do."""


class DamageError(StoreError):
  """Records that are missing on disk or differ from what was written."""

  def __init__(self, message: str, ids: Sequence[int] = ()) -> None:
    super().__init__(message)
    self.ids = tuple(int(i) for i in ids)  # of the records


class Records(NamedTuple):
  """`N` examples from a store, in the order of the ids that were read."""

  x: np.ndarray  # [N, ...] as appended
  labels: np.ndarray  # [N] int32 positions in `Store.classes`
  tasks: np.ndarray  # [N] int32
  runs: np.ndarray  # [N] int32 positions in `Store.runs`
  ids: np.ndarray  # [N] int64
  extras: dict[str, np.ndarray]  # [N, ...] more per example, as appended


@dataclasses.dataclass(frozen=True)
class Layout:
  """Shapes and types of one example's arrays, which decode its bytes."""

  x: tuple[str, tuple[int, ...]]  # NumPy type string, shape without batch
  extras: tuple[tuple[str, str, tuple[int, ...]], ...] = ()  # sorted by name

  @functools.cached_property
  def text(self) -> str:
    """The layout as JSON."""
    return json.dumps(dataclasses.asdict(self), sort_keys=True)

  @classmethod
  def from_json(cls, text: str) -> "Layout":
    """Inverse of `text`; ValueError for anything else."""
    try:
      fields = json.loads(text)
      kind, shape = fields["x"]
      layout = cls(
        (kind, tuple(shape)),
        tuple((name, k, tuple(s)) for name, k, s in fields["extras"]),
      )
      size = layout.dtype.itemsize
    except Exception as error:  # NumPy's for what is no type may be any
      raise ValueError(short(error, 200)) from error
    if not 0 < size <= LARGEST + 64:
      raise ValueError(f"{size} bytes")
    return layout

  @functools.cached_property
  def dtype(self) -> np.dtype:
    """Structured type of a whole record, `itemsize` bytes on disk."""
    names, formats, offsets = list(FIELDS), list("IIQIIIi"), []
    offsets = [0, 4, 8, 16, 20, 24, 28]
    end = HEADER.size
    parts = [("x", *self.x)]
    parts += [("extra:" + name, kind, n) for name, kind, n in self.extras]
    for name, kind, shape in parts:
      names.append(name)
      formats.append((kind, shape))  # type: ignore[arg-type]
      offsets.append(-(-end // 8) * 8)
      end = offsets[-1] + np.dtype(kind).itemsize * math.prod(shape)
    size = stride(end - HEADER.size)
    return np.dtype(
      {
        "names": [*names, "crc"],
        "formats": [f"<{f}" if isinstance(f, str) else f for f in formats]
        + ["<u4"],
        "offsets": [*offsets, size - 4],
        "itemsize": size,
      }
    )

  @property
  def length(self) -> int:
    """Bytes of the arrays and of their padding, as in the header."""
    return self.dtype.itemsize - HEADER.size - 4


def stride(length: int) -> int:
  """Returns the bytes on disk of a record with `length` bytes of content."""
  return -(-(HEADER.size + length + 4) // 8) * 8


def layout_of(x: np.ndarray, extras: Mapping[str, np.ndarray]) -> Layout:
  """Returns the layout of a batch's examples.

  Raises:
    ValueError: for a type without fixed bytes, or too large a record.
  """
  named = [("x", x), *((name, extras[name]) for name in sorted(extras))]
  return _layout(*((name, a.dtype, a.shape[1:]) for name, a in named))


@functools.lru_cache(maxsize=64)  # batches of one kind follow each other
def _layout(*parts: tuple[str, np.dtype, tuple[int, ...]]) -> Layout:
  """Returns the layout of arrays, by name, type and shape of one example."""
  for name, dtype, _ in parts:
    if dtype.kind not in "biufc":
      raise UsageError(
        f"{name} is of type {dtype}, which a store cannot keep: convert it to "
        "a boolean, integer, float or complex NumPy type"
      )
  total = sum(dtype.itemsize * math.prod(shape) for _, dtype, shape in parts)
  if total + 8 * (len(parts) - 1) > LARGEST:
    raise UsageError(f"one example takes {total} bytes, more than {LARGEST}")
  (_, kind, shape), *extras = (
    (name, dtype.newbyteorder("<").str, shape) for name, dtype, shape in parts
  )
  return Layout((kind, shape), tuple(extras))


def seal(records: np.ndarray, seed: int) -> None:
  """Writes every record's checksum, [N] structured, in place."""
  size = records.dtype.itemsize
  content = records.view(np.uint8).data
  records["crc"] = [
    zlib.crc32(content[i : i + size - 4], seed)
    for i in range(0, size * len(records), size)
  ]


def encode(
  layout: Layout,
  x: np.ndarray,
  extras: Mapping[str, np.ndarray],
  columns: Mapping[str, Any],
) -> np.ndarray:
  """Returns [N] structured records that lack their ids and checksums."""
  records = np.zeros(len(x), layout.dtype)
  records["magic"], records["length"] = MAGIC, layout.length
  for name, values in columns.items():
    records[name] = values
  records["x"] = x
  for name, values in extras.items():
    records["extra:" + name] = values
  return records


def intact(
  read: Callable[[np.ndarray], Any], ids: np.ndarray
) -> tuple[Any, np.ndarray]:
  """Reads all intact examples, and warns about damaged ones.

  Args:
    read: of ids [N], as `Store.read`, whose errors it raises.
    ids: [N] int64.

  Returns:
    What was read, and [N] bool, of which ids.
  """
  good = np.ones(len(ids), bool)
  while True:  # an error names only some of the damaged records
    try:
      return read(ids[good]), good
    except DamageError as error:
      logging.warning("%s", error)
      found = good & np.isin(ids, error.ids)
      if not found.any():
        raise
      good &= ~found


def decode(records: np.ndarray) -> Records:
  """Returns views of [N] structured records that have been checked."""
  return Records(
    x=records["x"],
    labels=records["label"].astype(np.int32),
    tasks=records["task"].astype(np.int32),
    runs=records["run"].astype(np.int32),
    ids=records["id"].astype(np.int64),
    extras={
      name.removeprefix("extra:"): records[name]
      for name in records.dtype.names or ()
      if name.startswith("extra:")
    },
  )


def definition(tables: Mapping[str, Any], next_id: int, seed: int) -> bytes:
  """Returns a record that defines names: table -> (first number, names)."""
  text = json.dumps(tables).encode()
  head = HEADER.pack(MAGIC, len(text), next_id, DEFINITION, 0, 0, 0)
  content = (head + text).ljust(stride(len(text)) - 4, b"\0")
  return content + struct.pack("<I", zlib.crc32(content, seed))


_HINTS = {
  errno.ENOSPC: "the disk is full: free some space",
  errno.EDQUOT: "the disk quota is used up: free some space",
  errno.EROFS: "the file system is read-only: mount it for writing",
  errno.EACCES: "permission is denied: allow it, or give another folder",
  errno.EPERM: "the operation is not permitted: allow it",
  errno.EFBIG: "the file would exceed the largest size allowed: raise it",
  errno.EMFILE: "too many files are open: raise `ulimit -n`",
  errno.ENOTDIR: "a part of the path is a file: give another folder",
  errno.EEXIST: "a file of that name exists: give another folder",
}


def failure(what: str, path: Path, error: OSError) -> StoreError:
  """Returns an error with the operation that failed, and a remedy."""
  hint = _HINTS.get(error.errno or 0, str(error))
  return StoreError(f"cannot {what} {path}: {hint}")
