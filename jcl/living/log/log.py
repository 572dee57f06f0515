"""The durable log of a live learner: examples as they arrive, and their labels.

A log is a folder of one writer; others may read it meanwhile. It holds volumes
of examples (`volumes`) and a journal of all that is said of them later
(`journal`): labels, ends of experiences, what the learner needs no more. What a
method returned on is on disk. A batch is there whole or not at all.
"""

from collections.abc import Iterator, Sequence
import contextlib
import os
from pathlib import Path
import time
from typing import Any, Self

import filelock
import numpy as np

from jcl.living.log import (
  commits,
  folders,
  given,
  inputs,
  journal,
  sayings,
  snapshots,
  volumes,
)
from jcl.living.log import history as history_lib
from jcl.living.log import labels as labels_lib
from jcl.living.log.commits import StoreFull
from jcl.living.log.experiences import Corrections, Ended, Experiences
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.replay.store import names, records

__all__ = ["Corrections", "Ended", "Log", "StoreFull"]

_LEAST = 2**16  # bytes of the smallest limit
# The journal is written anew when it has twice the bytes that it then had, and
# more than these, or than a share of the limit.
_JOURNAL_BYTES, _JOURNAL_SHARE = 2**20, 32


class Log:
  """A log that is open; `open` makes one. Any thread may call its methods."""

  def __init__(
    self,
    folder: Path,
    lock: filelock.BaseFileLock | None,
    limit_bytes: int | None,
    volume_bytes: int,
  ) -> None:
    """Reads a folder that is there; `open` calls this."""
    self.folder = folder
    self._limit, self._claim = limit_bytes, lock
    self._closed = False
    self._history = history_lib.History()
    self._journal = journal.Journal(folder / folders.JOURNAL, lock is not None)
    self._volumes = volumes.Volumes(
      folder / folders.EXAMPLES, lock is not None, volume_bytes
    )
    self._snapshot_bytes = 0  # of the journal when it was last written anew
    try:
      self._load()
    except BaseException:
      self._volumes.close()
      self._journal.close()
      raise
    self._commits = commits.Commits(
      folder,
      limit_bytes,
      self._history,
      self._volumes,
      self._journal,
      self._say,
    )

  @classmethod
  def open(
    cls,
    folder: str | os.PathLike[str],
    *,
    readonly: bool = False,
    limit_bytes: int | None = None,
    volume_bytes: int | None = None,
  ) -> "Log":
    """Opens a log, or makes it, and repairs what a crash left.

    A damaged log opens as well: `notes` tells of the damage, and lost examples
    are left out.

    Args:
      folder: of the log; other files in it are left alone.
      readonly: read what is there now, beside a process that writes or not.
      limit_bytes: most bytes of the folder; None for no limit. Volumes of
        learned examples are deleted, the oldest first, to keep to it.
      volume_bytes: size from which another volume begins; an eighth of the
        limit by default, and at most 256 MiB.

    Raises:
      UsageError: for a size that cannot be kept to.
      StoreError: where the folder is in use by another writer, is of a later
        version, holds no log, or cannot be used.
    """
    folder = Path(folder)
    if limit_bytes is not None and limit_bytes < _LEAST:
      raise UsageError(f"limit_bytes={limit_bytes}: write {_LEAST} or more")
    if volume_bytes is None:
      volume_bytes = volumes.default_bytes(limit_bytes)
    if not 4096 <= volume_bytes <= 2**30:
      raise UsageError(f"volume_bytes={volume_bytes}: write 4096 to 2**30")
    lock = None if readonly else folders.claim(folder)
    try:
      folders.prepare(folder, lock is not None)
      log = cls(folder, lock, limit_bytes, volume_bytes)
      for _ in range(3):
        if (
          readonly and log._history.missing()
        ):  # the writer may just have deleted them
          log.close()
          log = cls(folder, lock, limit_bytes, volume_bytes)
      return log
    except BaseException as error:
      if lock is not None:
        lock.release()
      if isinstance(error, OSError):
        raise records.failure("open", folder, error) from error
      raise

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def __len__(self) -> int:
    """Returns how many examples were acknowledged, those that left included."""
    return len(self._history)

  @property
  def experiences(self) -> Sequence[Ended]:
    """Experiences that have ended."""
    return Experiences(self._history)

  @property
  def classes(self) -> tuple[labels_lib.Label, ...]:
    """Labels in the order in which ended experiences first had them."""
    return tuple(self._history.classes.labels)

  @property
  def open_count(self) -> int:
    """Labelled examples of the open experience."""
    return self._history.counts.labelled

  @property
  def unlabelled_count(self) -> int:
    """Examples without a label that the log holds."""
    return self._history.counts.unlabelled

  @property
  def learned(self) -> int:
    """Leading experiences that the learner needs no more."""
    return self._history.learned

  @property
  def form(self) -> inputs.Form | None:
    """Shape and dtype of every example; None before the first."""
    return self._history.form

  @property
  def bytes(self) -> int:
    """Bytes of the folder."""
    with self._history.lock:
      return self._commits.bytes

  @property
  def is_filling(self) -> bool:
    """Whether half of the limit is reached."""
    return self._limit is not None and 2 * self.bytes > self._limit

  @property
  def notes(self) -> tuple[str, ...]:
    """Damage that was found when the log was opened."""
    found = self._journal.notes, self._volumes.notes, self._history.notes
    return tuple(note for notes in found for note in notes)

  def observe(
    self, x: Any, labels: Sequence[labels_lib.Label | None]
  ) -> np.ndarray:
    """Adds examples and returns their ids, [N] int64; they are then on disk.

    Ids count from 0 over the life of the log. The first examples settle shape
    and dtype.

    Args:
      x: [N, ...] uint8, float32, or numbers that become float32.
      labels: [N], None for an example without a label.

    Raises:
      UsageError: for what cannot be kept; nothing was stored.
      StoreFull: where the limit is reached and nothing may be deleted; nothing
        was stored.
      StoreError: where the disk is full or fails; nothing was stored.
    """
    return self.add(given.batch(x, labels))

  def add(self, batch: given.Batch) -> np.ndarray:
    """Adds checked examples; see `observe`."""
    first = self._commits.add(batch, self._check_writable)
    return np.arange(first, first + len(batch.x), dtype=np.int64)

  def label(self, ids: Any, labels: Sequence[labels_lib.Label]) -> None:
    """Labels examples, or corrects their labels; durable when it returns.

    Examples of the open experience, or of none, have the label from now on.
    For those of ended experiences, and those that have left the log, it becomes
    one of `corrections`.

    Args:
      ids: [N] as `observe` returned them.
      labels: [N], none of them None.

    Raises:
      UsageError: for unknown ids and labels that cannot be kept; no label has
        changed.
      StoreError: where the disk is full or fails; no label has changed.
    """
    array, keys = given.ids(ids), given.keys(labels)
    if len(keys) != len(array):
      raise UsageError(
        f"there are {errors.count(len(array), 'id')} and "
        f"{errors.count(len(keys), 'label')}: give one label for each id"
      )
    if labels_lib.NONE in keys:
      raise UsageError(
        f"labels[{keys.index(labels_lib.NONE)}] is None: give a label, which "
        "replaces one but never removes it"
      )
    with self._history.lock:
      self._check_writable()
      if len(array):
        self._say(sayings.label(self._history, array, keys))

  def end(self, count: int | None = None, wait: bool = True) -> int:
    """Ends the open experience and returns its index.

    It consists of the labelled examples that are in no experience yet, in the
    order in which they were observed.

    Args:
      count: how many of them it has, above 0; later ones belong to the next
        experience. None: all.
      wait: until the end is on disk; else `flush` waits for that.

    Raises:
      UsageError: where it has no example.
      StoreError: where the disk is full or fails; it is still open then.
    """
    with self._history.lock:
      self._check_writable()
      self._say(sayings.end(self._history, time.time(), count), wait)
      return len(self._history.ended) - 1

  def flush(self) -> None:
    """Returns when all that was said is on disk; see `Journal.flush`."""
    self._journal.flush()

  def drop(self, learned: int, corrections: int = 0) -> None:
    """Lets examples leave the log once their room is needed.

    Args:
      learned: experiences below this index are not needed any more.
      corrections: nor are corrections before this number.

    Raises:
      UsageError: for more of them than there are.
      StoreError: where the disk is full or fails.
    """
    with self._history.lock:
      self._check_writable()
      self._say(sayings.learned(self._history, learned, corrections))

  def read(self, ids: Any) -> np.ndarray:
    """Returns inputs [N, ...] of examples, in the order of `ids`.

    Args:
      ids: [N] integers; an id may occur more than once.

    Raises:
      UsageError: for ids that were never given, or have left the log.
      DamageError: where any example is damaged; its `ids` say which.
      StoreError: where the log is closed.
    """
    array = given.ids(ids)
    with self._history.lock:
      self._check_open()
      form = self._history.form
      if form is None:
        raise UsageError(f"{self.folder} holds no example yet: observe some")
      given.check_held(array, self._history, self.folder)
      pieces = [
        (part.first, where, local)
        for part, where, local in self._history.columns.split(array)
      ]
    found = np.empty((len(array), *form.shape), form.dtype)
    for first, where, local in pieces:
      found[where] = self._volumes.read(first, local)
    return found

  def corrections(self, since: int = 0) -> Corrections:
    """Returns corrections of examples of ended experiences, in their order.

    Args:
      since: number of the first one: `until` of those that were read last.
    """
    with self._history.lock:
      return self._history.corrections(since)

  def place(self, number: int) -> tuple[int, int] | None:
    """Returns the experience of an example by its id, and its row there.

    None stands for an example that has left, or is in no experience yet.
    """
    with self._history.lock:
      found = self._history.columns.states(np.array([number]))
      experience = int(found[0])
      if experience < 0:
        return None
      ids = self.experiences[experience].ids
      return experience, int(np.searchsorted(ids, number))

  def close(self) -> None:
    """Releases the folder; nothing can be added or read afterwards."""
    with self._history.lock:
      if self._closed:
        return
      self._closed = True
    with contextlib.ExitStack() as stack:
      if self._claim is not None:
        stack.callback(self._claim.release)
      stack.callback(self._journal.close)
      self._commits.close()

  def _load(self) -> None:
    """Applies to what the volumes hold what the journal says."""
    history, values = self._history, self._journal.values
    left: list[list[int]] = []
    for _, value in values:
      if value["op"] == "drop":
        left.append([value["first"], value["stop"]])
      elif value["op"] == "state":
        left += value["dropped"]
    for found in self._volumes.load(left):
      history.columns.begin(found.first)
      numbers = history.classes.numbers(_defined(found.keys))
      history.form = history.form or found.form
      history.add(numbers[found.which], found.lost)
    whole = [value for _, value in values if value["op"] in snapshots.OPS]
    snapshots.restore(history, whole)
    for size, value in values:
      if value["op"] in snapshots.OPS:
        self._snapshot_bytes += size
      else:
        history.apply(value)
    self._journal.values = []
    history.notes += [
      f"the examples {start} to {stop - 1} are missing"
      for start, stop in history.missing()
    ]

  def _say(self, value: journal.Value, wait: bool = True) -> None:
    """Makes a value durable, or begins to, then applies it."""
    self._journal.append(value, wait)
    self._history.apply(value)
    least = _JOURNAL_BYTES
    if self._limit is not None:
      least = min(least, self._limit // _JOURNAL_SHARE)
    if self._journal.size > max(2 * self._snapshot_bytes, least):
      # A journal that cannot be written anew stays as it is.
      with contextlib.suppress(records.StoreError):
        self._journal.replace(snapshots.values(self._history))
        self._snapshot_bytes = self._journal.size

  def _check_open(self) -> None:
    if self._closed:
      raise records.StoreError(f"{self.folder} is closed: open it")

  def _check_writable(self) -> None:
    self._check_open()
    if self._claim is None:
      raise records.StoreError(
        f"{self.folder} is open for reading: open it without readonly"
      )


def _defined(keys: Sequence[str]) -> Iterator[str]:
  """Yields keys of a volume; that of no label where a definition is lost."""
  for key in keys:
    yield labels_lib.NONE if key.startswith(names.LOST) else key
