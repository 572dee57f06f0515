"""Static selections of tensors, and parameters cut in two by them."""

from collections.abc import Callable, Sequence
import math
from typing import Any

import jax

from jcl import base
from jcl.options.errors import UsageError


def everything(network: base.Network) -> base.Selection:
  """Returns the selection of every tensor."""
  return select(network, lambda tensor: True)


def nothing(network: base.Network) -> base.Selection:
  """Returns the selection of no tensor: parameters stay as they are."""
  return base.Selection((False,) * len(network.tensors))


def select(
  network: base.Network, predicate: Callable[[base.Tensor], bool]
) -> base.Selection:
  """Returns the selection of the tensors that satisfy `predicate`.

  Raises:
    ValueError: where no tensor does.
  """
  chosen = tuple(bool(predicate(tensor)) for tensor in network.tensors)
  return check(network, base.Selection(chosen))


def check(network: base.Network, selection: base.Selection) -> base.Selection:
  """Returns the selection if a step can train it.

  Raises:
    ValueError: where its length differs or it selects nothing.
  """
  count = _count(network, selection)
  if not any(selection.trainable):
    raise UsageError(
      f"nothing of the {count} tensors of {network.name!r} is selected: "
      "select one at least, such as the head's"
    )
  return selection


def _count(network: base.Network, selection: base.Selection) -> int:
  """Returns the number of a network's tensors, over which a selection is."""
  count = len(network.tensors)
  if len(selection.trainable) != count:
    raise UsageError(
      f"the selection is over {len(selection.trainable)} tensors, network "
      f"{network.name!r} has {count}: make it from network.tensors"
    )
  return count


def split(
  params: base.Params, network: base.Network, selection: base.Selection
) -> tuple[base.Params, base.Params]:
  """Cuts parameters into (trained, frozen).

  Both have the structure of `params`, with None where the other has the leaf;
  None is an empty node to JAX and optax.

  Raises:
    ValueError: where `params` are another network's.
  """
  mask = as_mask(params, network, selection)
  trained = jax.tree.map(lambda leaf, yes: leaf if yes else None, params, mask)
  frozen = jax.tree.map(lambda leaf, yes: None if yes else leaf, params, mask)
  return trained, frozen


def merge(trained: base.Params, frozen: base.Params) -> base.Params:
  """Joins the two trees of `split`.

  >>> merge({"a": 1, "b": None}, {"a": None, "b": 2})
  {'a': 1, 'b': 2}
  """
  return jax.tree.map(
    lambda one, other: other if one is None else one,
    trained,
    frozen,
    is_leaf=lambda leaf: leaf is None,
  )


def as_mask(
  params: base.Params, network: base.Network, selection: base.Selection
) -> Any:
  """Returns a tree of bools like `params`, as `optax.masked` takes it.

  Raises:
    ValueError: where `params` are another network's.
  """
  _count(network, selection)
  chosen = {
    tensor.path: yes
    for tensor, yes in zip(network.tensors, selection.trainable, strict=True)
  }
  paths = {
    _keys(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)
  }
  if paths != set(chosen):
    missing, extra = sorted(set(chosen) - paths), sorted(paths - set(chosen))
    raise ValueError(
      f"the parameters are not those of network {network.name!r}: missing "
      f"{_names(missing)}, unknown {_names(extra)}"
    )
  return jax.tree_util.tree_map_with_path(
    lambda path, _: chosen[_keys(path)], params
  )


def trained_units(
  network: base.Network, selection: base.Selection
) -> tuple[str, ...]:
  """Returns the units with a selected tensor, in the network's order."""
  names = {
    tensor.unit
    for tensor, yes in zip(network.tensors, selection.trainable, strict=True)
    if yes
  }
  return tuple(unit for unit in network.units if unit in names)


def trained_parameters(network: base.Network, selection: base.Selection) -> int:
  """Counts the scalars in selected tensors."""
  return sum(
    math.prod(tensor.shape)
    for tensor, yes in zip(network.tensors, selection.trainable, strict=True)
    if yes
  )


def _keys(path: Sequence[Any]) -> tuple[str, ...]:
  return tuple(str(getattr(entry, "key", entry)) for entry in path)


def _names(paths: Sequence[tuple[str, ...]]) -> str:
  shown = ["/".join(path) for path in paths[:5]]
  more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
  return (", ".join(shown) or "none") + more
