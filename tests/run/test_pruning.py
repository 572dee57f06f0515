"""Channels leave for good, and a run repeats itself whatever happens to it."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_network

from jcl import recipes
from jcl.cost import program_cost
from jcl.networks import catalogue
from jcl.objectives import group_lasso
from jcl.run import checkpoint, loop, pruning, session

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


def play(setting):
  state, place = loop.start(setting)
  events = []
  for event in pruning.run(setting, state, place):
    state = event.state
    events.append(
      (jax.tree.map(np.array, state), event.kind, event.place.epoch)
    )
  return state, place, events


def test_steps_cost_less_as_channels_go():
  setting = assemble()
  state, place, events = play(setting)
  assert [noted["at"] for noted in place.pruned] == [
    [0, 2],
    [0, 4],
    [1, 2],
    [1, 4],
  ]
  assert any(noted["kept"] for noted in place.pruned)
  before = program_cost.num_parameters(events[0][0].train.params)
  after = program_cost.num_parameters(state.train.params)
  assert after < before
  small = pruning.rebuilt(setting, place).learner
  shapes = jax.tree.map(
    lambda leaf: leaf.shape, small.template(place.selection)
  )
  assert shapes == jax.tree.map(lambda leaf: leaf.shape, state)
  full = setting.learner.step_program(place.selection).cost
  assert small.step_program(place.selection).cost.flops < full.flops
  assert place.records[-1].parameters[1] == after


def test_a_run_taken_up_anywhere_ends_the_same():
  expected, place, _ = play(assemble())
  setting = assemble()
  state, at = loop.start(setting)
  saved = []
  for event in pruning.run(setting, state, at):
    copy = jax.tree.map(np.array, event.state)
    saved.append((copy, checkpoint.place_to_json(at)))
  sizes = [program_cost.num_parameters(copy.train.params) for copy, _ in saved]
  shrunk = next(i for i, size in enumerate(sizes) if size < sizes[0])
  for copy, told in (saved[shrunk - 1], saved[shrunk], saved[-3]):
    setting, there = assemble(), checkpoint.place_from_json(told)
    learner = pruning.rebuilt(setting, there).learner
    shapes = learner.template(there.selection)
    assert jax.tree.structure(shapes) == jax.tree.structure(copy)
    state = learner.put(copy)
    for event in pruning.run(setting, state, there):
      state = event.state
    assert tiny_network.same_bits(state, expected)
    assert there.pruned == place.pruned


def test_a_folder_resumes_a_pruned_run(tmp_path):
  setting = assemble()
  whole = session.run(setting, tmp_path / "run")
  again = session.run(assemble(), tmp_path / "run")
  assert tiny_network.same_bits(whole.state, again.state)


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
