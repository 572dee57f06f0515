"""Budgets of whole runs, shared out by hand."""

import dataclasses
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import signatures

import jcl
from jcl import base
from jcl.control import limits


def total(**budgets) -> base.Cost:
  return dataclasses.replace(base.UNLIMITED, **budgets)


def decide(controller, experience, num_experiences, **spent):
  seen = base.Observation(experience, num_experiences, 10, base.Cost(**spent))
  decision, _ = controller.decide(controller.init(), seen)
  return decision


def test_what_is_left_is_shared_over_the_experiences_left():
  controller = limits.within(2, total(seconds=60.0), budget=0.5)
  first = decide(controller, 0, 4)
  assert first.limit == total(seconds=15.0)
  assert (first.epochs, first.allocation.rho) == (2, 0.5)
  second = decide(controller, 1, 4, seconds=48.0)
  assert second.limit == total(seconds=4.0)
  assert second.reason == "12 of 60 s left for 3 experiences: at most 4 s"


def test_every_budget_limits_and_is_named():
  controller = limits.within(1, total(joules=100.0, flops=2e12))
  decision = decide(controller, 0, 2, joules=20.0, flops=1e12, seconds=1e9)
  assert decision.limit == total(joules=40.0, flops=5e11)
  assert decision.reason == (
    "80 of 100 J left for 2 experiences: at most 40 J; "
    "1 of 2 TFLOP left for 2 experiences: at most 500 GFLOP"
  )


def test_a_file_that_states_no_limit_sets_none():
  controller = limits.within(1, total(), joules=lambda: math.inf)
  decision = decide(controller, 0, 2, joules=20.0)
  assert decision.limit == base.UNLIMITED
  assert decision.reason == "no limit"


def test_a_budget_that_changes_is_followed():
  allowed = [100.0]
  controller = limits.within(
    3, total(flops=8.0), joules=lambda: allowed[0], budget=0.5
  )
  first = decide(controller, 1, 3, joules=40.0, flops=4.0)
  assert first.limit == total(joules=30.0, flops=2.0)
  # Training took 10 J, trials and tests 6 J, and then less is allowed.
  seen = base.Observation(
    1,
    3,
    10,
    base.Cost(joules=56.0, flops=5.0),
    moment="epoch",
    decision=first,
    used=base.Cost(joules=10.0, flops=1.0),
  )
  second, _ = controller.decide((), seen)
  assert second.limit == total(joules=27.0, flops=2.0)
  assert second.reason.startswith("4 of 8 FLOP left for 2 experiences")
  assert second.epochs == 3 and second.allocation.rho == 0.5
  allowed[0] = 50.0
  third, _ = controller.decide((), seen.after(second))
  assert third.limit == total(joules=2.0, flops=2.0)
  assert "4 of 50 J left for 2 experiences: at most 2 J" in third.reason
  assert controller.moments == ("experience", "epoch")
  assert limits.within(3, total(flops=8.0)).moments == ("experience",)


def test_an_overspent_budget_leaves_nothing():
  controller = limits.within(1, total(seconds=5.0))
  assert decide(controller, 1, 3, seconds=7.0).limit.seconds == 0.0


def test_no_budget_is_no_limit():
  decision = decide(limits.within(3, base.UNLIMITED), 0, 2, seconds=1e9)
  assert decision == base.Decision(3, reason="3 epochs for every experience")
  infinite = limits.within(3, total(seconds=float("inf")))
  assert decide(infinite, 0, 2) == decision


def test_a_budget_that_changes_needs_no_other():
  controller = limits.within(3, base.UNLIMITED, joules=lambda: 0.5)
  assert decide(controller, 1, 3, joules=0.25).limit == total(joules=0.125)
  # The lower one counts where the total has one as well.
  allowed = [0.5]
  both = limits.within(3, total(joules=2.0), joules=lambda: allowed[0])
  assert decide(both, 0, 1).limit == total(joules=0.5)
  allowed[0] = 8.0
  assert decide(both, 0, 1).limit == total(joules=2.0)


