"""Weights that are held at zero while the others learn."""

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
  """Returns the parameters with zeros where they do not stay.

  Args:
    params: any of the network's arrays, None in place of the others.
    masks: of all arrays.

  Raises:
    ValueError: for masks of another tree, shape or type.
  """
  _check(params, masks)
  return _map(lambda mask, leaf: jnp.where(mask, leaf, 0), masks, params)


def hold(
  optimizer: optax.GradientTransformation, masks: Masks
) -> optax.GradientTransformationExtraArgs:
  """Returns an optimiser after whose updates pruned weights are exactly zero.

  Where a weight does not stay its update is what takes it to zero, whatever
  the optimiser wants. The state is the optimiser's own; masks are constants of
  the programs, so other masks are another compile. Works on any selection of
  the arrays, with None in place of the others.

  Args:
    optimizer: of all arrays together, such as `slots.per_tensor` makes.
    masks: of all arrays.

  Raises:
    ValueError: from `init`, for masks of another tree, shape or type.
  """

  rule = optax.with_extra_args_support(optimizer)

  def init(params):
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


def _map(change, masks, first, *others):
  """Maps `change(mask, *leaves)` over the arrays that have a mask."""

  def one(leaf, mask, *rest):
    return leaf if leaf is None or mask is None else change(mask, leaf, *rest)

  return jax.tree.map(
    one, first, masks, *others, is_leaf=lambda leaf: leaf is None
  )


def _check(params, masks) -> None:
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


def _form(tree) -> Any:
  return jax.tree.structure(tree, is_leaf=lambda leaf: leaf is None)
