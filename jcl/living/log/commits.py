"""Batches on their way to disk, by one flush for all that wait.

A thread adds its batch to the last volume under a lock, for as long as it takes
to copy it to the kernel. Then the first thread flushes, without that lock. The
others wait, and the next flush is for all that were added meanwhile.
"""

from collections.abc import Callable, Iterator
import contextlib
from pathlib import Path
import threading

import numpy as np

from jcl.living.log import folders, inputs, sayings
from jcl.living.log import given as given_lib
from jcl.living.log import volumes as volumes_lib
from jcl.living.log.history import History, Value
from jcl.living.log.journal import Journal
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.replay.store import records

_SLACK = 2**13  # bytes of a new volume's headers


class StoreFull(records.StoreError):
  """A log at its limit of bytes, all of whose examples are still needed."""


class _Batch:
  """Examples that were added and are not known to be on disk yet."""

  def __init__(self, first: int, numbers: np.ndarray) -> None:
    self.first, self.numbers = first, numbers
    self.done = False  # durable, or cut off
    self.error: records.StoreError | None = None  # why they were cut off


class _Turn:
  """One thread at a time has it; those that need it no more wake together."""

  def __init__(self) -> None:
    self._changed = threading.Condition()
    self._taken = False

  @contextlib.contextmanager
  def take(
    self, needless: Callable[[], bool] = lambda: False
  ) -> Iterator[bool]:
    """Waits for the turn; yields False where it is needless by then."""
    with self._changed:
      while self._taken and not needless():
        self._changed.wait()
      taken = not needless()
      self._taken |= taken
    try:
      yield taken
    finally:
      if taken:
        with self._changed:
          self._taken = False
          self._changed.notify_all()


class Commits:
  """Adds examples to a log.

  Args:
    folder: of the log.
    limit_bytes: most bytes of the folder; None for no limit.
    history: learns of examples once they are durable.
    volumes: where they go.
    journal: for its size.
    say: makes a value durable and applies it.
  """

  def __init__(
    self,
    folder: Path,
    limit_bytes: int | None,
    history: History,
    volumes: volumes_lib.Volumes,
    journal: Journal,
    say: Callable[[Value], None],
  ) -> None:
    self._folder, self._limit = folder, limit_bytes
    self._history, self._volumes, self._journal = history, volumes, journal
    self._say = say
    self._known = history.known()
    # Held by who flushes, cuts or begins a volume; taken ahead of the history's
    # lock by who takes both.
    self._turn = _Turn()
    self._waiting: list[_Batch] = []
    self._flushed: list[_Batch] = []  # by the flush that goes on

  @property
  def bytes(self) -> int:
    """Bytes of the folder."""
    files = self._volumes.bytes + self._journal.size
    return files + folders.meta_bytes()

  def add(self, given: given_lib.Batch, check: Callable[[], None]) -> int:
    """Adds a batch and returns its first id, once it is on disk.

    Args:
      given: examples and keys of their labels.
      check: raises an error where the log takes nothing; called with its lock.

    Raises:
      UsageError: for inputs of another form than the first ones, and for too
        many of them.
      StoreFull: at the limit of bytes.
      StoreError: where the disk is full or fails; nothing stays of the batch.
    """
    size = volumes_lib.batch_bytes(inputs.form_of(given.x), given.keys)
    try:
      batch = self._append(given, size, check)
      self._commit(batch)
    except UsageError:
      raise
    except BaseException:  # an interruption may come anywhere
      with self._turn.take(), self._history.lock:
        with contextlib.suppress(records.StoreError):
          self._settle()
      raise
    return batch.first

  def close(self) -> None:
    """Flushes what waits, and closes the volumes."""
    with self._turn.take(), self._history.lock:
      try:
        self._settle()
      finally:
        self._volumes.close()

  def _append(
    self, given: given_lib.Batch, size: int, check: Callable[[], None]
  ) -> _Batch:
    """Adds a batch to the last volume, where it waits for a flush."""
    history, (x, keys) = self._history, given
    form = inputs.form_of(x)
    while True:
      with history.lock:
        check()
        inputs.agree(form, history.form)
        if self._has_room(len(x), size):
          numbers = history.classes.numbers(keys)
          batch = _Batch(self._volumes.append(x, keys), numbers)
          self._waiting.append(batch)
          history.form = form
          return batch
      with self._turn.take(), history.lock:
        check()
        self._make_room(len(x), size)

  def _commit(self, batch: _Batch) -> None:
    """Returns when a batch is on disk."""
    with self._turn.take(lambda: batch.done) as needed:
      if needed:
        self._flush()
    if batch.error is not None:
      raise records.StoreError(str(batch.error)) from batch.error

  def _flush(self) -> None:
    """Makes all waiting batches durable, or cuts them off."""
    history = self._history
    with history.lock:
      self._flushed += self._waiting  # after an interruption, some are there
      self._waiting = []
      if not self._flushed:
        return
      mark = self._volumes.mark()
    try:
      self._volumes.flush(mark)
    except records.StoreError as error:
      with history.lock:
        for batch in [*self._flushed, *self._waiting]:
          batch.error, batch.done = error, True
        self._flushed, self._waiting = [], []
        self._volumes.spoil()
        if not len(history):
          history.form = None
        with contextlib.suppress(records.StoreError):
          self._volumes.repair()
    else:
      with history.lock:
        for batch in self._flushed:
          if batch.first >= history.columns.stop:
            history.add(batch.numbers)
          batch.done = True
        self._flushed = []

  def _settle(self) -> None:
    """Flushes what waits, and cuts off what is nobody's; both locks are held.

    Raises:
      StoreError: where the disk is full or fails.
    """
    self._flush()
    self._volumes.cut(self._history.columns.stop)
    self._volumes.repair()

  def _has_room(self, count: int, size: int) -> bool:
    stop = self._history.columns.stop
    batches = [*self._flushed, *self._waiting]
    waiting = sum(len(batch.numbers) for batch in batches)
    return (
      self._known <= stop
      and self._volumes.stop == stop + waiting
      and self._volumes.fits(count, size)
      and not self._exceeds(size)
    )

  def _exceeds(self, size: int) -> bool:
    """Returns whether so many bytes more would exceed the limit."""
    most = self._limit
    return most is not None and self.bytes + size + _SLACK > most

  def _make_room(self, count: int, size: int) -> None:
    """Deletes and begins volumes until a batch has room; both locks are held.

    Raises:
      StoreFull: where nothing may be deleted.
      StoreError: where the disk is full or fails.
    """
    self._settle()
    history, files = self._history, self._volumes
    parts = [part for part in history.droppable() if part.count]
    if self._exceeds(size - sum(files.bytes_of(part.first) for part in parts)):
      raise self._full(size)
    for part in parts:
      if not self._exceeds(size):
        break
      if part is history.columns.parts[-1]:
        self._begin()
      self._say(sayings.drop(history, part))
      files.delete(part.first)
    if not self._has_room(count, size):
      self._begin()

  def _begin(self) -> None:
    first = max(self._known, self._history.columns.stop)
    self._volumes.begin(first)
    self._history.columns.begin(first)

  def _full(self, size: int) -> StoreFull:
    history = self._history
    ended = errors.count(len(history.ended) - history.learned, "experience")
    later = errors.count(history.counts.labelled, "example")
    return StoreFull(
      f"{self._folder} holds {self.bytes} of {self._limit} bytes, and {size} "
      f"more do not fit: {ended} and {later} after them are not learned yet; "
      "call learn(), or give a larger store="
    )
