"""Marks an exact number of largest scores, whatever the ties."""

import math

import jax
import jax.numpy as jnp

from jcl import base
from jcl.options.errors import UsageError

# Added ahead of the floor, which would take a whole number with a rounding
# error, such as 5 * (1 - 0.9) + 0.5, one down.
_ROUNDING = 1e-9


def num_kept(size: int, sparsity: float) -> int:
  """Returns how many of `size` stay at a sparsity: floor(size (1 - s) + 1/2).

  Args:
    size: of the whole.
    sparsity: share s that goes, in [0, 1).

  Raises:
    ValueError: for a sparsity out of range.

  >>> num_kept(10, 0.75)
  3
  """
  if not 0 <= sparsity < 1:
    raise UsageError(
      f"sparsity is {sparsity}: give the share that goes, from 0 and below 1, "
      "such as 0.75"
    )
  return math.floor(size * (1 - sparsity) + 0.5 + _ROUNDING)


def largest(scores: base.Array, count: int | base.Array) -> jax.Array:
  """Marks the `count` largest scores; of equal scores, those of lower index.

  The smallest score to mark is found bit by bit, which on a CPU takes a
  fraction of the time of sorting.

  Args:
    scores: any shape, no NaN; compared as float32.
    count: [] int32, from 0 to the number of scores; may be traced.

  Returns:
    bool of the shape of `scores`, True at exactly `count` positions.

  >>> largest(jnp.array([1.0, 3.0, 2.0, 3.0]), 2).tolist()
  [False, True, False, True]
  """
  keys = jnp.ravel(_ordered(scores))

  def next_bit(i: jax.Array, edge: jax.Array) -> jax.Array:
    higher = edge | (jnp.uint32(1 << 31) >> i)
    return jnp.where(jnp.sum(keys >= higher) >= count, higher, edge)

  edge = jax.lax.fori_loop(
    jnp.uint32(0), jnp.uint32(32), next_bit, jnp.uint32(0)
  )
  above, equal = keys > edge, keys == edge
  left = count - jnp.sum(above)
  chosen = above | (equal & (jnp.cumsum(equal) <= left))
  return jnp.reshape(chosen, jnp.shape(scores))


def _ordered(scores: base.Array) -> jax.Array:
  """Maps scores to uint32 that are ordered like the scores."""
  scores = jnp.asarray(scores, jnp.float32)
  scores = jnp.where(scores == 0, 0.0, scores)  # there are two zeros
  bits = jax.lax.bitcast_convert_type(scores, jnp.uint32)
  sign = jnp.uint32(1 << 31)
  return jnp.where(bits < sign, bits | sign, ~bits)
