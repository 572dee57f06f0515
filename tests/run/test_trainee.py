"""What trains is chosen again as training goes, and a run repeats itself."""

import contextlib
import dataclasses
import functools
import json
import math
import types
from typing import NamedTuple

import jax
import numpy as np
import pytest
import tiny_network

from jcl import base, keys, recipes
from jcl.networks import catalogue
from jcl.options.errors import UsageError
from jcl.run import cursor_json, loop, session
from jcl.run import trainee as trainee_lib
from jcl.selection import times as times_lib

NETWORK = catalogue.build("mlp", (4,), 4, width=6, depth=2)
COUNT = len(NETWORK.tensors)
TIMES = times_lib.TensorTimes(
  *((1.0,) * COUNT for _ in range(4)), fixed=0.0, method="analytic"
)


def scripted(every=1, num_probes=2, slots="keep"):
  """Chooses by the sums of the probes' gradients: other tensors each time."""

  def update(key, state, probe):
    grads = [
      probe.gradient(probe.params, batch, jax.random.fold_in(key, i))
      for i, batch in enumerate(probe.batches)
    ]
    probe.advance(grads[0], probe.params)
    total = jax.tree.map(lambda *leaves: abs(sum(leaves)).sum(), *grads)
    scores = np.array(jax.tree.leaves(total), np.float32)
    return {
      "scores": scores * (1 + state["scores"] * 0),
      "turn": state["turn"] + 1,
    }

  def choose(state, network, times, budget):
    assert times is TIMES and budget == 1.0
    turn = int(state["turn"])
    order = np.argsort(np.asarray(state["scores"]))
    keep = set(order[turn % 3 :: 2].tolist()) | {COUNT - 1}
    return base.Selection(tuple(i in keep for i in range(COUNT)))

  return base.Selector(
    init=lambda params: {
      "scores": np.zeros(COUNT, np.float32),
      "turn": np.int32(0),
    },
    update=update,
    choose=choose,
    every=every,
    num_probes=num_probes,
    profile="analytic",
    slots=slots,
  )


def assemble(executor="whole", lead=3, epochs=3, **selector):
  method = recipes.er(buffer=8, minibatch=4)
  method = method._replace(selector=scripted(**selector))
  job = session.assemble(
    tiny_network.stream(per_class=20),  # 40 examples: 7 updates an epoch
    NETWORK,
    method,
    base.Training(epochs=epochs, batch_size=6, momentum=0.9),
    options=session.Options(executor=executor, steps_per_dispatch=4),
  )
  job.trainee.times, job.trainee.compile_ahead = TIMES, lead
  return job


class Played(NamedTuple):
  """A run that is over, and copies of what it was at every event."""

  job: loop.Job
  state: base.LearnerState
  place: loop.Cursor
  begun: base.LearnerState
  events: list[tuple[str, base.LearnerState, dict]]  # with the place as JSON


def copy_of(told):
  return json.loads(json.dumps(told))


def play(job, state=None, place=None) -> Played:
  if state is None:
    state, place = loop.start(job)
  begun, events = jax.tree.map(np.array, state), []
  for event in loop.run(job, state, place):
    state = event.state
    copy = jax.tree.map(np.array, state)
    job.save(event.place)
    told = cursor_json.to_json(event.place)
    events.append((event.kind, copy, copy_of(told)))
  return Played(job, state, place, begun, events)


@functools.cache
def played(executor="whole") -> Played:
  """The run that most tests look at."""
  return play(assemble(executor))


@pytest.mark.parametrize("executor", ["whole", "pieces"])
def test_choices_come_every_so_many_epochs_and_are_noted(executor):
  place = play(assemble(executor, every=2)).place
  assert [len(record.choices) for record in place.records] == [2, 2]
  first, second = place.records[0].choices
  assert (first.step, first.epoch, first.adopted) == (0, 0, 0)
  wait = 3 if executor == "whole" else 0  # parts are there at once
  assert (second.step, second.epoch, second.adopted) == (14, 2, 14 + wait)
  assert first.share == pytest.approx(TIMES.step(first.trainable) / TIMES.full)
  assert place.records[0].trained == (sum(second.trainable), COUNT)
  spent = place.records[0].costs["probe"]
  assert spent.seconds > 0 and spent.flops > 0


