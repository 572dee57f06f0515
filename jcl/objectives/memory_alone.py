"""An objective that learns from the memory alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jcl import base


def on_memory(
  inner: base.Objective, stores: Callable[[base.Network], dict[str, base.Array]]
) -> base.Objective:
  """Returns an objective that sees one draw of the memory as its batch.

  The batch of the stream counts for nothing, and nothing is stored.

  Args:
    inner: replays nothing itself, and remembers nothing.
    stores: network -> extras of one example that the memory has.
  """

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    drawn = _filled(inputs.memory[0])
    value, aux = inner.loss(forward, inputs._replace(batch=drawn, memory=()))
    size = inputs.batch.y.shape[0]
    blank = jnp.zeros((size, aux.logits.shape[-1]), jnp.float32)
    return value, aux._replace(logits=blank, extras={})

  return base.Objective(loss, num_draws=1, stores=stores)


def _filled(batch: base.Batch) -> base.Batch:
  """Gives padding rows the inputs of the first row, which is real.

  Normalisers in training mode average over all rows, whatever their weight.
  """
  shape = (len(batch.y), *(1,) * (batch.x.ndim - 1))
  real = jnp.reshape(batch.weight > 0, shape)
  return batch._replace(x=jnp.where(real, batch.x, batch.x[:1]))
