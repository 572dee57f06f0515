"""What a train step would take if zeros cost nothing."""

from collections.abc import Mapping
import math
from typing import NamedTuple

import numpy as np

from jcl import base
from jcl.selection import times


class Flops(NamedTuple):
  """Floating-point operations of a train step of every tensor."""

  dense: float  # that a program without sparse kernels makes
  effective: float  # that have no part in a product with a zero


def effective_flops(
  network: base.Network,
  dense: times.TensorTimes,
  densities: Mapping[str, tuple[float, float]],
) -> Flops:
  """Counts a step's operations with and without those on zeros.

  As the sparse-training literature counts them, such as Wang et al., "SparCL",
  NeurIPS 2022: what reads a kernel, forward and backward, shrinks with the
  share of its weights that are alive, its own gradient with the share of
  entries that are let through. What runs between a kernel and the next tensor
  counts with the kernel, and what takes the gradient from a tensor to the one
  ahead with that tensor.

  Args:
    network: whose step it is.
    dense: operations by tensor, from `profiling.analytic.flops`.
    densities: shares in [0, 1] of live weights and of gradients let through,
      by the tensor's path joined by "/"; 1 for all that are left out.

  Raises:
    ValueError: for times instead of operations, tensors that the network does
      not have, or shares out of range.
  """
  names = ["/".join(tensor.path) for tensor in network.tensors]
  _check(network.name, names, dense, densities)
  shares = [densities.get(name, (1.0, 1.0)) for name in names]
  alive = [share for share, _ in shares]
  through = [share for _, share in shares]
  # Behind the last tensor comes the loss, which is dense.
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


def _check(name, names, dense, densities) -> None:
  if dense.about.get("unit") != "flops":
    raise ValueError(
      "zeros save operations, not seconds: give what analytic.flops returns"
    )
  if len(names) != len(dense.forward):
    raise ValueError(
      f"the profile is over {len(dense.forward)} tensors, network {name!r} has "
      f"{len(names)}: profile this network"
    )
  for unknown in sorted(set(densities) - set(names))[:1]:
    raise ValueError(
      f"network {name!r} has no tensor {unknown!r}: name them by their paths, "
      f"such as {names[0]!r}"
    )
  for tensor, shares in densities.items():
    if not all(0 <= share <= 1 for share in shares):
      raise ValueError(f"densities {shares} of {tensor}: give shares in [0, 1]")
