"""Short trials: what they tell, and that nothing of them is left."""

import contextlib
import copy
import json
import types

import jax
import numpy as np
import pytest
import tiny_hierarchy
import tiny_network

from jcl import base, recipes
from jcl.control import sizes as sizes_lib
from jcl.control.verdict import Verdict
from jcl.run import judge, loop, session, trials

MIRO = (
  "miro:em=20,sb=40,warmup=1,trial_epochs={epochs},share=0.5,held_out=4,"
  "grid={grid},halving={halving}"
)
GRID = "20x40/10x20/30x10"


def assemble(text, per_class=60, tasks=2, epochs=2):
  return session.assemble(
    tiny_network.stream(tasks=tasks, per_class=per_class),
    tiny_network.build(),
    recipes.build(text),
    base.Training(epochs=epochs, batch_size=20, learning_rate=0.1),
    options=session.Options(steps_per_dispatch=2, progress=False),
  )


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
  tiny_hierarchy.read_at_once(monkeypatch)


def observed(job, folder, monkeypatch):
  """Runs to the end; returns trials, tiers, cursor and decisions."""
  seen, run, decisions = [], trials.run, []
  place_epochs = job.learner.training.epochs
  held_out = job.stream.held_out

  def look(tiers, state):
    rows = [
      held.take(np.arange(held.count)) for held in (tiers.em.rows, tiers.sb)
    ]
    leaves = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    place = json.dumps(tiers.state())
    return [part.tobytes() for part in (*rows, *leaves)], place

  def spying(job, state, place, scope, sizes, share, epochs):
    assert epochs == place_epochs
    before = look(job.feed.tiers, state), copy.deepcopy(place)

    def sealed():
      raise AssertionError("test data was opened in a trial")

    with monkeypatch.context() as patch:
      patch.setattr(held_out, "open", sealed)
      outcome = run(job, state, place, scope, sizes, share, epochs)
    assert (look(job.feed.tiers, state), place) == before
    seen.append((outcome, list(sizes)))
    return outcome

  with monkeypatch.context() as patch:
    patch.setattr(trials, "run", spying)
    with session.fed(job, folder) as running:
      state, place = loop.start(running)
      for event in loop.run(running, state, place):
        if event.kind == "experience":
          decisions += place.decisions
      return seen, running.feed.tiers, place, decisions


def test_trials_leave_everything_as_it_was(tmp_path, monkeypatch):
  job = assemble(MIRO.format(epochs=2, grid=GRID, halving="false"))
  generator = np.random.get_state()[1].tobytes()
  [(outcome, sizes)], tiers, place, decisions = observed(
    job, tmp_path, monkeypatch
  )
  assert np.random.get_state()[1].tobytes() == generator
  assert sizes == [(20, 40), (10, 20), (30, 10)]
  assert all(0 <= row.accuracy <= 100 for row in outcome.table)
  joules = [row.energy for row in outcome.table]
  steps = [3, 2, 2]  # an epoch, in batches of 20
  assert joules == pytest.approx([2 * outcome.step_joules * n for n in steps])
  assert outcome.spent.seconds > 0 and outcome.spent.joules > 0
  [decision] = [d for d in decisions if d["kind"] == "chosen"]
  assert (decision["em"], decision["sb"]) in sizes
  index = sizes.index((decision["em"], decision["sb"]))
  # What was trained before exchanged nothing: that is added.
  exchanged = 2 * decision["em"] * outcome.read_joules
  assert outcome.read_joules > 0
  assert decision["predicted"] == pytest.approx(joules[index] + exchanged)
  [first, _] = place.records
  spent = first.costs["train"].joules + first.costs["replay"].joules
  assert outcome.step_joules == pytest.approx(spent / first.steps)
  assert len(decision["candidates"]) == 3
  aside = np.concatenate(list(tiers.archive.held_out.values()))
  assert len(aside) == 16 and not set(aside.tolist()) & set(tiers.em.slots)


def test_what_was_exchanged_before_is_part_of_an_update(tmp_path, monkeypatch):
  text = MIRO.format(epochs=1, grid=GRID, halving="false")
  job = assemble(text, tasks=3, epochs=8)
  counts, joules, timed = [], [], job.ledger.timed

  class Noted(trials._Examples):
    def __init__(self, *given):
      super().__init__(*given)
      counts.append(self.count)

  @contextlib.contextmanager
  def noting(*given):
    before = len(counts)
    with timed(*given) as took:
      yield took
    if len(counts) > before:
      joules.append(took.cost.joules)

  monkeypatch.setattr(trials, "_Examples", Noted)
  monkeypatch.setattr(job.ledger, "timed", noting)
  [first, second], _, place, _ = observed(job, tmp_path, monkeypatch)
  # Three candidates and a warm-up, twice; the first time, reading is told.
  assert len(counts) == len(joules) == 8
  each = sum(joules[:4]) / sum(counts[:4])
  assert first[0].read_joules == pytest.approx(each)
  assert place.records[1].memory["exchanges"]["applied"] > 0
  assert first[0].read_joules > 0 and second[0].read_joules == 0


def test_trials_start_where_the_warm_up_ended(tmp_path, monkeypatch):
  text = MIRO.format(epochs=1, grid=GRID, halving="false")
  text += ",judge=likelihood,policy=enough"
  [(outcome, _)], *_ = observed(assemble(text), tmp_path, monkeypatch)
  starts = {row.start for row in outcome.table}
  assert len(starts) == 1 and 0 < starts.pop() < 100
  assert all(0 < row.noise < 100 for row in outcome.table)
  assert len({row.accuracy for row in outcome.table}) > 1


