"""Rows in memory that can be given back to the system while a run goes on.

A host that needs memory back needs it at once: the rows lie in one region that
grows and shrinks where it is, so that no second copy exists at any moment and
what is cut off is free when `Ram.resize` returns. On Linux the region is a file
in memory, which other processes see by its name in /proc/PID/smaps and among
/proc/PID/fd. Elsewhere on POSIX it is an anonymous mapping.

The episodic memory and the stream buffer lie in such regions: Ma et al.,
"Cost-effective On-device Continual Learning over Memory Hierarchy with Miro",
MobiCom 2023, https://arxiv.org/abs/2308.06053.
"""

from collections.abc import Mapping, Sequence
import contextlib
import mmap
import os
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from jcl.options.errors import UsageError

PAGE = mmap.PAGESIZE  # bytes, of which a memory occupies whole multiples
_PIECE = 2**20  # bytes that are moved at a time


def row_type(
  x_shape: Sequence[int],
  x_dtype: DTypeLike,
  extras: Mapping[str, tuple[Sequence[int], DTypeLike]],
) -> np.dtype:
  """Returns the type of a row: an example, its label, its id and its extras.

  Args:
    x_shape: of one example.
    x_dtype: of one example.
    extras: shape and dtype by name, of what else a row holds.

  Returns:
    A structured dtype with fields "x", "y" (int32), "id" (int64) and the
    extras, without gaps between them.

  Raises:
    ValueError: where an extra has the name of another field, or a type has no
      fixed number of bytes.
  """
  taken = sorted({"x", "y", "id"} & set(extras))
  if taken:
    raise UsageError(
      f"extras {', '.join(taken)}: a row has fields of these names already, "
      "write others"
    )
  fields: list[tuple[str, Any, tuple[int, ...]]] = [
    ("x", np.dtype(x_dtype), tuple(x_shape)),
    ("y", np.dtype(np.int32), ()),
    ("id", np.dtype(np.int64), ()),
  ]
  for name, (shape, dtype) in extras.items():
    fields.append((name, np.dtype(dtype), tuple(shape)))
  for name, dtype, _ in fields:
    if dtype.kind not in "biufc":
      raise UsageError(
        f"field {name!r} is of type {dtype}: store numbers or booleans"
      )
  return np.dtype(fields)


