"""Experience replay in which new classes do not push old ones aside."""

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import batches, losses


def er_ace() -> base.Objective:
  """Replay with asymmetric cross-entropy (ER-ACE).

  Caccia et al., "New Insights on Reducing Abrupt Representation Change in
  Online Continual Learning", ICLR 2022, eq. 4,
  https://arxiv.org/abs/2104.05025. The softmax of the stream batch leaves out
  every class seen that the batch does not hold; outputs of classes still to
  come take part if `scope.head` has them. The softmax of the replayed batch
  runs over all classes seen. In the first experience nothing is replayed and no
  class left out.
  """

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    batch, scope = inputs.batch, inputs.scope
    key, replay_key = jax.random.split(inputs.key)
    out = forward(inputs.params, inputs.stats, batch.x, key)
    is_first = scope.task == 0
    present = jnp.zeros(scope.seen.shape, bool)
    present = present.at[batch.y].max(batch.weight > 0)
    mask = scope.head & (present | ~scope.seen | is_first)
    new = losses.cross_entropy(out.logits, batch.y, batch.weight, mask)

    replayed = batches.fill(inputs.memory[0], batch)
    again = forward(inputs.params, out.stats, replayed.x, replay_key)
    old = losses.cross_entropy(
      again.logits,
      replayed.y,
      jnp.where(is_first, 0.0, replayed.weight),
      scope.head & scope.seen,
    )
    stats = jax.tree.map(
      lambda one, two: jnp.where(is_first, one, two), out.stats, again.stats
    )
    info = {"stream": new, "replay": old}
    return new + old, base.Aux(stats, out.logits, {}, info)

  return base.Objective(loss, num_draws=1)
