"""Reads from the store beside the training, which never waits for it."""

import collections
from collections.abc import Callable, Sequence
from concurrent import futures
import dataclasses
from typing import NamedTuple

import numpy as np

from jcl.replay.store import records


class Exchange(NamedTuple):
  """Examples to read, each in place of another."""

  due: int  # step from which they may be applied
  out: np.ndarray  # [N] int64 ids that leave
  ids: np.ndarray  # [N] int64 ids that come


@dataclasses.dataclass
class Counts:
  """Counts of the examples that were asked for, by what became of them."""

  requested: int = 0
  applied: int = 0
  dropped: int = 0  # for want of room
  late: int = 0  # of those dropped, while reading was behind
  failed: int = 0  # damaged on the disk
  ended: int = 0  # not applied when their experience ended
  bytes: int = 0  # read

  def __sub__(self, other: "Counts") -> "Counts":
    pairs = zip(
      dataclasses.astuple(self), dataclasses.astuple(other), strict=True
    )
    return Counts(*(a - b for a, b in pairs))


Reading = tuple[np.ndarray, np.ndarray]  # rows, and which ids they are of
Waiting = collections.deque[tuple[Exchange, futures.Future[Reading]]]


class Reader:
  """A bounded queue of exchanges and the threads that read them.

  What is read is handed over at a step fixed in advance, if it is there by
  then, and at the first step where it is there otherwise: a run whose disk
  keeps up repeats itself. Main thread only.

  Args:
    read: ids -> rows of the memory; called in threads.
    capacity: examples that may be on their way, those read included.
    threads: that read.
  """

  def __init__(
    self,
    read: Callable[[np.ndarray], np.ndarray],
    capacity: int,
    threads: int = 1,
  ) -> None:
    self.counts = Counts()
    self.read, self._capacity = read, capacity
    self._pool = futures.ThreadPoolExecutor(threads, "swap")
    self._waiting: Waiting = collections.deque()
    self.leaving: set[int] = set()  # ids of `pending` that leave
    self.coming: set[int] = set()  # and that come
    self._step = 0  # up to which was collected

  @property
  def capacity(self) -> int:
    """Examples that may be on their way."""
    return self._capacity

  @property
  def pending(self) -> tuple[Exchange, ...]:
    """Exchanges that were submitted and not yet collected, oldest first."""
    return tuple(exchange for exchange, _ in self._waiting)

  def submit(self, exchange: Exchange, again: bool = False) -> None:
    """Has an exchange read, as far as there is room.

    What has no room is dropped: of the exchange itself, or, where reading is
    behind, of the oldest ones that are not begun.

    Args:
      exchange: of examples that are not pending yet.
      again: it was counted as requested before.
    """
    if not again:
      self.counts.requested += len(exchange.ids)
    behind = self._behind()
    if behind:
      self._make_room(len(exchange.ids))
    room = max(self._capacity - len(self.coming), 0)
    dropped = max(len(exchange.ids) - room, 0)
    self.counts.dropped += dropped
    self.counts.late += dropped if behind else 0
    exchange = exchange._replace(
      out=exchange.out[:room], ids=exchange.ids[:room]
    )
    if not len(exchange.ids):
      return
    future = self._pool.submit(records.intact, self.read, exchange.ids)
    self._waiting.append((exchange, future))
    self.leaving.update(exchange.out.tolist())
    self.coming.update(exchange.ids.tolist())

  def collect(self, step: int) -> list[tuple[Exchange, np.ndarray]]:
    """Returns the exchanges that are due and read, with their rows."""
    self._step = step
    found: list[tuple[Exchange, np.ndarray]] = []
    kept: Waiting = collections.deque()
    for exchange, future in self._waiting:
      if exchange.due > step or not future.done():
        kept.append((exchange, future))
        continue
      self._forget(exchange)
      rows, good = future.result()
      self.counts.failed += len(good) - len(rows)
      self.counts.applied += len(rows)
      self.counts.bytes += rows.nbytes
      out, ids = exchange.out[good], exchange.ids[good]
      found.append((exchange._replace(out=out, ids=ids), rows))
    self._waiting = kept
    return found

  def resize(self, capacity: int) -> None:
    """Changes how many examples may be on their way; drops the oldest."""
    self._capacity = capacity
    while len(self.coming) > capacity:
      exchange, future = self._waiting.popleft()
      future.cancel()
      self._forget(exchange)
      self.counts.dropped += len(exchange.ids)

  def end(self) -> None:
    """Forgets what is on its way."""
    for exchange, future in self._waiting:
      future.cancel()
      self._forget(exchange)
      self.counts.ended += len(exchange.ids)
    futures.wait([future for _, future in self._waiting])
    self._waiting.clear()

  def close(self) -> None:
    """Ends the threads."""
    self.end()
    self._pool.shutdown()

  def _behind(self) -> bool:
    """Tells whether an exchange is due that has not been read yet."""
    return any(
      exchange.due <= self._step and not future.done()
      for exchange, future in self._waiting
    )

  def _forget(self, exchange: Exchange) -> None:
    self.leaving.difference_update(exchange.out.tolist())
    self.coming.difference_update(exchange.ids.tolist())

  def _make_room(self, size: int) -> None:
    excess = len(self.coming) + size - self._capacity
    if excess <= 0:
      return
    kept: Waiting = collections.deque()
    for exchange, future in self._waiting:
      if excess > 0 and future.cancel():
        self._forget(exchange)
        self.counts.dropped += len(exchange.ids)
        self.counts.late += len(exchange.ids)
        excess -= len(exchange.ids)
      else:
        kept.append((exchange, future))
    self._waiting = kept


def as_lists(exchanges: Sequence[Exchange]) -> list[list]:
  """Returns exchanges ready for JSON."""
  return [[e.due, e.out.tolist(), e.ids.tolist()] for e in exchanges]


def from_lists(values: Sequence[Sequence]) -> list[Exchange]:
  """Inverse of `as_lists`."""
  return [
    Exchange(due, np.array(out, np.int64), np.array(ids, np.int64))
    for due, out, ids in values
  ]
