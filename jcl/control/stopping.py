"""Ends an experience where examples that are set aside gain nothing more.

The examples are stored, never train and are no test data.
"""

from collections.abc import Sequence
import math
from typing import Any

from jcl import base
from jcl.options import errors

LOOKS = 10  # in the epochs of an experience
_STEP = 1.0  # percent: likelihood creeps up long after nothing else changes


def early(patience: int) -> base.Controller:
  """Looks at the model ten times in an experience, and ends it in time.

  Args:
    patience: looks that bring nothing better, after which it ends; at least 1.
  """

  def decide(
    state: dict[str, Any], seen: base.Observation
  ) -> tuple[base.Decision, dict[str, Any]]:
    decision = seen.decision
    assert decision is not None
    if seen.moment == "experience":
      return decision, {"looks": []}
    if not _due(seen.epoch, decision.epochs) or _starved(seen):
      return decision, state
    assert seen.judge is not None
    found = seen.judge()
    if not len(found.right):
      return decision, state
    look = found.score("accuracy"), found.score("likelihood")
    looks = [*map(tuple, state["looks"]), look]
    if may_end(looks, patience, len(found.right)):
      best, _ = max(looks)
      planned = errors.count(decision.epochs, "epoch")
      reason = (
        f"ends after {seen.epoch} of {planned}: {best:.1f} % of what is set "
        "aside are right, and it gets no better"
      )
      change = base.Change("ended", reason)
      decision = decision.changed(change, epochs=seen.epoch)
    return decision, {"looks": looks}

  return base.Controller(
    lambda: {"looks": []}, decide, moments=("experience", "epoch")
  )


def _due(done: int, epochs: int) -> bool:
  """Tells whether a look is due when `done` of the epochs are over."""
  if not 0 < done < epochs:
    return False
  return LOOKS * done // epochs != LOOKS * (done - 1) // epochs


def _starved(seen: base.Observation) -> bool:
  return seen.held is not None and seen.held.room < seen.held.classes


def may_end(
  looks: Sequence[tuple[float, float]], patience: int, examples: int
) -> bool:
  """Returns whether looking on is in vain, and this no bad moment to end.

  From step to step accuracy goes up and down. An experience may end where the
  latest look found as much as the best one, but for its standard error.

  Args:
    looks: (accuracy, likelihood) of each, in percent, at least one.
    patience: looks that must have brought nothing, all the latest.
    examples: that were judged, each time.
  """
  best = max(accuracy for accuracy, _ in looks)
  error = math.sqrt(best * (100 - best) / examples)
  return idle(looks) >= patience and looks[-1][0] >= best - error


def idle(looks: Sequence[tuple[float, float]]) -> int:
  """Counts the looks since the last one that was better than those before.

  Args:
    looks: (accuracy, likelihood) of each, in percent, at least one.
  """
  best, latest = looks[0], 0
  for i, (accuracy, likelihood) in enumerate(looks):
    if accuracy > best[0] or likelihood >= best[1] + _STEP:
      latest = i
    best = max(best[0], accuracy), max(best[1], likelihood)
  return len(looks) - 1 - latest
