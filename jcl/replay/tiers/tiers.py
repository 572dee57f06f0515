"""Tiers of a run: a memory in RAM above a store of every example ever seen.

An experience goes through four stages: all its examples go to the store, and
some to the stream buffer; training goes through memory and buffer; meanwhile,
examples that were replayed are exchanged for others of the store; at the end,
the memory admits examples of the buffer. Source: Ma et al., "Cost-effective
On-device Continual Learning over Memory Hierarchy with Miro", MobiCom 2023,
https://arxiv.org/abs/2308.06053.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import math
import mmap
from typing import Any

import numpy as np

from jcl import base, keys
from jcl.options import plain
from jcl.replay.tiers import (
  admission,
  batches,
  episodic,
  exchanger,
  quotas,
  ram,
  sources,
  stream_buffer,
)
from jcl.replay.tiers import archive as archive_lib
from jcl.replay.tiers import reader as reader_lib

# (classes [N], inputs in blocks [n, ...]) -> positions [N], of each class the
# best examples last
Order = Callable[[np.ndarray, Iterable[np.ndarray]], np.ndarray]


_BLOCK = 256  # examples that are copied at a time
STAGED_PART = 8  # pending reads may take one in so many bytes of the limit


class Tiers:
  """Episodic memory, stream buffer and archive of one run. Main thread only.

  Args:
    hierarchy: sizes and rules.
    archive: of all examples.
    seed: of the run.
    limit: returns the bytes that memory, buffer and pending reads may take now.
    lag: steps between the request of an exchange and the exchange.
    staged: examples that pending reads may hold, within an eighth of the limit.
  """

  def __init__(
    self,
    hierarchy: base.Hierarchy,
    archive: archive_lib.Archive,
    *,
    seed: int = 0,
    limit: Callable[[], float] = lambda: math.inf,
    lag: int = 8,
    staged: int = 256,
  ) -> None:
    self.hierarchy, self.archive, self.seed = hierarchy, archive, seed
    self.limit = limit
    self.experience = -1
    self.span = 0  # rows of the epoch in the memory
    self.buffered = 0  # rows of the epoch in the stream buffer
    self.sizes = (0, 0)  # of memory and buffer, as decided
    self.em = episodic.Episodic(archive.row_type)
    self.sb = stream_buffer.StreamBuffer(archive)
    self._ids = np.zeros(0, np.int64)  # of the experience
    self._first = 0  # id of the run's first example
    self._staged = staged
    self.reader = reader_lib.Reader(archive.rows, staged)
    self.exchanges = exchanger.Exchanges(
      hierarchy, self.reader, self._incoming, seed, lag
    )
    self.fit_staging()

  @property
  def row_bytes(self) -> int:
    """Bytes of an example in memory."""
    return self.em.rows.row_bytes

  @property
  def nbytes(self) -> int:
    """Bytes of memory, buffer and the most that pending reads may hold."""
    staged = self.reader.capacity * self.row_bytes
    return self.em.rows.nbytes + self.sb.nbytes + staged

  @property
  def room(self) -> float:
    """Examples that memory and buffer may hold together, by the limit."""
    return self.room_of(self.limit())

  def room_of(self, limit: float) -> float:
    """Examples that memory and buffer may hold in `limit` bytes."""
    if math.isinf(limit):
      return limit
    left = limit - self.reader.capacity * self.row_bytes
    left -= 2 * mmap.PAGESIZE  # to which the two regions are rounded up
    return max(0.0, left // self.row_bytes)

  def fit_staging(self) -> None:
    """Fits the room for pending reads to the limit of this moment."""
    most, limit = self._staged, self.limit()
    if not math.isinf(limit):
      most = min(most, int(limit / STAGED_PART // self.row_bytes))
    if most != self.reader.capacity:
      self.reader.resize(most)

  def in_examples(self, size: int | str) -> int:
    """Returns a size given in examples, or in bytes such as "2MB"."""
    if isinstance(size, int):
      return size
    return plain.parse_size(size) // self.row_bytes

  @property
  def given(self) -> tuple[int, int]:
    """Examples of memory and stream buffer, by the recipe."""
    em, sb = map(self.in_examples, (self.hierarchy.em, self.hierarchy.sb))
    return em, 0 if self.hierarchy.trains == "memory" else sb

  def expected_rows(
    self, earlier: int, fresh: int, sizes: tuple[int, int]
  ) -> int:
    """Returns how many examples an epoch goes through.

    Args:
      earlier: examples of the experiences before.
      fresh: examples of the experience.
      sizes: of memory and stream buffer; (0, 0): those of the recipe.
    """
    em, sb = sizes if any(sizes) else self.given
    return sources.num_rows(self.hierarchy.trains, earlier, fresh, em, sb)

  # The stages of an experience.

  def store(self, experience: int, data: base.Dataset) -> None:
    """Stores an experience's examples, but for those stored already.

    Args:
      experience: index of the experience.
      data: of the experience.

    Raises:
      StoreError: where the store cannot be written.
    """
    self.experience = experience
    self._ids = self.archive.add(experience, data)
    if experience == 0:
      self._first = int(self._ids[0])
    trials = self.hierarchy.trials
    if trials is not None and (trials.tries or trials.patience):
      self.archive.hold_out(trials.held_out, self.seed)

  def arrange(self, em: int, sb: int, data: base.Dataset | None = None) -> None:
    """Gives the memory `em` seats and the stream buffer `sb`.

    Memory is given back before any is taken. A memory that grows is filled from
    the archive.

    Args:
      em: seats of the memory; seats that no example can fill are not made.
      sb: seats of the stream buffer.
      data: of the experience, to fill the buffer from; None keeps the buffer's
        examples, up to `sb`.
    """
    self.sizes = em, sb
    kept = 0 if data is not None else min(sb, self.sb.count)
    self.sb.keep(np.arange(kept))
    self.sb.resize(kept)
    whole = self.hierarchy.trains == "memory"
    earlier = self.archive.pools() if whole else self.earlier()
    em = min(em, sum(len(ids) for ids in earlier.values()))
    residents, remainder = self.em.residents(), self.hierarchy.remainder
    if em < len(self.em):
      residents = quotas.shrink(residents, em, remainder)
    elif em > len(self.em):
      draws = self._generator(keys.Purpose.QUOTA)
      residents = admission.filled(residents, earlier, em, remainder, draws)
    self.em.become(residents, em, self.archive.intact)
    if data is not None:
      self.sb.fill(
        data,
        self._ids,
        self.experience,
        sb,
        self._generator(keys.Purpose.BUFFER),
      )
      self.begin_epoch()

  def begin_epoch(self) -> bool:
    """Fixes the rows of an epoch; tells whether they differ from the last."""
    before = self.span, self.buffered
    through = self.hierarchy.trains in ("both", "memory")
    self.span = len(self.em) if through else 0
    self.buffered = self.sb.count
    return (self.span, self.buffered) != before

  def source(self, draws: int, size: int) -> sources.Source | sources.Stored:
    """Returns the source that the experience trains on.

    Args:
      draws: how often a step draws from the memory.
      size: examples of a draw.
    """
    if self.hierarchy.trains == "store":
      ids = np.sort(np.concatenate(list(self.archive.pools().values())))
      return sources.Stored(ids, self.archive.intact, self.compose)
    return self.source_of(
      self.em.rows,
      self.sb,
      lambda: (self.span, self.buffered),
      draws,
      size,
    )

  def source_of(
    self,
    memory: ram.Ram,
    stream: ram.Ram,
    spans: Callable[[], tuple[int, int]],
    draws: int,
    size: int,
  ) -> sources.Source:
    """Returns a source of other slots than the run's own; see `Source`."""
    path = keys.Purpose.DRAW, self.experience
    own = self.hierarchy.trains == "stream"
    return sources.Source(
      memory, stream, spans, self.compose, self.seed, path, draws, size, own
    )

  def trained(
    self,
    step: int,
    part: float,
    epoch: int,
    ids: np.ndarray,
    difficulty: np.ndarray,
  ) -> None:
    """Requests exchanges of the examples that a step has replayed.

    Args:
      step: of the run.
      part: of the experience's epochs that is over, in [0, 1).
      epoch: of the experience.
      ids: [B] int32 of the batch, as `compose` gave them; -1 pads.
      difficulty: [B'] float32 of the first examples, B' <= B, as
        `train.step.Info` has it; the others count as 0.
    """
    own = np.where(ids < 0, -1, ids.astype(np.int64) + self._first)
    rows = {i: row for row, i in enumerate(own.tolist()) if i in self.em.slots}
    if not rows:
      return
    where = np.array(list(rows.values()))
    hard = np.pad(difficulty, (0, len(ids) - len(difficulty)))[where]
    slots = np.array([self.em.slots[i] for i in rows])
    labels, replayed = self.em.labels(slots), own[where]
    residents = self.em.slots
    self.exchanges.ask(step, part, epoch, replayed, labels, hard, residents)

  def apply(self, step: int) -> None:
    """Carries out the exchanges that are due at a step and have been read."""
    for exchange, rows in self.reader.collect(step):
      self.em.exchange(exchange.out, rows)

  def end(
    self,
    data: base.Dataset,
    size: int,
    extras: archive_lib.Extras | None = None,
    order: Order | None = None,
  ) -> None:
    """Ends the experience: the memory admits some of it, the buffer empties.

    Args:
      data: of the experience.
      size: seats of the memory from now on.
      extras: computes the extras of the examples; None: they have none.
      order: which examples of a class stay longest; None: the latest.
    """
    self.reader.end()
    if extras is not None:
      self.archive.add_extras(self.experience, data, extras)
    if self.hierarchy.trains != "memory":
      self.absorb(data, size, order)
    self._ids = np.zeros(0, np.int64)
    self.span = self.buffered = 0

  def absorb(
    self, data: base.Dataset, size: int, order: Order | None = None
  ) -> None:
    """Admits the buffer's examples to the memory; without a buffer, all.

    The buffer is given back first: examples that stay are read from the
    archive.

    Args:
      data: as for `end`.
      size: as for `end`.
      order: as for `end`.
    """
    ids, labels = self.sb.field("id"), self.sb.field("y")
    inputs = self.sb.inputs()
    if not len(ids):
      rest = np.flatnonzero(~np.isin(self._ids, self.archive.aside))
      ids, labels = self._ids[rest], np.asarray(data.y)[rest]
      blocks = np.split(rest, range(_BLOCK, len(rest), _BLOCK))
      inputs = (np.asarray(data.x[block]) for block in blocks)
    rows = np.argsort(ids) if order is None else order(labels, inputs)
    arrivals = admission.arrivals(
      ids[rows], labels[rows], data.y, self.em.slots
    )
    self.sb.clear()
    stored = self.archive.pools()
    size = min(size, sum(len(pool) for pool in stored.values()))
    rules, residents = self.hierarchy, self.em.residents()
    draws = self._generator(keys.Purpose.QUOTA)
    kept = admission.update(rules, residents, arrivals, stored, size, draws)
    self.em.become(kept, size, self.archive.intact)

  # Batches.

  def compose(
    self, shape: tuple[int, ...], parts: Sequence[tuple[np.ndarray, np.ndarray]]
  ) -> base.Batch:
    """Returns a batch [K, B, ...]; see `batches.compose`."""
    return batches.compose(self.archive, self._first, shape, parts)

  def memory(self) -> base.Batch:
    """Returns the memory as a batch [M, ...]; one pad where it is empty."""
    rows = self.em.rows.take(np.arange(len(self.em)))
    return batches.flat(self.archive, self._first, rows)

  def summary(self) -> dict[str, Any]:
    """Returns the content of memory and buffer in numbers, ready for JSON."""
    labels = self.em.rows.field("y")
    per_class = np.bincount(labels, minlength=self.archive.num_classes)
    return {
      "examples": len(self.em),
      "bytes": self.nbytes,
      "per_class": per_class.tolist(),
      "sizes": list(self.sizes),
      "exchanges": self.exchanges.state()["counts"],
    }

  # Saving and going on.

  def state(self) -> dict[str, Any]:
    """Returns all that resuming needs beside the archive, ready for JSON."""
    return {
      "experience": self.experience,
      "span": self.span,
      "buffered": self.buffered,
      "sizes": list(self.sizes),
      "first": self._first,
      "memory": self.em.state(),
      "buffer": self.sb.field("id").tolist(),
      "held_out": {
        str(k): v.tolist() for k, v in self.archive.held_out.items()
      },
      "exchanges": self.exchanges.state(),
      "begun": len(self._ids) > 0,
    }

  def restore(self, state: Mapping[str, Any], data: base.Dataset) -> None:
    """Goes on from a saved state.

    Args:
      state: as `state` returned it.
      data: of the state's experience.
    """
    self.archive.held_out = {
      int(k): np.array(v, np.int64) for k, v in state["held_out"].items()
    }
    # Even if the experience has ended: later examples count as unknown again.
    self.store(state["experience"], data)
    if not state["begun"]:
      self._ids = np.zeros(0, np.int64)
    self._first = state["first"]
    self.sizes = (state["sizes"][0], state["sizes"][1])
    # The host may allow less by now.
    held = len(state["memory"]["ids"]) + len(state["buffer"])
    room = int(min(self.room, held))
    self.em.restore(state["memory"], self.archive.intact, room)
    self.sb.restore(state["buffer"][: room - len(self.em)])
    self.span, self.buffered = state["span"], state["buffered"]
    self.exchanges.restore(state["exchanges"])

  def close(self) -> None:
    """Ends the threads that read and gives all memory back."""
    self.reader.close()
    self.em.close()
    self.sb.close()

  def _incoming(self, label: int) -> np.ndarray:
    """Returns the ids of a class that may be swapped in.

    Where extras are stored, examples of this experience have none yet, so they
    are left out.
    """
    pool = self.archive.pool(label)
    if self.archive.extra_names and len(self._ids):
      pool = pool[: np.searchsorted(pool, self._ids[0])]
    return pool

  def fresh(self) -> dict[int, np.ndarray]:
    """Returns the ids of each class that came with this experience."""
    return self.archive.pools(start=int(self._ids[0]))

  def earlier(self) -> dict[int, np.ndarray]:
    """Returns the ids of each class that came before this experience."""
    stop = int(self._ids[0]) if len(self._ids) else None
    return self.archive.pools(stop=stop)

  def _generator(self, purpose: int) -> np.random.Generator:
    return keys.rng(self.seed, purpose, self.experience)
