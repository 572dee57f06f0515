"""An objective that learns from the memory alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import batches


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
    drawn = inputs.memory[0]  # its first row is real
    drawn = batches.fill(drawn, jax.tree.map(lambda leaf: leaf[:1], drawn))
    value, aux = inner.loss(forward, inputs._replace(batch=drawn, memory=()))
    size = inputs.batch.y.shape[0]
    blank = jnp.zeros((size, aux.logits.shape[-1]), jnp.float32)
    return value, aux._replace(logits=blank, extras={})

  return base.Objective(loss, num_draws=1, stores=stores)
