"""A memory with a random sample of every experience, all of one size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.replay import memory, sampling


def sampled(
  capacity: int | str, num_samples: int, *, current: bool = True
) -> base.Replay:
  """Keeps as many examples of each experience, drawn evenly among its own.

  Average accuracy weighs every experience alike, whatever its size, and within
  one every example: a model that is right on a share of these examples is
  expected to have that average accuracy, on data like those learned from.

  An example is kept by a number that looks random and depends on its position
  in the stream alone (bottom-k sampling: Cohen and Kaplan, "Summarizing Data
  using Bottom-k Sketches", PODC 2007, https://doi.org/10.1145/1281100.1281133),
  so that the sample does not depend on the order in which examples come, and an
  experience that is offered twice changes nothing.

  Args:
    capacity: in slots, or in bytes such as "2MB".
    num_samples: examples per draw.
    current: whether draws include examples of the current experience.
  """
  memory.check_sizes(capacity, num_samples)

  def add(
    key: base.Key, state: base.ReplayState, batch: base.Batch
  ) -> base.ReplayState:
    del key
    offered = batch.weight > 0
    kept = state.items.weight > 0
    seen = state.seen + jnp.sum(offered, dtype=jnp.int32)
    new = offered & ~jnp.isin(batch.ids, jnp.where(kept, state.items.ids, -1))
    there = jnp.concatenate([kept, new])
    task = jnp.concatenate([state.items.task, batch.task])
    draw = _draw(jnp.concatenate([state.items.ids, batch.ids]))
    best = _best(there, task, draw, len(kept))
    stays, comes = best[: len(kept)], best[len(kept) :]
    # The examples that come take the slots of those that do not stay.
    free = jnp.argsort(stays, stable=True)
    rank = jnp.cumsum(comes) - 1
    slots = jnp.where(comes, free[jnp.maximum(rank, 0)], len(kept))
    emptied = jnp.where(stays, state.items.weight, 0.0)
    items = state.items._replace(weight=emptied)
    return state._replace(items=memory.write(items, batch, slots), seen=seen)

  return base.Replay(
    capacity,
    num_samples,
    init=functools.partial(memory.start, capacity),
    add=add,
    sample=functools.partial(
      sampling.sample, num_samples=num_samples, current=current
    ),
  )


def _best(
  there: jax.Array, task: jax.Array, draw: jax.Array, count: int
) -> jax.Array:
  """Tells which of N examples are among the `count` to keep, [N] bool.

  The first of each experience come first, then the second ones, and so on.
  """
  places = jnp.arange(len(there))
  order = jnp.lexsort((draw, task, ~there))
  grouped = task[order]
  opens = jnp.concatenate([jnp.ones(1, bool), grouped[1:] != grouped[:-1]])
  first = jax.lax.cummax(jnp.where(opens, places, 0))
  rank = jnp.zeros_like(places).at[order].set(places - first)
  rank = jnp.where(there, rank, len(there))
  order = jnp.lexsort((draw, rank))
  place = jnp.zeros_like(places).at[order].set(places)
  return there & (place < count)


def _draw(ids: base.Array) -> jax.Array:
  """Returns numbers [N] uint32 that look random, different ones for each id.

  These are the last steps of MurmurHash3, which lose nothing.
  """
  x = jnp.asarray(ids).astype(jnp.uint32)
  x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
