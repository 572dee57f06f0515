"""Time of the gradient's way from the output down to the deepest tensor."""

from collections.abc import Sequence

import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.selection.times import TensorTimes

COST_MODELS = ("arrival", "inclusive", "exclusive")


def times_of(
  times: TensorTimes,
  tensors: Sequence[base.Tensor],
  cost_model: str = "arrival",
) -> np.ndarray:
  """Returns the time of the gradient's way to each tensor: [W] seconds.

  In every cost model, the chain of a set of tensors takes the sum of these
  times from its deepest tensor on. The models differ in where the chain stops:

  - "arrival" stops where the deepest tensor's gradient can be formed.
  - "inclusive" (the paper's section 3.3) also pays for carrying the gradient
    past the deepest tensor.
  - "exclusive" (equation 7) pays for carrying the gradient past all tensors but
    the deepest.

  The last two need the time to carry the gradient past each tensor, which is
  derived from times of arrival. What runs between two tensors is taken to carry
  the gradient past the later one where either is a kernel (its convolution or
  product, or the normaliser after it). Between two other tensors it belongs to
  the earlier one, whose gradient comes after it. "exclusive" then equals
  "arrival" for a set whose deepest tensor is a kernel and is less for others;
  "inclusive" is never less than "arrival".

  Args:
    times: of the network.
    tensors: [W] of the network.
    cost_model: "arrival", "inclusive" or "exclusive".

  Raises:
    ValueError: for another `cost_model`.
  """
  arrival = np.asarray(times.arrival, np.float64)
  if cost_model == "arrival":
    return arrival
  if cost_model not in COST_MODELS:
    raise UsageError(
      f"cost_model={cost_model!r}: give one of {', '.join(COST_MODELS)}"
    )
  kernel = np.array([tensor.kind == "kernel" for tensor in tensors])
  # Entry k: whether what runs between tensors k + 1 and k counts for k + 1.
  carries = kernel[1:] | kernel[:-1]
  past = np.zeros(len(arrival))
  past[1:] += np.where(carries, arrival[:-1], 0.0)
  past[:-1] += np.where(carries, 0.0, arrival[:-1])
  way = past if cost_model == "inclusive" else np.append(past[1:], 0.0)
  way[-1] += arrival[-1]  # from the loss: every set pays it
  return way


def by_unit(tensors: Sequence[base.Tensor]) -> list[list[int]]:
  """Returns the indices of each unit's tensors, deepest unit first.

  A unit is as deep as its first tensor; tensors of units that run side by side
  may alternate.
  """
  members: dict[str, list[int]] = {}
  for index, tensor in enumerate(tensors):
    members.setdefault(tensor.unit, []).append(index)
  return list(members.values())


def seconds(
  arrival: np.ndarray, training: np.ndarray, mask: Sequence[bool] | np.ndarray
) -> float:
  """Returns the seconds that gradients and updates of a mask's tensors take.

  Args:
    arrival: [W] seconds from the tensor after to this one, input side first.
    training: [W] seconds that training a tensor adds.
    mask: [W] which tensors train.

  >>> seconds(np.array([4.0, 2.0, 1.0]), np.ones(3), [False, True, False])
  4.0
  """
  chosen = np.flatnonzero(mask)
  if not len(chosen):
    return 0.0
  return float(arrival[chosen[0] :].sum() + training[chosen].sum())
