"""Chooses channels to take out of a network at once, before it learns on.

Wang et al., "LightCL: Compact Continual Learning with Low Memory Footprint For
Edge Device", ASP-DAC 2025, https://arxiv.org/abs/2407.10545, prune a
pre-trained network in this way: once, whole filters, a share of each layer by
its place. Departures: the importance of a filter is the sum of its absolute
weights; exactly the share asked for goes; and channels that are added to one
another go together, so that `shrink.shrink` can take them out and no branch
loses an input. `published` has the masks of the authors' program.
"""

from collections.abc import Callable, Mapping
import itertools

import numpy as np

from jcl import base
from jcl.networks import channels
from jcl.networks.sparsity import ranking
from jcl.options import errors

# Share of the filters to take out, by the name of their unit.
Sparsity = Mapping[str, float] | Callable[[str], float]


def masks(
  network: base.Network, params: base.Params, sparsity: Sparsity
) -> dict[channels.Group, np.ndarray]:
  """Marks the channels that stay, for `shrink.shrink` and `shrink.zero`.

  Of C channels the floor(C (1 - s) + 1/2) most important ones stay, one at
  least; among equals, lower indices stay. Where the kernels that write a group
  have different sparsities, the smallest one holds.

  Args:
    network: the model.
    params: its parameters, such as those of a pre-trained network.
    sparsity: share in [0, 1) of the filters to take out, by unit.

  Returns:
    Masks [size] bool by group, for every group of the network.

  Raises:
    ValueError: for a unit without a sparsity, or a share out of range.
  """
  kept = {}
  for group in channels.groups(network):
    share = min(sparsity_of(sparsity, part.path[0]) for part in writers(group))
    count = max(1, ranking.num_kept(group.size, share))
    order = np.argsort(-importance(group, params), kind="stable")
    kept[group] = np.zeros(group.size, bool)
    kept[group][order[:count]] = True
  return kept


def importance(group: channels.Group, params: base.Params) -> np.ndarray:
  """Returns the sum of absolute weights that write a channel, [size] float64.

  The sum is over all kernels whose outputs are added.
  """
  arrays = dict(channels.named(params))
  total = np.zeros(group.size)
  for part in writers(group):
    kernel = np.abs(np.asarray(arrays[part.path], np.float64))
    others = tuple(i for i in range(kernel.ndim) if i != part.axis)
    total += kernel.sum(axis=others)
  return total


def writers(group: channels.Group) -> tuple[channels.Part, ...]:
  """Returns the kernels that write a group's channels."""
  return tuple(part for part in group.parts if part.role == "out")


def sparsity_of(sparsity: Sparsity, unit: str) -> float:
  """Returns the share of a unit's filters to take out.

  Raises:
    ValueError: for a mapping without the unit.

  >>> sparsity_of({"block_0": 0.5}, "block_0")
  0.5
  """
  if callable(sparsity):
    return sparsity(unit)
  if unit not in sparsity:
    raise ValueError(
      f"no sparsity is given for unit {unit!r}: add one, 0 to keep all its "
      f"filters, to those of {errors.names(sparsity)}"
    )
  return sparsity[unit]


def by_stage(
  network: base.Network,
  last: float = 0.8,
  before: float = 0.7,
  others: float = 0.2,
) -> dict[str, float]:
  """Returns sparsities by unit that rise towards the head.

  A stage is a run of units whose outputs have one width. The default shares are
  those of Wang et al., ASP-DAC 2025, for a ResNet-18, whose stem belongs to the
  first stage.

  Args:
    network: a convolutional network, whose last unit is its head.
    last: share to take out in the last stage.
    before: the same for the stage ahead of the last.
    others: the same for all stages before that.
  """
  widths = {
    tensor.unit: tensor.shape[-1]
    for tensor in network.tensors
    if tensor.kind == "kernel" and tensor.unit != network.units[-1]
  }
  units = [unit for unit in network.units if unit in widths]
  stages = [list(run) for _, run in itertools.groupby(units, widths.get)]
  shares = [*[others] * len(stages), before, last][2:]
  return {
    unit: share
    for stage, share in zip(stages, shares, strict=True)
    for unit in stage
  }
