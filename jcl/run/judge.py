"""What examples that are set aside say of a model while it learns.

They are in the store, never train and are no test data. Short trials are judged
by them, and whether going on is worth it.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

from jcl import base
from jcl.run.cursor import Place, Setting

LOOKS = 10  # in the epochs of an experience
_BLOCK = 64  # examples
_STEP = 1.0  # percent: likelihood creeps up long after nothing else changes


class Verdict(NamedTuple):
  """How the outputs for all classes seen fit each of N examples."""

  right: np.ndarray  # [N] bool, the largest output is the right one
  logs: np.ndarray  # [N] float32, of the probability given to the right one

  def score(self, judge: str) -> float:
    """Returns one number, in percent.

    Args:
      judge: "accuracy", or "likelihood" for the geometric mean of the
        probabilities. That tells more by the same examples: of a few dozen, one
        more right answer is a leap.
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


def _standard_error(values: np.ndarray) -> float:
  """Returns that of a mean; infinite for less than two values."""
  if len(values) < 2:
    return math.inf
  return float(values.std(ddof=1)) / math.sqrt(len(values))


def set_aside(setting: Setting, part: slice = slice(None)) -> base.Dataset:
  """Reads the examples that were set aside of the classes seen so far.

  Args:
    setting: of the run.
    part: of them, in the order of classes.
  """
  archive = setting.tiers.archive
  rows = archive.intact(archive.aside[part])
  names = setting.stream.class_names
  return base.Dataset("set aside", rows["x"], rows["y"], names)


def judged(
  setting: Setting,
  state: base.LearnerState,
  aside: base.Dataset,
  scope: base.Scope,
) -> Verdict:
  """Judges a model by some examples, at least one."""
  return Verdict(*setting.learner.judge(state, aside, np.asarray(scope.head)))


def exhausted(
  setting: Setting, state: base.LearnerState, place: Place, scope: base.Scope
) -> bool:
  """Looks at a model when an epoch has ended, ten times in an experience.

  Returns:
    Whether the experience may end here, as `may_end` says.
  """
  tiers, plan = setting.tiers, setting.tiers.hierarchy.plan
  assert place.decision is not None
  epochs, done = place.decision.epochs, place.epoch
  if plan is None or not plan.patience or not 0 < done < epochs:
    return False
  if LOOKS * done // epochs == LOOKS * (done - 1) // epochs:
    return False
  found = _looked(setting, state, scope)
  if not len(found.right):
    return False
  tiers.looks.append((found.score("accuracy"), found.score("likelihood")))
  return may_end(tiers.looks, plan.patience, len(found.right))


def _looked(setting, state, scope) -> Verdict:
  """Judges by all examples set aside, of which a few are in memory at once."""
  parts = [Verdict(np.zeros(0, bool), np.zeros(0, np.float32))]
  for first in range(0, len(setting.tiers.archive.aside), _BLOCK):
    with setting.ledger.timed("data"):
      aside = set_aside(setting, slice(first, first + _BLOCK))
    parts.append(judged(setting, state, aside, scope))
  return Verdict(*map(np.concatenate, zip(*parts, strict=True)))


def may_end(
  looks: Sequence[tuple[float, float]], patience: int, examples: int
) -> bool:
  """Returns whether looking on is in vain, and this no bad moment to end.

  From step to step accuracy goes up and down. It may end where the latest look
  found as much as the best one, but for its standard error.

  Args:
    looks: (accuracy, likelihood) of each, in percent, at least one.
    patience: looks that must have brought nothing, all the latest.
    examples: that were judged, each time.
  """
  best = max(accuracy for accuracy, _ in looks)
  error = math.sqrt(best * (100 - best) / examples)
  return idle(looks) >= patience and looks[-1][0] >= best - error


def idle(looks: Sequence[tuple[float, float]]) -> int:
  """Returns how many looks there were since the last one that was better.

  Args:
    looks: (accuracy, likelihood) of each, in percent, at least one.
  """
  best, latest = looks[0], 0
  for i, (accuracy, likelihood) in enumerate(looks):
    if accuracy > best[0] or likelihood >= best[1] + _STEP:
      latest = i
    best = max(best[0], accuracy), max(best[1], likelihood)
  return len(looks) - 1 - latest
