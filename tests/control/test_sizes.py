"""What sizes memory and stream buffer get: by room, by rule, by trials."""

import dataclasses
import math

import pytest
import signatures

from jcl import base
from jcl.control import choice, sizes

OVER = {"over": True, "room": 20}  # more is held than is allowed
GRID = ((20, 40), (10, 20), (30, 10))


def row(em, sb, accuracy=50.0, energy=1.0, noise=0.0):
  return choice.Row(em, sb, accuracy, energy, 0.0, noise)


def held(earlier=None, fresh=None, **changes):
  """A memory with 100 earlier examples of two classes, and 50 of a third."""
  earlier = {0: 40, 1: 60} if earlier is None else earlier
  fresh = {2: 50} if fresh is None else fresh
  values = {
    "room": math.inf,
    "over": False,
    "allowed": "3 MiB",
    "row_bytes": 16,
    "rows": 10,
    "given": (20, 30),
    "classes": 3,
    "aside": 4,
    "trained": None,
    "earlier": lambda: earlier,
    "fresh": lambda: fresh,
    "exchanges": lambda: (0, 0),
  }
  return base.Held(**(values | changes))


def observed(moment="experience", experience=1, now=(20, 30), **changes):
  allocation = base.Allocation(4, em=now[0], sb=now[1], swap=0.5)
  values = {
    "spent": base.Cost(),
    "moment": moment,
    "decision": base.Decision(allocation),
    "held": held(),
  }
  return base.Observation(experience, 3, 50, **(values | changes))


@pytest.mark.parametrize(
  ("room", "found"),
  [(51, (20, 30)), (50, (20, 30)), (49, (19, 30)), (3, (3, 0))],
)
def test_sizes_are_scaled_to_what_there_is_room_for(room, found):
  assert sizes.fitting(held(room=room), (20, 30)) == found


def test_less_than_one_of_each_class_is_refused():
  with pytest.raises(ValueError, match="3 MiB are .* holds 2 examples of 16"):
    sizes.fitting(held(room=2.5), (20, 30))


@pytest.mark.parametrize(
  ("room", "sb", "found"),
  [(25, 30, (0, 25)), (3, 30, (0, 3)), (40, 30, (0, 30))],
)
def test_a_first_experience_has_a_buffer_alone(room, sb, found):
  first = held(earlier={}, room=room)
  assert sizes.fitting(first, (20, sb)) == found
  # Without a buffer there is only the memory.
  assert sizes.fitting(first._replace(room=15), (20, 0)) == (15, 0)


def test_what_trials_showed_decides_what_fits():
  table = [vars(row(10, 5, 60.0)), vars(row(5, 5)), vars(row(20, 30, 90.0))]
  trials = base.Trials(policy="accuracy", cutline=1.0)

  def fitting(room, trials=trials):
    return sizes.fitting(held(room=room), (20, 30), trials, table)

  assert fitting(15) == (10, 5)
  assert fitting(14) == (5, 5)
  assert fitting(9) == (3, 6)  # in proportion
  assert fitting(15, trials=None) == (6, 9)


def planned(trials, table=(), wanted=(20, 30), **changes):
  """Decides with trials that show a table; returns what they got, too."""
  asked = []

  def trial(tried, share, epochs):
    asked.append((tried, share, epochs))
    return sizes.Outcome(tuple(table), 2.0, 3.0, base.Cost(seconds=7.0))

  seen = observed(trial=trial, **changes)
  controller = sizes.sizes(trials, seed=changes.pop("seed", 3))
  state = {"wanted": list(wanted), "table": [1]}
  return (*controller.decide(state, seen), asked)


def wanted_by(trials, seed=3, **changes):
  controller = sizes.sizes(trials, seed)
  seen = observed(held=held(**changes), trial=lambda *_: None)
  decision, state = controller.decide(controller.init(), seen)
  allocation = decision.allocation
  assert state["wanted"] == [allocation.em, allocation.sb]
  return (allocation.em, allocation.sb), decision.changes


def test_rules_need_no_trials():
  for policy, wanted in (("largest", (20, 40)), ("half", (25, 25))):
    found, [change] = wanted_by(base.Trials(policy=policy, grid=GRID))
    assert (change.kind, found, change.details) == (policy, wanted, {})
    assert repr(policy) in change.reason
  # Half of what there is room for, as far as examples go.
  assert wanted_by(base.Trials(policy="half"), room=33.9)[0] == (16, 16)
  trials = base.Trials(policy="random", grid=GRID)
  assert {wanted_by(trials, seed)[0] for seed in range(12)} == set(GRID)


