"""What sizes memory and stream buffer get: by room, by rule, by trials."""

import math
import types

import numpy as np
import pytest

from jcl import base
from jcl.control import choice
from jcl.run import sizing, trials


def row(em, sb, accuracy=50.0, energy=1.0, noise=0.0):
  return choice.Row(em, sb, accuracy, energy, 0.0, noise)


class Tiers:
  """What sizing asks of tiers, and what it tells them."""

  def __init__(self, **changes):
    self.hierarchy = types.SimpleNamespace(plan=None, em=20, sb=30)
    self.table, self.wanted, self.room = [], (20, 30), math.inf
    self.seen, self.current = {0: range(40), 1: range(60)}, {2: range(50)}
    self.archive = types.SimpleNamespace(aside=np.arange(4))
    self.exchanges = types.SimpleNamespace(
      progress=types.SimpleNamespace(target=0.5)
    )
    self.em, self.seed, self.experience = range(10), 3, 1
    self.row_bytes, self.arranged = 16, []
    vars(self).update(changes)

  def limit(self):
    return 3 * 2**20

  def earlier(self):
    return self.seen

  def fresh(self):
    return self.current

  def in_examples(self, size):
    return size

  def arrange(self, *sizes):
    self.arranged.append(sizes)


def standing(tiers, rows=10, joules=math.inf):
  learner = types.SimpleNamespace(stream_rows=rows)
  seen = np.array([True, True, True, False])
  stream = types.SimpleNamespace(classes_seen=lambda experience: seen)
  setting = types.SimpleNamespace(tiers=tiers, learner=learner, stream=stream)
  limit = base.Cost(joules=joules)
  decision = types.SimpleNamespace(epochs=4, limit=limit)
  return setting, types.SimpleNamespace(experience=1, decision=decision)


@pytest.mark.parametrize(
  ("room", "sizes"),
  [(51, (20, 30)), (50, (20, 30)), (49, (19, 30)), (3, (3, 0))],
)
def test_sizes_are_scaled_to_what_there_is_room_for(room, sizes):
  assert sizing.fitting(*standing(Tiers()), room, 20, 30) == sizes


def test_less_than_one_of_each_class_is_refused():
  with pytest.raises(ValueError, match="3 MiB are .* holds 2 examples of 16"):
    sizing.fitting(*standing(Tiers()), 2.5, 20, 30)


@pytest.mark.parametrize(
  ("room", "sb", "sizes"),
  [(25, 30, (0, 25)), (3, 30, (0, 3)), (40, 30, (0, 30))],
)
def test_a_first_experience_has_a_buffer_alone(room, sb, sizes):
  tiers = Tiers(seen={})
  assert sizing.fitting(*standing(tiers), room, 20, sb) == sizes
  # Without a buffer there is only the memory.
  assert sizing.fitting(*standing(tiers), 15, 20, 0) == (15, 0)


def test_what_trials_showed_decides_what_fits():
  rows = [
    vars(row(10, 5, 60.0)),
    vars(row(5, 5, 50.0)),
    vars(row(20, 30, 90.0)),
  ]
  plan = base.Plan(policy="accuracy", cutline=1.0)
  tiers = Tiers(table=rows)
  tiers.hierarchy.plan = plan
  setting, place = standing(tiers)
  assert sizing.fitting(setting, place, 15, 20, 30) == (10, 5)
  assert sizing.fitting(setting, place, 14, 20, 30) == (5, 5)
  assert sizing.fitting(setting, place, 9, 20, 30) == (3, 6)  # in proportion
  tiers.hierarchy.plan = None
  assert sizing.fitting(setting, place, 15, 20, 30) == (6, 9)


def test_what_is_allowed_is_told_in_mebibytes():
  assert sizing.allowed(Tiers()) == "3 MiB"
  assert sizing.classes_seen(*standing(Tiers())) == 3


def planned(monkeypatch, tiers, plan, share=0.5, table=(), **place):
  """Runs `planned` with trials that show a table; returns what they got."""
  asked = []

  def run(setting, state, place, scope, sizes, share):
    asked.append((sizes, share))
    return trials.Outcome(tuple(table), 2.0, 3.0, base.Cost(seconds=7.0))

  monkeypatch.setattr(trials, "share_within", lambda *_: share)
  monkeypatch.setattr(trials, "run", run)
  tiers.hierarchy.plan = plan
  setting, here = standing(tiers, **place)
  found = sizing.planned(setting, None, here, None)
  return found, asked


GRID = ((20, 40), (10, 20), (30, 10))


def test_rules_need_no_trials(monkeypatch):
  for policy, wanted in (("largest", (20, 40)), ("half", (25, 25))):
    tiers = Tiers()
    plan = base.Plan(policy=policy, grid=GRID)
    (kind, reason, more), asked = planned(monkeypatch, tiers, plan)
    assert (kind, tiers.wanted, more, asked) == (policy, wanted, {}, [])
    assert repr(policy) in reason
  # Half of what there is room for, as far as examples go.
  tiers = Tiers(room=33.9)
  planned(monkeypatch, tiers, base.Plan(policy="half"))
  assert tiers.wanted == (16, 16)
  drawn = set()
  for seed in range(12):
    tiers = Tiers(seed=seed)
    planned(monkeypatch, tiers, base.Plan(policy="random", grid=GRID))
    drawn.add(tiers.wanted)
  assert drawn == set(GRID)


