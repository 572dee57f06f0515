"""Runs a chain of blocks, from any of them on."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import jax

from jcl import base
from jcl.networks import check


def apply_fn(
  name: str, blocks: Sequence[base.Block]
) -> Callable[..., base.Output]:
  """Returns the `apply` of a network that is a chain; see `base.Network`."""
  names = tuple(block.name for block in blocks)
  taps_known = (*names, *places(blocks))

  def apply(params, stats, x, *, training=(), key=None, taps=(), start=None):
    check.known(name, "unit", training, names)
    check.known(name, "tap", taps, taps_known)
    first = 0
    if start is not None:
      check.known(name, "unit", (start,), names)
      first = names.index(start)
    stats, tapped = dict(stats), dict[str, jax.Array]()
    for index, block in enumerate(blocks[first:], first):
      unit = block.name
      unit_key = None if key is None else jax.random.fold_in(key, index)
      own = params.get(unit, {}), stats.get(unit, {})
      wanted = [tap for tap in taps if tap.startswith(f"{unit}/")]
      if wanted and block.watched is not None:
        x, updated, seen = block.watched(*own, x, unit in training, unit_key)
        tapped |= {tap: seen[tap.split("/", 1)[1]] for tap in wanted}
      else:
        x, updated = block.apply(*own, x, unit in training, unit_key)
      if updated:
        stats[unit] = updated
      if unit in taps:
        tapped[unit] = x
    return base.Output(x, stats, tapped)

  return apply


def places(blocks: Sequence[base.Block]) -> tuple[str, ...]:
  """Names the places within blocks, as `Network.places` does."""
  return tuple(f"{block.name}/{p}" for block in blocks for p in block.places)


def changed(
  block: base.Block, change: Callable[..., Callable[..., Any]]
) -> base.Block:
  """Returns the block with its functions wrapped by `change`."""
  watched = None if block.watched is None else change(block.watched)
  return dataclasses.replace(block, apply=change(block.apply), watched=watched)
