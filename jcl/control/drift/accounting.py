"""Scores of a run over a stream, in which every frame counts, served or not.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, https://arxiv.org/abs/2403.14353. The score of a
scenario is the geometric mean of its window accuracies after the warm-up; the
score of a model is the geometric mean over scenarios.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from jcl import metrics
from jcl.control.drift import allocation
from jcl.options.errors import UsageError

Policy = Literal["stale", "strict"]


def served(
  num_frames: int, fps: allocation.Seconds, seconds: allocation.Seconds
) -> np.ndarray:
  """Returns which frames a server without a queue takes.

  The server takes a frame that arrives while it is idle, which is one in every
  ceil(fps * seconds).

  Args:
    num_frames: frames that arrive at a steady rate.
    fps: frames per second.
    seconds: of serving a frame.

  Returns:
    [num_frames] bool.

  Raises:
    ValueError: for numbers that are not positive.

  >>> served(5, fps=30, seconds=0.05).tolist()
  [True, False, True, False, True]
  """
  for name, value in (("fps", fps), ("seconds", seconds)):
    if not 0 < value < math.inf:
      raise UsageError(f"{name}={value}: give more than 0")
  busy = math.ceil(allocation.exact(fps) * allocation.exact(seconds))
  return np.arange(num_frames) % busy == 0


def drop_ratio(served: ArrayLike) -> float:
  """Returns the share of the frames [n] bool that are not served."""
  return float(1 - np.mean(np.asarray(served, bool)))


def published_drop_ratio(
  fps: allocation.Seconds, seconds: allocation.Seconds
) -> float:
  """Returns the drop ratio by the published formula, max(0, 1 - 1 / (fps s)).

  It is at most the drop ratio of `served`, whose server also waits for the next
  frame to arrive.

  Args:
    fps: frames per second.
    seconds: s, of serving a frame.

  >>> published_drop_ratio(fps=30, seconds=0.04)
  0.16666666666666666
  """
  load = allocation.exact(fps) * allocation.exact(seconds)
  return max(0.0, float(1 - 1 / load))


def correct(
  predictions: ArrayLike,
  labels: ArrayLike,
  served: ArrayLike,
  policy: Policy = "stale",
) -> np.ndarray:
  """Returns which frames count as right.

  Args:
    predictions: [n] classes; only those of served frames are read.
    labels: [n] classes, the truth.
    served: [n] bool.
    policy: "stale" gives a frame that is not served the prediction for the last
      served frame; "strict" counts it as wrong. All frames before the first
      served one are wrong.

  Returns:
    [n] bool.

  Raises:
    ValueError: for lists of different lengths or a policy of another name.

  >>> correct([1, 0, 0], [1, 1, 1], [True, False, True]).tolist()
  [True, True, False]
  """
  guesses, truth = np.asarray(predictions), np.asarray(labels)
  taken = np.asarray(served, bool)
  if not guesses.shape == truth.shape == taken.shape or truth.ndim != 1:
    raise ValueError(
      f"predictions {guesses.shape}, labels {truth.shape} and served "
      f"{taken.shape}: give one of each per frame"
    )
  if policy not in ("stale", "strict"):
    raise ValueError(f"policy={policy!r}: give 'stale' or 'strict'")
  if policy == "strict":
    return taken & (guesses == truth)
  last = np.maximum.accumulate(np.where(taken, np.arange(len(truth)), -1))
  return (last >= 0) & (guesses[last] == truth)


def window_accuracies(correct: ArrayLike, frames: int) -> np.ndarray:
  """Returns the accuracy of each window: [n] bool to [n / frames].

  Args:
    correct: [n], whole windows.
    frames: in a window.

  Raises:
    ValueError: if the last window is not whole, or there is no window.

  >>> window_accuracies([True, False, True, True], frames=2).tolist()
  [0.5, 1.0]
  """
  right = np.asarray(correct, float)
  if frames < 1 or not len(right) or len(right) % frames:
    raise ValueError(
      f"{len(right)} frames are no whole windows of {frames}: give all frames "
      "of every window"
    )
  return right.reshape(-1, frames).mean(axis=1)


def geometric_mean(accuracies: ArrayLike, warmup: int = 0) -> float:
  """Returns the geometric mean of the accuracies after the warm-up.

  It is 0 if one of these accuracies is 0.

  Args:
    accuracies: [n] of windows, or of scenarios.
    warmup: windows at the start that are left out; as published, 4 of 14.

  Raises:
    ValueError: for a negative accuracy, or if the warm-up has all windows.

  >>> round(geometric_mean([0.1, 0.4, 0.9], warmup=1), 6)
  0.6
  """
  from scipy import stats

  scored = np.asarray(accuracies, float)[warmup:]
  if warmup < 0 or not scored.size or scored.min() < 0:
    raise ValueError(
      f"accuracies {scored} after warmup={warmup}: give accuracies of 0 or "
      "more, and more of them than the warm-up has"
    )
  return float(stats.gmean(scored)) if scored.min() > 0 else 0.0


def paired_interval(
  ours: ArrayLike, theirs: ArrayLike, level: float = 0.95
) -> tuple[float, float]:
  """Returns the mean of paired differences and its half-width.

  A mean larger than its half-width is unlikely to be chance.

  Args:
    ours: [n] scores, of the same seeds in the same order as `theirs`.
    theirs: [n] scores. A pair with a NaN is left out.
    level: confidence of the interval, by Student's t.

  Raises:
    ValueError: for lists of different lengths.
  """
  first, second = np.asarray(ours, float), np.asarray(theirs, float)
  if first.ndim != 1 or first.shape != second.shape:
    raise ValueError(
      f"scores {first.shape} and {second.shape}: give one of each per seed"
    )
  return metrics.confidence_interval(first - second, level)
