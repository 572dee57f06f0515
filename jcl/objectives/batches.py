"""Joins batches of the stream with replayed ones."""

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base


def fill(memory: base.Batch, batch: base.Batch) -> base.Batch:
  """Gives the padding rows of `memory` the inputs of stream examples.

  Normalisers in training mode average over all rows of a batch, whatever their
  weight, and blank rows would distort their statistics. Padding keeps weight 0.

  Args:
    memory: [R, ...] replayed examples.
    batch: [B, ...] examples of the stream; B is 1 or more.

  Returns:
    `memory` with other `x`, [R, ...].
  """
  num_rows = memory.weight.shape[0]
  rows = np.arange(num_rows) % batch.weight.shape[0]
  is_padding = (memory.weight == 0).reshape(
    num_rows, *(1,) * (memory.x.ndim - 1)
  )
  return memory._replace(x=jnp.where(is_padding, batch.x[rows], memory.x))


def join(batch: base.Batch, memory: base.Batch) -> base.Batch:
  """Returns one batch [B + R, ...], the stream first, without extras."""
  memory = fill(memory, batch)
  return jax.tree.map(
    lambda *parts: jnp.concatenate(parts),
    batch._replace(extras={}),
    memory._replace(extras={}),
  )
