"""A live learner computes what a study does, wherever it was stopped."""

import dataclasses
import itertools

import jax
import living_data
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.living import held, learning, settings
from jcl.living.log import given
from jcl.networks import catalogue
from jcl.run import setup

OPTIONS = {
  **dict.fromkeys(("elastic", "grad_norm", "magnitude"), {"rho": 0.95}),
  **dict.fromkeys(("carm", "frugal", "miro"), {"swap": 0.0}),
  **dict.fromkeys(("ranpac", "randumb"), {"m": 20}),
  **dict.fromkeys(("lightcl", "lightcl_sparse"), {"anchors": 4}),
}
TRAINING = base.Training(batch_size=8, learning_rate=0.05)


def network(shape, classes):
  return catalogue.build("mlp", shape, classes, width=12, depth=1)


def settings_of(name, capacity=living_data.NUM_CLASSES):
  method = getattr(recipes, name)(**OPTIONS.get(name, {}))
  return settings.Settings(
    method, network, setup.Setup(training=TRAINING), 3, capacity
  )


def never():
  return False


def live(made, arrivals, folder=None):
  return learning.Learning(arrivals, made, folder, lambda model: None)


def learned(made, stream, folder=None):
  """Learns a stream's experiences as they end; returns state and records."""
  arrivals = held.Held()
  found = live(made, arrivals, folder)
  for x, y in living_data.arrivals(stream):
    arrivals.add(given.batch(x, y))
    arrivals.end()
    assert found.advance(never) == "learned"
  return found


@pytest.mark.parametrize(
  "name, after",
  [("er", 3), ("elastic", 3), ("carm", 1), ("slda", 2), ("randumb", 2)],
)
def test_a_learner_that_is_stopped_again_and_again_ends_alike(
  name, after, tmp_path
):
  stream, made = living_data.stream(), settings_of(name)
  whole = learned(made, stream, tmp_path / "whole")
  arrivals, folder = held.Held(), tmp_path / "stopped"
  for x, y in living_data.arrivals(stream):
    arrivals.add(given.batch(x, y))
    arrivals.end()
  outcomes: list[str] = []
  while "learned" not in outcomes:
    found, calls = live(made, arrivals, folder), itertools.count()
    outcomes.append(found.advance(lambda calls=calls: next(calls) >= after))
    state = jax.tree.map(np.array, found.state)
    found.close()
  assert len(outcomes) > 2
  assert tiny_network.same_bits(whole.state, state)


def test_a_learner_that_stops_goes_on_in_the_same_process():
  stream, made = living_data.stream(), settings_of("er")
  whole = learned(made, stream)
  arrivals = held.Held()
  for x, y in living_data.arrivals(stream):
    arrivals.add(given.batch(x, y))
    arrivals.end()
  found, outcomes = live(made, arrivals), []
  while not outcomes or outcomes[-1] == "stopped":
    outcomes.append(found.advance(lambda: True))
  assert len(outcomes) > 3
  assert tiny_network.same_bits(whole.state, found.state)


# Each keeps something of another kind for every class.
GROW = "carm icarl lightcl solved".split()


@pytest.mark.parametrize("name", GROW)
def test_heads_grow_with_what_a_recipe_keeps(name):
  arrivals, models = held.Held(), []
  made = settings_of(name, capacity=2)
  found = learning.Learning(arrivals, made, None, models.append)
  for x, y in living_data.arrivals(living_data.stream()):
    arrivals.add(given.batch(x, y))
    arrivals.end()
    found.advance(never)
  found.close()
  assert [len(each.class_names) for each in models] == [2, 4, 8]
  assert models[-1].seen.tolist() == [True] * 6 + [False] * 2
  assert np.isfinite(models[-1].predict_scores(x)[:, :6]).all()


def test_a_head_that_grew_learns_as_well_as_a_large_one():
  accuracy = []
  for capacity in (2, 8):
    made = settings_of("er", capacity=capacity)
    training = base.Training(batch_size=8, learning_rate=0.05, epochs=8)
    made = dataclasses.replace(made, setup=setup.Setup(training=training))
    models = []
    found = learning.Learning(held.Held(), made, None, models.append)
    for x, y in living_data.arrivals(living_data.stream()):
      found.arrivals.add(given.batch(x, y))
      found.arrivals.end()
      found.advance(never)
    x, y = living_data.examples()
    predicted = models[-1].predict_scores(x).argmax(-1)
    accuracy.append(np.mean(predicted == y))
  assert min(accuracy) > 0.85
