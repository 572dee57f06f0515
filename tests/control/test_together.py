"""Several controllers decide as one."""

import dataclasses

from jcl import base, recipes
from jcl.control import assembly, fixed
from jcl.control.together import together


def scripted(name, told, moments, **changes):
  """A controller that notes when it is asked, and changes knobs."""

  def decide(state, seen):
    told.append((name, seen.moment, seen.decision))
    decision = seen.decision or base.Decision(5)
    wait = changes.get("wait", False)
    knobs = {k: v for k, v in changes.items() if k != "wait"}
    decision = dataclasses.replace(decision.changed(**knobs), wait=wait)
    return decision, state + 1

  return base.Controller(lambda: 0, decide, moments)


def observed(moment, decision=None, epoch=0):
  return base.Observation(
    0, 1, 10, base.Cost(), moment=moment, epoch=epoch, decision=decision
  )


def test_each_sees_what_those_before_it_decided():
  told = []
  both = together(
    scripted("first", told, ("experience",), rho=0.5),
    scripted("second", told, ("experience", "epoch"), em=7),
  )
  assert set(both.moments) == {"experience", "epoch"}
  decision, state = both.decide(both.init(), observed("experience"))
  assert decision.allocation == base.Allocation(5, rho=0.5, em=7)
  assert state == [1, 1] and told[1][2].allocation.rho == 0.5
  decision, state = both.decide(state, observed("epoch", decision))
  assert state == [1, 2] and [name for name, *_ in told[2:]] == ["second"]


def test_who_ends_an_experience_asks_nobody_behind():
  for changes, moment, asked in (
    ({"wait": True}, "epoch", ["first", "second"]),
    ({"epochs": 2}, "epoch", ["first"]),
    ({"epochs": 2}, "experience", ["first", "second"]),
    ({"epochs": 5}, "epoch", ["first", "second"]),
    ({"epochs": 7}, "epoch", ["first", "second"]),
    ({"epochs": 2}, "end", ["first", "second"]),
  ):
    told = []
    both = together(
      scripted("first", told, (moment,), **changes),
      scripted("second", told, (moment,)),
    )
    before = base.Decision(5, wait=True)  # which the first one ends
    decided, _ = both.decide([0, 0], observed(moment, before, epoch=2))
    assert decided.wait is ("wait" in changes)
    assert [name for name, *_ in told] == asked


def test_a_run_has_the_controllers_that_its_method_asks_for():
  effort = fixed.fixed(3)
  assert assembly.for_run(effort, None, 0) is effort
  stored = recipes.storage_only().hierarchy
  assert assembly.for_run(effort, stored, 0) is effort
  for method, count in (
    (recipes.carm(), 3),
    (recipes.miro(), 3),
    (recipes.miro(trials=base.Trials(patience=2)), 4),
    (recipes.frugal(), 4),
  ):
    made = assembly.for_run(effort, method.hierarchy, 0)
    assert len(made.init()) == count
    assert set(made.moments) == {"experience", "dispatch", "epoch", "end"}
