"""How sharp scores have to be for their softmax to be probabilities."""

from typing import NamedTuple

import numpy as np

from jcl import base

# Operations for each score at most, told ahead: those of 64 looks at it.
MOST_FLOPS = 4.0 * 64


class Fitted(NamedTuple):
  """A factor on scores, and the operations that finding it took."""

  factor: float
  flops: float


def sharpness(
  scores: np.ndarray, labels: base.Array, known: base.Array
) -> Fitted:
  """Returns the factor at which the softmax of scores fits labels best.

  It is one over the temperature of least cross-entropy (Guo et al., "On
  Calibration of Modern Neural Networks", ICML 2017,
  https://arxiv.org/abs/1706.04599). Where all labels have the largest score,
  cross-entropy falls for ever: the factor is then, as it is wherever the best
  one would be larger, the one that leaves a mean of 1 / (N + 2) nats, about as
  sure as N right answers make one.

  Args:
    scores: [N, C].
    labels: [N] classes, all of them known.
    known: [C] bool, the classes that compete.

  >>> found = sharpness(np.array([[1.0, 0.0]] * 4), [0, 0, 0, 1], [True] * 2)
  >>> round(float(np.exp(found.factor)), 6)  # three to one, a score apart
  3.0
  """
  from scipy import optimize, special  # not where a model only predicts

  known, rows = np.asarray(known), np.asarray(scores, np.float64)
  position = np.cumsum(known) - 1
  apart = rows[:, known]
  count = len(apart)
  if not count or apart.shape[1] < 2:
    return Fitted(1.0, 0.0)
  right = position[np.asarray(labels)][:, None]
  apart = apart - np.take_along_axis(apart, right, axis=1)
  widest = float(np.abs(apart).max())
  if not widest:
    return Fitted(1.0, 0.0)
  floor, looks = 1 / (count + 2), 0

  def surprise(factor: float) -> float:
    nonlocal looks
    looks += 1
    return float(special.logsumexp(factor * apart, axis=1).mean())

  def slope(factor: float) -> float:
    nonlocal looks
    looks += 1
    shares = special.softmax(factor * apart, axis=1)
    return float((shares * apart).sum(axis=1).mean())

  def over(factor: float) -> float:
    return surprise(factor) - floor

  most = 1 / widest  # scores a nat apart
  if slope(0.0) >= 0:
    return Fitted(most, 4.0 * looks * apart.size)  # they tell nothing
  while slope(most) < 0 < over(most):
    most *= 2
  best = most
  if slope(most) >= 0:
    best = optimize.brentq(slope, 0.0, most)
  if over(best) < 0:
    best = optimize.brentq(over, 0.0, best)
  return Fitted(float(best), 4.0 * looks * apart.size)
