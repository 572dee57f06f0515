"""What an experience trains on: its own examples, all so far, or the memory."""

from collections.abc import Sequence

import jax
import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.streams import batching
from jcl.streams import stream as stream_lib


class Experiences:
  """The examples of one experience of a stream, or of several in a row.

  `batch(rows)` returns host batches for `rows` [K, B], where -1 pads.

  Args:
    stream: of the run.
    indices: of the experiences.
    own: whether the set is what an experience brings, whose order a stream in
      time order keeps; a set of all experiences so far is shuffled.
  """

  def __init__(
    self,
    stream: stream_lib.Stream,
    indices: Sequence[int],
    *,
    own: bool = True,
  ) -> None:
    self.own = own
    self._stream = stream
    self._first, self._last = indices[0], indices[-1]

  @property
  def labels(self) -> np.ndarray:
    """Classes of the examples [N], in the order of the stream."""
    parts = self._stream.experiences[self._first : self._last + 1]
    return np.concatenate([np.asarray(each.data.y) for each in parts])

  def __len__(self) -> int:
    starts = self._stream.starts
    return int(starts[self._last + 1] - starts[self._first])

  def batch(self, rows: np.ndarray) -> base.Batch:
    stream, first = self._stream, self._first
    start = stream.first_id(first)
    if first == self._last:
      data = stream.experiences[first].data
      return batching.gather(data, first, rows, first_id=start)
    rows = np.where(rows >= 0, rows + start, -1)
    found = batching.gather(stream.examples, first, rows)
    real = rows >= 0
    # Pads repeat an example of the first experience, or are zero.
    strange = ~real & (rows[:, :1] >= stream.starts[first + 1])
    found.x[strange], found.y[strange] = 0, 0
    task = np.searchsorted(stream.starts, rows, side="right") - 1
    return found._replace(task=np.where(real, task, first).astype(np.int32))


class Memory:
  """The filled slots of an episodic memory, as a training set."""

  own = False  # examples of any experience, in no order

  def __init__(self, items: base.Batch) -> None:
    filled = np.flatnonzero(np.asarray(items.weight) > 0)
    self._items = jax.tree.map(lambda leaf: np.asarray(leaf)[filled], items)

  @property
  def labels(self) -> np.ndarray:
    """Classes of the examples [N]."""
    return self._items.y

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
  """Returns what experience `index` trains on: see `base.Method.trains_on`.

  Raises:
    ValueError: for an unknown name, or "memory" without a memory.
  """
  if name == "current":
    return Experiences(stream, [index])
  if name == "seen":
    return Experiences(stream, range(index + 1), own=False)
  if name == "memory" and memory is not None:
    return Memory(memory)
  raise UsageError(
    f"trains_on={name!r}: choose current, seen, or memory (with a replay "
    "policy that keeps one)"
  )
