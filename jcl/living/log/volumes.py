"""Examples of a log on disk: volumes, each a store, deleted whole.

A volume's folder is called by the id of its first example; the others follow in
order. Examples are added to the last volume alone. With each record stands how
many more records the same batch has, so that what is left of an interrupted
batch is told from whole ones: it was never acknowledged, and never counts.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
import contextlib
import math
import os
from pathlib import Path
import shutil
import threading
from typing import NamedTuple

import numpy as np

from jcl.living.log import inputs
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.replay.store import records, segments
from jcl.replay.store import store as store_lib

# After so many examples another volume begins: a store that is open holds 20
# bytes of memory for each of its examples.
_EXAMPLES = 2**16
_OPEN = 3  # full volumes that stay open for reading
# A batch lies in one segment, so that cutting its end undoes it.
_BATCH, _SEGMENT = 2**20, 2**31
_INDEX = 20  # bytes of an example in the index of its store
_LEFT = ".dropped"  # ends the names of folders that wait for their deletion


class Found(NamedTuple):
  """A volume as it was found on opening."""

  first: int  # id of its first example
  keys: Sequence[str]  # of labels
  which: np.ndarray  # [N] positions in `keys`
  lost: np.ndarray  # [N] bool: damaged
  form: inputs.Form | None
  torn: np.ndarray  # [0 or 1] byte where an interrupted batch begins


class Mark(NamedTuple):
  """An end of the last volume."""

  store: store_lib.Store
  size: int  # bytes of its segment


class Volumes:
  """The volumes of a folder. One thread at a time may change them.

  Args:
    folder: of the volumes, which is there.
    writable: whether examples may be added.
    volume_bytes: size from which another volume begins.
  """

  def __init__(self, folder: Path, writable: bool, volume_bytes: int) -> None:
    self.folder = folder
    self.volume_bytes = volume_bytes
    self.notes: list[str] = []
    self._writable = writable
    self._full: dict[int, int] = {}  # bytes of full volumes by first id
    self._first = 0  # of the last volume
    self._last: store_lib.Store | None = None
    self._durable = 0  # bytes of its segment that are known to be on disk
    self._cut: tuple[Path, int] | None = None  # segment, bytes that stay of it
    # Full volumes that are open; held while one is read, closed or deleted.
    self._opened: OrderedDict[int, store_lib.Store] = OrderedDict()
    self._reading = threading.RLock()

  @property
  def bytes(self) -> int:
    """Bytes on disk, the last volume's index included when it is written."""
    return sum(self._full.values()) + self._last_bytes()

  @property
  def stop(self) -> int:
    """First id after those of the last volume."""
    return self._first + self._count()

  def bytes_of(self, first: int) -> int:
    """Returns the bytes of the volume whose first id this is."""
    is_last = self._last is not None and first == self._first
    return self._last_bytes() if is_last else self._full.get(first, 0)

  def load(self, dropped: Sequence[Sequence[int]]) -> Iterator[Found]:
    """Opens every volume once and yields its contents, in order.

    Args:
      dropped: [start, stop) of ids whose volumes have left; what is there of
        them is deleted.
    """
    if self._writable:
      for path in self.folder.glob(f"*{_LEFT}"):
        shutil.rmtree(path, ignore_errors=True)
    names = [path.name for path in self.folder.iterdir()]
    firsts = sorted(int(name) for name in names if name.isdecimal())
    for at, first in enumerate(firsts):
      path = self._path(first)
      if any(start <= first < stop for start, stop in dropped):
        if self._writable:
          self._delete(path)
        continue
      self._first = first
      if not segments.numbers(path):  # a crash came before the first example
        continue
      try:
        with store_lib.Store.open(path, mode="r") as store:
          found = _contents(first, store, firsts[at + 1 : at + 2])
          self.notes += [f"{path.name}: {note}" for note in store.notes]
          parts = store.contents.segments
          grows = not store.notes and len(parts) == 1
      except records.StoreError as error:
        self.notes.append(f"{path.name}: {errors.reason(error)}")
        self._full[first] = _size(path)
        continue
      yield found
      if self._writable and grows and first == firsts[-1]:
        if len(found.torn):
          self._cut = parts[0].path, int(found.torn[0])
          self.repair()
        else:
          self._open_last(first)
      else:
        self._full[first] = _size(path)
        self._first = first + len(found.lost)

  def fits(self, count: int, size: int) -> bool:
    """Returns whether a batch goes to the last volume.

    Args:
      count: examples.
      size: their bytes.
    """
    if self._last is None or self._cut is not None:
      return False
    held, end = self._count(), self.mark().size
    return (
      held < _EXAMPLES
      and held + count <= _BATCH
      and end < self.volume_bytes
      and end + size <= _SEGMENT - 2**20
    )

  def begin(self, first: int) -> None:
    """Closes the last volume, which is on disk, and begins another one."""
    self._close_last()
    self._first = first
    self._open_last(first)

  def append(self, x: np.ndarray, keys: Sequence[str]) -> int:
    """Adds a batch to the last volume and returns its first id.

    The batch is durable after `flush`.

    Raises:
      StoreError: where the disk is full or fails; `repair` then has to follow.
    """
    store, size = self.mark()
    following = np.arange(len(x) - 1, -1, -1)
    try:
      ids = store.append(x, keys, task=following)
    except BaseException:
      self.spoil(size)
      raise
    return self._first + int(ids[0])

  def mark(self) -> Mark:
    """Returns where the last volume ends now."""
    assert self._last is not None
    return Mark(self._last, self._last.contents.segments[-1].end)

  def flush(self, mark: Mark) -> None:
    """Makes durable what was added before a mark, while others go on adding.

    Raises:
      StoreError: where the disk fails; `spoil` then has to follow.
    """
    mark.store.flush()
    if mark.store is self._last:
      self._durable = max(self._durable, mark.size)

  def spoil(self, size: int | None = None) -> None:
    """Has the last volume cut at a size, by default at what is durable.

    Until `repair` has cut it, nothing fits the volume.
    """
    if self._last is not None:
      path = self._last.contents.segments[-1].path
      self._cut = path, self._durable if size is None else size

  def cut(self, stop: int) -> None:
    """Has the last volume cut ahead of an id, if it goes on beyond it."""
    local = stop - self._first
    if self._last is not None and 0 <= local < self._count():
      self.spoil(int(self._last.contents.index.columns["offset"][local]))

  def repair(self) -> None:
    """Carries out a cut that is waiting, if there is one.

    Raises:
      StoreError: where the disk fails; the cut goes on waiting.
    """
    if self._cut is None:
      return
    path, size = self._cut
    with self._reading, contextlib.suppress(records.StoreError):
      store, self._last = self._last, None
      if store is not None:
        store.close()
    try:
      for index in path.parent.glob("*.index"):  # it may cover what goes
        index.unlink()
      os.truncate(path, size)
    except OSError as error:
      raise records.failure("cut", path, error) from error
    self._open_last(self._first)
    self._cut = None

  def delete(self, first: int) -> None:
    """Deletes a full volume; a crash leaves it whole, or to be removed."""
    with self._reading:
      store = self._opened.pop(first, None)
      if store is not None:
        store.close()
      self._full.pop(first, None)
      self._delete(self._path(first))

  def read(self, first: int, local: np.ndarray) -> np.ndarray:
    """Returns inputs of one volume, [N, ...].

    Args:
      first: id of its first example.
      local: [N] positions in the volume.

    Raises:
      DamageError: for examples that are damaged; its ids are the log's.
      StoreError: where the volume cannot be read.
    """
    with self._reading:
      try:
        return self._store(first).read(local).x
      except records.DamageError as error:
        raise _renumbered(error, first, self.folder) from error
      except records.StoreError as error:
        if self._path(first).exists():
          raise
        raise records.StoreError(
          f"examples from {first} on had to leave {self.folder} since it was "
          "opened for reading: open it again"
        ) from error

  def close(self) -> None:
    """Flushes and closes all volumes."""
    with self._reading:
      while self._opened:
        self._opened.popitem()[1].close()
      store, self._last = self._last, None
      if store is not None:
        store.close()

  def _store(self, first: int) -> store_lib.Store:
    if self._last is not None and first == self._first:
      return self._last
    if first in self._opened:
      self._opened.move_to_end(first)
      return self._opened[first]
    while len(self._opened) >= _OPEN:
      self._opened.popitem(last=False)[1].close()
    store = store_lib.Store.open(self._path(first), mode="r")
    self._opened[first] = store
    return store

  def _open_last(self, first: int) -> None:
    with self._reading:
      earlier = self._opened.pop(first, None)
      if earlier is not None:
        earlier.close()
      self._last = store_lib.Store.open(
        self._path(first), segment_bytes=_SEGMENT
      )
      self._durable = self.mark().size
      self._full.pop(first, None)

  def _close_last(self) -> None:
    with self._reading:
      store, self._last = self._last, None
      if store is not None:
        store.close()
        self._full[self._first] = _size(self._path(self._first))

  def _count(self) -> int:
    return self._last.contents.index.count if self._last else 0

  def _last_bytes(self) -> int:
    if self._last is None:
      return 0
    names = sum(map(len, self._last.classes))
    return self.mark().size + _INDEX * self._count() + names + 1024

  def _path(self, first: int) -> Path:
    return self.folder / f"{first:012d}"

  def _delete(self, path: Path) -> None:
    left = path.with_name(path.name + _LEFT)
    with contextlib.suppress(FileNotFoundError):
      os.rename(path, left)
      segments.sync_folder(self.folder)
    shutil.rmtree(left, ignore_errors=True)


