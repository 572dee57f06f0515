"""Two tests for drift, and the rates of their false alarms.

Both compare the student's accuracy on newly labelled frames with its accuracy
on validation samples: Kim et al., "DaCapo: Accelerating Continuous Learning in
Autonomous Systems for Video Analytics", ISCA 2024,
https://arxiv.org/abs/2403.14353. With about a hundred samples on either side,
the difference has a standard error of some five percentage points, as large as
the published threshold: `paper` detects a drift in 15 to 21 % of all cycles
without drift. `robust` requires a difference that noise alone causes in one
cycle of a hundred.

All functions take numbers or arrays, which are broadcast.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jcl.options.errors import UsageError

THRESHOLD = -5.0  # percentage points
LEVEL = 0.01  # false alarms that `robust` admits

# Keeps a difference of 5 points at the threshold despite rounding.
_ROUNDING = 1e-9


class FalseAlarms(NamedTuple):
  """Share of the cycles without drift in which each test detects one."""

  paper: float  # in [0, 1]
  robust: float  # in [0, 1]


def paper(
  acc_label: ArrayLike, acc_valid: ArrayLike, threshold: float = THRESHOLD
) -> np.bool_ | np.ndarray:
  """Returns whether accuracy fell by the threshold or more.

  Args:
    acc_label: percent of the newly labelled frames predicted right.
    acc_valid: percent of the validation samples predicted right.
    threshold: of the difference, in percentage points; equality is a drift.

  Raises:
    ValueError: for values that are no percentages.

  >>> bool(paper(80, 86)), bool(paper(82, 86))
  (True, False)
  """
  label, valid = np.asarray(acc_label, float), np.asarray(acc_valid, float)
  for name, value in (("acc_label", label), ("acc_valid", valid)):
    if not np.all((value >= 0) & (value <= 100)):
      raise ValueError(f"{name}={value}: give percent, 0 to 100")
  return label - valid <= threshold + _ROUNDING


def robust(
  correct_label: ArrayLike,
  num_label: int,
  correct_valid: ArrayLike,
  num_valid: int,
  *,
  level: float = LEVEL,
  design: float = 1.0,
) -> np.bool_ | np.ndarray:
  """Returns whether accuracy fell by more than noise explains.

  It is a one-sided test of two proportions with pooled variance. Both counts
  must come from the same weights; otherwise the weights are tested as well.

  Args:
    correct_label: newly labelled frames predicted right, of `num_label`.
    num_label: newly labelled frames.
    correct_valid: validation samples predicted right, of `num_valid`.
    num_valid: validation samples.
    level: share of false alarms to admit, in (0, 1).
    design: variance of the samples over that of independent samples: 2 if they
      come in pairs of one object, right or wrong together (Kish, "Survey
      Sampling", 1965).

  Raises:
    ValueError: for counts that are none, a level or a design out of its range.

  >>> bool(robust(80, 108, 97, 108)), bool(robust(92, 108, 97, 108))
  (True, False)
  """
  if not 0 < level < 1:
    raise UsageError(f"level={level}: give a share between 0 and 1, like 0.01")
  return (
    p_value(correct_label, num_label, correct_valid, num_valid, design=design)
    <= level
  )


def p_value(
  correct_label: ArrayLike,
  num_label: int,
  correct_valid: ArrayLike,
  num_valid: int,
  *,
  design: float = 1.0,
) -> np.ndarray:
  """Returns the probability that noise alone makes accuracy fall as far.

  It is 1 if all samples are right or all are wrong.

  Args:
    correct_label: as for `robust`.
    num_label: as for `robust`.
    correct_valid: as for `robust`.
    num_valid: as for `robust`.
    design: as for `robust`, 1 or more.

  Raises:
    ValueError: as `robust`.
  """
  from scipy import stats

  label, valid = np.asarray(correct_label, float), np.asarray(correct_valid)
  for name, count, num in (
    ("label", label, num_label),
    ("valid", valid, num_valid),
  ):
    if num < 1 or not np.all((count >= 0) & (count <= num)):
      raise ValueError(
        f"correct_{name}={count} of num_{name}={num}: give counts, the first "
        "no larger than the second"
      )
  if not design >= 1:
    raise UsageError(f"design={design}: give 1, or more for samples in runs")
  pooled = (label + valid) / (num_label + num_valid)
  error = np.sqrt(
    design * pooled * (1 - pooled) * (1 / num_label + 1 / num_valid)
  )
  fall = label / num_label - valid / num_valid
  score = np.divide(
    fall, error, out=np.full_like(error, np.inf), where=error > 0
  )
  return stats.norm.cdf(score)


def false_alarms(
  accuracy: float,
  num_label: int = 108,
  num_valid: int = 108,
  *,
  track: int = 1,
  design: float = 1.0,
) -> FalseAlarms:
  """Computes how often each test detects a drift that is not there.

  The result is exact: a sum over all outcomes of two binomial draws of equal
  accuracy.

  Args:
    accuracy: of the student, in [0, 1].
    num_label: newly labelled frames.
    num_valid: validation samples.
    track: newly labelled frames in a row that are right or wrong together, as
      frames of one object are. Validation samples are drawn from many cycles
      and count as independent.
    design: as for `robust`.

  Raises:
    ValueError: for an accuracy or a number out of its range.

  >>> [round(share, 3) for share in false_alarms(0.8)]
  [0.174, 0.01]
  """
  if not 0 <= accuracy <= 1:
    raise ValueError(f"accuracy={accuracy}: give a share in [0, 1]")
  if track < 1 or min(num_label, num_valid) < 1:
    raise ValueError(
      f"num_label={num_label}, num_valid={num_valid}, track={track}: give 1 "
      "or more"
    )
  label = np.arange(num_label + 1)[:, None]
  valid = np.arange(num_valid + 1)
  likely = np.outer(
    _outcomes(num_label, track, accuracy), _outcomes(num_valid, 1, accuracy)
  )
  published = paper(100 * label / num_label, 100 * valid / num_valid)
  tested = robust(label, num_label, valid, num_valid, design=design)
  return FalseAlarms(
    float(likely[published].sum()), float(likely[tested].sum())
  )


def _outcomes(num: int, track: int, accuracy: float) -> np.ndarray:
  """Returns the probability [num + 1] of each count of right frames."""
  from scipy import stats

  whole, rest = divmod(num, track)
  likely = np.zeros(num + 1)
  likely[: whole * track + 1 : track] = stats.binom.pmf(
    np.arange(whole + 1), whole, accuracy
  )
  if rest:
    shifted = np.roll(likely, rest)  # the last `rest` entries are 0
    likely = (1 - accuracy) * likely + accuracy * shifted
  return likely


def standard_error(accuracy: float, num_label: int, num_valid: int) -> float:
  """Returns the standard error of the difference of accuracies, in points.

  >>> round(standard_error(0.8, 108, 108), 2)
  5.44
  """
  variance = accuracy * (1 - accuracy) * (1 / num_label + 1 / num_valid)
  return 100 * math.sqrt(variance)