def test_ties_of_the_largest_go_to_the_larger_memory(monkeypatch):
  tiers = Tiers()
  grid = ((20, 20), (30, 10), (10, 30))
  planned(monkeypatch, tiers, base.Plan(policy="largest", grid=grid))
  assert tiers.wanted == (30, 10)


def test_sizes_stay_where_nothing_can_be_told(monkeypatch):
  plan = base.Plan(grid=GRID, overhead=0.025)
  for changes, share, reason in (
    ({"room": 29}, 0.5, "no candidate fits"),
    ({"archive": types.SimpleNamespace(aside=np.arange(0))}, 0.5, "too few"),
    ({}, 0.0, "within 2.5 % of training"),
  ):
    tiers = Tiers(**changes)
    (kind, found, more), asked = planned(monkeypatch, tiers, plan, share)
    assert (kind, more, asked) == ("kept", {}, [])
    assert reason in found and tiers.wanted == (20, 30)
  tiers = Tiers(room=30)
  _, asked = planned(monkeypatch, tiers, plan, table=[row(10, 20)])
  assert asked == [([(10, 20)], 0.5)]


@pytest.mark.parametrize(("room", "arranged"), [(46, []), (45, [(9, 0)])])
def test_trials_have_room_for_their_own_examples(monkeypatch, room, arranged):
  # Half of 60, a class' rounding for each of two, four judges; ten are held.
  tiers = Tiers(room=room)
  plan = base.Plan(policy="accuracy", grid=((20, 20),), cutline=1.0)
  planned(monkeypatch, tiers, plan, 0.75, [row(20, 20)])
  assert tiers.arranged == arranged


def test_candidates_by_the_budget_have_a_few_batches(monkeypatch):
  tiers = Tiers(room=80)
  plan = base.Plan(most=20)
  _, [(sizes, _)] = planned(monkeypatch, tiers, plan, table=[row(1, 1)])
  assert min(map(sum, sizes)) >= 40 and max(map(sum, sizes)) <= 80
  assert (20, 30) in sizes and all(em >= 2 and sb >= 1 for em, sb in sizes)
  _, [(sizes, _)] = planned(monkeypatch, Tiers(), plan, table=[row(1, 1)])
  assert max(map(sum, sizes)) == 50  # what was given, where all is allowed


def test_the_choice_is_told_with_what_exchanges_will_take(monkeypatch):
  table = [row(20, 40, 70.0, 5.0), row(10, 20, 60.0, 2.0)]
  plan = base.Plan(policy="accuracy", grid=GRID, cutline=1.0)
  tiers = Tiers()
  (kind, reason, more), _ = planned(monkeypatch, tiers, plan, table=table)
  assert kind == "chosen" and tiers.wanted == (20, 40)
  # Four epochs of 20 examples, half of them exchanged, three joules each.
  assert more["predicted"] == 5.0 + 4 * 20 * 0.5 * 3.0
  assert "best 2 of 2 tried" in reason and "70.0 %" in reason
  assert more["candidates"] == tiers.table and more["kept"] == [0, 1]
  assert (more["seconds"], more["step_joules"]) == (7.0, 2.0)
  # Nothing is exchanged where all earlier examples are in memory.
  for seen, joules in ((20, 5.0), (21, 125.0)):
    tiers = Tiers(seen={0: range(seen)})
    _, _, more = planned(monkeypatch, tiers, plan, table=table)[0]
    assert more["predicted"] == joules


def test_what_joules_cannot_pay_is_no_candidate(monkeypatch):
  table = [row(20, 40, 70.0, 5.0), row(10, 20, 60.0, 2.0)]
  plan = base.Plan(policy="accuracy", grid=GRID, cutline=1.0)
  for joules, wanted in ((5.0, (20, 40)), (4.9, (10, 20)), (1.9, (20, 40))):
    tiers = Tiers()
    planned(monkeypatch, tiers, plan, table=table, joules=joules)
    assert tiers.wanted == wanted


def test_the_cutline_is_of_all_candidates(monkeypatch):
  # Half of four: the two that were tried to the end.
  table = [
    row(9, 9, a, e) for a, e in ((None, 1), (60.0, 9), (50.0, 1), (None, 1))
  ]
  plan = base.Plan(policy="energy", grid=GRID, cutline=0.5)
  tiers = Tiers()
  found, _ = planned(monkeypatch, tiers, plan, table=table)
  assert found[2]["kept"] == [1, 2]


def test_nothing_that_can_be_used_leaves_sizes_as_they_are(monkeypatch):
  for policy, reason in (
    ("accuracy", "no candidate can be used"),
    ("enough", "more in its trial than may be chance"),
  ):
    tiers = Tiers()
    plan = base.Plan(policy=policy, grid=GRID, cutline=1.0)
    table = [row(20, 40, None)] * 3
    (kind, told, _), _ = planned(monkeypatch, tiers, plan, table=table)
    assert kind == "kept" and reason in told and tiers.wanted == (20, 30)
