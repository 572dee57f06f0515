"""Holds weights at zero while the others learn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jcl import base
from jcl.networks import channels

# A tree like the parameters: bool arrays, True where a weight stays, and None
# where an array stays whole.
Masks = Any


def apply(params: base.Params, masks: Masks) -> base.Params:
  """Sets weights that do not stay to zero.

  Args:
    params: any of the network's arrays, None in place of the others.
    masks: of all arrays.

  Raises:
    ValueError: for masks of another tree, shape or type.

  >>> apply({"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([True, False])})
  {'w': Array([1., 0.], dtype=float32)}
  """
  _check(params, masks)
  return _map(lambda mask, leaf: jnp.where(mask, leaf, 0), masks, params)


def hold(
  optimizer: optax.GradientTransformation, masks: Masks
) -> optax.GradientTransformationExtraArgs:
  """Returns an optimiser after whose updates pruned weights are exactly zero.

  The update of a weight that does not stay is the one that takes it to zero,
  whatever the optimiser returns. The state is the optimiser's own. Masks are
  constants of the programs, so that other masks need another compile. Any
  selection of the arrays will do, with None in place of the others.

  Args:
    optimizer: of all arrays together, such as `slots.per_tensor` makes.
    masks: of all arrays.

  Raises:
    ValueError: from `init`, for masks of another tree, shape or type; from
      `update`, where no parameters are given.
  """
  rule = optax.with_extra_args_support(optimizer)

  def init(params: base.Params) -> Any:
    _check(params, masks)
    return optimizer.init(params)

  def update(grads, state, params=None, **extra):
    if params is None:
      raise ValueError("held weights need their values: call update with them")
    updates, state = rule.update(grads, state, params, **extra)
    updates = _map(
      lambda mask, change, leaf: jnp.where(mask, change, -leaf),
      masks,
      updates,
      params,
    )
    return updates, state

  return optax.GradientTransformationExtraArgs(init, update)


def _map(
  change: Callable[..., jax.Array],
  masks: Masks,
  first: base.Params,
  *others: base.Params,
) -> base.Params:
  """Maps `change(mask, *leaves)` over the arrays that have a mask."""

  def one(leaf: Any, mask: Any, *rest: Any) -> Any:
    return leaf if leaf is None or mask is None else change(mask, leaf, *rest)

  return jax.tree.map(
    one, first, masks, *others, is_leaf=lambda leaf: leaf is None
  )


def _check(params: base.Params, masks: Masks) -> None:
  known = dict(channels.named(masks))
  shapes = {path: jnp.shape(leaf) for path, leaf in channels.named(params)}
  if _form(masks) != _form(params):
    raise ValueError(
      "the masks are of another tree than the parameters: give a mask, or None "
      "to keep an array whole, for every array of the network"
    )
  for path, shape in shapes.items():
    mask = known.get(path)
    if mask is not None and (mask.shape != shape or mask.dtype != bool):
      raise ValueError(
        f"mask of {'/'.join(path)} is {mask.dtype} of shape {mask.shape}: give "
        f"bool of shape {shape}, True where a weight stays"
      )


def _form(tree: base.Params) -> Any:
  return jax.tree.structure(tree, is_leaf=lambda leaf: leaf is None)
