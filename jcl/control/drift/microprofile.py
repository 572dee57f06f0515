"""Predicted accuracy of a retraining, from few epochs on a part of its data.

Bhardwaj et al., "Ekya: Continuous Learning of Video Analytics Models on Edge
Compute Servers", NSDI 2022, https://arxiv.org/abs/2012.10557: every
configuration is trained for some epochs on 5 to 10 % of the window's data, a
curve of accuracy over epochs is fitted to the accuracies reached, and predicts
the epochs that were not trained. Configurations far behind the Pareto front of
accuracy and cost are dropped.

Accuracies are shares in [0, 1]; `start` is the accuracy before retraining, at
epoch 0. A configuration that learns perfectly is assumed to have accuracy
`most` at epoch `end`.
"""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

_END = 30
_MOST = 0.95

# Points of a curve, both ends included, to which the last fit is made.
_SAMPLES = 4


@dataclasses.dataclass(frozen=True)
class OrinConfig:
  """A configuration of a device that serves, labels and trains in turn."""

  percent: int  # of the window's frames that are labelled and trained on
  epochs: int
  seconds: float  # of all work in a window


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

  The curve a(x) = b - (b - start) / (1 + x / h) rises from `start` to b and is
  half way at epoch h. A perfect configuration follows `most` times the curve
  1 - (1 - start) / (1 + x / g), where g makes this curve reach `most` at epoch
  `end`. Then b is `most` times the measured accuracy over that of the perfect
  configuration at epoch m, a ratio of at most 1; and h makes a(x) go through
  the measurement. If accuracy did not rise, a(x) is the measured accuracy.

  The family of curves is the published one with a free asymptote. The closed
  form replaces a fit of three unknowns to two points, whose result depends on
  the solver.

  Args:
    start: accuracy at epoch 0.
    measured: accuracy at epoch `epoch`.
    epoch: m, more than 0.
    epochs: [...] at which to predict.
    end: epoch at which a perfect configuration has accuracy `most`.
    most: the highest prediction, in (0, 1).

  Returns:
    [...] accuracies, rising in `measured`, at most `most` and, if that allows
    it, at least the smaller of `start` and `measured`.

  Raises:
    ValueError: for values that are no accuracies, or epochs that are not
      positive.

  >>> extrapolate(0.5, 0.7, 5, [5, 10, 30]).round(3).tolist()
  [0.7, 0.761, 0.827]
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

  A curve 1 - (1 / (b0 x + b1) + b2) with b0, b1, b2 >= 0 is fitted to `start`
  at epoch 0 and `most` at epoch `end`. The measurement over `most` times this
  curve, a ratio of at most 1, scales the end, and the curve is fitted again; a
  last fit is made to four points of that curve, both ends and the measurement.
  The first two fits have more unknowns than points: another solver may differ
  by up to 0.04. These curves never fall, so a loss would look like a gain: if
  accuracy fell, the measured accuracy is predicted, as in `extrapolate`.

  Args:
    start: accuracy at epoch 0.
    measured: accuracy at epoch `epoch`.
    epoch: more than 0.
    epochs: [...] at which to predict.
    end: epoch at which a perfect configuration has accuracy `most`.
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
  """Fits b0, b1 and b2 of the curve by non-negative least squares."""
  from scipy import optimize

  x, y = np.asarray(epochs, float), np.asarray(accuracies, float)
  first = np.array([0.1, 1 / max(1 - y[0], 1e-3), 1e-3])
  return optimize.least_squares(
    lambda b: _curve(x, b) - y, first, bounds=(0, np.inf)
  ).x


def _check(
  start: float, measured: float, epoch: float, end: float, most: float
) -> None:
  for name, value in (("start", start), ("measured", measured)):
    if not 0 <= value <= 1:
      raise ValueError(f"{name}={value}: give an accuracy in [0, 1]")
  if not epoch > 0 or not end > 0 or not 0 < most < 1:
    raise ValueError(
      f"epoch={epoch}, end={end}, most={most}: give epochs of more than 0, and "
      "an accuracy between 0 and 1"
    )


def behind_front(accuracy: ArrayLike, cost: ArrayLike) -> np.ndarray:
  """Computes how far each configuration is behind the Pareto front.

  Args:
    accuracy: [N].
    cost: [N], in any unit.

  Returns:
    [N] the highest accuracy at no higher cost, less the configuration's own
    accuracy; 0 on the front.

  Raises:
    ValueError: for lists of different lengths.

  >>> behind_front([0.5, 0.75, 0.25], [1, 2, 3]).tolist()
  [0.0, 0.0, 0.5]
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
    fraction: of the configurations to drop, in [0, 1), rounded down; less if
      fewer are behind the front.

  Returns:
    Indices of the configurations to keep, rising.

  Raises:
    ValueError: for a fraction out of its range, or as `behind_front`.

  >>> prune([0.5, 0.75, 0.25], [1, 2, 3], fraction=0.4)
  [0, 1]
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

  This is Ekya as run for comparison in Kim et al., "DaCapo", ISCA 2024: 5, 15
  and 30 epochs, each with the same three sampling rates. For each number of
  epochs, take the largest whole percentage that fits the window, at least 1;
  the rates are the smallest and the largest of these and their middle.

  Args:
    infer: seconds per frame served.
    train: seconds per batch trained on.
    label: seconds per frame labelled.
    window: seconds.
    frames: in a window, all of which are served.
    batch: frames per batch.

  Returns:
    Nine candidates, sorted by rate; one whose `seconds` exceed the window has
    no worth.
  """

  def seconds(percent: int, epochs: int) -> float:
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
