"""Memories that give every class an equal share of the slots.

With M slots and K classes in memory, a class is under its quota while it has
fewer than M / K examples; if K does not divide M, some classes have one more
than others. An example of a class under its quota takes an empty slot or, if
there is none, the slot of an example of the largest class. Published policies
differ in the treatment of other examples, and in the example of a class that
makes room. With fewer slots than classes, a class leaves when another comes.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.replay import memory, sampling

_EMPTY = -1  # label of an empty slot

# (slots that may make room [M] bool, arrival numbers [M], chance []) -> slot
EvictFn = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class Census(NamedTuple):
  """State of the policies beside the labels of the slots."""

  order: jax.Array  # [M] int32, arrival number of the slot's example
  size: jax.Array  # [M] int32, number of slots of the slot's class
  num_held: jax.Array  # [] int32, classes with an example in memory


def ring(
  capacity: int | str, num_samples: int, *, current: bool = True
) -> base.Replay:
  """Keeps the most recent examples of each class.

  A ring buffer per class (Chaudhry et al., "On Tiny Episodic Memories in
  Continual Learning", 2019, https://arxiv.org/abs/1902.10486): a class over its
  quota overwrites its own oldest example. Departure: the quota shrinks as
  classes arrive instead of being fixed beforehand, so that no slot stays empty
  for a class to come.

  Args:
    capacity: in slots, or in bytes such as "2MB".
    num_samples: examples per draw.
    current: whether draws include examples of the current experience.
  """
  return _balanced(capacity, num_samples, current, _oldest, overwrites=True)


def greedy(
  capacity: int | str, num_samples: int, *, current: bool = True
) -> base.Replay:
  """Keeps numbers of each class as equal as the stream allows.

  The greedy balancing sampler (Prabhu et al., "GDumb: A Simple Approach that
  Questions Our Progress in Continual Learning", ECCV 2020, Algorithm 1,
  https://doi.org/10.1007/978-3-030-58536-5_31): an example of a class over its
  quota is dropped, and a random example of the largest class makes room for
  others. Each experience is offered before training, since GDumb trains on the
  memory alone.

  Args:
    capacity: in slots, or in bytes such as "2MB".
    num_samples: examples per draw.
    current: whether draws include examples of the current experience.
  """
  replay = _balanced(
    capacity, num_samples, current, _at_random, overwrites=False
  )
  return replay._replace(when="before")


def _balanced(
  capacity: int | str,
  num_samples: int,
  current: bool,
  evict_fn: EvictFn,
  *,
  overwrites: bool,
) -> base.Replay:
  memory.check_sizes(capacity, num_samples)

  def init(example: base.Batch) -> base.ReplayState:
    state = memory.start(capacity, example)
    empty = jnp.zeros_like(state.items.y)
    return state._replace(policy=Census(empty, empty, jnp.int32(0)))

  def add(
    key: base.Key, state: base.ReplayState, batch: base.Batch
  ) -> base.ReplayState:
    labels = jnp.where(state.items.weight > 0, state.items.y, _EMPTY)
    offered = batch.weight > 0
    total = state.seen + jnp.cumsum(offered, dtype=jnp.int32)
    chance = jax.random.uniform(key, offered.shape)
    (_, census), slots = jax.lax.scan(
      functools.partial(_offer, evict_fn, overwrites),
      (labels, state.policy),
      (batch.y, total - 1, offered, chance),
    )
    return base.ReplayState(
      memory.write(state.items, batch, slots),
      state.seen + jnp.sum(offered, dtype=jnp.int32),
      census,
    )

  return base.Replay(
    capacity,
    num_samples,
    init=init,
    add=add,
    sample=functools.partial(
      sampling.sample, num_samples=num_samples, current=current
    ),
  )


def _offer(
  evict_fn: EvictFn,
  overwrites: bool,
  carry: tuple[jax.Array, Census],
  row: tuple[jax.Array, ...],
) -> tuple[tuple[jax.Array, Census], jax.Array]:
  """Stores or drops one example, a step of a scan.

  Args:
    evict_fn: chooses the slot among those that may make room.
    overwrites: whether a class over its quota overwrites its own examples.
    carry: labels [M] and census of the slots.
    row: class, arrival number, whether it is offered, and a chance in [0, 1).

  Returns:
    The new carry, and the slot of the example, M if it was dropped.
  """
  labels, census = carry
  label, number, offered, chance = row
  capacity = labels.shape[0]
  own = labels == label
  count = jnp.sum(own, dtype=jnp.int32)
  is_new = count == 0
  under_quota = count * (census.num_held + is_new) < capacity
  empty = labels == _EMPTY
  largest = census.size == jnp.max(census.size)
  room = jnp.where(
    under_quota,
    jnp.where(jnp.any(empty), empty, largest),
    own if overwrites else False,
  )
  stored = offered & jnp.any(room)
  slot = jnp.where(stored, evict_fn(room, census.order, chance), capacity)
  evicted = labels.at[slot].get(mode="fill", fill_value=_EMPTY)
  labels = labels.at[slot].set(label, mode="drop")
  lost, gained = labels == evicted, labels == label
  size = jnp.where(lost, jnp.sum(lost, dtype=jnp.int32), census.size)
  size = jnp.where(gained, jnp.sum(gained, dtype=jnp.int32), size)
  gone = (evicted != _EMPTY) & ~jnp.any(lost)
  num_held = census.num_held + (stored & is_new) - gone
  order = census.order.at[slot].set(number, mode="drop")
  return (labels, Census(order, size, num_held)), slot


def _oldest(room: jax.Array, order: jax.Array, chance: jax.Array) -> jax.Array:
  """Returns the slot in `room` whose example arrived first."""
  del chance
  return jnp.argmin(jnp.where(room, order, jnp.iinfo(order.dtype).max))


def _at_random(
  room: jax.Array, order: jax.Array, chance: jax.Array
) -> jax.Array:
  """Returns a random slot in `room`."""
  del order
  upto = jnp.cumsum(room)
  rank = jnp.floor(chance * upto[-1]).astype(upto.dtype)
  # Rounding may lift the product to the count itself.
  return jnp.argmax(upto > jnp.minimum(rank, upto[-1] - 1))