@settings(max_examples=50)
@given(
  st.floats(1e-3, 1e6),
  st.lists(st.floats(0, 1), min_size=1, max_size=8),
)
def test_experiences_within_their_limits_stay_within_the_total(budget, uses):
  controller, spent = limits.within(1, total(flops=budget)), 0.0
  for index, use in enumerate(uses):
    limit = decide(controller, index, len(uses), flops=spent).limit.flops
    assert limit >= budget / len(uses) * (1 - 1e-9)
    spent += use * limit
  assert spent <= budget * (1 + 1e-9)
  if min(uses) == 1:
    assert spent == pytest.approx(budget)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, -math.inf])
def test_impossible_budgets_are_refused(value):
  with pytest.raises(ValueError, match="joules: give more than 0, or infinity"):
    limits.within(1, total(joules=value))


def test_impossible_efforts_are_refused():
  with pytest.raises(ValueError, match="epochs=-1"):
    limits.within(-1, total(seconds=1.0))
  assert decide(limits.within(0, total(seconds=1.0)), 0, 2).epochs == 0


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(limits.within) == {"budget": 1.0}
  assert signatures.defaults(limits.equal) == {
    "accounts": ("train", "replay", "probe", "data"),
    "budget": 1.0,
  }


def opening(experience, recorded=(), pending=(), closing=0.0):
  return base.Observation(
    experience,
    3,
    10,
    base.Cost(flops=1e9),  # evaluation included: it counts for nothing
    recorded={name: base.Cost(flops=v) for name, v in recorded},
    pending={name: base.Cost(flops=v) for name, v in pending},
    closing=lambda: base.Cost(flops=closing, bytes=7.0),
  )


def test_every_experience_gets_the_same_and_what_was_left_over():
  controller = limits.equal(2, 100.0, budget=0.5)
  first, _ = controller.decide((), opening(0, pending=[("train", 4.0)]))
  assert first.limit == total(flops=100.0) and first.reserved == base.Cost()
  assert first.counts == ("train", "replay", "probe", "data")
  assert (first.epochs, first.allocation.rho) == (2, 0.5)
  recorded = [("train", 60.0), ("probe", 30.0), ("evaluate", 900.0)]
  second, _ = controller.decide((), opening(1, recorded, closing=20.0))
  assert second.limit == total(flops=110.0)
  assert second.reserved == base.Cost(flops=20.0)
  assert second.reason == (
    "100 FLOP for every experience, 10 FLOP left over, 20 FLOP for passes "
    "beside the updates"
  )
  assert controller.moments == ("experience",)


def test_what_is_not_known_ahead_is_not_kept():
  seen = dataclasses.replace(opening(0, [("train", 0.5)]), closing=None)
  decided, _ = limits.equal(1, 0.75).decide((), seen)
  assert decided.limit == total(flops=0.25)
  assert decided.reserved == base.Cost()
  # What fills the limit does not exceed it.
  seen = opening(0, pending=[("train", 40.0)], closing=60.0)
  assert limits.equal(1, 100.0).decide((), seen)[0].reserved.flops == 60.0


def test_accounts_that_do_not_count_are_left_out():
  controller = limits.equal(1, 100.0, accounts=("train",))
  seen = opening(1, [("train", 90.0), ("probe", 50.0)], [("data", 500.0)])
  assert controller.decide((), seen)[0].limit.flops == 110.0


def test_an_equal_cost_that_leaves_no_update_is_refused():
  controller = limits.equal(1, 100.0)
  seen = opening(1, [("train", 80.0)], [("train", 90.0)], closing=50.0)
  words = "experience 1 needs 140 beside its updates, and has 120; give 120 or"
  with pytest.raises(jcl.UsageError, match=words):
    controller.decide((), seen)
  for value in (0.0, -1.0, math.inf, math.nan):
    with pytest.raises(jcl.UsageError, match="for every experience: give a"):
      limits.equal(1, value)
