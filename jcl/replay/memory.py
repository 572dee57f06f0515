"""Sample storage: examples in slots, and the bytes of a slot."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jcl import base
from jcl.options import plain
from jcl.options.errors import UsageError

# Slots never count from the end: to allow for that takes three more operations
# in each place.
_FORWARD: dict[str, Any] = {"wrap_negative_indices": False}


def empty(capacity: int, example: base.Batch) -> base.Batch:
  """Returns `capacity` empty slots for examples like `example`.

  Args:
    capacity: number of slots `M`.
    example: one example without batch axis, with the extras to be stored.

  Returns:
    A batch [M, ...] of the example's dtypes, all of weight 0 and id -1.
  """
  items = jax.tree.map(
    lambda leaf: jnp.zeros((capacity, *jnp.shape(leaf)), jnp.result_type(leaf)),
    example,
  )
  return items._replace(ids=jnp.full_like(items.ids, -1))


def start(capacity: int | str, example: base.Batch) -> base.ReplayState:
  """Returns an empty memory for a policy without further state.

  Args:
    capacity: in slots, or in bytes as for `capacity_in_slots`.
    example: one example without batch axis, with the extras to be stored.
  """
  items = empty(capacity_in_slots(capacity, example), example)
  return base.ReplayState(items, jnp.zeros((), jnp.int32), policy=())


def write(items: base.Batch, batch: base.Batch, slots: jax.Array) -> base.Batch:
  """Stores the rows of a batch, each in its slot, with weight 1.

  If two rows have the same slot, the later row stays, on every backend.

  Args:
    items: slots [M, ...].
    batch: examples [B, ...]; extras that `items` does not hold are ignored.
    slots: [B] int32 in [0, M]; M drops the row.
  """
  missing = sorted(set(items.extras) - set(batch.extras))
  if missing:
    raise UsageError(
      f"the memory stores {missing}, which the batch lacks: return them in "
      "Aux.extras of the objective, or leave them out of the example that "
      "the memory is made from"
    )
  chex.assert_type(batch.x, items.x.dtype)
  chex.assert_shape(batch.x, (None, *items.x.shape[1:]))
  capacity = items.weight.shape[0]
  rows = jnp.arange(slots.shape[0])
  # The order of duplicate writes is undefined; a maximum over rows is defined.
  last = jnp.full(capacity, -1).at[slots].max(rows, mode="drop", **_FORWARD)
  wins = last.at[slots].get(mode="fill", fill_value=-1, **_FORWARD) == rows
  slots = jnp.where(wins, slots, capacity)
  batch = batch._replace(
    weight=jnp.ones_like(batch.weight),
    extras={name: batch.extras[name] for name in items.extras},
  )
  return jax.tree.map(
    lambda kept, new: kept.at[slots].set(new, mode="drop", **_FORWARD),
    items,
    batch,
  )


def read(items: base.Batch, slots: jax.Array) -> base.Batch:
  """Returns the examples in `slots` [R] int32; M gives a padding row."""
  batch = jax.tree.map(
    lambda leaf: leaf.at[slots].get(mode="fill", fill_value=0, **_FORWARD),
    items,
  )
  inside = slots < items.weight.shape[0]
  return batch._replace(ids=jnp.where(inside, batch.ids, -1))


def num_bytes(items: base.Batch) -> int:
  """Returns the bytes of slots, labels and extras included."""
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(items))


def capacity_in_slots(budget: int | str, example: base.Batch) -> int:
  """Returns how many examples like `example` a budget holds.

  Args:
    budget: a number of samples, or bytes as text such as "2MB" (10**6) or
      "512KiB" (2**10).
    example: one example without batch axis, with the extras to be stored.

  Raises:
    ValueError: for a text that is no size, or a budget for less than a sample.
  """
  cost = num_bytes(jax.eval_shape(lambda: empty(1, example)))
  capacity = (
    plain.parse_size(budget) // cost if isinstance(budget, str) else budget
  )
  if capacity < 1:
    raise UsageError(
      f"a memory of {budget!r} holds no sample: one costs {cost} bytes; give "
      f'at least "{cost}B", or a number of samples from 1'
    )
  return capacity


def check_sizes(capacity: int | str, num_samples: int) -> None:
  """Raises `ValueError` for sizes that no memory can have."""
  size = plain.parse_size(capacity) if isinstance(capacity, str) else capacity
  if size < 1:
    raise UsageError(
      f"a memory of {capacity!r} keeps nothing: give a capacity of at least "
      "one slot, or use nothing.none()"
    )
  if num_samples < 0:
    raise UsageError(
      f"num_samples is {num_samples}: give the number of examples per draw, "
      "or 0 for a memory that is never sampled"
    )