def test_ties_of_the_largest_go_to_the_larger_memory():
  grid = ((20, 20), (30, 10), (10, 30))
  trials = base.Trials(policy="largest", grid=grid)
  assert wanted_by(trials)[0] == (30, 10)


def test_sizes_stay_where_nothing_can_be_told():
  trials = base.Trials(grid=GRID, overhead=0.025, start=0)
  for changes, reason in (
    ({"room": 29}, "no candidate fits"),
    ({"aside": 0}, "too few"),
    ({"trained": 100}, "within 2.5 % of training"),
  ):
    decision, state, asked = planned(trials, held=held(**changes))
    [change] = decision.changes
    assert (change.kind, change.details, asked) == ("kept", {}, [])
    assert reason in change.reason and state["wanted"] == [20, 30]
  trials = base.Trials(grid=GRID, share=0.5, start=0)
  *_, asked = planned(trials, [row(10, 20)], held=held(room=30))
  assert asked == [([(10, 20)], 0.5, 4)]


def test_candidates_by_the_budget_have_a_few_batches():
  trials = base.Trials(most=20)
  tried = sizes.candidates(trials, held(room=80), (20, 30))
  assert min(map(sum, tried)) >= 40 and max(map(sum, tried)) <= 80
  assert (20, 30) in tried and all(em >= 2 and sb >= 1 for em, sb in tried)
  tried = sizes.candidates(trials, held(), (20, 30))
  assert max(map(sum, tried)) == 50  # what was given, where all is allowed


def test_sizes_that_cannot_be_filled_are_never_tried(monkeypatch):
  """Bounds on sizes come first; where they let more pass, it is rejected."""
  trials = base.Trials(grid=((6, 9), (5, 9)))
  few = held(earlier={0: 5})
  assert sizes.candidates(trials, few, (20, 30)) == [(5, 9)]
  monkeypatch.setattr(choice, "clamp_grid", lambda grid, *_: list(grid))
  assert sizes.candidates(trials, few, (20, 30)) == [(5, 9)]


def test_the_choice_is_told_with_what_exchanges_will_take():
  table = [row(20, 40, 70.0, 5.0), row(10, 20, 60.0, 2.0)]
  trials = base.Trials(policy="accuracy", grid=GRID, cutline=1.0)
  decision, state, _ = planned(trials, table)
  [change] = decision.changes
  assert change.kind == "chosen" and state["wanted"] == [20, 40]
  assert (decision.allocation.em, decision.allocation.sb) == (20, 40)
  # Four epochs of 20 examples, half of them exchanged, three joules each.
  assert change.details["predicted"] == 5.0 + 4 * 20 * 0.5 * 3.0
  assert "best 2 of 2 tried" in change.reason and "70.0 %" in change.reason
  assert change.details["candidates"] == state["table"]
  assert change.details["kept"] == [0, 1]
  assert change.details["seconds"] == 7.0
  assert change.details["step_joules"] == 2.0
  # Nothing is exchanged where all earlier examples are in memory.
  for earlier, joules in ((20, 5.0), (21, 125.0)):
    decision, *_ = planned(trials, table, held=held(earlier={0: earlier}))
    assert decision.changes[0].details["predicted"] == joules


def test_rows_that_cannot_be_paid_are_not_chosen():
  table = [row(20, 40, 70.0, 5.0), row(10, 20, 60.0, 2.0)]
  trials = base.Trials(policy="accuracy", grid=GRID, cutline=1.0)
  for left, em in ((5.0, 20), (4.9, 10), (1.9, 20)):
    limit = dataclasses.replace(base.UNLIMITED, joules=left)
    given = base.Decision(base.Allocation(4), limit)
    decision, *_ = planned(trials, table, decision=given)
    assert decision.allocation.em == em


@pytest.mark.parametrize(
  ("overhead", "share"),
  [
    (0.0, 0.5),
    (100.0, 0.5),
    # Three epochs of all (60, 30) and two of the largest to warm up, of what
    # a third of what two candidates' judging takes leaves.
    (1.0, None),
    (0.01, 0.0),
  ],
)
def test_shares_that_trials_may_take(overhead, share, monkeypatch):
  monkeypatch.setattr(sizes, "_LEAST_UPDATES", 3)
  trials = base.Trials(share=0.5, overhead=overhead, epochs=3, warmup=2)
  tried = [(20, 40), (10, 20)]
  found = sizes.share_within(trials, held(trained=100, rows=20), tried)
  if share is None:
    cost = choice.profile_cost(tried, 1.0, 3, 2, 20, 40, 4)
    share = (100 - cost.evaluation / 3) / (cost.trials + cost.warmup)
  assert found == pytest.approx(share)
  assert sizes.share_within(trials, held(rows=20), tried) == 0.5


