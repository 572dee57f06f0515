"""Operations of a train step without products with zeros."""

from collections.abc import Mapping, Sequence
import math
from typing import NamedTuple

import numpy as np

from jcl import base
from jcl.selection import times


class Flops(NamedTuple):
  """Floating-point operations of a train step of every tensor."""

  dense: float  # of a program without sparse kernels
  effective: float  # without those on zeros


def effective_flops(
  network: base.Network,
  dense: times.TensorTimes,
  densities: Mapping[str, tuple[float, float]],
) -> Flops:
  """Counts a step's operations with and without those on zeros.

  They are counted as in the literature on sparse training, such as Wang et al.,
  "SparCL", NeurIPS 2022, https://arxiv.org/abs/2209.09476: operations that read
  a kernel, forward and backward, are multiplied by the share of its weights
  that are not zero; its own gradient by the share of entries that are not set
  to zero. Operations between a kernel and the next tensor count with the
  kernel; operations that carry the gradient from a tensor to the previous one
  count with the tensor.

  Args:
    network: the model.
    dense: operations by tensor, from `profiling.analytic.flops`.
    densities: by the tensor's path joined by "/": the share in [0, 1] of its
      weights that are not zero, and that of its gradient; (1, 1) if left out.

  Raises:
    ValueError: for times instead of operations, tensors that the network does
      not have, or shares out of range.
  """
  names = ["/".join(tensor.path) for tensor in network.tensors]
  _check(network.name, names, dense, densities)
  shares = [densities.get(name, (1.0, 1.0)) for name in names]
  alive = [share for share, _ in shares]
  through = [share for _, share in shares]
  # The loss, which is dense, comes after the last tensor.
  behind = [*alive[1:], 1.0]
  parts = (
    (dense.forward, alive),
    (dense.arrival, behind),
    (dense.weight_grad, through),
    (dense.update, alive),
  )
  return Flops(
    dense.full,
    dense.fixed + math.fsum(float(np.dot(*part)) for part in parts),
  )


def _check(
  name: str,
  names: Sequence[str],
  dense: times.TensorTimes,
  densities: Mapping[str, tuple[float, float]],
) -> None:
  if dense.about.get("unit") != "flops":
    raise ValueError(
      "zeros save operations, not seconds: give what analytic.flops returns"
    )
  if len(names) != len(dense.forward):
    raise ValueError(
      f"the profile is over {len(dense.forward)} tensors, network {name!r} has "
      f"{len(names)}: profile this network"
    )
  for unknown in sorted(set(densities) - set(names)):
    raise ValueError(
      f"network {name!r} has no tensor {unknown!r}: name them by their paths, "
      f"such as {names[0]!r}"
    )
  for tensor, shares in densities.items():
    if not all(0 <= share <= 1 for share in shares):
      raise ValueError(f"densities {shares} of {tensor}: give shares in [0, 1]")