def batch_bytes(form: inputs.Form, keys: Sequence[str]) -> int:
  """Returns the bytes on disk of a batch with labels of these keys, [N].

  Raises:
    UsageError: for a batch that is too large to be kept or lost as a whole.
  """
  one = records.stride(form.nbytes) + _INDEX
  most = min(_BATCH, (_SEGMENT - 2**21) // one)
  if len(keys) > most:
    raise UsageError(
      f"{len(keys)} examples at once are too many: give {most} or fewer"
    )
  return one * len(keys) + sum(map(len, set(keys)))


def _contents(
  first: int, store: store_lib.Store, following: Sequence[int]
) -> Found:
  """Returns what lies in a volume before the first id of the next one."""
  index = store.contents.index
  count = min([index.count, *(each - first for each in following)])
  columns = {name: c[:count] for name, c in index.columns.items()}
  lost = columns["offset"] == 0
  form, intact = None, np.flatnonzero(~lost)
  if len(intact):
    with contextlib.suppress(records.DamageError):
      layout = store.contents.names.layout(int(columns["layout"][intact[0]]))
      kind, shape = layout.x
      form = inputs.Form(shape, np.dtype(kind).name)
  count = whole(columns["task"], lost)
  which, torn = columns["label"][:count].copy(), columns["offset"][count:]
  return Found(first, store.classes, which, lost[:count], form, torn[:1])


def whole(following: np.ndarray, lost: np.ndarray) -> int:
  """Returns how many leading records are of batches written to their end.

  Args:
    following: [N] how many more records the batch of each one has.
    lost: [N] bool, records of which nothing is known.

  >>> whole(np.array([1, 0, 0, 3, 2]), np.zeros(5, bool))
  3
  """
  ends = np.arange(len(lost)) + following
  torn = np.flatnonzero((ends >= len(lost)) & ~lost)
  return int(torn[0]) if len(torn) else len(lost)


def _renumbered(
  error: records.DamageError, first: int, folder: Path
) -> records.DamageError:
  ids = [first + each for each in error.ids]
  count = errors.count(len(ids), "example")
  return records.DamageError(
    f"{count} in {folder} cannot be read any more: {errors.some(ids)}; leave "
    "them out",
    ids,
  )


def _size(folder: Path) -> int:
  with contextlib.suppress(OSError):
    return sum(path.stat().st_size for path in folder.iterdir())
  return 0


def default_bytes(limit: int | None) -> int:
  """Returns the size of volumes in a log with this limit of bytes."""
  eighth = math.inf if limit is None else limit // 8
  return int(max(4096, min(eighth, 2**28)))
