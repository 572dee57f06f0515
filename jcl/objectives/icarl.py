"""Representation learning of iCaRL."""

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import batches, losses, teacher


def icarl() -> base.Objective:
  """Binary cross-entropy per class, old classes taught by the old network.

  Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning",
  CVPR 2017, Algorithm 3, https://arxiv.org/abs/1611.07725, on stream and
  replayed examples together. The targets of classes that the current experience
  lacks are the sigmoid outputs of the network as it stood when the experience
  began; the targets of its own classes are the labels. The loss is averaged
  over examples and the classes seen.
  """

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    state, scope = inputs.state, inputs.scope
    whole = batches.join(inputs.batch, inputs.memory[0])
    out = forward(inputs.params, inputs.stats, whole.x, inputs.key)
    old = forward(state.params, state.stats, whole.x, evaluate=True)
    targets = jnp.where(
      teacher.earlier_classes(scope),
      jax.nn.sigmoid(jnp.asarray(old.logits, jnp.float32)),
      jax.nn.one_hot(whole.y, scope.seen.shape[0]),
    )
    value = losses.binary_cross_entropy(
      out.logits, targets, whole.weight, scope.seen & scope.head
    )
    logits = out.logits[: inputs.batch.y.shape[0]]
    return value, base.Aux(out.stats, logits, {}, {})

  return base.Objective(
    loss, num_draws=1, init=teacher.copy, begin=teacher.begin
  )
