"""One budget over a classifier and updates: shares, prices, when to stop."""

import dataclasses
import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl import base
from jcl.control import joint, limits, verdict

EXAMPLES = 400
UPDATE = base.Cost(seconds=0.1, joules=1.0, flops=10.0)
PASS = base.Cost(seconds=2.0, joules=20.0, flops=200.0)  # of a classifier


class Run:
  """A run without arrays: what updates gain is a curve, what they cost fixed.

  Args:
    controller: that decides.
    curves: of each experience, updates -> share that the network answers right.
    solved: share that the classifier does.
  """

  def __init__(self, controller, curves, solved=0.0):
    self.controller, self.curves, self.solved = controller, curves, solved
    self.state = controller.init()
    self.recorded = {"train": base.Cost()}
    self.reasons, self.made, self.told, self.looks = [], [], [], 0

  def observation(self, index, moment, updates, decision):
    used = updates * UPDATE
    right = self.curves[index](updates)

    def judge():
      self.looks += 1
      count = round(right * EXAMPLES)
      answers = np.arange(EXAMPLES) < count
      return verdict.Verdict(answers, np.zeros(EXAMPLES, np.float32))

    return base.Observation(
      index,
      len(self.curves),
      100,
      sum(self.recorded.values(), base.Cost()) + PASS + used,
      moment=moment,
      decision=decision,
      used=used,
      updates=updates,
      planned=10**6,
      recorded=self.recorded,
      pending={"train": PASS + used},
      beside=lambda index: PASS,
      judge=judge,
      compare=lambda: {
        "examples": EXAMPLES,
        "solved": self.solved * EXAMPLES,
        "trained": right * EXAMPLES,
      },
      update=lambda: UPDATE,
    )

  def ask(self, *seen):
    decision, state = self.controller.decide(
      self.state, self.observation(*seen)
    )
    self.state = json.loads(json.dumps(state))  # as a checkpoint keeps it
    return decision

  def learn(self, index):
    """Learns an experience; returns the updates made in it."""
    decision, updates = self.ask(index, "experience", 0, None), 0
    while decision.epochs:
      decision = self.ask(index, "dispatch", updates, decision)
      left = decision.limit - (PASS + updates * UPDATE)
      if not decision.epochs or left.flops < UPDATE.flops or left.joules <= 0:
        break
      updates += 1
    decision = self.ask(index, "end", updates, decision)
    self.recorded = {"train": self.recorded["train"] + PASS + updates * UPDATE}
    self.reasons.append(decision.reason)
    self.told.append(decision.forecast)
    self.made.append(updates)
    return updates


def total(**limits):
  return dataclasses.replace(base.UNLIMITED, **limits)


def rises(most=0.9, k=20.0):
  return lambda updates: most * (1 - 1 / (1 + updates / k))


def flat(updates):
  del updates
  return 0.5


def learned(curves, solved=0.0, epochs=3, **limits):
  run = Run(joint.joint(epochs, total(**limits)), curves, solved)
  for index in range(len(curves)):
    run.learn(index)
  return run


def test_equal_experiences_spend_the_same():
  run = learned([rises()] * 6, flops=6 * 1200.0)
  spends = np.array(run.made[3:])
  assert spends.min() > 50
  assert np.ptp(spends) <= 0.1 * spends.mean()


def test_a_hard_experience_gets_what_easy_ones_have_saved():
  hard = rises(0.9, 200.0)
  run = learned([rises()] + [flat] * 3 + [hard] + [flat] * 3, flops=8 * 1200.0)
  equal = run.made[0]
  assert run.made[4] >= 2 * equal
  assert max(run.made[1:4]) < equal / 2
  assert "gains nothing more" in run.reasons[1]


