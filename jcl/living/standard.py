"""Features brought to mean 0 and deviation 1 by the first that arrive."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Standard:
  """Figures of features, [D] float64 each; values that are NaN are missing.

  Attributes:
    mean: of each feature; 0 where all values are missing.
    deviation: of each feature; 1 where it does not vary.
  """

  mean: np.ndarray
  deviation: np.ndarray

  def __call__(self, x: np.ndarray) -> np.ndarray:
    """Returns features [N, D] as float32, a missing one as its mean is."""
    scaled = (x - self.mean) / self.deviation
    # What is absurdly far from the first examples stays finite.
    return np.clip(np.nan_to_num(scaled), -_FAR, _FAR).astype(np.float32)


_FAR = 1e6  # deviations


def of(x: np.ndarray) -> Standard:
  """Returns the figures of features [N, D].

  >>> of(np.array([[1.0, 5], [3, 5], [np.nan, 5]]))(np.array([[4.0, 5]]))
  array([[2., 0.]], dtype=float32)
  """
  known = ~np.isnan(x)
  count = np.maximum(known.sum(axis=0), 1)
  filled = np.where(known, x, 0.0)
  mean = filled.sum(axis=0) / count
  off = np.where(known, x - mean, 0.0)
  deviation = np.sqrt(np.square(off).sum(axis=0) / count)
  # Sums of equal values leave rounding behind.
  rounding = 10 * np.finfo(np.float64).eps * np.abs(mean)
  return Standard(mean, np.where(deviation <= rounding, 1.0, deviation))
