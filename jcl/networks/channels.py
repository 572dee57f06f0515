"""Finds the channels of a network that belong together, by tracing.

A channel is a position along an axis of a layer's output. It can be taken out
if every array that has this axis loses the same position: the kernel that
writes the channel, its bias, its normaliser, the kernels that read it. Where
the outputs of several layers are added, as on a residual path, all these layers
lose the same positions, and a channel that one of them needs, all keep.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.base import jaxprs
from jcl.networks import axes as axes_lib

Path = tuple[str, ...]
Tree = Literal["params", "stats"]


class Part(NamedTuple):
  """One axis of one array, along which a group's channels lie."""

  tree: Tree
  path: Path
  axis: int
  # A kernel writes the channels ("out"), reads them ("in") or filters each by
  # itself ("through"); all other arrays have a number per channel ("along").
  role: Literal["out", "in", "through", "along"]


@dataclasses.dataclass(frozen=True)
class Group:
  """Channels that are removed together, over all arrays that have them."""

  size: int  # number of channels
  parts: tuple[Part, ...]  # in execution order, statistics behind parameters

  @property
  def written(self) -> Part:
    """The first kernel that writes the channels."""
    return next(part for part in self.parts if part.role == "out")

  @property
  def name(self) -> str:
    """Path of the kernel `written` and the axis along which channels lie."""
    return f"{'/'.join(self.written.path)}:{self.written.axis}"

  @property
  def kernels(self) -> tuple[Part, ...]:
    """Parts that are axes of kernels, written or read."""
    return tuple(part for part in self.parts if part.role != "along")


def groups(
  network: base.Network,
  params: base.Params | None = None,
  stats: base.Stats | None = None,
) -> tuple[Group, ...]:
  """Finds the channels of a network that can be removed, by tracing it.

  Args:
    network: the model; traced with two examples, never run.
    params: of the network, or their shapes; None: as `network.init` draws them.
    stats: likewise.

  Returns:
    Groups of two channels or more, in execution order of the kernels that
    write them. Positions along one group can be removed in any number as long
    as one stays, independently of other groups.
  """
  if params is None or stats is None:
    params, stats = jax.eval_shape(network.init, jax.random.key(0))
  key = jax.eval_shape(lambda: jax.random.key(0))
  x = jax.ShapeDtypeStruct((2, *network.input_shape), jnp.float32)

  def both_modes(params, stats, x, key):
    quiet = network.apply(params, stats, x)
    busy = network.apply(params, stats, x, training=network.units, key=key)
    return quiet.logits, busy.logits, busy.stats

  names: list[tuple[Tree, Path]] = [("params", p) for p, _ in named(params)]
  names += [("stats", p) for p, _ in named(stats)]
  axes = axes_lib.Axes()
  inputs = [
    axes_lib.Value(axes.new(leaf.shape), stored=True)
    for leaf in jax.tree.leaves((params, stats))
  ]
  data = [axes_lib.Value(axes.new(v.shape, fixed=True)) for v in (x, key)]
  program = jaxprs.trace(both_modes, params, stats, x, key)
  quiet, busy, *updated = axes_lib.walk(axes, program, [*inputs, *data])
  axes.fix(*quiet.axes, *busy.axes)
  before_update = inputs[len(inputs) - len(updated) :]
  for before, after in zip(before_update, updated, strict=True):
    axes.unite(before.axes, after.axes)

  order = {tensor.path: index for index, tensor in enumerate(network.tensors)}
  found: dict[int, list[Part]] = {}
  for (tree, path), value in zip(names, inputs, strict=True):
    for position, axis in enumerate(value.axes):
      root = axes.find(axis)
      if axes.sizes[root] > 1 and not axes.fixed[root]:
        part = Part(tree, path, position, axes.roles.get(axis, "along"))
        found.setdefault(root, []).append(part)

  def place(part: Part) -> tuple[bool, int, int]:
    return part.tree == "stats", order.get(part.path, len(order)), part.axis

  listed = [
    Group(axes.sizes[root], tuple(sorted(parts, key=place)))
    for root, parts in found.items()
    if {"out", "in"} <= {part.role for part in parts}
  ]
  return tuple(sorted(listed, key=lambda group: place(group.written)))


def named(tree: Any) -> list[tuple[Path, Any]]:
  """Lists the leaves of a tree with their paths, as `base.Tensor` has them."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return [
    (tuple(jax.tree_util.keystr((k,), simple=True) for k in path), leaf)
    for path, leaf in leaves
  ]
