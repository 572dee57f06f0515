"""Takes channels out of networks for good, instead of setting them to zero.

`channels.groups` finds the channels that can go. `keep` marks the channels
whose weights are worth keeping, as Lym et al., "PruneTrain: Fast Neural Network
Training by Dynamic Sparse Model Reconfiguration", SC 2019,
https://arxiv.org/abs/1901.09290, do every few epochs. `shrink` builds the
network of these channels, so that a step takes fewer operations and moves fewer
bytes.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

from flax import errors
from flax import linen as nn
from flax.linen.module import InterceptorContext
import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.base import jaxprs
from jcl.networks import blocks as blocks_lib
from jcl.networks import channels
from jcl.options.errors import UsageError

Group = channels.Group
groups = channels.groups

# Channels that stay, [size] bool, by group; groups left out stay whole.
Masks = Mapping[channels.Group, np.ndarray]


def magnitudes(group: Group, params: base.Params) -> np.ndarray:
  """Returns the largest absolute weight of every channel, [size] float32.

  The maximum is over the kernels that write the channel and the kernels that
  read it; where outputs of layers are added, over the kernels of all of them.
  """
  arrays = dict(channels.named(params))
  largest = np.zeros(group.size, np.float32)
  for part in group.kernels:
    if part.tree == "params":
      kernel = np.abs(np.asarray(arrays[part.path], np.float32))
      others = tuple(i for i in range(kernel.ndim) if i != part.axis)
      largest = np.maximum(largest, kernel.max(axis=others))
  return largest


def keep(
  groups: Sequence[Group], params: base.Params, threshold: float
) -> dict[Group, np.ndarray]:
  """Marks the channels with a weight whose magnitude exceeds the threshold.

  As in Lym et al., SC 2019, a channel goes only where the weights that write it
  and the weights that read it are all below the threshold, in all layers whose
  outputs are added to one another. One channel of each group stays in any case,
  the one with the largest weight.

  Args:
    groups: of the network, from `groups`.
    params: of the network.
    threshold: from 0, such as 1e-4; more than one update can move a weight.

  Returns:
    Masks [size] bool by group, True where a channel stays.

  Raises:
    ValueError: for a negative threshold.
  """
  if not threshold >= 0:
    raise ValueError(f"threshold is {threshold}: give a number from 0")
  masks = {}
  for group in groups:
    sizes = magnitudes(group, params)
    masks[group] = sizes > threshold
    masks[group][np.argmax(sizes)] = True
  return masks


def lasso_slices(
  groups: Sequence[Group],
) -> tuple[tuple[channels.Path, int], ...]:
  """Lists path and axis of all kernels that write or read the channels.

  These are the slices for `jcl.objectives.group_lasso` to drive to zero.
  """
  return tuple(
    dict.fromkeys(
      (part.path, part.axis)
      for group in groups
      for part in group.kernels
      if part.tree == "params"
    )
  )


def shrink(
  network: base.Network, params: base.Params, stats: base.Stats, masks: Masks
) -> tuple[base.Network, base.Params, base.Stats]:
  """Takes the channels that do not stay out of a network and its arrays.

  The network returned has the same units, tensors and paths. With the arrays
  returned, its outputs equal the old network's with zeros in place of the
  channels (see `zero`). It can be shrunk again.

  Args:
    network: the model; of Linen modules that have kernels as wide as their
      `features`, or of modules that take their sizes from the arrays, as in
      NNX.
    params: its parameters.
    stats: its statistics.
    masks: channels that stay, by group; from `keep` or made by hand.

  Raises:
    ValueError: for masks of the wrong form or that leave no channel, and for
      networks that do not run with smaller arrays, or compute something else
      with them.
  """
  smaller = narrow(network, masks)
  cut = _cutter(network, masks)
  return smaller, cut(params), cut(stats)


def fitted(network: base.Network) -> base.Network:
  """Makes the layers of a network take their widths from the arrays.

  `init` still draws arrays of the widths that the network was built with.
  """
  return dataclasses.replace(
    network,
    apply=_fitted(network.apply),
    blocks=network.blocks
    and tuple(blocks_lib.changed(block, _fitted) for block in network.blocks),
  )


def narrow(network: base.Network, masks: Masks) -> base.Network:
  """Returns the network of `shrink` alone, for arrays that are already small.

  Its `init` draws the arrays of the old network and cuts them. Arguments and
  errors as in `shrink`.
  """
  masks = _checked(masks)
  cut = _cutter(network, masks)

  def init(key: base.Key) -> tuple[base.Params, base.Stats]:
    params, stats = network.init(key)
    return cut(params), cut(stats)

  params, _ = jax.eval_shape(init, jax.random.key(0))
  shapes = {path: leaf.shape for path, leaf in channels.named(params)}
  smaller = dataclasses.replace(
    fitted(network),
    init=init,
    tensors=tuple(
      dataclasses.replace(tensor, shape=tuple(shapes[tensor.path]))
      for tensor in network.tensors
    ),
  )
  _compare(network, smaller, masks)
  return smaller


def shrink_slots(network: base.Network, tree: Any, masks: Masks) -> Any:
  """Cuts the leaves of a tree that belong to parameters or statistics.

  Use it for states of optimisers and objectives. A leaf belongs to the array
  whose path appears in the leaf's path, either key by key or joined by "/", and
  is cut along the same axes. Leaves without axes and leaves that belong to no
  array, such as step counts, stay.

  Args:
    network: the model before it is shrunk.
    tree: any tree of arrays.
    masks: as given to `shrink`.

  Raises:
    ValueError: for a leaf that belongs to an array but is not of its shape.
  """
  return _cutter(network, masks)(tree)


def zero(network: base.Network, tree: Any, masks: Masks) -> Any:
  """Sets to zero the channels that `shrink_slots` would cut.

  A network with zeros computes as much as before. Arguments and errors as in
  `shrink_slots`.
  """

  def clear(leaf: base.Array, axis: int, mask: np.ndarray) -> jax.Array:
    stay = mask.reshape([-1 if i == axis else 1 for i in range(leaf.ndim)])
    if jaxprs.is_traced(leaf):
      return jnp.where(stay, leaf, jnp.zeros_like(leaf))
    leaf = np.asarray(leaf)  # on the host, as in `_take`
    return jnp.asarray(np.where(stay, leaf, np.zeros_like(leaf)))

  return _cutter(network, masks, clear)(tree)


def _take(leaf: base.Array, axis: int, mask: np.ndarray) -> jax.Array:
  stay = np.flatnonzero(mask)
  if jaxprs.is_traced(leaf):
    return jnp.take(leaf, stay, axis=axis)
  # On the host, as compiling for each new shape would take longer than a copy.
  return jnp.asarray(np.take(np.asarray(leaf), stay, axis=axis))


def _checked(masks: Masks) -> dict[Group, np.ndarray]:
  checked = {}
  for group, mask in masks.items():
    mask = np.asarray(mask)
    if mask.shape != (group.size,) or mask.dtype != bool:
      raise ValueError(
        f"mask of {group.name} is {mask.dtype} of shape {mask.shape}: give "
        f"bool of shape ({group.size},), True where a channel stays"
      )
    if not mask.any():
      raise ValueError(
        f"mask of {group.name} leaves no channel: let at least one be True"
      )
    checked[group] = mask
  return checked


def _cutter(
  network: base.Network, masks: Masks, change: Callable[..., Any] = _take
) -> Callable[[Any], Any]:
  """Returns a function of a tree that changes the leaves that masks concern."""
  masks = _checked(masks)
  shapes: dict[channels.Path, tuple[int, ...]] = {}
  for tree in jax.eval_shape(network.init, jax.random.key(0)):
    shapes.update(
      (path, tuple(leaf.shape)) for path, leaf in channels.named(tree)
    )
  cuts: dict[channels.Path, list[tuple[int, np.ndarray]]] = {}
  for group, mask in masks.items():
    for part in group.parts:
      if shapes.get(part.path, ())[part.axis : part.axis + 1] != (group.size,):
        raise ValueError(
          f"{network.name} has no {'/'.join(part.path)} with {group.size} "
          f"channels on axis {part.axis}: find the groups of this network"
        )
      if not mask.all():
        cuts.setdefault(part.path, []).append((part.axis, mask))

  def apply(path: channels.Path, leaf: base.Array) -> base.Array:
    owner = _owner(path, shapes)
    if owner not in cuts or jnp.ndim(leaf) == 0:
      return leaf
    if jnp.shape(leaf) != shapes[owner]:
      raise ValueError(
        f"{'/'.join(path)} is of shape {jnp.shape(leaf)}, not "
        f"{shapes[owner]} like the array it belongs to: build it anew instead"
      )
    for axis, mask in cuts[owner]:
      leaf = change(leaf, axis, mask)
    return leaf

  def run(tree: Any) -> Any:
    changed = [apply(*pair) for pair in channels.named(tree)]
    return jax.tree.unflatten(jax.tree.structure(tree), changed)

  return run


def _owner(
  path: channels.Path, known: Mapping[channels.Path, Any]
) -> channels.Path | None:
  """Returns the longest known path that lies within another one, or None."""
  keys = tuple(key for part in path for key in part.split("/"))
  for length in range(len(keys), 0, -1):
    for start in range(len(keys) - length + 1):
      if keys[start : start + length] in known:
        return keys[start : start + length]
  return None


def _fitted(apply: Callable[..., Any]) -> Callable[..., Any]:
  """Makes Linen layers within a function as wide as their kernels."""

  def fitted(*args: Any, **kwargs: Any) -> Any:
    with nn.intercept_methods(_fit):
      return apply(*args, **kwargs)

  return fitted


def _fit(
  next_fn: Callable[..., Any],
  args: tuple[Any, ...],
  kwargs: dict[str, Any],
  context: InterceptorContext,
) -> Any:
  """Runs a layer whose kernel has been cut as a layer of the kernel's width.

  A layer declares the kernel's outputs by `features` alone; it takes the number
  of inputs from its input.
  """
  module = context.module
  if context.method_name != "__call__" or not hasattr(module, "features"):
    return next_fn(*args, **kwargs)
  if not module.has_variable("params", "kernel"):
    return next_fn(*args, **kwargs)
  kernel: Any = module.get_variable("params", "kernel")
  shape = kernel.shape
  old = module.features
  new = tuple(shape[-len(old) :]) if isinstance(old, tuple) else shape[-1]
  if new == old:
    return next_fn(*args, **kwargs)
  changes: dict[str, Any] = {"features": new}
  if getattr(module, "feature_group_count", 1) == old:  # one channel each
    changes["feature_group_count"] = new
  return module.clone(parent=module.scope, **changes)(*args, **kwargs)


def _compare(old: base.Network, new: base.Network, masks: Masks) -> None:
  """Checks that the smaller network runs, and has the old one's groups."""
  try:
    found = groups(new)
  except (ValueError, TypeError, errors.FlaxError) as error:
    raise UsageError(
      f"{old.name} does not run with fewer channels ({error}): its modules "
      "must take widths from what they read or declare them as `features`; "
      "or leave the groups concerned out of the masks"
    ) from error
  left = {group.parts: np.sum(mask) for group, mask in masks.items()}
  expected = {
    group.parts: left.get(group.parts, group.size) for group in groups(old)
  }
  expected = {parts: size for parts, size in expected.items() if size > 1}
  if expected != {group.parts: group.size for group in found}:
    raise UsageError(
      f"{old.name} takes another path with fewer channels: let it not decide "
      "by its widths, such as whether shapes agree, or leave the groups "
      "concerned out of the masks"
    )