def test_a_choice_is_trained_from_the_step_it_is_adopted_at():
  run = played()
  changes, params = [], run.begun.train.params
  for kind, state, told in run.events:
    if kind == "steps":
      frozen = [
        (a == b).all()
        for a, b in zip(
          jax.tree.leaves(params),
          jax.tree.leaves(state.train.params),
          strict=True,
        )
      ]
      changes.append((told["step"], tuple(not still for still in frozen)))
    params = state.train.params
  names = [t.path for t in NETWORK.tensors]
  leaves = [
    tuple(str(entry.key) for entry in path)
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
  ]
  choices = [c for record in run.place.records for c in record.choices]
  assert changes
  for step, moved in changes:
    last = [c for c in choices if c.adopted < step][-1]
    chosen = {n for n, yes in zip(names, last.trainable, strict=True) if yes}
    moving = {n for n, yes in zip(leaves, moved, strict=True) if yes}
    assert moving <= chosen, (step, moving - chosen)
    assert moving


@pytest.mark.parametrize("executor", ["whole", "pieces"])
def test_a_run_taken_up_anywhere_ends_the_same(executor):
  whole = played(executor)
  saved = [(state, told) for _, state, told in whole.events]
  waiting = [s for s in saved if s[1]["trainee"]["pending"] is not None]
  assert waiting or executor == "pieces"
  resumed = assemble(executor)
  for copy, told in (waiting or saved[3:])[:2] + saved[-4:-3]:
    there = cursor_json.from_json(told)
    template = resumed.template(there)
    assert jax.tree.structure(template) == jax.tree.structure(copy)
    resumed.restore(there)
    again = play(resumed, resumed.learner.put(copy), there)
    assert tiny_network.same_bits(again.state, whole.state)
    assert [r.choices for r in there.records] == [
      r.choices for r in whole.place.records
    ]


@pytest.mark.parametrize(
  "wrong", [None, {}, {"selection": 3}, {"selection": None}]
)
def test_what_no_trainee_told_is_refused(wrong):
  trainee = played().job.trainee
  with pytest.raises(UsageError, match="not the trainee of a run"):
    trainee.restore(wrong)


def test_programs_are_as_many_as_different_choices():
  run = played()
  chosen = {c.trainable for r in run.place.records for c in r.choices}
  steps = [key for key in run.job.learner.compiler if key[0] == "step"]
  assert len(steps) == len(chosen) > 1


def test_a_tensor_that_returns_finds_its_slots_by_the_policy():
  kept = played().state
  dropped = play(assemble(slots="drop")).state
  assert kept.parked and not dropped.parked
  assert not tiny_network.same_bits(kept.train, dropped.train)


def test_probing_leaves_no_trace():
  """The same choices, forced without a probe, train the same."""
  run = played()
  script = [c.trainable for r in run.place.records for c in r.choices]
  job = assemble(num_probes=0)
  turns = iter(script)
  forced = job.learner.method.selector._replace(
    update=lambda key, state, probe: state,
    choose=lambda *_: base.Selection(next(turns)),
  )
  method = job.learner.method._replace(selector=forced)
  job.learner.spec = dataclasses.replace(job.learner.spec, method=method)
  other = play(job).state
  for part in ("train", "replay", "parked"):
    assert tiny_network.same_bits(
      getattr(run.state, part), getattr(other, part)
    )


def test_half_of_a_short_interval_is_the_longest_wait():
  place = play(assemble(lead=1000, epochs=2)).place
  second = place.records[0].choices[1]
  assert second.adopted - second.step == 7 // 2
  assert math.isfinite(second.share)


def test_a_prompt_choice_is_trained_at_once():
  job = assemble(epochs=2)
  selector = job.learner.method.selector._replace(prompt=True)
  method = job.learner.method._replace(selector=selector)
  job.learner.spec = dataclasses.replace(job.learner.spec, method=method)
  place = play(job).place
  second = place.records[0].choices[1]
  assert second.adopted == second.step == 7


