"""Which frames of a phase the teacher labels."""

import numpy as np
from numpy.typing import ArrayLike

from jcl.errors import UsageError


def paper(num_frames: int, num_samples: int) -> np.ndarray:
  """Takes frames at a constant whole stride.

  0, s, 2s and so on, where s = floor(n / N): the last n - N * s frames are
  never looked at. Kim et al., "DaCapo: Accelerating Continuous Learning in
  Autonomous Systems for Video Analytics", ISCA 2024.

  Args:
    num_frames: n, frames to choose from.
    num_samples: N, frames to label.

  Returns:
    [N] int64 positions, rising.

  Raises:
    ValueError: for fewer frames than samples, or less than one sample.
  """
  _check(num_frames, num_samples)
  return np.arange(num_samples) * (num_frames // num_samples)


def even(num_frames: int, num_samples: int) -> np.ndarray:
  """Takes frames evenly over all of them: floor(j * n / N) for j < N.

  The same as `paper` where N divides n.

  Args:
    num_frames: n, frames to choose from.
    num_samples: N, frames to label.

  Returns:
    [N] int64 positions, rising.

  Raises:
    ValueError: for fewer frames than samples, or less than one sample.
  """
  _check(num_frames, num_samples)
  return np.arange(num_samples) * num_frames // num_samples


def least_certain(top: ArrayLike, num_samples: int) -> np.ndarray:
  """Takes the frames whose best class has a probability nearest to one half.

  Args:
    top: [n] probability of the predicted class, as of `top_probability`.
    num_samples: N, frames to label.

  Returns:
    [N] int64 positions, rising; of equally near frames the earlier ones.

  Raises:
    ValueError: for what is no probability, fewer frames than samples, or less
      than one sample.
  """
  scores = np.asarray(top, float)
  if scores.ndim != 1 or not np.all((scores >= 0) & (scores <= 1)):
    raise ValueError(
      f"top has shape {scores.shape} and values like {scores.ravel()[:3]}: "
      "give a probability per frame, top_probability(logits)"
    )
  _check(len(scores), num_samples)
  nearest = np.argsort(np.abs(scores - 0.5), kind="stable")
  return np.sort(nearest[:num_samples])


def top_probability(logits: ArrayLike) -> np.ndarray:
  """Returns the softmax probability of the best class: [n, C] to [n]."""
  from scipy import special

  return special.softmax(np.asarray(logits, float), axis=-1).max(axis=-1)


def _check(num_frames: int, num_samples: int) -> None:
  if not 1 <= num_samples <= num_frames:
    raise UsageError(
      f"{num_samples} of {num_frames} frames: give 1 sample or more, and no "
      "more than there are frames"
    )
