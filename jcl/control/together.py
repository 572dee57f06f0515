"""Several controllers as one: each decides on knobs of its own."""

import dataclasses
from typing import Any

from jcl import base


def together(*controllers: base.Controller) -> base.Controller:
  """Lets controllers decide one after another.

  Each sees the decision as those before it have left it, and is called at its
  own moments alone. Where one has training wait, it waits whatever those behind
  it decide. Where one ends the experience, those behind it are not asked.
  """

  def init() -> list[Any]:
    return [controller.init() for controller in controllers]

  def decide(
    states: list[Any], seen: base.Observation
  ) -> tuple[base.Decision, list[Any]]:
    states, waits = list(states), False
    for i, controller in enumerate(controllers):
      if seen.moment not in controller.moments:
        continue
      before = seen.decision
      decision, states[i] = controller.decide(states[i], seen)
      waits = waits or decision.wait
      seen = seen.after(dataclasses.replace(decision, wait=waits))
      if _ended(before, decision, seen):
        break
    assert seen.decision is not None
    return seen.decision, states

  moments = {each for controller in controllers for each in controller.moments}
  return base.Controller(init, decide, tuple(sorted(moments)))


def _ended(
  before: base.Decision | None, after: base.Decision, seen: base.Observation
) -> bool:
  """Tells whether a decision ends the experience earlier than planned."""
  earlier = before is not None and after.epochs < before.epochs
  return seen.moment == "epoch" and earlier
