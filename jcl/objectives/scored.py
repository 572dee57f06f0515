"""An objective that stores examples with their loss."""

import jax
import numpy as np

from jcl import base
from jcl.objectives import losses


def scored(inner: base.Objective, name: str) -> base.Objective:
  """Returns an objective that stores the cross-entropy of each example too.

  It is that of the update that learned the example, ahead of it.

  Args:
    inner: the objective.
    name: of the extra.
  """

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    value, aux = inner.loss(forward, inputs)
    labels, mask = inputs.batch.y, inputs.scope.head
    found = jax.lax.stop_gradient(losses.surprise(aux.logits, labels, mask))
    return value, aux._replace(extras={**aux.extras, name: found})

  def stores(network: base.Network) -> dict[str, base.Array]:
    return {**inner.stores(network), name: np.zeros((), np.float32)}

  return inner._replace(loss=loss, stores=stores)
