"""What an experience trains on: its own examples, all so far, or the memory."""

from collections.abc import Sequence

import jax
import numpy as np

from jcl import base
from jcl.streams import batching
from jcl.streams import stream as stream_lib


class Experiences:
  """The examples of one experience of a stream, or of several in a row.

  `batch(rows)` returns host batches for `rows` [K, B], where -1 pads.

  Args:
    stream: of the run.
    indices: of the experiences.
    own: whether these are shown as what an experience brings, so that a stream
      in time order has their order kept; a set of all so far is shuffled.
  """

  def __init__(
    self,
    stream: stream_lib.Stream,
    indices: Sequence[int],
    *,
    own: bool = True,
  ):
    self.own = own
    self._stream, self._indices = stream, tuple(indices)
    sizes = [len(stream.experiences[i].data) for i in self._indices]
    self._starts = np.concatenate([[0], np.cumsum(sizes)])

  def __len__(self) -> int:
    return int(self._starts[-1])

  def batch(self, rows: np.ndarray) -> base.Batch:
    whole = self._part(rows, 0)
    for part in range(1, len(self._indices)):
      here = (rows >= self._starts[part]) & (rows < self._starts[part + 1])
      if here.any():
        found = self._part(rows, part)
        for leaf, piece in zip(
          jax.tree.leaves(whole), jax.tree.leaves(found), strict=True
        ):
          leaf[here] = piece[here]
    return whole

  def _part(self, rows: np.ndarray, part: int) -> base.Batch:
    start, end = self._starts[part : part + 2]
    local = np.where((rows >= start) & (rows < end), rows - start, -1)
    index = self._indices[part]
    return batching.gather(
      self._stream.experiences[index].data,
      index,
      local,
      first_id=self._stream.first_id(index),
    )


class Memory:
  """The filled slots of an episodic memory, as a training set."""

  own = False  # examples of any experience, in no order

  def __init__(self, items: base.Batch):
    filled = np.flatnonzero(np.asarray(items.weight) > 0)
    self._items = jax.tree.map(lambda leaf: np.asarray(leaf)[filled], items)

  def __len__(self) -> int:
    return len(self._items.y)

  def batch(self, rows: np.ndarray) -> base.Batch:
    padding = rows < 0
    picked = jax.tree.map(
      lambda leaf: leaf[np.where(padding, 0, rows)],
      self._items._replace(extras={}),
    )
    return picked._replace(
      ids=np.where(padding, -1, picked.ids).astype(np.int32),
      weight=np.where(padding, 0, picked.weight).astype(np.float32),
    )


def training_set(
  name: str,
  stream: stream_lib.Stream,
  index: int,
  memory: base.Batch | None,
) -> Experiences | Memory:
  """Returns what experience `index` trains on: see `base.Method.gather`.

  Raises:
    ValueError: for an unknown name, or "memory" without a memory.
  """
  if name == "current":
    return Experiences(stream, [index])
  if name == "seen":
    return Experiences(stream, range(index + 1), own=False)
  if name == "memory" and memory is not None:
    return Memory(memory)
  raise ValueError(
    f"gather={name!r}: choose current, seen, or memory (with a replay "
    "policy that keeps one)"
  )
