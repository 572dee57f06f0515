"""Worth of a retraining, from a few epochs on a small part of its data.

Bhardwaj et al., "Ekya: Continuous Learning of Video Analytics Models on Edge
Compute Servers", NSDI 2022: every configuration is trained for some epochs on 5
to 10 % of the window's data, a curve of accuracy over epochs is put through
what it reached, and the epochs not trained are read off the curve.
Configurations far from the front of accuracy and cost are dropped.

Accuracies are shares in [0, 1]; `start` is the accuracy before retraining, at
epoch 0, and the curves assume `most` at epoch `end` of a configuration that
learns as well as hoped for.
"""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

_END = 30
_MOST = 0.95

# Between its two ends a curve is sampled at so many epochs for the last fit.
_SAMPLES = 4


@dataclasses.dataclass(frozen=True)
class OrinConfig:
  """A configuration of a device that takes turns at everything."""

  percent: int  # of the window's frames that are labelled and trained on
  epochs: int
  seconds: float  # that the whole window's work takes


def extrapolate(
  start: float,
  measured: float,
  epoch: float,
  epochs: ArrayLike,
  *,
  end: float = _END,
  most: float = _MOST,
) -> np.ndarray:
  """Predicts accuracy after some epochs from that after a few, in closed form.

  a(x) = b - (b - start) / (1 + x / h), which goes from `start` to b and is half
  way there at epoch h. What is hoped for at epoch m of the measurement is
  `most` times the curve 1 - (1 - start) / (1 + x / g) that reaches `most` at
  epoch `end`; b is `most` times the share of it that was measured, at most 1;
  then h has the curve go through the measurement. Where nothing was learned,
  nothing will be: a(x) is what was measured.

  The family is the published one with its asymptote freed; the closed form
  replaces a fit of three unknowns to two points, whose result depends on the
  solver.

  Args:
    start: accuracy at epoch 0.
    measured: accuracy at epoch `epoch`.
    epoch: m, more than 0.
    epochs: [...] at which to predict.
    end: epoch at which `most` is hoped for.
    most: that is ever predicted, in (0, 1).

  Returns:
    [...] accuracies, rising in `measured`, at most `most` and, where that
    allows it, at least the smaller of `start` and `measured`.

  Raises:
    ValueError: for what is no accuracy, or epochs that are not positive.
  """
  _check(start, measured, epoch, end, most)
  x = np.asarray(epochs, float)
  if measured <= start or start >= most:
    return np.full(x.shape, min(measured, most))
  g = end / ((1 - start) / (1 - most) - 1)
  hoped = most * (1 - (1 - start) / (1 + epoch / g))
  asymptote = most * min(1.0, measured / hoped)
  if measured >= asymptote:
    return np.where(x > 0, asymptote, start)
  h = epoch * (asymptote - measured) / (measured - start)
  return asymptote - (asymptote - start) / (1 + x / h)


def extrapolate_published(
  start: float,
  measured: float,
  epoch: float,
  epochs: ArrayLike,
  *,
  end: float = _END,
  most: float = _MOST,
) -> np.ndarray:
  """Predicts accuracy after some epochs by fits, as published.

  A curve 1 - (1 / (b0 x + b1) + b2), none of them negative, is fitted to
  `start` at epoch 0 and `most` at epoch `end`. The measurement, as a share of
  `most` times the curve, at most 1, scales the end; the curve is fitted again,
  and a last time to four of its points, both ends and the measurement. The
  first two fits have more unknowns than points: another solver may answer up to
  0.04 differently. These curves never fall, and would turn a loss into a gain:
  where accuracy fell, as in `extrapolate`, the measured one is predicted.

  Args:
    start: accuracy at epoch 0.
    measured: accuracy at epoch `epoch`.
    epoch: more than 0.
    epochs: [...] at which to predict.
    end: epoch at which `most` is hoped for.
    most: accuracy there, in (0, 1).

  Returns:
    [...] accuracies.

  Raises:
    ValueError: as `extrapolate`.
  """
  _check(start, measured, epoch, end, most)
  if measured < start:
    return np.full(np.shape(epochs), min(measured, most))
  seed = _fit([0, end], [start, most])
  hoped = most * _curve(np.array(epoch), seed)
  reached = most * min(1.0, measured / max(float(hoped), 1e-9))
  seed = _fit([0, end], [start, reached])
  between = np.linspace(0, end, _SAMPLES)
  last = _fit(
    [*between, 0, end, epoch],
    [*_curve(between, seed), start, reached, measured],
  )
  return np.clip(_curve(np.asarray(epochs, float), last), 0.0, 1.0)


