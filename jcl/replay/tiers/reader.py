"""Reader: reads exchanges from the store while training goes on.

Training never waits for the reader: Ma et al., "Cost-effective On-device
Continual Learning over Memory Hierarchy with Miro", MobiCom 2023,
https://arxiv.org/abs/2308.06053.
"""

import collections
from collections.abc import Callable, Sequence
from concurrent import futures
import dataclasses
from typing import NamedTuple

import numpy as np

from jcl.replay.store import records


class Exchange(NamedTuple):
  """Examples to read, each to replace another one."""

  due: int  # step from which the exchange may be applied
  out: np.ndarray  # [N] int64 ids that leave
  ids: np.ndarray  # [N] int64 ids that come


@dataclasses.dataclass
class Counts:
  """Counts of the requested examples, by what became of them."""

  requested: int = 0
  applied: int = 0
  dropped: int = 0  # as the queue had no room
  late: int = 0  # of the dropped ones: while reading was behind
  failed: int = 0  # damaged on the disk
  ended: int = 0  # still pending when their experience ended
  bytes: int = 0  # read

  def __sub__(self, other: "Counts") -> "Counts":
    pairs = zip(
      dataclasses.astuple(self), dataclasses.astuple(other), strict=True
    )
    return Counts(*(a - b for a, b in pairs))


# Rows read, and a mask [N] bool of the ids that they are of.
Reading = tuple[np.ndarray, np.ndarray]
Waiting = collections.deque[tuple[Exchange, futures.Future[Reading]]]


class Reader:
  """Bounded queue of exchanges, and the threads that read them.

  An exchange is handed over at a step fixed in advance, or at the first step
  after its reading where that takes longer: a run whose disk keeps up repeats
  itself. Main thread only.

  Args:
    read: ids [N] int64 -> rows of the memory; called in threads.
    capacity: examples that may be pending, those read already included.
    threads: number of threads that read.
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
    self.leaving: set[int] = set()  # ids that leave by pending exchanges
    self.coming: set[int] = set()  # ids that come by pending exchanges
    self._step = 0  # of the latest `collect`

  @property
  def capacity(self) -> int:
    """Examples that may be pending."""
    return self._capacity

  @property
  def pending(self) -> tuple[Exchange, ...]:
    """Exchanges that were submitted and not yet collected, oldest first."""
    return tuple(exchange for exchange, _ in self._waiting)

  def submit(self, exchange: Exchange, again: bool = False) -> None:
    """Queues an exchange for reading, as far as there is room.

    Without room, the last examples of the exchange are dropped. Where reading
    is behind, the oldest exchanges that no thread has begun are dropped first.

    Args:
      exchange: of examples that are not pending yet.
      again: whether the exchange is counted as requested already.
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
    """Returns the exchanges that are due and read, with their rows.

    Args:
      step: that the run has come to.

    Returns:
      Exchanges, oldest first, without examples that are damaged on the disk;
      and the rows [N] of each.
    """
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
    """Changes how many examples may be pending; drops the oldest exchanges."""
    self._capacity = capacity
    while len(self.coming) > capacity:
      exchange, future = self._waiting.popleft()
      future.cancel()
      self._forget(exchange)
      self.counts.dropped += len(exchange.ids)

  def end(self) -> None:
    """Drops all pending exchanges, as their experience has ended."""
    for exchange, future in self._waiting:
      future.cancel()
      self._forget(exchange)
      self.counts.ended += len(exchange.ids)
    futures.wait([future for _, future in self._waiting])
    self._waiting.clear()

  def close(self) -> None:
    """Drops all pending exchanges and ends the threads."""
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
  """Returns the exchanges that `as_lists` wrote."""
  return [
    Exchange(due, np.array(out, np.int64), np.array(ids, np.int64))
    for due, out, ids in values
  ]
