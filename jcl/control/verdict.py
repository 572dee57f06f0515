"""How well a model answers examples that are set aside."""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np


class Verdict(NamedTuple):
  """How the outputs for all classes seen fit each of N examples."""

  right: np.ndarray  # [N] bool, the largest output is the right one
  logs: np.ndarray  # [N] float32, of the probability given to the right one

  def score(self, judge: str) -> float:
    """Returns one number, in percent.

    Args:
      judge: "accuracy", or "likelihood" for the geometric mean of the
        probabilities. The likelihood tells more by the same examples: of a few
        dozen, one more right answer is a leap.
    """
    if judge == "accuracy":
      return 100 * float(self.right.mean())
    return 100 * float(np.exp(self.logs.mean()))

  def noise(self, other: "Verdict", judge: str) -> float:
    """Returns the standard error of how another score differs, in percent.

    Both are of the same examples, of which two or more are needed.
    """
    if judge == "accuracy":
      return 100 * _standard_error(self.right.astype(float) - other.right)
    # The score is 100 exp(m), so that it grows with m at its own rate.
    return self.score(judge) * _standard_error(self.logs - other.logs)


def merged(verdicts: Sequence[Verdict]) -> Verdict:
  """Joins verdicts on several sets of examples; empty where there are none."""
  parts = [Verdict(np.zeros(0, bool), np.zeros(0, np.float32)), *verdicts]
  return Verdict(*map(np.concatenate, zip(*parts, strict=True)))


def _standard_error(values: np.ndarray) -> float:
  """Returns the standard error of the mean; infinite below two values."""
  if len(values) < 2:
    return math.inf
  return float(values.std(ddof=1)) / math.sqrt(len(values))
