"""Makes networks compute in fewer bits than they store."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jcl import base
from jcl.networks import blocks as blocks_lib
from jcl.options.errors import UsageError


def with_precision(
  network: base.Network, dtype: Literal["float32", "bfloat16"]
) -> base.Network:
  """Returns the network computing in `dtype`.

  In bfloat16, inputs and parameters are cast on their way into the network.
  Parameters, gradients, statistics, logits and taps stay float32, and so do
  the sums inside Flax's normalisers. Layers of a user's module that fix their
  own dtype keep it.

  Raises:
    ValueError: for any other dtype.
  """
  if dtype == "float32":
    return network
  if dtype != "bfloat16":
    raise UsageError(
      f"precision {dtype!r} is not supported; write float32 or bfloat16"
    )

  def apply(params, stats, x, **options):
    out = network.apply(_to(params, jnp.bfloat16), stats, _half(x), **options)
    return base.Output(
      out.logits.astype(jnp.float32),
      _like(out.stats, stats),
      _to(out.taps, jnp.float32),
    )

  blocks = network.blocks
  if blocks is not None:
    last = len(blocks) - 1
    blocks = tuple(
      blocks_lib.changed(
        block, functools.partial(_block, is_last=index == last)
      )
      for index, block in enumerate(blocks)
    )
  origin = network.origin and {**network.origin, "precision": dtype}
  return dataclasses.replace(network, apply=apply, blocks=blocks, origin=origin)


def _block(apply_fn: Callable[..., Any], is_last: bool) -> Callable[..., Any]:
  def apply(params, stats, x, training, key):
    x, updated, *seen = apply_fn(
      _to(params, jnp.bfloat16), stats, _half(x), training, key
    )
    x = x.astype(jnp.float32) if is_last else x
    return x, _like(updated, stats), *_to(seen, jnp.float32)

  return apply


def _half(x: jax.Array) -> jax.Array:
  return x.astype(jnp.bfloat16)


def _to(tree: Any, dtype: DTypeLike) -> Any:
  return jax.tree.map(
    lambda leaf: (
      leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
    ),
    tree,
  )


def _like(updated: base.Stats, stats: base.Stats) -> base.Stats:
  return jax.tree.map(lambda new, old: new.astype(old.dtype), updated, stats)
