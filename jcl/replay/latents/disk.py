"""Latents on disk, which runs share: found by trunk and by input.

A folder holds a folder for each trunk, named by the digest of all that its
latents depend on (`trunk.Trunk.digest`), and in it volumes, each a store of
`jcl.replay.store`: records with checksums, which are only added. A process adds
to one volume, which it has to itself, and reads those of others as they were
when it opened them. Under a lock of the whole folder, room is made by removing
the volumes that were used least recently.

Latents that cannot be read, for whatever reason, are as good as absent: what is
here can be computed again, and nothing of it is worth an error.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path
import time
from typing import Any, NamedTuple

import filelock
import numpy as np

from jcl.options.errors import UsageError
from jcl.replay.latents import volumes
from jcl.replay.store import records, segments
from jcl.replay.store import store as store_lib

DIGEST = 16  # bytes of an input's digest
_VOLUMES = 16  # that share the bytes allowed: one of them goes at a time
_LARGEST = 2**30  # bytes of a volume
# Processes that may add at once without summing up files at each step.
_PROCESSES = 8
_ABOUT = "about.json"
_LOCK = ".lock"
_WAIT = 60.0  # seconds for the lock, which is held for a fraction of one
_CLASS = "latent"  # records of a store are of some class
# Bytes of a record in its index file, and of a volume's headers, about.
_INDEXED, _HEADERS = 20, 4096
_SHIFT = 40  # bits of an id, below the number of its volume


def digests(x: np.ndarray) -> np.ndarray:
  """Returns digests [N, 16] uint8 of inputs [N, ...], as they lie in memory."""
  rows = np.ascontiguousarray(x)
  found = [
    hashlib.blake2b(row.tobytes(), digest_size=DIGEST).digest() for row in rows
  ]
  return np.frombuffer(b"".join(found), np.uint8).reshape(len(rows), DIGEST)


@dataclasses.dataclass
class Report:
  """Rows and bytes of one process; `held` and `budget` are of the folder."""

  read_rows: int = 0
  read_bytes: int = 0
  written_rows: int = 0
  written_bytes: int = 0
  damaged_rows: int = 0  # found, and computed again
  left_out_rows: int = 0  # for want of room, or of a disk that takes them
  held_bytes: int = 0
  budget_bytes: int = 0
  fault: str = ""  # why nothing was kept any more


class Found(NamedTuple):
  """Latents that were on disk."""

  z: np.ndarray  # [M, ...] float32 of the rows that were found
  rows: np.ndarray  # [N] bool, which these are
  bytes: int  # read


class Disk:
  """Latents of one trunk on disk; opened when it is first used.

  Args:
    folder: for latents of all trunks; made where absent.
    digest: of the trunk.
    shape: of one latent.
    budget: bytes that the whole folder may take.
    about: of the trunk, JSON-ready, for the folder's reader.

  Raises:
    UsageError: for a budget below a single latent.
  """

  def __init__(
    self,
    folder: Path,
    digest: str,
    shape: tuple[int, ...],
    budget: int,
    about: Mapping[str, Any] | None = None,
  ) -> None:
    self._root, self._folder = folder, folder / digest
    self._shape, self._budget = shape, budget
    self._about = dict(about or {})
    kind = records.layout_of(
      np.zeros((1, *shape), np.float32),
      {"digest": np.zeros((1, DIGEST), np.uint8)},
    )
    self._row_bytes = kind.dtype.itemsize
    if budget < self._row_bytes:
      raise UsageError(
        f"{budget} bytes on disk hold no output of the trunk, which takes "
        f"{self._row_bytes}: allow more, such as 10GB"
      )
    self._volume_bytes = min(budget // _VOLUMES, _LARGEST)
    self._opened = False
    self._since = time.time()  # what was used since then stays
    self._free = self._unseen = 0  # bytes at the latest sum, and since then
    self._stores: list[store_lib.Store] = []
    self._paths: list[Path] = []
    self._used: set[int] = set()
    self._adds: int | None = None  # the volume that is added to
    self._prefixes = np.zeros(0, np.int32)  # of digests, ascending
    self._places = np.zeros(0, np.int64)
    self._added: dict[bytes, int] = {}  # places of what this process added
    self._told = Report(budget_bytes=budget)

  @property
  def about(self) -> dict[str, Any]:
    """Notes on the trunk, by this process and by those before it."""
    self._open()
    return self._about

  def report(self) -> Report:
    """Returns counts so far, and the bytes of the folder."""
    return dataclasses.replace(self._told, held_bytes=volumes.size(self._root))

  def note(self, **about: Any) -> None:
    """Notes on the trunk what is not noted, JSON-ready, for later processes."""
    if self.about.keys() >= about.keys():
      return
    self._about |= about
    with self._shielded(), self._locked():
      self._folder.mkdir(exist_ok=True)
      text = json.dumps(self._about, indent=1, sort_keys=True)
      segments.replace(self._folder / _ABOUT, [text.encode()])

  def read(self, keys: np.ndarray) -> Found:
    """Returns the latents of inputs by their digests [N, 16], where held."""
    self._open()
    wanted = [row.tobytes() for row in keys]
    places = np.array([self._added.get(each, -1) for each in wanted], np.int64)
    z = np.empty((len(keys), *self._shape), np.float32)
    found = np.zeros(len(keys), bool)
    count = self._take(places, keys, z, found)
    prefixes = _prefixes(keys)
    low = np.searchsorted(self._prefixes, prefixes, "left")
    high = np.searchsorted(self._prefixes, prefixes, "right")
    # The newest first; others are older copies, or of another input.
    while (left := ~found & (low < high)).any():
      high[left] -= 1
      places = np.full(len(keys), -1, np.int64)
      places[left] = self._places[high[left]]
      count += self._take(places, keys, z, found)
    size = count * self._row_bytes
    self._told.read_rows += int(found.sum())
    self._told.read_bytes += size
    return Found(z[found], found, size)

  def add(self, keys: np.ndarray, z: np.ndarray) -> int:
    """Keeps latents [N, ...] by digests [N, 16]; returns the bytes written."""
    self._open()
    size = 0
    if not self._told.fault and len(keys):
      with self._shielded(), self._locked():
        size = self._append(keys, np.asarray(z, np.float32))
    self._told.left_out_rows += len(keys) - size // self._row_bytes
    self._told.written_rows += size // self._row_bytes
    self._told.written_bytes += size
    return size

  def close(self) -> None:
    """Ends what was added and frees it for others; later calls open anew."""
    if not self._opened:
      return
    with self._shielded():
      for number in self._used:
        os.utime(self._paths[number])
    for store in self._stores:
      with self._shielded():
        store.close()
    self._stores, self._paths, self._used = [], [], set()
    self._adds, self._added, self._opened = None, {}, False
    self._prefixes, self._places = self._prefixes[:0], self._places[:0]

  def _open(self) -> None:
    """Reads what lies there; at a fault there is nothing."""
    if self._opened:
      return
    self._opened = True
    with self._shielded(), self._locked():
      self._folder.mkdir(exist_ok=True)
      self._about |= volumes.noted(self._folder / _ABOUT)
      for path in volumes.listed(self._folder):
        with contextlib.suppress(records.StoreError, OSError):
          self._stores.append(store_lib.Store.open(path, mode="r"))
          self._paths.append(path)
      self._index()

  def _index(self) -> None:
    """Sorts the records of all volumes by the heads of their digests."""
    prefixes: list[np.ndarray] = [self._prefixes]
    places: list[np.ndarray] = [self._places]
    for number, store in enumerate(self._stores):
      index = store.contents.index
      held = np.flatnonzero(index.columns["offset"][: index.count])
      prefixes.append(index.columns["task"][held])
      places.append((number << _SHIFT) + held)
    joined = np.concatenate(prefixes)
    order = np.argsort(joined, kind="stable")
    self._prefixes, self._places = joined[order], np.concatenate(places)[order]

  def _take(
    self, places: np.ndarray, keys: np.ndarray, z: np.ndarray, found: np.ndarray
  ) -> int:
    """Reads records into z, where their digests are the right ones.

    Args:
      places: [N]; -1 for rows that are not to be read.
      keys: [N, 16].
      z: [N, ...], filled in.
      found: [N] bool, filled in.

    Returns:
      The number of records that were read.
    """
    count = 0
    numbers = np.where(places < 0, -1, places >> _SHIFT)
    for number in np.unique(numbers[numbers >= 0]).tolist():
      rows = np.flatnonzero(numbers == number)
      got, good = self._records(number, places[rows] & ((1 << _SHIFT) - 1))
      self._told.damaged_rows += int((~good).sum())
      if got is None:
        continue
      count += len(got.ids)
      rows = rows[good]
      right = (got.extras["digest"] == keys[rows]).all(axis=1)
      z[rows[right]] = got.x[right]
      found[rows[right]] = True
      self._touch(number)
    return count

  def _records(
    self, number: int, ids: np.ndarray
  ) -> tuple[records.Records | None, np.ndarray]:
    """Returns intact records of a volume, and [N] bool, which are."""
    store = self._stores[number]
    try:
      got, good = records.intact(
        lambda some: store.read(some) if len(some) else None, ids
      )
    except (records.StoreError, OSError, ValueError):  # of several shapes
      got = None
    if got is None or got.x.shape[1:] != self._shape:
      return None, np.zeros(len(ids), bool)
    return got, good

  def _touch(self, number: int) -> None:
    """Marks a volume as used now, once."""
    if number not in self._used:
      self._used.add(number)
      with contextlib.suppress(OSError):
        os.utime(self._paths[number])

  def _append(self, keys: np.ndarray, z: np.ndarray) -> int:
    """Adds as many rows as there is room for, under the lock."""
    room = self._room(len(keys) * (self._row_bytes + _INDEXED) + _HEADERS)
    count = max(0, (room - _HEADERS) // (self._row_bytes + _INDEXED))
    count = min(len(keys), count)
    if count < len(keys):
      self._told.fault = "the bytes allowed are used up"
    if not count:
      return 0
    number = self._volume()
    ids = self._stores[number].append(
      z[:count],
      [_CLASS] * count,
      task=_prefixes(keys[:count]),
      extras={"digest": keys[:count]},
    )
    for key, row in zip(keys, ids.tolist(), strict=False):
      self._added[key.tobytes()] = (number << _SHIFT) + row
    return len(ids) * self._row_bytes

  def _room(self, wanted: int) -> int:
    """Returns the bytes that may be added, at most those that are wanted.

    Volumes go, least recently used first, that no process adds to and that were
    not used since this one began. The bytes of all files are summed up again
    once this process has added its share of what was free then.
    """
    if self._unseen + wanted <= self._free // _PROCESSES:
      self._unseen += wanted
      return wanted
    free = self._budget - volumes.size(self._root)
    self._free, self._unseen = free, wanted
    if free >= wanted:
      return wanted
    ages = {
      path: path.stat().st_mtime
      for folder in self._root.iterdir()
      for path in volumes.listed(folder)
    }
    for path in sorted(ages, key=lambda each: ages[each]):
      if free >= wanted or ages[path] >= self._since:
        break
      if volumes.removed(path):
        free = self._budget - volumes.size(self._root)
    self._free = free
    return min(free, wanted)

  def _volume(self) -> int:
    """Returns the number of a volume to add to, beginning one if needed."""
    if self._adds is not None:
      if volumes.size(self._paths[self._adds]) < self._volume_bytes:
        return self._adds
      self._stores[self._adds].close()
      path = self._paths[self._adds]
      self._stores[self._adds] = store_lib.Store.open(path, mode="r")
    self._adds = self._begun()
    if self._adds is None:
      number = 1 + max(
        (int(p.name) for p in volumes.listed(self._folder)), default=0
      )
      path = self._folder / f"{number:06d}"
      self._stores.append(store_lib.Store.open(path, mode="a"))
      self._paths.append(path)
      self._adds = len(self._paths) - 1
    self._touch(self._adds)
    return self._adds

  def _begun(self) -> int | None:
    """Returns a volume that an earlier process left with room, taking it."""
    for number, path in enumerate(self._paths):
      if not path.is_dir() or volumes.size(path) >= self._volume_bytes:
        continue
      with contextlib.suppress(records.StoreError, OSError):  # in use
        store = store_lib.Store.open(path, mode="a")
        if store.contents.identity == self._stores[number].contents.identity:
          self._stores[number] = store
          return number
        store.close()  # another one, since the first was removed
    return None

  @contextlib.contextmanager
  def _locked(self) -> Iterator[None]:
    """Holds the lock of the folder of all trunks, which is made for it."""
    self._root.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(self._root / _LOCK, timeout=_WAIT):
      yield

  @contextlib.contextmanager
  def _shielded(self) -> Iterator[None]:
    """Takes failures of the disk for the end of what can be kept."""
    try:
      yield
    except (records.StoreError, OSError, filelock.Timeout) as error:
      self._told.fault = self._told.fault or str(error)


def _prefixes(keys: np.ndarray) -> np.ndarray:
  """Returns the heads of digests [N, 16] as [N] int32."""
  return np.ascontiguousarray(keys[:, :4]).view("<i4")[:, 0].astype(np.int32)