class Ram:
  """Rows of one structured type in slots [0, `count`), all of them in use.

  Reading copies: no array outside holds on to memory that a later `resize`
  gives back. A page is occupied from the first write to it on. A forked process
  may share the pages. Main thread only.

  Args:
    dtype: structured, without Python objects; `row_type` makes one.
    capacity: rows that there is room for, from 0.
    name: of the region as other processes see it.

  Raises:
    ValueError: for a type that is not of this kind, or a negative capacity.
    OSError: where the system has no room for so many addresses.
  """

  def __init__(
    self, dtype: np.dtype, capacity: int, name: str = "episodic-memory"
  ) -> None:
    if dtype.names is None or dtype.hasobject or not dtype.itemsize:
      raise ValueError(
        f"dtype={dtype}: give a structured type of numbers, such as "
        'row_type((32, 32, 3), "uint8", {})'
      )
    self.dtype = dtype
    self._count = 0
    self._region: _Region | None = _region(name)
    try:
      self.resize(capacity)
    except BaseException:
      self.close()
      raise

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  @property
  def capacity(self) -> int:
    """Rows that there is room for."""
    return len(self._rows)

  @property
  def count(self) -> int:
    """Rows in use."""
    return self._count

  @property
  def row_bytes(self) -> int:
    """Bytes of one row."""
    return self.dtype.itemsize

  @property
  def nbytes(self) -> int:
    """Bytes that the memory occupies at most, in whole pages."""
    return _in_pages(self.capacity * self.row_bytes)

  def append(self, rows: np.ndarray) -> np.ndarray:
    """Stores rows [N] behind those in use and returns their slots [N] int64.

    Raises:
      ValueError: where there is no room, or the rows are of another type.
    """
    source = self._source(rows)
    end = self._count + len(source)
    if end > self.capacity:
      raise ValueError(
        f"{len(source)} rows do not fit: {self._count} of {self.capacity} "
        "slots are in use; resize the memory, or keep fewer rows first"
      )
    slots = np.arange(self._count, end)
    self._rows[self._count : end] = source
    self._count = end
    return slots

  def put(self, slots: ArrayLike, rows: np.ndarray) -> None:
    """Replaces whole rows, each with the fields of the new one.

    Args:
      slots: [N] integers below `count`; of equal ones the last holds.
      rows: [N] of the memory's type.

    Raises:
      ValueError: for slots that are not in use, other numbers or other types.
    """
    source, target = self._source(rows), self._slots(slots)
    if len(source) != len(target):
      raise ValueError(
        f"{len(source)} rows for {len(target)} slots: give one row per slot"
      )
    self._rows[target] = source

  def take(self, slots: ArrayLike, name: str | None = None) -> np.ndarray:
    """Returns a copy of the rows in slots, or of one of their fields.

    Args:
      slots: [N] integers below `count`.
      name: of the field; the whole rows without.

    Returns:
      A structured array [N], or the field's values [N, ...].

    Raises:
      ValueError: for slots that are not in use, or a field that rows lack.
    """
    places = self._slots(slots)
    if name is None:
      return self._rows[places].view(self.dtype)
    return self._column(name)[places]

  def field(self, name: str) -> np.ndarray:
    """Returns a copy of one field of all rows in use, [count, ...].

    Meant for labels and ids: a copy of all examples is as large as the memory.

    Raises:
      ValueError: for a field that rows lack.
    """
    return self._column(name).copy()

  def keep(self, slots: ArrayLike) -> np.ndarray:
    """Keeps the rows in these slots and drops all others.

    The rows kept fill slots [0, N): rows beyond N move into slots that have
    become free, at most 1 MiB (or one row) at a time, and all others stay where
    they are, so that the order of rows may change.

    Args:
      slots: [N] different integers below `count`.

    Returns:
      [N] int64: the new slot of each row kept, in the order given.

    Raises:
      ValueError: for slots that are not in use, or given twice.
    """
    places = self._slots(slots)
    number = len(places)
    if len(np.unique(places)) < number:
      raise ValueError("a slot to keep is given twice: name each of them once")
    stays = places < number
    free = np.ones(number, bool)
    free[places[stays]] = False
    holes, movers = np.flatnonzero(free), np.flatnonzero(~stays)
    step = max(1, _PIECE // self.row_bytes)
    for start in range(0, len(holes), step):
      part = slice(start, start + step)
      self._rows[holes[part]] = self._rows[places[movers[part]]]
    places[movers] = holes
    self._count = number
    return places

  def resize(self, capacity: int) -> None:
    """Changes how many rows there is room for; those in use stay as they are.

    Raises:
      ValueError: for fewer rows than are in use, or a memory that is closed.
      OSError: where the system has no room for so many addresses; the memory
        then stays as it was.
    """
    if self._region is None:
      raise ValueError("the memory is closed: make another one")
    if capacity < 0:
      raise ValueError(f"capacity={capacity}: write a number of rows from 0")
    if capacity < self._count:
      raise ValueError(
        f"a capacity of {capacity} is below the {self._count} rows in use: "
        f"call keep with {capacity} slots or fewer first"
      )
    self._region.resize(_in_pages(capacity * self.row_bytes))
    # Bytes without fields: NumPy copies those of a row as one.
    whole = np.dtype((np.void, self.row_bytes))
    self._rows = np.frombuffer(self._region.map, whole, capacity)

  def close(self) -> None:
    """Gives all memory back: no rows and no room are left."""
    if self._region is not None:
      self._rows = np.empty(0, (np.void, self.row_bytes))
      self._count = 0
      self._region.close()
      self._region = None

  def _column(self, name: str) -> np.ndarray:
    names = self.dtype.names or ()
    if name not in names:
      raise ValueError(f"no field {name!r}: choose from {', '.join(names)}")
    return self._rows[: self._count].view(self.dtype)[name]

  def _source(self, rows: np.ndarray) -> np.ndarray:
    if rows.dtype != self.dtype or rows.ndim != 1:
      raise ValueError(
        f"rows are of type {rows.dtype} and shape {list(rows.shape)}, the "
        f"memory's are of type {self.dtype} and shape [N]: fill an array made "
        "by np.empty(N, memory.dtype)"
      )
    return np.ascontiguousarray(rows).view((np.void, self.row_bytes))

  def _slots(self, slots: ArrayLike) -> np.ndarray:
    """Returns slots as int64, in an array of the caller's own."""
    array = np.asarray(slots)
    if array.shape == (0,):
      return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
      raise ValueError(
        f"slots are of type {array.dtype} and shape {list(array.shape)}: give "
        "integers of shape [N], such as np.flatnonzero(mask)"
      )
    low, high = array.min(), array.max()
    if low < 0 or high >= self._count:
      raise ValueError(
        f"slots from {low} to {high}: those in use are below {self._count}"
      )
    return array.astype(np.int64)


class _Region(Protocol):
  """Region of bytes that grows and shrinks, and keeps its content.

  `map` may be longer than the region, and touching bytes behind the region can
  end the process. Sizes are in whole pages.
  """

  map: mmap.mmap

  def resize(self, num_bytes: int) -> None:
    """Shrinks or grows the region; `map` may be replaced."""

  def close(self) -> None:
    """Frees the region."""


def _region(name: str) -> _Region:
  try:
    return _File(name)
  except (AttributeError, OSError):  # no such call here, or not permitted
    return _Anonymous()


class _File:
  """File in memory, whose pages are freed when the file is cut."""

  def __init__(self, name: str) -> None:
    self._file = open(os.memfd_create(name), "r+b", buffering=0)
    self._file.truncate(PAGE)
    self.map = self._mapped(PAGE)

  def resize(self, num_bytes: int) -> None:
    self._file.truncate(num_bytes)
    if num_bytes > len(self.map):
      self.map = self._mapped(num_bytes)  # the same pages, no copy of them

  def close(self) -> None:
    self._file.truncate(0)
    self._file.close()

  def _mapped(self, num_bytes: int) -> mmap.mmap:
    return _in_small_pages(mmap.mmap(self._file.fileno(), num_bytes))


class _Anonymous:
  """Anonymous mapping, whose pages are freed when declared unneeded."""

  def __init__(self) -> None:
    self.map, self._size = _anonymous(PAGE), 0

  def resize(self, num_bytes: int) -> None:
    if num_bytes > len(self.map):
      self._move(_anonymous(num_bytes), num_bytes - self._size)
    elif num_bytes < self._size:
      self._free(num_bytes, self._size)
    self._size = num_bytes

  def close(self) -> None:
    self.resize(0)

  def _move(self, other: mmap.mmap, spare: int) -> None:
    """Moves to a larger map, a piece of `spare` bytes at most at a time.

    A piece is freed once it is copied, so that both maps together never occupy
    more than the larger one will.
    """
    step = min(_PIECE, spare)
    for start in range(0, self._size, step):
      end = min(start + step, self._size)
      other[start:end] = memoryview(self.map)[start:end]
      self._free(start, end)
    self.map = other

  def _free(self, start: int, end: int) -> None:
    if end > start:
      self.map.madvise(mmap.MADV_DONTNEED, start, end - start)


def _anonymous(num_bytes: int) -> mmap.mmap:
  flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
  return _in_small_pages(mmap.mmap(-1, num_bytes, flags=flags))


def _in_small_pages(region: mmap.mmap) -> mmap.mmap:
  """Turns huge pages off, so that only pages that were touched are occupied."""
  if hasattr(mmap, "MADV_NOHUGEPAGE"):
    with contextlib.suppress(OSError):  # a kernel without huge pages
      region.madvise(mmap.MADV_NOHUGEPAGE)
  return region


def _in_pages(num_bytes: int) -> int:
  return -(-num_bytes // PAGE) * PAGE
