"""Every example ever seen, on disk: the slow tier of a memory hierarchy.

A store is a folder of segments (`segments`) and of index files (`index`) that
can be made anew from them. Examples are added and never changed; each gets the
next id, and belongs to a class and to a run by *name*: numbers that depend on a
stream's order would fetch another class's examples in the next run.

What `append` returned on survives the death of the process at any moment. What
`flush` returned on, and every append under `fsync="always"`, survives a loss of
power as well, as far as the disk keeps what it confirms. Of a batch that was
not acknowledged the first examples may be there, each of them whole; half an
example is cut off when the store is next opened for writing, and never served.

Ma et al., "Cost-effective On-device Continual Learning over Memory Hierarchy
with Miro", MobiCom 2023, and Lee et al., "CarM: Hierarchical Episodic Memory
for Continual Learning", DAC 2022, describe such a tier.
"""

from collections.abc import Mapping
import contextlib
import os
from pathlib import Path
import time
from typing import Any, Literal, Self
import zlib

import filelock
import numpy as np

from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.replay.store import contents as contents_lib
from jcl.replay.store import records, segments, writer

# For records of at most so many bytes, reading and copying is faster.
_SMALL = 2**14
# A read that takes longer than these seconds, plus these seconds per byte, came
# from the disk and not from the kernel's cache. All other reads are then
# announced at once, since many disks are faster with several requests.
_SLOW, _SLOW_BYTE = 2e-5, 1e-9


