"""A column per experience: nothing is forgotten, nothing else moves."""

import functools

import pytest
import tiny_network

from jcl import base
from jcl.networks import mlp, progressive
from jcl.recipes.pnn import pnn
from jcl.run import session
from jcl.selection import mask

STREAM = tiny_network.stream(tasks=3, num_classes=6)
NETWORK = progressive.progressive(
  functools.partial(mlp.mlp, width=8, depth=1),
  STREAM.example_shape,
  STREAM.task_classes,
)
# Slots and decay would move a column that is not frozen.
TRAINING = {
  "epochs": 3,
  "batch_size": 6,
  "learning_rate": 0.1,
  "momentum": 0.9,
  "weight_decay": 1e-2,
}


def run(network):
  return session.learn(
    STREAM,
    network,
    pnn(),
    options=session.Options(lead=0, progress=False),
    **TRAINING,
  )


@pytest.fixture(scope="module")
def result():
  return run(NETWORK)


def test_earlier_columns_never_change(result):
  rows = [record.accuracy_task for record in result.records]
  for index, row in enumerate(rows):
    assert row[index] > 0.7
    assert all(later[index] == row[index] for later in rows[index:])


def test_each_experience_trains_its_column(result):
  for index, record in enumerate(result.records):
    (choice,) = record.choices
    chosen = base.Selection(choice.trainable)
    assert mask.trained_units(NETWORK, chosen) == (f"column_{index}",)
    assert choice.adopted == choice.step


def test_a_column_for_every_experience_is_needed():
  selector = pnn().selector
  state = selector.init({})
  for unit in NETWORK.units:
    state = selector.update(None, state, None)
    chosen = selector.choose(state, NETWORK, None, 1.0)
    assert mask.trained_units(NETWORK, chosen) == (unit,)
  state = selector.update(None, state, None)
  with pytest.raises(ValueError, match="no column_3, which experience 3"):
    selector.choose(state, NETWORK, None, 1.0)
  with pytest.raises(ValueError, match="'tiny' has no column_0.*progressive"):
    run(tiny_network.build(num_classes=6))