class Learner(types.SimpleNamespace):
  """As much of a learner as choices and draws ask for."""

  def __init__(self, every=2, num_probes=2):
    selector = types.SimpleNamespace(every=every, num_probes=num_probes)
    method = types.SimpleNamespace(selector=selector)
    super().__init__(method=method, stream_rows=2, batch_size=3)

  def put_batches(self, batches):
    return {"rows": batches}

  def rebuilt(self, method):
    return method


@pytest.mark.parametrize(
  ("every", "epoch", "batch", "chosen", "due"),
  [
    (0, 0, 0, -1, True),  # at the beginning
    (0, 3, 0, -1, True),
    (0, 0, 1, -1, False),
    (0, 2, 0, 0, False),
    (2, 1, 0, 0, False),
    (2, 2, 0, 0, True),
    (2, 2, 1, 0, False),
    (2, 2, 0, 2, False),  # chosen already
  ],
)
def test_when_a_choice_is_due(every, epoch, batch, chosen, due):
  trained = trainee_lib.Trainee(Learner(every), 0)
  trained.chosen_epoch = chosen
  assert trained._due(trainee_lib.At(1, epoch, batch, 9)) is due


def test_steps_are_cut_ahead_of_a_switch():
  trained = trainee_lib.Trainee(Learner(), 0)
  assert trained.until_switch(0) == math.inf
  trained.switch_step = 5
  found = [trained.until_switch(step) for step in (3, 4, 5, 6)]
  assert found == [2, 1, math.inf, math.inf]


def test_probes_are_drawn_from_the_whole_set():
  source = types.SimpleNamespace(batch=lambda rows: rows)

  class Source(list):
    batch = staticmethod(source.batch)

  trained = trainee_lib.Trainee(Learner(), 7)
  at = trainee_lib.At(1, 4, 0, 9)
  first, second = trained._probes(at, Source(range(9)), 2)
  generator = keys.rng(7, keys.Purpose.PROBE, 1, 4)
  for found in (first, second):
    expected = [*generator.permutation(9)[:2], -1]
    assert found["rows"].tolist() == expected
  (few,) = trained._probes(at, Source([0]), 1)
  assert few["rows"].tolist() == [0, -1, -1]
  assert trained._probes(at, Source([0]), 0) == ()


def test_rows_of_a_share_of_a_step(monkeypatch):
  made = []

  def replaying(method, rows):
    made.append(rows)
    return f"replays {rows}"

  monkeypatch.setattr(trainee_lib.sampling, "replaying", replaying)
  trained = trainee_lib.Trainee(Learner(), 0)
  assert trained._replaying(None) is trained.learner
  shares = (0.01, 0.25, 0.5, 0.75, 0.75, 0.25)
  found = [trained._replaying(share) for share in shares]
  assert found == [f"replays {rows}" for rows in (1, 1, 2, 6, 6, 1)]
  assert made == [1, 1, 2, 6]  # each once


def test_a_trainee_that_has_chosen_nothing():
  trained = trainee_lib.Trainee(Learner(), 0)
  told = trained.state()
  assert told == {
    "selection": None,
    "pending": None,
    "switch_step": 0,
    "chosen_epoch": -1,
    "choices": [],
  }
  assert trained.times is None and trained.compile_ahead == 0
  trained.restore({**told, "selection": [1, 0], "pending": [False, True]})
  assert trained.selection == base.Selection((True, False))
  assert trained.pending == base.Selection((False, True))
  trained.chosen_epoch, trained.choices = 3, [None]
  trained.open()
  assert (trained.chosen_epoch, trained.choices) == (-1, [])


OLD, NEW = base.Selection((True,) * 3), base.Selection((False, True, True))


