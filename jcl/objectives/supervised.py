"""Cross-entropy on the stream, and on the stream and a memory."""

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import batches, losses
from jcl.options.errors import UsageError


def without_state(inner: base.Objective) -> None:
  """Raises ValueError for an objective that has a state of its own."""
  hooks = (inner.track, inner.begin, inner.accumulate, inner.finish)
  if any(hooks) or inner.init({}, {}) != ():
    raise UsageError(
      "inner must remember nothing between steps, such as "
      "supervised.experience_replay(): penalties do not nest"
    )


def cross_entropy(current: bool = False) -> base.Objective:
  """Learns the current batch and nothing else.

  Args:
    current: whether only classes of the current experience compete, instead of
      all outputs in play.
  """

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    batch, scope = inputs.batch, inputs.scope
    out = forward(inputs.params, inputs.stats, batch.x, inputs.key)
    mask = scope.current if current else scope.head
    value = losses.cross_entropy(out.logits, batch.y, batch.weight, mask)
    return value, base.Aux(out.stats, out.logits, {}, {})

  return base.Objective(loss)


def binary_cross_entropy() -> base.Objective:
  """Learns the current batch with a sigmoid of each output.

  The loss of Rebuffi et al., "iCaRL: Incremental Classifier and Representation
  Learning", CVPR 2017, https://arxiv.org/abs/1611.07725, without its
  distillation.
  """

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    batch = inputs.batch
    out = forward(inputs.params, inputs.stats, batch.x, inputs.key)
    targets = jax.nn.one_hot(batch.y, out.logits.shape[-1])
    value = losses.binary_cross_entropy(
      out.logits, targets, batch.weight, inputs.scope.head
    )
    return value, base.Aux(out.stats, out.logits, {}, {})

  return base.Objective(loss)


def experience_replay(
  one_loss: bool = True, current: bool = False
) -> base.Objective:
  """Learns each batch together with one from the memory.

  Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019,
  https://arxiv.org/abs/1902.10486; Riemer et al., "Learning to Learn without
  Forgetting by Maximizing Transfer and Minimizing Interference", ICLR 2019,
  https://arxiv.org/abs/1810.11910.

  Args:
    one_loss: whether stream and replayed examples are one batch, with one mean
      over all of them; otherwise two batches, whose means are added.
    current: whether only classes of the current experience compete for examples
      of the stream, instead of all outputs in play.
  """

  def joint_loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    whole = batches.join(inputs.batch, inputs.memory[0])
    out = forward(inputs.params, inputs.stats, whole.x, inputs.key)
    mask, size = inputs.scope.head, inputs.batch.y.shape[0]
    if current:  # [B + R, C]
      is_new = jnp.arange(len(whole.y))[:, None] < size
      mask = jnp.where(is_new, inputs.scope.current, mask)
    value = losses.cross_entropy(out.logits, whole.y, whole.weight, mask)
    new, old = out.logits[:size], out.logits[size:]
    return value, base.Aux(out.stats, new, {}, {}, (old,))

  def separate_loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    batch = inputs.batch
    key, replay_key = jax.random.split(inputs.key)
    out = forward(inputs.params, inputs.stats, batch.x, key)
    replayed = batches.fill(inputs.memory[0], batch)
    again = forward(inputs.params, out.stats, replayed.x, replay_key)
    head = inputs.scope.head
    mine = inputs.scope.current if current else head
    new, old = (
      losses.cross_entropy(o.logits, b.y, b.weight, mask)
      for o, b, mask in ((out, batch, mine), (again, replayed, head))
    )
    info = {"stream": new, "replay": old}
    aux = base.Aux(again.stats, out.logits, {}, info, (again.logits,))
    return new + old, aux

  return base.Objective(
    joint_loss if one_loss else separate_loss, num_draws=1, reports=True
  )