def test_a_look_that_is_kept_apart_takes_nothing_from_updates():
  run = Run(joint.joint(3, total(flops=1200.0)), [rises()])
  seen = run.observation(0, "experience", 0, None)
  took = base.Cost(flops=50.0)
  decisions = [
    run.controller.decide(run.state, each)[0]
    for each in (seen, dataclasses.replace(seen, comparison=lambda: took))
  ]
  assert decisions[0].reason == decisions[1].reason
  assert decisions[1].limit.flops == decisions[0].limit.flops + 50.0


@settings(max_examples=25)
@given(
  flops=st.floats(1000, 1e4),
  tops=st.lists(st.floats(0.1, 1.0), min_size=1, max_size=4),
)
def test_spending_stays_within_the_budget(flops, tops):
  run = learned([rises(top) for top in tops], flops=flops)
  assert run.recorded["train"].flops <= flops


def test_a_classifier_that_is_ahead_ends_updates_and_then_forgoes_them():
  run = learned([rises(0.6)] * 4, solved=0.8, flops=4 * 2200.0)
  assert "not above the classifier" in run.reasons[0]
  assert run.made[0] < 100
  # After two experiences behind the classifier.
  assert run.made[2:] == [0, 0]
  assert run.reasons[2].startswith(
    "no updates: after 2 experiences the network was behind the classifier"
  )


def test_a_network_that_passes_the_classifier_is_trained():
  run = learned([rises(0.95)] * 3, solved=0.5, flops=3 * 1200.0)
  assert min(run.made) > 60


def test_without_a_budget_an_experience_has_its_epochs_at_most():
  controller = joint.joint(3)
  run = Run(controller, [rises()])
  decision = run.ask(0, "experience", 0, None)
  assert decision.allocation.epochs == 3
  assert decision.limit == base.UNLIMITED and decision.counts == ()
  assert decision.reason == (
    "at most 3 epochs; so far of what is set aside the network has 0.0 % "
    "right, the classifier 0.0 %"
  )


def test_a_budget_below_a_few_updates_buys_the_classifier_alone():
  run = learned([rises()], solved=0.7, flops=PASS.flops + 70.0)
  assert run.made == [0]
  assert "one takes 10 FLOP" in run.reasons[0]
  assert run.reasons[0].endswith("0.0 % right, the classifier 70.0 %")


def test_a_budget_below_the_classifiers_is_refused_with_what_they_take():
  with pytest.raises(ValueError, match="give 400 or more") as refused:
    learned([rises()] * 2, flops=300.0)
  assert "in 2 experiences takes 400 FLOP" in str(refused.value)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_budgets_that_are_none_are_refused(value):
  with pytest.raises(ValueError, match="give more than 0"):
    joint.joint(1, total(flops=value))


def test_less_than_a_compilation_buys_no_updates():
  controller = joint.joint(1, total(joules=100.0))
  run = Run(controller, [rises()])
  run.recorded["compile"] = base.Cost(joules=45.0)
  assert run.ask(0, "experience", 0, None).epochs == 0  # 35 J are left
  run = Run(controller, [rises()])
  run.recorded["compile"] = base.Cost(joules=30.0)
  assert run.ask(0, "experience", 0, None).epochs > 0


def test_a_budget_that_changes_is_followed_at_the_next_dispatch():
  allowed = [1000.0]
  controller = joint.joint(1, joules=lambda: allowed[0])
  run = Run(controller, [rises()] * 2)
  decision = run.ask(0, "experience", 0, None)
  assert decision.limit.joules == pytest.approx(20 + (1000 - 20 - 22) / 2)
  allowed[0] = 500.0
  decision = run.ask(0, "dispatch", 30, decision)
  assert decision.limit.joules == pytest.approx(50 + (500 - 50 - 22) / 2)
  assert decision.reason.startswith("the budget has changed")
  allowed[0] = 0.0
  decision = run.ask(0, "dispatch", 31, decision)
  assert decision.limit.joules <= 51.0  # what is spent: training ends


