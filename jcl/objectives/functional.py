"""Regularisation in function space.

Benjamin, Rolnick and Kording, "Measuring and Regularizing Networks in Function
Space", ICLR 2019, https://arxiv.org/abs/1805.08289: the distance between two
networks is the distance between their outputs for a few examples, whatever
their weights.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jcl import base
from jcl.objectives import batches, losses
from jcl.options.errors import UsageError


def fdr(alpha: float) -> base.Objective:
  """Cross-entropy, plus `alpha` times how far replayed predictions moved.

  The distance is the L2 norm of the difference between the softmax of the
  present and of the stored logits, averaged over examples; both softmaxes run
  over the outputs in play now. Use it with a memory that is filled when an
  experience ends, so that it stores the logits of the function learned by then.

  Args:
    alpha: weight of the distance, from 0.

  Raises:
    ValueError: where `alpha` is negative.
  """
  if alpha < 0:
    raise UsageError(
      f"alpha weighs a loss and is {alpha}: give a number from 0"
    )

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    batch, memory, head = inputs.batch, inputs.memory[0], inputs.scope.head
    key, replay_key = jax.random.split(inputs.key)
    out = forward(inputs.params, inputs.stats, batch.x, key)
    learned = losses.cross_entropy(out.logits, batch.y, batch.weight, head)
    replayed = batches.fill(memory, batch)
    again = forward(inputs.params, out.stats, replayed.x, replay_key)
    now, then = (
      jax.nn.softmax(jnp.where(head, logits, losses.MASKED), axis=-1)
      for logits in (again.logits, memory.extras["logits"])
    )
    # The root has no slope at 0, where replay begins; `safe_norm` has slope 0.
    distance = optax.safe_norm(now - then, 0.0, axis=-1)
    moved = losses.weighted_mean(distance, memory.weight)
    info = {"stream": learned, "moved": moved}
    extras = {"logits": out.logits}
    aux = base.Aux(again.stats, out.logits, extras, info)
    return learned + alpha * moved, aux

  return base.Objective(loss, num_draws=1, stores=_stores)


def _stores(network: base.Network) -> dict[str, base.Array]:
  """Returns the extras of one example: its logits [C]."""
  return {"logits": np.zeros(network.num_classes, np.float32)}