def _curve(x: np.ndarray, b: np.ndarray) -> np.ndarray:
  return 1 - (1 / np.maximum(b[0] * x + b[1], 1e-9) + b[2])


def _fit(epochs: Sequence[float], accuracies: Sequence[float]) -> np.ndarray:
  """Non-negative least squares of the curve: b0, b1 and b2."""
  from scipy import optimize

  x, y = np.asarray(epochs, float), np.asarray(accuracies, float)
  first = np.array([0.1, 1 / max(1 - y[0], 1e-3), 1e-3])
  return optimize.least_squares(
    lambda b: _curve(x, b) - y, first, bounds=(0, np.inf)
  ).x


def _check(start, measured, epoch, end, most) -> None:
  for name, value in (("start", start), ("measured", measured)):
    if not 0 <= value <= 1:
      raise ValueError(f"{name}={value}: give an accuracy in [0, 1]")
  if not epoch > 0 or not end > 0 or not 0 < most < 1:
    raise ValueError(
      f"epoch={epoch}, end={end}, most={most}: give epochs of more than 0, and "
      "an accuracy between 0 and 1"
    )


def behind_front(accuracy: ArrayLike, cost: ArrayLike) -> np.ndarray:
  """Returns how far each configuration is behind the Pareto front.

  Args:
    accuracy: [N].
    cost: [N], in any unit.

  Returns:
    [N] accuracy that another configuration of no higher cost has more; 0 on
    the front.

  Raises:
    ValueError: for lists of different lengths.
  """
  gains, costs = np.asarray(accuracy, float), np.asarray(cost, float)
  if gains.ndim != 1 or gains.shape != costs.shape:
    raise ValueError(
      f"accuracy {gains.shape} and cost {costs.shape}: give one cost per "
      "accuracy"
    )
  affordable = costs <= costs[:, None]
  return (
    np.where(affordable, gains, -np.inf).max(axis=1, initial=-np.inf) - gains
  )


def prune(accuracy: ArrayLike, cost: ArrayLike, fraction: float) -> list[int]:
  """Drops the configurations that are farthest behind the Pareto front.

  Args:
    accuracy: [N], such as means over the last two windows.
    cost: [N], in any unit.
    fraction: of the configurations to drop, in [0, 1), rounded down; less where
      fewer are behind the front.

  Returns:
    Indices of those kept, rising.

  Raises:
    ValueError: for a fraction out of its range, or as `behind_front`.
  """
  if not 0 <= fraction < 1:
    raise ValueError(f"fraction={fraction}: give a share to drop, in [0, 1)")
  behind = behind_front(accuracy, cost)
  worst = np.argsort(-behind, kind="stable")[: int(fraction * len(behind))]
  dropped = {int(i) for i in worst if behind[i] > 0}
  return [i for i in range(len(behind)) if i not in dropped]


def orin_configs(
  infer: float,
  train: float,
  label: float,
  *,
  window: float = 120,
  frames: int = 3600,
  batch: int = 32,
) -> list[OrinConfig]:
  """Returns the candidates of a device that serves, labels and trains in turn.

  Ekya as it was run for comparison in Kim et al., "DaCapo", ISCA 2024: 5, 15
  and 30 epochs, each with the same three sampling rates: of the largest whole
  percentages that fit the window at each number of epochs, the smallest, the
  largest and the middle, 1 at least.

  Args:
    infer: seconds per frame served.
    train: seconds per batch trained on.
    label: seconds per frame labelled.
    window: seconds.
    frames: of a window, all of which are served.
    batch: frames per batch.

  Returns:
    Nine candidates, rates first; one whose `seconds` exceed the window is worth
    nothing.
  """

  def seconds(percent, epochs):
    num = frames * percent // 100
    return (
      frames * infer + math.ceil(num / batch) * train * epochs + num * label
    )

  lengths = (5, 15, 30)
  largest = [
    max((p for p in range(1, 101) if seconds(p, n) <= window), default=1)
    for n in lengths
  ]
  low, high = min(largest), max(largest)
  return [
    OrinConfig(percent, epochs, seconds(percent, epochs))
    for percent in (low, (low + high) // 2, high)
    for epochs in lengths
  ]