def test_a_file_may_set_a_limit_where_there_was_none():
  allowed = [math.inf]
  run = Run(joint.joint(3, joules=lambda: allowed[0]), [rises()] * 2)
  decision = run.ask(0, "experience", 0, None)
  assert decision == Run(joint.joint(3), [rises()] * 2).ask(
    0, "experience", 0, None
  )
  allowed[0] = 500.0
  decision = run.ask(0, "dispatch", 30, decision)
  assert decision.limit.joules == pytest.approx(50 + (500 - 50 - 22) / 2)
  assert decision.counts == limits.COUNTED
  assert run.ask(0, "end", 60, decision).forecast["share_joules"] > 0
  allowed[0] = math.inf
  decision = run.ask(1, "experience", 0, None)
  assert decision.epochs == 3 and decision.limit == base.UNLIMITED


def test_a_file_may_take_its_limit_away():
  allowed = [1000.0]
  run = Run(joint.joint(3, joules=lambda: allowed[0]), [rises()] * 2)
  decision = run.ask(0, "experience", 0, None)
  allowed[0] = math.inf
  decision = run.ask(0, "dispatch", 30, decision)
  assert decision.limit == base.UNLIMITED and decision.counts == ()
  assert decision.reason == "the budget has changed: no limit"
  assert set(run.ask(0, "end", 60, decision).forecast) <= {
    "forecast",
    "reached",
  }


def blind(run):
  """Returns what is seen first where nothing is set aside."""
  seen = run.observation(0, "experience", 0, None)
  return dataclasses.replace(seen, compare=None, judge=None)


def test_a_budget_that_is_spent_before_anything_is_learned_is_refused():
  run = Run(joint.joint(1, total(joules=15.0)), [rises()] * 2)
  told = "a budget of 15 J: ahead of the first update 20 J are spent"
  with pytest.raises(ValueError, match=told):
    run.controller.decide(run.state, blind(run))
  run = Run(joint.joint(1, joules=lambda: 15.0), [rises()] * 2)
  decision, _ = run.controller.decide(run.state, blind(run))
  assert decision.reason == "no updates: 0 J are left"  # it may rise again


def test_looks_are_few_and_only_where_they_are_due():
  run = learned([rises()], flops=10_200.0)
  assert 4 <= run.looks <= joint.Settings().looks + 1


def test_decisions_do_not_depend_on_seconds_where_operations_are_limited():
  slow = dataclasses.replace(UPDATE, seconds=50.0)
  first = learned([rises()] * 3, flops=3 * 1200.0)
  patch = pytest.MonkeyPatch()
  with patch.context() as changed:
    changed.setattr("test_joint.UPDATE", slow)
    second = learned([rises()] * 3, flops=3 * 1200.0)
  assert first.made == second.made
  assert first.state["prices"] == second.state["prices"]


def test_the_end_tells_what_was_reckoned_with():
  run = learned([rises()] * 3, flops=3 * 1200.0)
  assert not any(name.startswith("price") for name in run.told[0])
  for told, updates in zip(run.told, run.made, strict=True):
    spent = PASS.flops + updates * UPDATE.flops
    assert spent <= told["allowed_flops"]
    assert told["share_flops"] == pytest.approx(1200.0)
    assert told["forecast"] == pytest.approx(told["reached"], abs=0.05)
    assert told["reached"] == pytest.approx(rises()(updates), abs=0.02)
  last = run.told[-1]
  assert last["price"] == pytest.approx(1000 * last["price_flops"])
  assert 0 < last["price"] < 0.2


def test_the_price_told_is_the_one_that_was_in_force():
  curves = [rises(), flat, rises()]
  run = Run(joint.joint(3, total(flops=3 * 1200.0)), curves)
  run.learn(0)
  before = run.state["prices"]
  run.learn(1)
  assert run.told[1]["price_flops"] == before["flops"]
  assert run.state["prices"]["flops"] < before["flops"]


def test_without_updates_the_share_is_told_and_nothing_forecast():
  run = learned([rises()], solved=0.7, flops=PASS.flops + 70.0)
  assert run.told == [{"share_flops": PASS.flops + 70.0}]