class Store:
  """An append-only store of examples; `open` makes one.

  Threads may read while others add. Every segment stays open: a file descriptor
  for each gigabyte.
  """

  def __init__(
    self,
    contents: contents_lib.Contents,
    adds: writer.Writer | None,
    lock: filelock.BaseFileLock | None,
    run: str,
  ) -> None:
    self.contents = contents  # for checks; not to be changed
    self._writer, self._lock, self._run = adds, lock, run

  @classmethod
  def open(
    cls,
    folder: str | os.PathLike[str],
    *,
    mode: Literal["a", "r"] = "a",
    fsync: writer.Fsync = "batch",
    run: str = "default",
    segment_bytes: int = writer.SEGMENT_BYTES,
    rebuild: bool = False,
  ) -> "Store":
    """Opens a store, or makes it, and repairs what a crash left.

    A damaged store opens as well: `notes` and the log tell of the damage, and
    lost examples are left out of counts and classes.

    Args:
      folder: of the store alone.
      mode: "a" to add and read, one process at a time; "r" to read what is
        there now, beside a process that adds or not.
      fsync: when the disk is made to keep what was added: "always", before
        `append` returns; "batch", in `flush`, `close` and at the end of a
        segment; a number of seconds, also in the first `append` that long after
        the last time.
      run: name under which examples are added where `append` is told no other.
      segment_bytes: size from which another segment is begun.
      rebuild: read the segments and make the index anew.

    Raises:
      ValueError: for an unknown mode, fsync or size.
      StoreError: where the folder is in use, cannot be used or holds no store.
    """
    if mode not in ("a", "r"):
      raise UsageError(f'mode={mode!r}: write "a" to add or "r" to read')
    if fsync not in ("always", "batch") and (
      isinstance(fsync, bool | str) or not fsync > 0
    ):
      raise UsageError(
        f'fsync={fsync!r}: write "always", "batch" or a number of seconds'
      )
    if not 4096 <= segment_bytes <= 2**31:
      raise UsageError(f"segment_bytes={segment_bytes}: write 4096 to 2**31")
    folder = Path(folder)
    lock = None
    try:
      if mode == "a":
        lock = writer.claim(folder)
      elif not segments.numbers(folder):
        raise records.StoreError(
          f"{folder} holds no store: give the folder of one"
        )
      contents = contents_lib.Contents(folder, mode == "a", rebuild)
      adds = None
      if mode == "a":
        adds = writer.Writer(contents, fsync, segment_bytes)
    except BaseException as error:
      if lock is not None:
        lock.release()
      if isinstance(error, OSError):
        raise records.failure("open", folder, error) from error
      raise
    return cls(contents, adds, lock, run)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def __len__(self) -> int:
    """Returns the number of examples that are not lost."""
    return self.contents.index.count - self.contents.num_lost

  @property
  def notes(self) -> tuple[str, ...]:
    """Faults that were found when the store was opened."""
    return tuple(self.contents.notes)

  @property
  def classes(self) -> tuple[str, ...]:
    """Names of classes by number; a number never changes."""
    return self.contents.names.all("classes")

  @property
  def runs(self) -> tuple[str, ...]:
    """Names of runs by number; a number never changes."""
    return self.contents.names.all("runs")

  def count_by_class(self, run: str | None = None) -> dict[str, int]:
    """Returns the number of examples of every class, of one run or of all.

    Raises:
      ValueError: for a run that the store does not know.
    """
    names = self.classes
    counts = self.contents.index.counts(len(names), self._run_number(run))
    return dict(zip(names, counts.tolist(), strict=False))

  def ids_of(self, name: str | int, run: str | None = None) -> np.ndarray:
    """Returns the int64 ids of a class, [N] in the order of arrival.

    The first call groups all ids by class, for 4 bytes of memory an example.

    Raises:
      ValueError: for a class or run that the store does not know.
    """
    label = self.contents.names.number("classes", str(name))
    return self.contents.index.ids_of(label, self._run_number(run))

  def ids_of_task(self, task: int, run: str) -> np.ndarray:
    """Returns the int64 ids that a run added under a task, [N] in order.

    Raises:
      ValueError: for a run that the store does not know.
    """
    index, number = self.contents.index, self._run_number(run)
    columns, count = index.columns, index.count
    found = (columns["run"][:count] == number) & (
      columns["task"][:count] == task
    )
    return np.flatnonzero(found & (columns["offset"][:count] > 0))

  def lost(self) -> np.ndarray:
    """Returns the int64 ids of lost examples, of all runs, [N]."""
    return self.contents.index.lost()

  def labels_of(self, ids: Any) -> np.ndarray:
    """Returns [N] int32 positions in `classes`, without reading the disk."""
    ids = self._checked(ids)
    return self.contents.index.columns["label"][ids].astype(np.int32)

  def layouts_of(self, ids: Any) -> np.ndarray:
    """Returns [N] int32 numbers, equal for equal shapes and types."""
    ids = self._checked(ids)
    return self.contents.index.columns["layout"][ids].astype(np.int32)

  def read(self, ids: Any) -> records.Records:
    """Returns examples by id, in that order; an id may occur more than once.

    Every byte is checked against the example's checksum, and the id, class, run
    and task that it was stored with against the index. The arrays are views of
    one fresh buffer.

    Args:
      ids: [N] integers, of examples of equal shapes and types.

    Raises:
      ValueError: for ids that were never given or examples of unequal shapes.
      DamageError: where any of them is lost or damaged; its `ids` say which.
      StoreError: where the store is closed.
    """
    ids = self._checked(ids)
    # Another thread may replace the index by a longer one during the read.
    columns = self.contents.index.columns
    offsets, layouts = columns["offset"][ids], columns["layout"][ids]
    if not offsets.all():
      raise self._damage(ids[offsets == 0], "lost")
    if (layouts != layouts[0]).any():
      raise ValueError(
        f"the examples are of {len(np.unique(layouts))} different shapes or "
        "types: read them in groups that `layouts_of` gives one number"
      )
    try:
      dtype = self.contents.names.layout(int(layouts[0])).dtype
    except records.DamageError:
      raise self._damage(ids, "of shapes whose definition is lost") from None
    rows = np.empty(len(ids), dtype)
    bad = self._fill(rows, ids, offsets)
    wrong = rows["id"] != ids
    for name in ("layout", "label", "run", "task"):
      wrong |= rows[name] != columns[name][ids]
    wrong[bad] = True
    if wrong.any():
      raise self._damage(ids[wrong], "damaged")
    return records.decode(rows)

  def append(
    self,
    x: Any,
    labels: Any,
    *,
    task: Any = 0,
    extras: Mapping[str, Any] | None = None,
    run: str | None = None,
  ) -> np.ndarray:
    """Adds examples and returns their ids, [N] int64 and consecutive.

    Args:
      x: [N, ...] array. Shapes and types may differ from batch to batch.
      labels: [N] names of classes, or integers that stand for their decimals;
        a class is known from its first example on.
      task: int32, one or [N].
      extras: [N, ...] arrays of more per example, such as "logits".
      run: name of the run, where it is not that of `open`.

    Raises:
      ValueError: where lengths differ or a type cannot be kept.
      StoreError: where the store is not for writing, or the disk is full or
        fails; the message tells what was stored of the batch. What was stored
        before stays as it is.
    """
    x, tasks = np.asarray(x), np.asarray(task)
    given = {name: np.asarray(array) for name, array in (extras or {}).items()}
    names = _class_names(labels)
    lengths = {name: array.shape[:1] for name, array in given.items()}
    lengths |= {"x": x.shape[:1], "labels": (len(names),)}
    if tasks.ndim:
      lengths["task"] = tasks.shape
    if set(lengths.values()) != {(len(names),)}:
      raise ValueError(f"lengths {lengths} differ: give one of each an example")
    if tasks.dtype.kind not in "iu":
      raise ValueError(f"task is of type {tasks.dtype}: give integers")
    if tasks.size and max(abs(int(tasks.min())), int(tasks.max())) >= 2**31:
      raise ValueError(f"task {tasks} does not fit 32 bits: give smaller ones")
    return self._adding().append(
      x, given, names, tasks, self._run if run is None else run
    )

  def flush(self) -> None:
    """Returns once all added examples are on disk.

    Raises:
      StoreError: where the store is not for writing, or the disk fails; the
        store then takes nothing more until it is opened again.
    """
    self._adding().flush()

  def close(self) -> None:
    """Flushes, writes the index and releases the folder."""
    try:
      if self._writer is not None:
        self._writer.close()
    finally:
      self.contents.segments = ()
      if self._lock is not None:
        self._lock.release()
        self._lock = None

  def _fill(
    self, rows: np.ndarray, ids: np.ndarray, offsets: np.ndarray
  ) -> list[int]:
    """Reads records into place; returns positions of damaged ones."""
    firsts, held = self.contents.firsts, self.contents.segments
    if not held:
      raise records.StoreError(f"{self.contents.folder} is closed: open it")
    which = np.searchsorted(firsts, ids, side="right") - 1
    files = [held[i].fd for i in which.tolist()]
    content = rows.view(np.uint8).data
    size, seed, places = rows.itemsize, self.contents.seed, offsets.tolist()
    crc32, residue, bad = zlib.crc32, records.RESIDUE, []
    if _side_by_side(files, offsets, size):
      # One read is faster than many; where it fails, each is tried.
      with contextlib.suppress(OSError):
        if os.preadv(files[0], [content], places[0]) == len(content):
          return _damaged(content, size, seed)
    slow = _SLOW + size * _SLOW_BYTE
    checked, begun, ahead = 0, time.perf_counter(), hasattr(os, "posix_fadvise")
    for i, (file, offset) in enumerate(zip(files, places, strict=True)):
      if ahead and i % 8 == 1:
        now = time.perf_counter()
        if now - begun > slow * (i - checked):
          for rest in range(i, len(files)):
            os.posix_fadvise(
              files[rest], places[rest], size, os.POSIX_FADV_WILLNEED
            )
          ahead = False
        checked, begun = i, now
      place = content[i * size : (i + 1) * size]
      record: bytes | memoryview
      try:
        if size < _SMALL:
          record = os.pread(file, size, offset)
          if len(record) == size:
            place[:] = record
        else:
          record = place[: os.preadv(file, [place], offset)]
      except OSError:  # a sector that the disk cannot read
        record = b""
      if crc32(record, seed) != residue or len(record) != size:
        bad.append(i)
    return bad

  def _checked(self, ids: Any) -> np.ndarray:
    count, array = self.contents.index.count, np.asarray(ids)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
      raise ValueError(
        f"ids of shape {array.shape} and type {array.dtype}: give one or more "
        "integers in a flat array"
      )
    array = array.astype(np.int64)
    if array.min() < 0 or array.max() >= count:
      unknown = array[(array < 0) | (array >= count)][:5].tolist()
      raise ValueError(f"ids {unknown} were never given: there are {count}")
    return array

  def _run_number(self, run: str | None) -> int | None:
    return None if run is None else self.contents.names.number("runs", run)

  def _damage(self, ids: np.ndarray, what: str) -> records.DamageError:
    shown = ", ".join(map(str, ids[:8])) + ", ..." * (len(ids) > 8)
    folder = self.contents.folder
    return records.DamageError(
      f"{len(ids)} examples in {folder} are {what}: {shown}; "
      f"`python -m jcl.replay.store {folder} --repair` leaves them out",
      ids.tolist(),
    )

  def _adding(self) -> writer.Writer:
    if self._writer is None:
      raise records.StoreError(
        f'{self.contents.folder} is open for reading: open it with mode="a"'
      )
    return self._writer


def _side_by_side(files: list[int], offsets: np.ndarray, size: int) -> bool:
  """Tells whether records of one size lie behind each other in one file."""
  steps = np.diff(offsets.astype(np.int64))
  return len(set(files)) == 1 and bool((steps == size).all())


def _damaged(content: memoryview, size: int, seed: int) -> list[int]:
  """Returns which of the records in these bytes are damaged."""
  starts = range(0, len(content), size)
  found = [zlib.crc32(content[i : i + size], seed) for i in starts]
  return [i for i, each in enumerate(found) if each != records.RESIDUE]


def _class_names(labels: Any) -> list[str]:
  given = labels.tolist() if isinstance(labels, np.ndarray) else labels
  if isinstance(given, list) and set(map(type, given)) == {str}:
    return given  # as a rule
  if isinstance(given, str | int) or any(
    isinstance(label, bool) or not isinstance(label, str | int | np.integer)
    for label in given
  ):
    raise ValueError(
      f"labels {errors.short(labels)}: give a list of class names, or of "
      "integers"
    )
  return [str(label) for label in given]