def choosing(monkeypatch, step, chosen=NEW, *, serves=False, **options):
  """Has a trainee choose at a step of ten updates an epoch.

  Returns:
    The trainee, and what it has asked its learner for.
  """
  asked = []
  learner = Learner(options.get("every", 2), num_probes=0)
  learner.method.selector.prompt = options.get("prompt", False)
  learner.takes_pieces = serves
  learner.ledger = types.SimpleNamespace(
    timed=lambda name: contextlib.nullcontext()
  )
  learner.prepare = lambda selection: asked.append(("prepare", selection))
  learner.prepare_all = lambda: asked.append("prepare all")
  learner.step_program = lambda selection, exact: (selection, exact)
  for name, function in (
    ("choose", lambda *given: (given[2], chosen)),
    ("switch", lambda learner, state, old, new: [*state, (old, new)]),
  ):
    monkeypatch.setattr(trainee_lib.choosing, name, function)
  trained = trainee_lib.Trainee(learner, 0)
  trained.start(OLD)
  trained.compile_ahead = options.get("ahead", 3)
  trained.times = options.get("times")
  at = trainee_lib.At(1, step // 10, 0, step)
  decision = base.Decision(3)
  state = trained.choose([], at, None, range(20), decision)
  assert len(trained.choices) == 1 and trained.chosen_epoch == step // 10
  switched = trained.selection == NEW
  assert state == ([(OLD, NEW)] if switched else [])
  return trained, asked


def test_the_first_choice_of_a_run_is_trained_at_once(monkeypatch):
  trained, asked = choosing(monkeypatch, 0)
  assert (trained.selection, trained.pending) == (NEW, None)
  assert trained.switch_step == 0 and asked == ["prepare all"]
  assert trained.choices[0].adopted == 0
  for every in (0, 2):  # parts serve until the program is there
    trained, asked = choosing(monkeypatch, 0, serves=True, every=every)
    assert (trained.selection, trained.switch_step) == (NEW, 3)
    everything = ["prepare all"] if every else []
    assert asked == [("prepare", NEW), *everything]


@pytest.mark.parametrize(
  ("options", "waits"),
  [
    ({}, 3),
    ({"ahead": 1000}, 10),  # half of two epochs
    ({"ahead": 1000, "every": 0}, 15),  # half of three
    ({"ahead": 0}, 0),
    ({"prompt": True}, 0),
  ],
)
def test_later_choices_wait_for_their_programs(options, waits, monkeypatch):
  trained, asked = choosing(monkeypatch, 20, **options)
  assert (trained.selection, trained.pending) == (OLD, NEW)
  assert trained.switch_step == trained.choices[0].adopted == 20 + waits
  assert asked == ([("prepare", NEW)] if waits else [])
  decision = base.Decision(3)
  for step in sorted({20, 19 + waits, 20 + waits}):
    at = trainee_lib.At(1, 2, 0, step)
    _, (selection, exact) = trained.ready([], at, decision)
    arrived = step >= 20 + waits
    assert exact is arrived and selection == trained.selection
    assert arrived is (trained.pending is None) or not waits


def test_parts_train_a_choice_until_its_program_is_there(monkeypatch):
  trained, asked = choosing(monkeypatch, 20, serves=True)
  assert (trained.selection, trained.pending) == (NEW, None)
  assert trained.switch_step == 23 and trained.choices[0].adopted == 20
  assert asked == [("prepare", NEW)]


def test_the_same_choice_again_changes_nothing(monkeypatch):
  trained, asked = choosing(monkeypatch, 20, OLD)
  assert (trained.selection, trained.pending) == (OLD, None)
  assert trained.switch_step == 0 and not asked
  assert trained.choices[0].adopted == 20


def test_choices_note_what_they_take(monkeypatch):
  trained, _ = choosing(monkeypatch, 20)
  [choice] = trained.choices
  assert (choice.step, choice.epoch, choice.trainable) == (20, 2, NEW.trainable)
  assert math.isnan(choice.share) and math.isnan(choice.seconds)
  profile = times_lib.TensorTimes(
    *((1.0,) * 3 for _ in range(4)), fixed=0.5, method="analytic"
  )
  trained, _ = choosing(monkeypatch, 20, times=profile)
  [choice] = trained.choices
  assert choice.seconds == profile.step(NEW.trainable)
  assert 0 < choice.share == choice.seconds / profile.full < 1


def test_what_a_trainee_was_given_is_told_in_short():
  class Far(dict):
    def __missing__(self, name):
      raise KeyError("a" * 300)

  with pytest.raises(UsageError) as told:
    trainee_lib.Trainee(Learner(), 0).restore(Far())
  assert len(str(told.value)) == len("not the trainee of a run ()") + 120
