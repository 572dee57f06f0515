"""The tensors worth most within a share of a step's time.

The search is the knapsack's; around it stand the head, which may have to train
whatever its worth, units that train as one, a menu of few selections, and what
trains where nothing is worth training.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple
import warnings

import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.selection import chain, knapsack
from jcl.selection import menu as menus
from jcl.selection.settings import Knapsack
from jcl.selection.times import TensorTimes

# Rounding error of sums of times, as a share of a whole step.
_ROUNDING = 1e-12


class Case(NamedTuple):
  """The tensors to choose from; arrays [W], input side first.

  `W` counts the tensors that are not frozen for good.
  """

  knapsack: Knapsack
  resolution: int  # grid units of the knapsack
  rho: float  # share that a menu is made for
  tensors: tuple[base.Tensor, ...]
  scores: np.ndarray  # worth
  arrival: np.ndarray  # seconds, as the cost model reads them
  arrived: np.ndarray  # seconds, as measured
  training: np.ndarray  # seconds of its own gradient and update
  head: np.ndarray  # bool, the last unit's

  def seconds(self, chosen: Sequence[bool] | np.ndarray) -> float:
    """Returns the seconds of gradients and updates of a mask [W]."""
    return chain.seconds(self.arrival, self.training, chosen)


def with_head(case: Case, times: TensorTimes, share: float) -> np.ndarray:
  """Returns a mask [W] of the head and of the best set beside it.

  Args:
    case: the tensors to choose from.
    times: of the whole network.
    share: of a full step's time, that a step may take.

  Raises:
    UsageError: where the head alone takes more, with the least share.
  """
  paid, head = case.seconds(case.head), case.head
  least = min(1.0, (times.always + paid) / times.full)
  if least > share * (1 + _ROUNDING):
    raise UsageError(
      f"rho={share}: a step that trains the head takes "
      f"{math.ceil(least * 1e4) / 1e4:.4f} of a full one; give that or more, "
      "or always_train_head=False"
    )
  allowed = _allowed(times, share)
  if not (case.scores > 0).any():
    _warn("the head trains")
    return head
  if case.knapsack.menu:
    return _from_menu(case, _allowed(times, case.rho), allowed)
  # The chain down to the head is paid: only tensors beyond it cost more.
  first = np.flatnonzero(head).min(initial=len(head))
  beyond = case._replace(
    arrival=np.where(np.arange(len(head)) < first, case.arrival, 0.0),
    training=np.where(head, 0.0, case.training),
    scores=np.where(head, 0.0, case.scores),
  )
  return head | _solve(beyond, max(0.0, allowed - paid))


def free(case: Case, times: TensorTimes, share: float) -> np.ndarray:
  """Returns the best mask [W], or a part of the head where there is none.

  Args:
    case: the tensors to choose from.
    times: of the whole network.
    share: of a full step's time, that a step may take.

  Raises:
    ValueError: where no backward pass fits, with the least share.
  """
  allowed = _allowed(times, share)
  chosen = _solve(case, allowed)
  if chosen.any():
    return chosen
  chosen = _part_of_head(case._replace(arrival=case.arrived), allowed)
  whole = (chosen == case.head).all()
  _warn("the head trains" if whole else "only what fits of the head trains")
  return chosen


def _allowed(times: TensorTimes, share: float) -> float:
  """Returns `times.budget(share)` with a margin for rounding.

  The margin keeps a share that is just enough, such as 1 for a network of one
  tensor, from being refused for its last digit.
  """
  if share < times.least_share * (1 - _ROUNDING):
    return times.budget(share)  # raises, and states the least share
  whole = times.full
  seconds = knapsack.backward_budget(share, times.always, whole - times.always)
  return seconds + _ROUNDING * share * whole


def _warn(what: str) -> None:
  warnings.warn(
    "no tensor that the budget allows is worth training by its score: "
    f"{what} until the next choice",
    stacklevel=5,
  )


def _solve(case: Case, allowed: float) -> np.ndarray:
  """Returns the mask [W] of the best set, empty where none has a worth."""
  if case.knapsack.granularity == "block":
    groups = chain.by_unit(case.tensors)
  else:
    groups = [[k] for k in range(len(case.tensors))]
  # The tensors of groups may alternate: a group's arrival is counted from the
  # start of the next group.
  arrival = np.add.reduceat(case.arrival, [group[0] for group in groups])
  training = np.array([case.training[group].sum() for group in groups])
  scores = np.array([case.scores[group].sum() for group in groups])
  alone = np.cumsum(arrival[::-1])[::-1] + training
  chosen = np.zeros(len(case.tensors), bool)
  if not ((scores > 0) & (alone <= allowed)).any():
    return chosen
  found = knapsack.select(
    arrival,
    training,
    scores,
    allowed,
    mode=case.knapsack.mode,
    resolution=case.resolution,
  )
  for group, yes in zip(groups, found.mask, strict=True):
    chosen[group] = yes
  return chosen


def _part_of_head(case: Case, allowed: float) -> np.ndarray:
  """Returns the part of the head that fits, else the cheapest tensor."""
  chosen = np.zeros_like(case.head)
  for k in np.flatnonzero(case.head)[::-1]:
    wider = chosen.copy()
    wider[k] = True
    if case.seconds(wider) <= allowed:
      chosen = wider
  if not chosen.any():
    alone = np.cumsum(case.arrival[::-1])[::-1] + case.training
    chosen[np.argmin(alone)] = True
  return chosen


def _from_menu(case: Case, most: float, allowed: float) -> np.ndarray:
  """Returns the menu's entry of the highest sum of scores that fits.

  Args:
    case: tensors and their scores.
    most: seconds within which the menu is made, from rho. The menu has to stay
      the same for the whole run, so that it cannot follow `allowed`.
    allowed: seconds that this choice may take.
  """
  times, size = (case.arrival, case.training), case.knapsack.menu
  entries = menus.prepare(case.tensors, case.head, *times, most, size)
  cost = {entry: case.seconds(entry) for entry in entries}
  fits = [entry for entry in entries[1:] if cost[entry] <= allowed]
  best = min(
    (entries[0], *fits),
    key=lambda entry: (-case.scores[np.array(entry)].sum(), cost[entry], entry),
  )
  return np.array(best)
