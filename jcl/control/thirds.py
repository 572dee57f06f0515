"""Rounds of trials, of which each keeps the best third and costs as much.

Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
Optimization", JMLR 2018, https://arxiv.org/abs/1603.06560: of K arms each is
tried at a cost r, the best third is tried further at 3 r, and so on until one
is left. `choice.halving` does so for sizes of a memory, by halves, and in
epochs instead of a budget.

What is this project's own: where K is no power of three, a third is rounded up
and the rounds still share the budget equally; ties go to the cheaper arm.
"""

from collections.abc import Callable, Sequence
import math
from typing import NamedTuple

from jcl.options.errors import UsageError

_KEPT = 3  # one of so many stays

# (arm, cost of the trial) -> score, the larger the better; NaN and None for a
# trial that came to nothing.
Trial = Callable[[int, float], float | None]


class Round(NamedTuple):
  """Arms that are tried, and at which cost."""

  arms: int
  cost: float  # of each arm, beside what it cost in the rounds before


class Found(NamedTuple):
  """The arm that is left, and what led to it."""

  arm: int | None  # None where no trial came to anything
  spent: float
  scores: tuple[float | None, ...]  # [arms] of the last trial of each


def rounds(arms: int, budget: float) -> list[Round]:
  """Returns the rounds that leave one arm, ceil(log3 arms) of them.

  Each round costs budget / rounds. So the first has budget / (arms * rounds)
  for each arm, and where arms are a power of three each round triples that.

  Args:
    arms: to try.
    budget: of all rounds, in any unit.

  Returns:
    Nothing for one arm, which needs no trial.

  Raises:
    UsageError: for no arm, or a budget that is not above 0.

  >>> rounds(9, 54.0)
  [Round(arms=9, cost=3.0), Round(arms=3, cost=9.0)]
  """
  if arms < 1:
    raise UsageError(f"arms={arms}: give 1 or more")
  if not 0 < budget < math.inf:
    raise UsageError(f"a budget of {budget} for trials: give more than 0")
  numbers = []
  while arms > 1:
    numbers.append(arms)
    arms = _third(arms)
  return [Round(each, budget / len(numbers) / each) for each in numbers]


def survivors(
  scores: Sequence[float | None],
  number: int,
  costs: Sequence[float] | None = None,
) -> list[int]:
  """Returns the arms with the best scores, best first.

  Args:
    scores: of each arm; None or NaN for one that is out.
    number: of arms to return, fewer where fewer have a score.
    costs: of each arm once it is taken; of equal scores the cheaper arm is
      better, then the first. None for equal ones.

  Raises:
    UsageError: for costs of another number of arms.

  >>> survivors([0.2, None, 0.5, 0.5], 2)
  [2, 3]
  """
  if costs is None:
    costs = [0.0] * len(scores)
  if len(costs) != len(scores):
    raise UsageError(
      f"{len(costs)} costs of {len(scores)} arms: give one for each"
    )
  known = {
    i: score
    for i, score in enumerate(scores)
    if score is not None and not math.isnan(score)
  }
  return sorted(known, key=lambda i: (-known[i], costs[i], i))[:number]


def best(
  arms: int,
  budget: float,
  trial: Trial,
  costs: Sequence[float] | None = None,
) -> Found:
  """Tries arms in rounds until one is left.

  Args:
    arms: to try.
    budget: of all trials.
    trial: goes on with an arm, given by its index, at a cost; returns its
      score. Arms of a round are tried in the order of their indices.
    costs: as for `survivors`.

  Raises:
    UsageError: as `rounds` and `survivors`.

  >>> best(9, 54.0, lambda arm, cost: -abs(arm - 4))[:2]
  (4, 54.0)
  """
  scores: list[float | None] = [None] * arms
  left, spent = list(range(arms)), 0.0
  for each in rounds(arms, budget):
    for arm in left:
      scores[arm] = trial(arm, each.cost)
      spent += each.cost
    tried = [scores[i] if i in left else None for i in range(arms)]
    left = sorted(survivors(tried, _third(each.arms), costs))
    if not left:
      return Found(None, spent, tuple(scores))
    if len(left) == 1:
      break
  return Found(left[0], spent, tuple(scores))


def _third(number: int) -> int:
  return -(-number // _KEPT)
