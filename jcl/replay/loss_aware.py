"""A reservoir that easy examples leave first."""

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import losses
from jcl.replay import memory

LOSS = "loss"  # extra of an example: its loss when it was last shown


def loss_aware(inner: base.Replay) -> base.Replay:
  """Returns a memory that takes examples as a reservoir, and drops easy ones.

  Buzzega et al., "Rethinking Experience Replay: a Bag of Tricks for Continual
  Learning", ICPR 2020, https://arxiv.org/abs/2010.05595. The n-th example
  offered is taken with probability M / n. It takes the place of one drawn in
  proportion to how far the losses of those stored lie below the largest, so
  that the hardest never leaves; where all are equal, any may. A loss is that of
  the update that stored an example or last replayed it.

  Args:
    inner: a reservoir, whose draws and sizes stay.
  """

  def add(
    key: base.Key, state: base.ReplayState, batch: base.Batch
  ) -> base.ReplayState:
    slots, seen = place(
      key, state.seen, batch, state.items.extras[LOSS], batch.extras[LOSS]
    )
    items = memory.write(state.items, batch, slots)
    return state._replace(items=items, seen=seen)

  def update(
    state: base.ReplayState,
    drawn: base.Batch,
    logits: jax.Array,
    scope: base.Scope,
  ) -> base.ReplayState:
    now = losses.surprise(logits, drawn.y, scope.head)
    items = state.items
    ids = jnp.where(drawn.weight > 0, drawn.ids, -1)
    same = (items.ids[:, None] == ids) & (items.weight[:, None] > 0)  # [M, R]
    row = jnp.argmax(same, axis=1)
    loss = jnp.where(jnp.any(same, axis=1), now[row], items.extras[LOSS])
    extras = {**items.extras, LOSS: loss}
    return state._replace(items=items._replace(extras=extras))

  return inner._replace(add=add, update=update)


def place(
  key: base.Key,
  seen: jax.Array,
  batch: base.Batch,
  stored: base.Array,
  new: base.Array,
) -> tuple[jax.Array, jax.Array]:
  """Chooses slots for the rows of a batch, offered one by one.

  Args:
    key: consumed.
    seen: [] int32, examples offered before.
    batch: [B]; rows of weight 0 are not offered.
    stored: [M] losses of what the slots hold.
    new: [B] losses of the rows.

  Returns:
    Slots [B] int32, M for rows that are not stored; the new `seen`.
  """
  stored, new = jnp.asarray(stored), jnp.asarray(new)
  capacity = len(stored)

  def offer(carry, row):
    seen, stored = carry
    weight, loss, key = row
    offered = weight > 0
    number = seen + offered
    take, draw = jax.random.split(key)
    taken = jax.random.uniform(take) * number < capacity
    leaves = jax.random.categorical(draw, jnp.log(chances(stored)))
    slot = jnp.where(number <= capacity, number - 1, leaves)
    slot = jnp.where(offered & taken, slot, capacity).astype(jnp.int32)
    return (number, stored.at[slot].set(loss, mode="drop")), slot

  keys = jax.random.split(key, len(new))
  rows = jnp.asarray(batch.weight), new, keys
  (seen, _), slots = jax.lax.scan(offer, (seen, stored), rows)
  return slots, seen


def chances(stored: jax.Array) -> jax.Array:
  """Returns how likely each slot is the one to leave, [M], in sum 1.

  >>> chances(jnp.array([0.2, 0.5, 1.1])).round(3).tolist()
  [0.6000000238418579, 0.4000000059604645, 0.0]
  """
  below = jnp.max(stored) - stored
  total = jnp.sum(below)
  even = jnp.full_like(stored, 1 / len(stored))
  return jnp.where(total > 0, below / jnp.where(total > 0, total, 1), even)