@pytest.mark.parametrize(
  ("overhead", "share"),
  [
    (0.0, 0.5),
    # Of 800 examples that were trained on, 16 go to judging three candidates;
    # eight epochs of all examples and a warm-up would take 1460.
    (0.5, (0.5 * 800 - 16) / 1460),
    (0.02, 0.0),
  ],
)
def test_trials_take_no_more_than_they_may(
  overhead, share, tmp_path, monkeypatch
):
  text = MIRO.format(epochs=8, grid="20x80/10x20/30x10", halving="false")
  text += f",overhead={overhead}"
  job = assemble(text, per_class=120, epochs=20)
  shares = []
  within = sizes_lib.share_within

  def seen(*given):
    shares.append(within(*given))
    return shares[-1]

  monkeypatch.setattr(sizes_lib, "share_within", seen)
  outcomes, *_, decisions = observed(job, tmp_path, monkeypatch)
  assert shares == pytest.approx([share])
  assert bool(outcomes) == bool(share)
  if not share:
    assert decisions[-1]["kind"] == "kept"
    assert "2 % of training" in decisions[-1]["reason"]


def test_where_no_size_gains_the_latest_stay(tmp_path, monkeypatch):
  def indifferent(*_):
    return Verdict(np.ones(4, bool), np.zeros(4, np.float32))

  monkeypatch.setattr(judge, "judged", indifferent)
  text = MIRO.format(epochs=1, grid=GRID, halving="false") + ",policy=enough"
  job = assemble(text, tasks=3)
  *_, decisions = observed(job, tmp_path, monkeypatch)
  assert [d["kind"] for d in decisions] == ["fixed", "kept", "kept"]
  assert (decisions[-1]["em"], decisions[-1]["sb"]) == (20, 40)


def test_the_same_run_makes_the_same_choice(tmp_path, monkeypatch):
  text = MIRO.format(epochs=2, grid=GRID, halving="true") + ",policy=accuracy"
  found = []
  for name in ("one", "two"):
    [(outcome, _)], tiers, *_ = observed(
      assemble(text), tmp_path / name, monkeypatch
    )
    accuracy = [row.accuracy for row in outcome.table]
    found.append((accuracy, tiers.em.state()))
  assert found[0] == found[1]
  assert any(value is not None for value in found[0][0])


def test_without_examples_to_judge_sizes_stay(tmp_path, monkeypatch):
  job = assemble(MIRO.format(epochs=1, grid=GRID, halving="false"), 9)
  _, _, place, decisions = observed(job, tmp_path, monkeypatch)
  assert [d["kind"] for d in decisions] == ["fixed", "kept"]
  assert place.experience == 2


@pytest.mark.parametrize("policy", ["largest", "half", "random"])
def test_rules_without_trials(policy, tmp_path, monkeypatch):
  text = MIRO.format(epochs=1, grid=GRID, halving="true") + f",policy={policy}"
  seen, tiers, _, decisions = observed(assemble(text), tmp_path, monkeypatch)
  assert not seen and not tiers.archive.held_out  # all examples may train
  decision = decisions[-1]
  pair = decision["em"], decision["sb"]
  assert decision["kind"] == policy
  assert (
    pair
    in {
      "largest": [(20, 40)],
      "half": [(30, 30)],
      "random": [(20, 40), (10, 20), (30, 10)],
    }[policy]
  )


def test_a_first_choice_may_come_later(tmp_path, monkeypatch):
  text = MIRO.format(epochs=1, grid=GRID, halving="true") + ",start=2"
  seen, *_, decisions = observed(assemble(text), tmp_path, monkeypatch)
  assert not seen and {d["kind"] for d in decisions} == {"fixed"}


def told(steps, applied, parameters=7):
  costs = {"train": base.Cost(joules=6.0), "replay": base.Cost(joules=2.0)}
  return types.SimpleNamespace(
    steps=steps,
    parameters=(parameters, 9),
    costs=costs,
    examples=100,
    memory={"exchanges": {"applied": applied}},
  )


def test_what_updates_took_and_exchanged_last(monkeypatch):
  monkeypatch.setattr(trials.mask, "trained_parameters", lambda *_: 7)
  job = types.SimpleNamespace(
    learner=types.SimpleNamespace(network=None),
    trainee=types.SimpleNamespace(selection=()),
  )

  def latest(*records):
    place = types.SimpleNamespace(records=list(records))
    return trials._latest(job, place)

  assert latest() is None
  assert latest(told(0, 5)) is None
  assert latest(told(4, 5, parameters=8)) is None
  assert latest(told(4, 5)) == (2.0, 5)
  assert latest(told(1, 2), told(4, 5)) == (2.0, 3)
  assert latest(told(1, 1), told(1, 2), told(8, 9)) == (1.0, 7)


class Tiers:
  """A memory of ten examples, two classes of earlier ones, four judges."""

  def __init__(self, room):
    self.em, self.room, self.arranged = range(10), room, []
    self.archive = types.SimpleNamespace(aside=np.arange(4))

  def earlier(self):
    return {0: range(40), 1: range(60)}

  def arrange(self, *sizes):
    self.arranged.append(sizes)


@pytest.mark.parametrize(("room", "arranged"), [(46, []), (45, [(9, 0)])])
def test_trials_have_room_for_their_own_examples(room, arranged):
  # Three quarters of 40, a class' rounding for each of two, four judges; ten
  # are held.
  tiers = Tiers(room)
  trials._make_room(tiers, [(20, 20), (10, 5)], 0.75)
  assert tiers.arranged == arranged
