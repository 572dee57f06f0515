"""How a run over a stream is scored, frame by frame.

Every frame counts, served or not: Kim et al., "DaCapo: Accelerating Continuous
Learning in Autonomous Systems for Video Analytics", ISCA 2024. The score of a
scenario is the geometric mean of its window accuracies after the warm-up, that
of a model the geometric mean over scenarios.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from jcl import metrics
from jcl.control.drift import allocation

Policy = Literal["stale", "strict"]


def served(
  num_frames: int, fps: allocation.Seconds, seconds: allocation.Seconds
) -> np.ndarray:
  """Returns which frames a server without a queue takes.

  It takes the frame that arrives while it is idle, so one in every
  ceil(fps * seconds).

  Args:
    num_frames: that arrive at a steady rate, the first at an idle server.
    fps: frames per second.
    seconds: that serving a frame takes.

  Returns:
    [num_frames] bool.

  Raises:
    ValueError: for numbers that are not positive.
  """
  for name, value in (("fps", fps), ("seconds", seconds)):
    if not 0 < value < math.inf:
      raise ValueError(f"{name}={value}: give more than 0")
  busy = math.ceil(allocation.exact(fps) * allocation.exact(seconds))
  return np.arange(num_frames) % busy == 0


def drop_ratio(served: ArrayLike) -> float:
  """Returns the share of the frames [n] bool that are not served."""
  return float(1 - np.mean(np.asarray(served, bool)))


def published_drop_ratio(
  fps: allocation.Seconds, seconds: allocation.Seconds
) -> float:
  """Returns the drop ratio by the published formula, max(0, 1 - 1 / (fps s)).

  At most that of `served`, which loses what is left of a frame's time.

  Args:
    fps: frames per second.
    seconds: s, that serving a frame takes.
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
    predictions: [n] classes; read where a frame is served only.
    labels: [n] classes, the truth.
    served: [n] bool.
    policy: "stale" gives a frame that is not served the prediction of the last
      one that was; "strict" counts it wrong. Before the first frame that is
      served, all are wrong.

  Returns:
    [n] bool.

  Raises:
    ValueError: for lists of different lengths or a policy of another name.
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
    frames: of a window.

  Raises:
    ValueError: if the last window is not whole, or there is none.
  """
  right = np.asarray(correct, float)
  if frames < 1 or not len(right) or len(right) % frames:
    raise ValueError(
      f"{len(right)} frames are no whole windows of {frames}: give all frames "
      "of every window"
    )
  return right.reshape(-1, frames).mean(axis=1)


def geometric_mean(accuracies: ArrayLike, warmup: int = 0) -> float:
  """Returns the geometric mean of what follows the warm-up.

  Args:
    accuracies: [n] of windows, or of scenarios; 0 where one of them is.
    warmup: windows that are left out; 4 as published, of 14.

  Raises:
    ValueError: for a negative accuracy, or if nothing is left.
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

  The difference is beyond chance where the half-width is below its size.

  Args:
    ours: [n] scores, of the same seeds in the same order as `theirs`.
    theirs: [n] scores. A pair with a NaN is left out.
    level: of confidence, by Student's t.

  Raises:
    ValueError: for lists of different lengths.
  """
  first, second = np.asarray(ours, float), np.asarray(theirs, float)
  if first.ndim != 1 or first.shape != second.shape:
    raise ValueError(
      f"scores {first.shape} and {second.shape}: give one of each per seed"
    )
  return metrics.confidence_interval(first - second, level)
