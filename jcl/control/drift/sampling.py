"""Choice of the frames of a phase that the teacher labels."""

import numpy as np
from numpy.typing import ArrayLike

from jcl.options.errors import UsageError


def paper(num_frames: int, num_samples: int) -> np.ndarray:
  """Chooses frames at a constant whole stride.

  They are 0, s, 2s and so on, where s = floor(n / N); the last n - N * s frames
  are never chosen. Kim et al., "DaCapo: Accelerating Continuous Learning in
  Autonomous Systems for Video Analytics", ISCA 2024,
  https://arxiv.org/abs/2403.14353.

  Args:
    num_frames: n, frames to choose from.
    num_samples: N, frames to label.

  Returns:
    [N] int64 positions, rising.

  Raises:
    ValueError: for fewer frames than samples, or less than one sample.

  >>> paper(11, 4).tolist()
  [0, 2, 4, 6]
  """
  _check(num_frames, num_samples)
  return np.arange(num_samples) * (num_frames // num_samples)


def even(num_frames: int, num_samples: int) -> np.ndarray:
  """Chooses frames spread evenly over all: floor(j * n / N) for j < N.

  They are those of `paper` if N divides n.

  Args:
    num_frames: n, frames to choose from.
    num_samples: N, frames to label.

  Returns:
    [N] int64 positions, rising.

  Raises:
    ValueError: for fewer frames than samples, or less than one sample.

  >>> even(11, 4).tolist()
  [0, 2, 5, 8]
  """
  _check(num_frames, num_samples)
  return np.arange(num_samples) * num_frames // num_samples


def least_certain(top: ArrayLike, num_samples: int) -> np.ndarray:
  """Chooses the frames whose best class has a probability nearest to one half.

  Args:
    top: [n] probability of the predicted class, as from `top_probability`.
    num_samples: N, frames to label.

  Returns:
    [N] int64 positions, rising; among equally near frames the earlier ones.

  Raises:
    ValueError: for values that are no probabilities, fewer frames than samples,
      or less than one sample.

  >>> least_certain([0.9, 0.4, 0.55, 0.99], 2).tolist()
  [1, 2]
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
