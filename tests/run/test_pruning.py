"""Channels leave for good, and a run repeats itself whatever happens to it."""

import dataclasses
import json
import types

import jax
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.cost import program_cost
from jcl.networks import catalogue, shrink
from jcl.objectives import group_lasso
from jcl.run import cursor_json, loop, pruning, session, trainee

NETWORK = catalogue.build("mlp", (4,), 4, width=16, depth=2)


def assemble(**options):
  # A penalty far above use, so that channels fade within a few updates.
  method = recipes.build("pruning:interval=2,threshold=0.1")
  method = method._replace(objective=group_lasso.group_lasso(strength=0.2))
  return session.assemble(
    tiny_network.stream(per_class=20),
    NETWORK,
    method,
    dataclasses.replace(
      session.complete(method, method.training),
      epochs=5,
      batch_size=6,
      learning_rate=0.05,
      momentum=0.5,
    ),
    options=session.Options(**options),
  )


def play(job):
  state, place = loop.start(job)
  events = []
  for event in loop.run(job, state, place):
    state = event.state
    events.append(
      (jax.tree.map(np.array, state), event.kind, event.place.epoch)
    )
  return state, place, events


def test_steps_cost_less_as_channels_go():
  job = assemble()
  state, place, events = play(job)
  assert [noted["at"] for noted in job.trainee.pruned] == [
    [0, 2],
    [0, 4],
    [1, 2],
    [1, 4],
  ]
  assert any(noted["kept"] for noted in job.trainee.pruned)
  before = program_cost.num_parameters(events[0][0].train.params)
  after = program_cost.num_parameters(state.train.params)
  assert after < before
  small, selection = job.learner, job.trainee.selection
  shapes = jax.tree.map(lambda leaf: leaf.shape, small.template(selection))
  assert shapes == jax.tree.map(lambda leaf: leaf.shape, state)
  full = assemble().learner.step_program(selection).cost
  assert small.step_program(selection).cost.flops < full.flops
  assert place.records[-1].parameters[1] == after


def test_a_run_taken_up_anywhere_ends_the_same():
  whole = assemble()
  expected, _, _ = play(whole)
  job = assemble()
  state, at = loop.start(job)
  saved = []
  for event in loop.run(job, state, at):
    copy = jax.tree.map(np.array, event.state)
    job.save(at)
    told = cursor_json.to_json(at)
    saved.append((copy, json.loads(json.dumps(told))))
  sizes = [program_cost.num_parameters(copy.train.params) for copy, _ in saved]
  shrunk = next(i for i, size in enumerate(sizes) if size < sizes[0])
  for copy, told in (saved[shrunk - 1], saved[shrunk], saved[-3]):
    job, there = assemble(), cursor_json.from_json(told)
    shapes = job.template(there)
    job.restore(there)
    assert jax.tree.structure(shapes) == jax.tree.structure(copy)
    state = job.learner.put(copy)
    for event in loop.run(job, state, there):
      state = event.state
    assert tiny_network.same_bits(state, expected)
    assert job.trainee.pruned == whole.trainee.pruned


def test_a_folder_resumes_a_pruned_run(tmp_path, monkeypatch):
  job = assemble()
  whole = session.run(job, tmp_path / "run")
  rebuilt = []
  narrow = shrink.narrow
  monkeypatch.setattr(
    shrink, "narrow", lambda *given: rebuilt.append(1) or narrow(*given)
  )
  again = session.run(assemble(), tmp_path / "run")
  assert tiny_network.same_bits(whole.state, again.state)
  # The network is made smaller once for each time that it was pruned.
  assert len(rebuilt) == len(job.trainee.pruned) > 0


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("pruning:interval=0", "interval=0"),
    ("pruning:threshold=-1", "threshold=-1"),
    ("pruning:ratio=2", "ratio"),
  ],
)
def test_mistakes_are_told(text, message):
  with pytest.raises(ValueError, match=message):
    recipes.build(text)


@pytest.mark.parametrize(
  ("epoch", "batch", "last", "due"),
  [
    (0, 0, None, False),
    (1, 0, None, False),
    (2, 0, None, True),
    (2, 1, None, False),
    (2, 0, [1, 2], False),  # done already
    (2, 0, [0, 2], True),  # of an earlier experience
    (4, 0, [1, 2], True),
    (3, 0, [1, 2], False),
  ],
)
def test_when_channels_may_leave(epoch, batch, last, due):
  method = types.SimpleNamespace(pruning=base.Pruning(every=2, threshold=0.1))
  job = pruning.Pruned(types.SimpleNamespace(method=method), 0)
  # Of several prunings the latest one counts.
  job.pruned = [{"at": [1, 4]}, {"at": last}] if last else []
  assert job._prunes(trainee.At(1, epoch, batch, 9)) is due
  method.pruning = None
  assert not job._prunes(trainee.At(1, 2, 0, 9))
