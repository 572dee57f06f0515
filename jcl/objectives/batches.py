"""Stream and replayed examples side by side."""

import jax
import jax.numpy as jnp

from jcl import base


def fill(memory: base.Batch, batch: base.Batch) -> base.Batch:
  """Gives the padding rows of `memory` the inputs of stream examples.

  They still weigh 0, but normalisers in training mode average over all rows of
  a batch, and blank ones would distort their statistics.
  """
  num_rows = memory.weight.shape[0]
  rows = jnp.arange(num_rows) % batch.weight.shape[0]
  is_padding = (memory.weight == 0).reshape(
    num_rows, *(1,) * (memory.x.ndim - 1)
  )
  return memory._replace(x=jnp.where(is_padding, batch.x[rows], memory.x))


def join(batch: base.Batch, memory: base.Batch) -> base.Batch:
  """Returns one batch [B + R, ...], stream first, without extras."""
  memory = fill(memory, batch)
  return jax.tree.map(
    lambda *parts: jnp.concatenate(parts),
    batch._replace(extras={}),
    memory._replace(extras={}),
  )
