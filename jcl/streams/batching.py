"""Cuts experiences into batches, and orders their examples.

A single pass over a stream, the online setting, is one epoch per experience.
"""

import numpy as np

from jcl import base, keys
from jcl.options.errors import UsageError


def epoch_order(
  num_examples: int,
  seed: int,
  experience: int,
  epoch: int,
  *,
  ordered: bool = False,
) -> np.ndarray:
  """Returns the order of the examples in one epoch, [num_examples] int32.

  The order depends on the arguments alone, so that a resumed run repeats it.

  Args:
    num_examples: number of the experience's examples.
    seed: of the run, not negative.
    experience: index in the stream.
    epoch: counted from 0 in each experience.
    ordered: whether to keep the examples in the order of the stream, as for
      streams in time order.

  >>> epoch_order(4, seed=0, experience=0, epoch=0, ordered=True)
  array([0, 1, 2, 3], dtype=int32)
  """
  if ordered:
    return np.arange(num_examples, dtype=np.int32)
  rng = keys.rng(seed, keys.Purpose.ORDER, experience, epoch)
  return rng.permutation(num_examples).astype(np.int32)


def num_batches(num_examples: int, batch_size: int) -> int:
  """Counts the batches of `num_examples`, the last one padded if need be.

  >>> num_batches(10, 4)
  3
  """
  if batch_size < 1:
    raise UsageError(f"batch_size={batch_size}: write 1 or more")
  return -(-num_examples // batch_size)


def batch_rows(order: np.ndarray, batch_size: int) -> np.ndarray:
  """Cuts an order [N] into batches [num_batches, batch_size], -1 for pads.

  >>> batch_rows(np.arange(3), 2).tolist()
  [[0, 1], [2, -1]]
  """
  shape = num_batches(len(order), batch_size), batch_size
  rows = np.full(shape, -1, np.int32)
  rows.reshape(-1)[: len(order)] = order
  return rows


def padded(rows: np.ndarray, num_batches: int, batch_size: int) -> np.ndarray:
  """Returns rows [k, b] as [num_batches, batch_size], -1 for pads."""
  missing = (0, num_batches - rows.shape[0]), (0, batch_size - rows.shape[1])
  return np.pad(rows, missing, constant_values=-1)


def gather(
  dataset: base.Dataset, experience: int, rows: np.ndarray, *, first_id: int = 0
) -> base.Batch:
  """Reads rows of an experience as K batches of NumPy arrays.

  A pad repeats the first example of its batch, with weight 0 and id -1, so that
  statistics over a batch stay sensible. A batch of pads alone holds zeros.

  Args:
    dataset: of the experience.
    experience: its index, the batch's `task`.
    rows: [K, B] positions in `dataset`, -1 for pads.
    first_id: position of the data set's first example in the whole stream.

  Returns:
    A batch whose arrays begin with the axes [K, B].
  """
  real = rows >= 0
  chosen = rows[real]
  x = np.zeros((*rows.shape, *dataset.x.shape[1:]), dataset.x.dtype)
  y = np.zeros(rows.shape, np.int32)
  ids = np.full(rows.shape, -1, np.int32)
  if len(chosen):
    x[real], y[real] = dataset.x[chosen], dataset.y[chosen]
    ids[real] = chosen + first_id
  pads = np.nonzero(~real)
  x[pads], y[pads] = x[pads[0], 0], y[pads[0], 0]
  return base.Batch(
    x=x,
    y=y,
    task=np.full(rows.shape, experience, np.int32),
    ids=ids,
    weight=real.astype(np.float32),
    extras={},
  )
