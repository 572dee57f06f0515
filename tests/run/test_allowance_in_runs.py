"""Runs that pause until their next allowance: what they compute, and spend."""

import json
import types

import jax
import numpy as np
import pytest
import tiny_hierarchy
import tiny_network

import jcl
from jcl import base, recipes
from jcl.control import allowance, limits
from jcl.run import console, cursor_json, loop, session

HOUR = 3600.0
UNLIMITED = jcl.Budget()
TRAINING = base.Training(
  epochs=4, batch_size=6, learning_rate=0.1, schedule="cosine"
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
  monkeypatch.setattr(loop, "_WAIT", 0.0)


class Clock:
  def __init__(self):
    self.now = 1e9

  def __call__(self):
    return self.now


def assemble(budget=UNLIMITED, clock=None, text="er:buffer=8", epochs=4):
  return session.assemble(
    tiny_network.stream(),
    tiny_network.build(),
    recipes.build(text),
    TRAINING,
    options=session.Options(steps_per_dispatch=2),
    controller=allowance.controller(epochs, budget, clock or Clock()),
  )


def play(job, clock):
  """Runs to the end; an hour passes as often as training pauses."""
  state, place = loop.start(job)
  pauses = []
  for event in loop.run(job, state, place):
    state = event.state
    if event.kind == "paused":
      assert place.decided.wait
      pauses.append((place.experience, place.totals.steps))
      clock.now += HOUR
  return state, place, pauses


@pytest.fixture(scope="module")
def unpaused():
  state, place, _ = play(assemble(), None)
  return jax.tree.map(np.array, state), place


def per_hour(place, steps):
  """Returns a budget of so many updates per hour, a little more."""
  each = place.spent.flops / place.records[-1].steps
  return jcl.Budget(flops=(steps + 0.5) * each, per="hour")


def alike(one, other):
  assert [r.steps for r in one.records] == [r.steps for r in other.records]
  assert [r.accuracy for r in one.records] == [
    r.accuracy for r in other.records
  ]
  assert one.planned == other.planned


@pytest.mark.parametrize("steps", [0, 3, 20])
def test_pausing_changes_no_bits(steps, unpaused):
  clock, (expected, finished) = Clock(), unpaused
  budget = per_hour(finished, steps)
  job = assemble(budget, clock)
  state, place, pauses = play(job, clock)
  assert tiny_network.same_bits(state, expected)
  alike(place, finished)
  # Each experience has sixteen updates, two to a dispatch.
  every = {0: 2, 3: 4, 20: 22}[steps]
  assert pauses == [divmod(made, 16) for made in range(every, 32, every)]
  assert place.records[0].decision.limit == base.UNLIMITED


def test_a_pause_may_be_saved_and_gone_on_from_elsewhere(unpaused):
  clock, (expected, finished) = Clock(), unpaused
  budget = per_hour(finished, 5)
  job, kinds = assemble(budget, clock), []
  state, place = loop.start(job)
  events = loop.run(job, state, place)
  while True:
    event = next(events, None)
    if event is None:
      break
    state = event.state
    kinds.append(event.kind)
    if event.kind != "paused":
      continue
    if kinds[-2:-1] == ["paused"]:  # the run that goes on waits as well
      clock.now += HOUR
    job.save(place)
    saved = json.dumps([cursor_json.to_json(place), job.ledger.state()])
    arrays = jax.tree.map(np.array, state)
    fields, ledger = json.loads(saved)
    job, place = assemble(budget, clock), cursor_json.from_json(fields)
    assert place.decided.wait
    job.template(place)
    job.restore(place)
    job.ledger.restore(ledger)
    state = job.learner.put(arrays)
    events = loop.run(job, state, place)
  # Three dispatches of steps to an hour.
  told = "".join(kind[0] for kind in kinds)
  assert told == "bsssppsssppssebsppsssppsssppse"
  assert tiny_network.same_bits(state, expected)
  alike(place, finished)


def test_sizes_of_a_memory_are_decided_although_training_waits(
  tmp_path, monkeypatch
):
  tiny_hierarchy.read_at_once(monkeypatch)
  found = []
  for steps in (None, 2):
    clock = Clock()
    budget = UNLIMITED if steps is None else per_hour(found[0][1], steps)
    job = assemble(budget, clock, text="carm:em=8,sb=12")
    with session.fed(job, tmp_path / str(steps)) as running:
      state, place, pauses = play(running, clock)
      held = running.feed.tiers.em.rows.take(np.arange(8))
      found.append((state, place, held["id"].tolist()))
  (state, place, ids), (paused_state, paused_place, paused_ids) = found
  assert (1, 0) in pauses  # the second experience began without a budget
  assert paused_ids == ids
  assert tiny_network.same_bits(paused_state, state)
  alike(paused_place, place)
  decided = [
    [(d["kind"], d["em"], d["sb"]) for d in r.memory["decisions"]]
    for r in place.records
  ]
  assert decided == [
    [(d["kind"], d["em"], d["sb"]) for d in r.memory["decisions"]]
    for r in paused_place.records
  ]


def test_all_learning_of_an_experience_stays_within_its_budget(unpaused):
  _, finished = unpaused
  costs = finished.records[-1].costs
  flops = sum(costs[name].flops for name in limits.LEARNING) / 2
  _, place, pauses = play(assemble(jcl.Budget(flops=flops)), None)
  assert not pauses
  for record in place.records:
    took = sum(record.costs[name].flops for name in limits.LEARNING)
    assert 0.8 * flops < took <= flops
    assert 0 < record.steps < 16


def test_in_total_each_experience_takes_half_of_the_rest(unpaused):
  _, finished = unpaused
  total = 2 * sum(
    finished.records[0].costs[name].flops for name in limits.LEARNING
  )
  job = assemble(jcl.Budget(flops=total, per="total"), epochs=40)
  _, place, _ = play(job, None)
  first, second = (record.decision.limit.flops for record in place.records)
  spent = sum(cost.flops for cost in place.records[0].costs.values())
  assert first < total / 2  # the first evaluation counts
  assert second == pytest.approx((total - spent) / 2)
  for record in place.records:
    took = sum(record.costs[name].flops for name in limits.LEARNING)
    assert took <= record.decision.limit.flops


def test_the_progress_bar_says_what_training_waits_for():
  shown = []
  bar = types.SimpleNamespace(
    disable=False,
    n=0,
    set_postfix=lambda given, refresh: shown.append(given.get("paused")),
    update=lambda n: None,
  )
  progress = object.__new__(console.Progress)
  progress._bar, progress._count, progress._accuracy = bar, 2, ""
  for kinds, told in (
    ([], "no budget"),
    (["paused"], "no memory"),
    (["paused", "resumed"], "no budget"),
  ):
    place = loop.Cursor(decisions=[{"kind": kind} for kind in kinds])
    progress.note(loop.Event("paused", None, place, {}))
    progress.note(loop.Event("steps", None, place, {}))
    assert shown[-2:] == [told, None]