@pytest.mark.parametrize(
  ("trials", "experience", "wanted", "asked"),
  [
    (None, 1, (20, 30), False),
    (base.Trials(start=1, grid=GRID), 0, (20, 30), False),
    (base.Trials(start=1, grid=GRID), 1, (20, 30), True),
    # From the second choice on, what is wanted stays.
    (base.Trials(start=0, grid=GRID), 1, (7, 8), True),
    (base.Trials(start=0, policy="largest", grid=GRID), 1, (20, 40), False),
  ],
)
def test_what_an_experience_begins_with(trials, experience, wanted, asked):
  decision, state, tried = planned(
    trials, [row(7, 8, None)], wanted=(7, 8), experience=experience
  )
  assert bool(tried) is asked
  assert state["wanted"] == list(wanted)
  [change] = decision.changes
  rule = trials is not None and not trials.tries
  assert change.kind == ("kept" if asked else "largest" if rule else "fixed")


def test_an_experience_may_begin_with_nothing_in_memory():
  for experience, room, kind in (
    (1, 2, "paused"),
    (1, 3, "fixed"),
    (0, 50, "fixed"),
  ):
    seen = observed(experience=experience, held=held(room=room))
    decision, _ = sizes.sizes(None).decide({"wanted": [0, 0]}, seen)
    [change] = decision.changes
    assert change.kind == kind and decision.wait is (kind == "paused")
    if kind == "paused":
      assert (decision.allocation.em, decision.allocation.sb) == (0, 0)


@pytest.mark.parametrize(
  ("changes", "now", "moment", "kinds", "found", "waits"),
  [
    ({}, (20, 30), "epoch", [], (20, 30), False),
    ({}, (20, 30), "dispatch", [], (20, 30), False),
    ({"room": 2}, (20, 30), "dispatch", ["paused"], (0, 0), True),
    ({"room": 2}, (0, 0), "dispatch", [], (0, 0), True),
    ({"room": 3}, (0, 0), "dispatch", ["resumed"], (3, 0), False),
    ({}, (0, 0), "epoch", ["resumed"], (20, 30), False),
    (
      {"over": True, "room": 20},
      (20, 30),
      "dispatch",
      ["shrunk"],
      (8, 12),
      False,
    ),
    (OVER, (20, 30), "epoch", ["shrunk"], (8, 12), False),
    # Pages round up: what fits already is not told again.
    ({"over": True, "room": 60}, (8, 12), "dispatch", [], (8, 12), False),
    ({"room": 60}, (8, 12), "dispatch", [], (8, 12), False),
    ({"room": 60}, (8, 12), "epoch", ["grown"], (20, 30), False),
    ({"room": 30}, (8, 12), "epoch", ["grown"], (12, 18), False),
    ({"room": 20}, (8, 12), "epoch", [], (8, 12), False),
  ],
)
def test_what_the_host_allows_is_followed(
  changes, now, moment, kinds, found, waits
):
  seen = observed(moment, now=now, held=held(**changes))
  state = {"wanted": [20, 30], "table": []}
  decision, after = sizes.sizes(None).decide(state, seen)
  assert [change.kind for change in decision.changes] == kinds
  assert (decision.allocation.em, decision.allocation.sb) == found
  assert decision.wait is waits and after == state
  assert all("3 MiB" in change.reason for change in decision.changes)


def test_nothing_wanted_is_nothing_to_wait_for():
  seen = observed("dispatch", now=(0, 0))
  decision, _ = sizes.sizes(None).decide({"wanted": [0, 0]}, seen)
  assert not decision.wait and not decision.changes


@pytest.mark.parametrize(
  ("trials", "wanted", "now", "room", "size"),
  [
    (None, (7, 0), (9, 0), 100, 20),
    (None, (7, 0), (9, 0), 19.5, 19),
    (base.Trials(), (0, 5), (9, 0), 100, 20),
    (base.Trials(), (7, 0), (9, 0), 100, 9),
    (base.Trials(), (11, 0), (9, 0), math.inf, 11),
    (base.Trials(), (1, 0), (0, 0), 100, 1),
  ],
)
def test_how_much_memory_an_experience_leaves_behind(
  trials, wanted, now, room, size
):
  seen = observed("end", now=now, held=held(room=room))
  decision, _ = sizes.sizes(trials).decide({"wanted": list(wanted)}, seen)
  assert decision.allocation.em == size and not decision.changes


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(sizes.sizes) == {"seed": 0}
