"""Sources of training batches: memory, stream buffer, or the archive."""

from collections.abc import Callable, Sequence
import zlib

import numpy as np

from jcl import base, keys
from jcl.replay.tiers import ram

# (shape [K, B], (flat places, rows) of each part) -> a batch, padded elsewhere
Compose = Callable[
  [tuple[int, ...], Sequence[tuple[np.ndarray, np.ndarray]]], base.Batch
]


def num_rows(trains: str, earlier: int, fresh: int, em: int, sb: int) -> int:
  """Returns how many examples an epoch goes through.

  Args:
    trains: of `base.Hierarchy`: "both", "memory", "stream" or "store".
    earlier: examples of the experiences before.
    fresh: examples of the experience.
    em: seats of the memory.
    sb: seats of the stream buffer.
  """
  memory, stream = min(em, earlier), min(sb, fresh)
  return {
    "both": memory + stream,
    "memory": min(em, earlier + fresh),
    "stream": stream,
    "store": earlier + fresh,
  }[trains]


class Source:
  """Source over the memory, the stream buffer or both.

  Rows [0, M) of an epoch are those of the memory, and later rows those of the
  stream buffer. `spans` are fixed when the epoch begins: where either tier has
  shrunk since, rows that are gone become padding. In a batch, the rows asked
  for come first, and then those that the objective draws from the memory.

  Args:
    memory: slots of the memory.
    stream: slots of the stream buffer.
    spans: returns the rows of the present epoch in the memory, and in the
      stream buffer.
    compose: makes the batch.
    seed: of the run.
    path: of the draws, as `keys.rng` takes it; the rows of a batch are added.
    draws: how often a step draws from the memory.
    size: examples of a draw.
    own: whether rows are the stream buffer's alone, which holds examples of
      one experience in the order in which they came.
  """

  def __init__(
    self,
    memory: ram.Ram,
    stream: ram.Ram,
    spans: Callable[[], tuple[int, int]],
    compose: Compose,
    seed: int,
    path: tuple[int, ...],
    draws: int = 0,
    size: int = 0,
    own: bool = False,
  ) -> None:
    self.own = own
    self._memory, self._stream, self._spans = memory, stream, spans
    self._compose, self._seed, self._path = compose, seed, path
    self._draws, self._size = draws, size

  def __len__(self) -> int:
    return sum(self._spans())

  def batch(self, rows: np.ndarray) -> base.Batch:
    """Returns host batches [K, B + drawn, ...] for rows [K, B], -1 for pads."""
    span, _ = self._spans()
    inside = (rows >= 0) & (rows < min(span, self._memory.count))
    memory = np.where(inside, rows, -1)
    inside = (rows >= span) & (rows - span < self._stream.count)
    stream = np.where(inside, rows - span, -1)
    if self._draws:
      drawn = np.stack([self._drawn(row) for row in rows])
      memory = np.concatenate([memory, drawn], axis=1)
      stream = np.concatenate([stream, np.full_like(drawn, -1)], axis=1)
    parts = []
    for tier, slots in ((self._memory, memory), (self._stream, stream)):
      places = np.flatnonzero(slots.reshape(-1) >= 0)
      parts.append((places, tier.take(slots.reshape(-1)[places])))
    return self._compose(memory.shape, parts)

  def _drawn(self, row: np.ndarray) -> np.ndarray:
    """Returns slots [draws * size] for a batch; its rows decide them."""
    generator = keys.rng(self._seed, *self._path, zlib.crc32(row.tobytes()))
    drawn = np.full((self._draws, self._size), -1, np.int64)
    for slots in drawn:
      some = generator.permutation(self._memory.count)[: self._size]
      slots[: len(some)] = some
    return drawn.reshape(-1)


class Stored:
  """Source over the archive, read batch by batch while training waits.

  Args:
    ids: [N] int64 of the examples.
    read: ids -> rows, without those that cannot be read.
    compose: makes the batch.
  """

  own = False  # examples of all experiences

  def __init__(
    self,
    ids: np.ndarray,
    read: Callable[[np.ndarray], np.ndarray],
    compose: Compose,
  ) -> None:
    self._ids, self._read, self._compose = ids, read, compose

  def __len__(self) -> int:
    return len(self._ids)

  def batch(self, rows: np.ndarray) -> base.Batch:
    """Returns host batches [K, B, ...] for rows [K, B], -1 for pads."""
    places = np.flatnonzero(rows.reshape(-1) >= 0)
    ids = self._ids[rows.reshape(-1)[places]]
    found = self._read(ids)
    places = places[np.isin(ids, found["id"])]
    return self._compose(rows.shape, [(places, found)])
