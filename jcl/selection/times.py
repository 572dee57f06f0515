"""Times of a train step, tensor by tensor."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from jcl.base import alike
from jcl.options.errors import UsageError

_ARRAYS = ("forward", "arrival", "weight_grad", "update")


@dataclasses.dataclass(frozen=True, eq=False)
class TensorTimes(alike.Alike):
  """Seconds of a train step by tensor, in execution order, input side first.

  `arrival[k]` is the time of all that runs backward between "the gradient has
  reached tensor k + 1" and "the gradient has reached tensor k". A step pays
  `arrival` for every tensor from the output down to the deepest one that
  trains, trained or not; `weight_grad` and `update` for the tensors that train;
  `forward` and `fixed` always. This is the model of Huang et al.,
  "ElasticTrainer", MobiSys 2023, section 3.3,
  https://doi.org/10.1145/3581791.3596852, with the time of an operation counted
  where the next tensor's gradient first needs it.

  >>> times = TensorTimes((1.0, 1.0), (4.0, 2.0), (1.0, 1.0), (0.5, 0.5), 0.0,
  ...                     method="timed")
  >>> times.full, times.step([False, True])
  (11.0, 5.5)
  """

  forward: tuple[float, ...]  # [W] of what runs from this tensor to the next
  arrival: tuple[float, ...]  # [W]
  weight_grad: tuple[float, ...]  # [W]
  update: tuple[float, ...]  # [W] optimiser and parameter
  fixed: float  # all else of a step: ahead of the first tensor, loss, data
  method: str  # "analytic", "timed" or "calibrated"
  # Measured on its own, to check the sum of the tensors' times; NaN if not.
  backward_total: float = math.nan
  compile_seconds: float = math.nan  # of one whole step, median
  about: dict[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    lengths = {name: len(getattr(self, name)) for name in _ARRAYS}
    if len(set(lengths.values())) != 1 or not lengths["forward"]:
      raise ValueError(f"the arrays must be of one length, got {lengths}")
    for name in (*_ARRAYS, "fixed"):
      values = np.asarray(getattr(self, name), np.float64)
      if not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"{name} must be finite and not negative")

  @property
  def always(self) -> float:
    """Seconds of a step that do not depend on what trains."""
    return self.fixed + math.fsum(self.forward)

  @property
  def backward(self) -> float:
    """Seconds from the loss to every gradient."""
    return math.fsum(self.arrival) + math.fsum(self.weight_grad)

  @property
  def full(self) -> float:
    """Seconds of a step that trains every tensor."""
    return self.always + self.backward + math.fsum(self.update)

  @property
  def training(self) -> tuple[float, ...]:
    """[W] seconds that training a tensor adds once the gradient is there."""
    pairs = zip(self.weight_grad, self.update, strict=True)
    return tuple(grad + update for grad, update in pairs)

  @property
  def closure(self) -> float:
    """Sum of the tensors' backward times over `backward_total`."""
    if not self.backward_total:
      return math.nan
    return self.backward / self.backward_total

  @property
  def least_share(self) -> float:
    """Smallest share of a full step in which one tensor can train."""
    alone = np.cumsum(self.arrival[::-1])[::-1] + np.asarray(self.training)
    # A sum in another order may exceed the whole by a rounding error.
    return min(1.0, (self.always + float(alone.min())) / self.full)

  def step(self, trainable: Sequence[bool]) -> float:
    """Returns the seconds of a step that trains the tensors of a mask [W]."""
    mask = np.asarray(trainable, bool)
    if mask.shape != (len(self.forward),):
      raise ValueError(
        f"the mask has shape {mask.shape}, the profile {len(self.forward)} "
        "tensors: make it from the same network"
      )
    if not mask.any():
      return self.always
    deepest = int(np.argmax(mask))
    return (
      self.always
      + math.fsum(self.arrival[deepest:])
      + math.fsum(np.asarray(self.training)[mask])
    )

  def budget(self, share: float) -> float:
    """Returns the seconds that gradients and updates may take.

    Args:
      share: wanted time of a step over a full step's time, rho in the paper.

    Raises:
      ValueError: where `share` is above 1, or too small for any tensor; the
        message then gives the least share.
    """
    if not self.least_share <= share <= 1:
      raise UsageError(
        f"rho={share}: a step that trains something takes between "
        f"{math.ceil(self.least_share * 1e4) / 1e4:.4f} and 1 of a full one"
      )
    # Written so that a share of 1 gives the whole without rounding.
    return max(0.0, self.full - self.always - (1 - share) * self.full)


def scaled(profile: TensorTimes, factor: float) -> TensorTimes:
  """Returns the profile with all its times multiplied by `factor`."""

  def times(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(factor * value for value in values)

  changed: dict[str, Any] = {
    name: times(getattr(profile, name)) for name in _ARRAYS
  }
  return dataclasses.replace(
    profile,
    fixed=factor * profile.fixed,
    backward_total=factor * profile.backward_total,
    **changed,
  )
