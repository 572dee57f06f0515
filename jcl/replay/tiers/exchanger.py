"""Exchanger: replaces replayed examples in memory by others from the store."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import numpy as np

from jcl import base, keys
from jcl.replay.tiers import exchange_rate
from jcl.replay.tiers import reader as reader_lib


@dataclasses.dataclass
class Progress:
  """Progress of swapping; saved with a checkpoint."""

  target: float  # share of replayed examples to exchange, as I/O allows
  carry: float = 0.0  # fraction of an exchange carried on to the next batch


class Exchanges:
  """Requests exchanges of the examples that a step has replayed.

  Args:
    hierarchy: whose `swap` is the first target, and whose `gate` and `balanced`
      say which examples leave.
    reader: reads the examples that come.
    pool: class -> ids [N] int64 that may come, residents included.
    seed: of the run.
    lag: steps between a request and its exchange.
  """

  def __init__(
    self,
    hierarchy: base.Hierarchy,
    reader: reader_lib.Reader,
    pool: Callable[[int], np.ndarray],
    seed: int,
    lag: int,
  ) -> None:
    self._hierarchy, self._reader, self._pool = hierarchy, reader, pool
    self._seed, self._lag = seed, lag
    self.progress = Progress(hierarchy.swap)

  def ask(
    self,
    step: int,
    part: float,
    epoch: int,
    replayed: np.ndarray,
    labels: np.ndarray,
    difficulty: np.ndarray,
    residents: Mapping[int, int],
  ) -> None:
    """Requests the exchange of some of a batch's replayed examples.

    `exchange_rate.take` says how many leave and `exchange_rate.leaving` which.
    For each comes an example of its class, drawn uniformly from the store.

    Args:
      step: of the batch.
      part: of the experience's epochs that is over, in [0, 1).
      epoch: of the experience.
      replayed: [N] ids that the batch held, all different.
      labels: [N] their classes.
      difficulty: [N] float32 in [0, 1], as `train.step.Info` has it.
      residents: slots of the examples in memory, by id.
    """
    ratio, interval = exchange_rate.ladder(self.progress.target)
    if not self.progress.target or not exchange_rate.in_interval(
      epoch, interval
    ):
      return
    count, self.progress.carry = exchange_rate.take(
      self.progress.carry, ratio, len(replayed)
    )
    leaving = self._reader.leaving
    free = [
      i for i, each in enumerate(replayed.tolist()) if each not in leaving
    ]
    if not count or not free:
      return
    generator = keys.rng(self._seed, keys.Purpose.EXCHANGE, step)
    gated = self._hierarchy.gate == "hard" or (
      self._hierarchy.gate == "late" and part >= 0.5
    )
    scores = difficulty if gated else generator.random(len(replayed))
    replayed, labels = replayed[free], labels[free]
    count = min(count, len(free))
    share = count / len(free) if self._hierarchy.balanced else None
    chosen = exchange_rate.leaving(scores[free], labels, count, share)
    coming = set(self._reader.coming)
    out, ids = [], []
    for label in np.unique(labels[chosen]).tolist():
      mine = chosen[labels[chosen] == label]
      found = self._incoming(label, len(mine), residents, coming, generator)
      out.extend(replayed[mine[: len(found)]].tolist())
      ids.extend(found)
    if ids:
      self._reader.submit(
        reader_lib.Exchange(
          step + self._lag, np.array(out, np.int64), np.array(ids, np.int64)
        )
      )

  def state(self) -> dict[str, Any]:
    """Returns where swapping stands, ready for JSON."""
    return {
      "progress": dataclasses.asdict(self.progress),
      "counts": dataclasses.asdict(self._reader.counts),
      "pending": reader_lib.as_lists(self._reader.pending),
    }

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes on from a saved state; pending exchanges are read again."""
    self.progress = Progress(**state["progress"])
    self._reader.counts = reader_lib.Counts(**state["counts"])
    for exchange in reader_lib.from_lists(state["pending"]):
      self._reader.submit(exchange, again=True)

  def _incoming(
    self,
    label: int,
    count: int,
    residents: Mapping[int, int],
    coming: set[int],
    generator: np.random.Generator,
  ) -> list[int]:
    """Draws ids of a class that are neither in memory nor being read."""
    pool = self._pool(label)
    found: list[int] = []
    # Random tries come first, as nearly all of a large pool is outside of
    # memory; what they miss of a small pool is found by listing it.
    tries = generator.integers(0, max(len(pool), 1), 4 * count + 8)
    candidates = pool[tries].tolist() if len(pool) else []
    for attempt in (candidates, None):
      if attempt is None:
        left = [
          i for i in pool.tolist() if i not in residents and i not in coming
        ]
        attempt = generator.permutation(np.array(left, np.int64)).tolist()
      for i in attempt:
        if len(found) == count:
          return found
        if i not in residents and i not in coming:
          found.append(i)
          coming.add(i)
    return found
