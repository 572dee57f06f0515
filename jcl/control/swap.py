"""Fits the share of replayed examples that is exchanged to what storage bears.

Ma et al., "Cost-effective On-device Continual Learning over Memory Hierarchy
with Miro", MobiCom 2023, https://doi.org/10.1145/3570361.3613297.
"""

import math
from typing import Any

from jcl import base
from jcl.options.errors import UsageError

# Of the exchanges that an epoch asked for: fewer than `_LAGS` were made where
# storage falls behind, `_KEEPS_UP` or more where it does not.
_LAGS, _KEEPS_UP = 0.9, 0.98
_CALM_EPOCHS = 2


def backed_off(most: float) -> base.Controller:
  """Halves the share where storage lags, and doubles it where it keeps up.

  Args:
    most: share of replayed examples to exchange, where storage bears it.
  """

  def init() -> dict[str, Any]:
    return {"target": most, "calm": 0, "counts": [0, 0]}

  def decide(
    state: dict[str, Any], seen: base.Observation
  ) -> tuple[base.Decision, dict[str, Any]]:
    decision = seen.decision
    assert decision is not None and seen.held is not None
    if seen.moment == "experience":
      return decision.changed(swap=state["target"]), state
    if seen.held.room < seen.held.classes:
      return decision, state  # training waits
    counts = seen.held.exchanges()
    made, late = (
      now - before for now, before in zip(counts, state["counts"], strict=True)
    )
    state = {**state, "counts": list(counts)}
    if not made + late:
      return decision, state
    before, completion = state["target"], made / (made + late)
    target, state["calm"] = back_off(before, completion, state["calm"])
    state["target"] = min(target, most)
    if state["target"] == before:
      return decision, state
    verb = "lags" if state["target"] < before else "keeps up"
    reason = (
      f"storage {verb}: {completion:.0%} of {made + late} exchanges were done; "
      f"swap ratio {before:.0%} -> {state['target']:.0%}"
    )
    change = base.Change("swap", reason)
    return decision.changed(change, swap=state["target"]), state

  return base.Controller(init, decide, moments=("experience", "epoch"))


def back_off(
  target: float, completion: float, calm: int, floor: float = 0.01
) -> tuple[float, int]:
  """Fits the target to what storage keeps up with, after an epoch that swapped.

  In the manner of congestion control: where storage lags, the target is halved;
  two epochs in succession without a lag double it. The thresholds, 90 % and
  98 % of the swaps, are this project's.

  Args:
    target: in [0, 1], of the epoch.
    completion: swaps applied over swaps asked for, 0 or more.
    calm: epochs without a lag since the target changed; 0 at first.
    floor: the target is not halved below it.

  Returns:
    (target, calm), both for the next epoch.

  Raises:
    ValueError: for a target out of its range or a completion that is none, such
      as that of an epoch without swaps.
  """
  if not 0 <= target <= 1:
    raise UsageError(f"target={target} is no share of samples: give 0 to 1")
  if not 0 <= completion < math.inf:
    raise ValueError(
      f"completion={completion} is no share of swaps: give 0 or more, and "
      "leave out epochs that asked for none"
    )
  if completion < _LAGS:
    return min(target, max(floor, target / 2)), 0
  if completion < _KEEPS_UP:
    return target, 0
  if calm + 1 < _CALM_EPOCHS:
    return target, calm + 1
  return min(1.0, 2 * target), 0
