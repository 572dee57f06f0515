"""Gradients corrected so that they do not raise the loss on a memory."""

import operator

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import losses, supervised


def agem() -> base.Objective:
  """Averaged gradient episodic memory.

  Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019, eq. 11,
  https://arxiv.org/abs/1812.00420: where the gradient g of the batch and the
  gradient r of a replayed batch point apart, g loses its part along r. An empty
  memory has r = 0 and leaves g as it is.
  """

  def reference(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    old = inputs.memory[0]
    out = forward(inputs.params, inputs.stats, old.x, inputs.key)
    value = losses.cross_entropy(
      out.logits, old.y, old.weight, inputs.scope.head
    )
    return value, base.Aux(out.stats, out.logits, {}, {})

  return supervised.cross_entropy()._replace(
    num_draws=1, reference=reference, project=_project
  )


def _project(
  grads: base.Params, reference: base.Params, memory: tuple[base.Batch, ...]
) -> base.Params:
  """Returns g - min(g.r, 0) / (r.r) r, or g where r is 0."""
  del memory
  norm = _dot(reference, reference)
  along = jnp.minimum(_dot(grads, reference), 0.0)
  scale = along / jnp.where(norm > 0, norm, 1.0)
  return jax.tree.map(lambda g, r: g - scale * r, grads, reference)


def _dot(one: base.Params, two: base.Params) -> jax.Array:
  """Returns the inner product of two trees of arrays, [] float32."""
  products = jax.tree.map(lambda a, b: jnp.sum(a * b), one, two)
  return jax.tree.reduce(operator.add, products, jnp.float32(0))
