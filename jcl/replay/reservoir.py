"""A memory in which every example seen so far is equally likely."""

import functools

import jax
import jax.numpy as jnp

from jcl import base
from jcl.replay import memory, sampling


def place(
  key: base.Key, seen: jax.Array, weight: base.Array, capacity: int
) -> tuple[jax.Array, jax.Array]:
  """Chooses slots as if the rows of a batch were offered one by one.

  Algorithm R (Vitter, "Random Sampling with a Reservoir", ACM TOMS 1985,
  https://doi.org/10.1145/3147.3165): the n-th example, counted from 0, fills
  slot n if there is one; otherwise a slot j is drawn from 0 .. n, and the
  example replaces the one in slot j if j < M. The draw depends on n alone, so
  a batch needs no loop as long as the later of two rows in one slot is kept.

  Args:
    key: consumed.
    seen: [] int32, examples offered before.
    weight: [B]; rows of weight 0 are not offered.
    capacity: M.

  Returns:
    Slots [B] int32, M for rows that are not stored; the new `seen`.
  """
  offered = weight > 0
  total = seen + jnp.cumsum(offered)
  number = total - 1
  draw = jax.random.randint(key, weight.shape, 0, jnp.maximum(total, 1))
  slots = jnp.where(number < capacity, number, draw)
  slots = jnp.where(offered & (slots < capacity), slots, capacity)
  return slots, seen + jnp.sum(offered, dtype=seen.dtype)


def reservoir(
  capacity: int | str, num_samples: int, *, current: bool = True
) -> base.Replay:
  """Keeps a uniform sample of the stream.

  Args:
    capacity: in slots, or in bytes such as "2MB".
    num_samples: examples per draw.
    current: whether draws include examples of the current experience.
  """
  memory.check_sizes(capacity, num_samples)

  def add(
    key: base.Key, state: base.ReplayState, batch: base.Batch
  ) -> base.ReplayState:
    num_slots = state.items.weight.shape[0]
    slots, seen = place(key, state.seen, batch.weight, num_slots)
    return state._replace(
      items=memory.write(state.items, batch, slots), seen=seen
    )

  return base.Replay(
    capacity,
    num_samples,
    init=functools.partial(memory.start, capacity),
    add=add,
    sample=functools.partial(
      sampling.sample, num_samples=num_samples, current=current
    ),
  )
