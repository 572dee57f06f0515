"""Cuts a chain of units in two: a trunk that stays as it is, and a tail."""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import blocks as blocks_lib
from jcl.networks import check
from jcl.options import errors
from jcl.options.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Cut:
  """Both parts of a network.

  `trunk(params, stats, x)` runs the units ahead of the cut in evaluation mode
  and returns z [B, ...] float32; it reads the sub-trees of its own `units`
  only. `tail` is a network of the other units, whose inputs are z.
  """

  trunk: Callable[[base.Params, base.Stats, Any], jax.Array]
  tail: base.Network
  units: tuple[str, ...]  # of the trunk, input side first


def cut(network: base.Network, at: str | int) -> Cut:
  """Cuts a chain ahead of the unit `at`.

  Parameters and statistics of the tail are sub-trees {unit: ...} of the whole
  network's, and `tail.init(key)` draws the same weights as `network.init(key)`
  for these units. Dropout in the tail draws other random numbers than in the
  whole network.

  Args:
    network: a chain: a network with `blocks`.
    at: first unit of the tail, by name or by its number, counted from 0.

  Raises:
    ValueError: for a network that is no chain, an unknown unit, or a unit that
      leaves one side empty.
  """
  if not network.blocks:
    raise UsageError(
      f"network {network.name!r} is no chain of units and cannot be cut: build "
      "it of units with networks.chain, or freeze its first units by the "
      "selection frozen_prefix"
    )
  first = _number(network, at)
  units, blocks = network.units[first:], network.blocks[first:]
  ahead = network.blocks[:first]

  def trunk(params: base.Params, stats: base.Stats, x: jax.Array) -> jax.Array:
    for block in ahead:
      own = params.get(block.name, {}), stats.get(block.name, {})
      x, _ = block.apply(*own, x, False, None)
    return x.astype(jnp.float32)

  def init(key: base.Key) -> tuple[base.Params, base.Stats]:
    params, stats = network.init(key)
    return part(params, units), part(stats, units)

  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  x = jax.ShapeDtypeStruct((2, *network.input_shape), jnp.float32)
  z = jax.eval_shape(trunk, params, stats, x)
  name = f"{network.name}@{units[0]}"
  tail = dataclasses.replace(
    network,
    name=name,
    units=units,
    tensors=tuple(t for t in network.tensors if t.unit in units),
    init=init,
    apply=blocks_lib.apply_fn(name, blocks),
    input_shape=tuple(z.shape[1:]),
    features=network.features if network.features in units else None,
    blocks=blocks,
    places=blocks_lib.places(blocks),
    offset=network.offset + first,
  )
  return Cut(trunk, tail, network.units[:first])


def behind(
  network: base.Network, block: base.Block, input_shape: tuple[int, ...]
) -> base.Network:
  """Puts one more unit, without arrays, ahead of a chain.

  Args:
    network: a chain: a network with `blocks`.
    block: the unit; it makes the network's inputs of the new inputs.
    input_shape: of one new input, without the batch axis.

  Raises:
    ValueError: where the network has a unit of that name.
  """
  if block.name in network.units:
    raise UsageError(
      f"network {network.name!r} has a unit {block.name!r} already: give one "
      "of the two another name"
    )
  blocks = (block, *(network.blocks or ()))
  features = network.features
  if len(network.units) == 1 and len(network.input_shape) == 1:
    features = block.name  # the head reads the block's output
  return dataclasses.replace(
    network,
    units=(block.name, *network.units),
    apply=blocks_lib.apply_fn(network.name, blocks),
    input_shape=tuple(input_shape),
    features=features,
    blocks=blocks,
    offset=network.offset - 1,
  )


def part(tree: Any, units: tuple[str, ...]) -> dict[str, Any]:
  """Returns the sub-trees of some units; units without arrays have none.

  >>> part({"stem": 1, "head": 2}, ("head", "pool"))
  {'head': 2}
  """
  return {unit: tree[unit] for unit in units if unit in tree}


def joined(whole: Any, tail: Any) -> dict[str, Any]:
  """Puts a tail's parameters, or statistics, back into the whole network's.

  Raises:
    ValueError: where the tail has a unit or shapes that the whole has not.

  >>> joined({"stem": 1, "head": 2}, {"head": 3})
  {'stem': 1, 'head': 3}
  """
  for unit, own in tail.items():
    if unit not in whole:
      raise ValueError(
        f"the tail has a unit {unit!r}, the whole network has none: its units "
        f"with arrays are {errors.names(whole)}"
      )
    shapes, expected = (
      jax.tree.map(jnp.shape, tree) for tree in (own, whole[unit])
    )
    if shapes != expected:
      raise ValueError(
        f"unit {unit!r} of the tail has shapes {shapes}, not {expected}: join "
        "the tail of the same network"
      )
  return {**whole, **tail}


def _number(network: base.Network, at: str | int) -> int:
  """Returns the position of the first unit of the tail."""
  units = network.units
  if isinstance(at, str):
    check.known(repr(network.name), "unit", (at,), units)
    at = units.index(at)
  if not 0 < at < len(units):
    raise UsageError(
      f"at={at}: a cut of network {network.name!r} leaves units to both sides; "
      f"give 1 to {len(units) - 1}, or one of {errors.names(units[1:])}"
    )
  return at
