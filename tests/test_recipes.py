"""One contract for all recipes; a new one joins by its name in `__all__`."""

import functools
import math

from flax import linen as nn
import numpy as np
import pytest
import tiny_live
import tiny_network

from jcl import base, recipes
from jcl.networks import catalogue, chain, layers, progressive
from jcl.run import session
from jcl.streams import scenarios, sources

NAMES = recipes.__all__
# In so small a network, the head alone takes most of a full step's time.
OPTIONS = dict.fromkeys(("elastic", "grad_norm", "magnitude"), {"rho": 0.9})
# With exchanges, a run repeats itself where the disk keeps up with it.
OPTIONS |= dict.fromkeys(("carm", "frugal", "miro"), {"swap": 0.0})
# No more anchors than a batch of ten holds.
OPTIONS |= dict.fromkeys(("lightcl", "lightcl_sparse"), {"anchors": 8})
# A live stream has no length to spread rounds over.
OPTIONS |= dict.fromkeys(("fpf", "k_fpf"), {"every": 7, "updates": 3})
OPTIONS["sparcl"] = {"minibatch": 10}
# Wide enough to be random features, and quick to solve.
OPTIONS |= dict.fromkeys(("auto", "ranpac", "randumb"), {"m": 50})


def _columns(stream):
  build = functools.partial(catalogue.build, "mlp", width=20, depth=1)
  return progressive.progressive(
    build, stream.example_shape, stream.task_classes
  )


class _Filters(nn.Module):
  size: int

  @nn.compact
  def __call__(self, x, training):
    x = x.reshape(-1, 8, 8, 1) if x.ndim == 2 else x
    x = nn.relu(nn.Conv(4, (self.size, self.size), strides=2)(x))
    return x.reshape(len(x), -1) if self.size == 3 else x


def _convolutions(stream):
  units = [("stem", _Filters(1)), ("conv", _Filters(3))]
  units.append(("head", layers.Head(stream.num_classes)))
  return chain.chain("conv", units, stream.example_shape, stream.num_classes)


# Recipes that need more of a network than to learn.
NETWORKS = {"pnn": _columns, "sparcl": _convolutions}


TRAINING = {"epochs": 1, "batch_size": 10, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def arriving(digits):
  """The thinned digits, whose classes come in the order of their numbers."""
  train, order = digits.train, np.argsort(digits.train.y, kind="stable")
  source = sources.arrays(
    *(train.x[order], train.y[order], digits.test.x, digits.test.y), scale=16.0
  )
  return scenarios.class_incremental(source, tasks=5)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_keeps_the_contract(name, arriving, network):
  method = getattr(recipes, name)(**OPTIONS.get(name, {}))
  if name in NETWORKS:
    network = NETWORKS[name](arriving)
  training = base.Training(**TRAINING)
  job = session.assemble(arriving, network, method, training, seed=3)
  first = session.run(job)
  if name != "pnn":  # it has to know the tasks ahead
    found = tiny_live.made(
      *(method, lambda shape, classes: network),
      **{"seed": 3, "capacity": 10, **TRAINING},
    )
    # Same seed, same run, whether the stream's end is known or not.
    state, records = tiny_live.learned(arriving, found, job.learner)
    assert tiny_network.same_bits(first.state, state)
    assert tiny_live.told(first.records) == tiny_live.told(records)
  assert len(first.records) == 5
  for record in first.records:
    assert math.isfinite(record.loss)
    assert (record.steps > 0) == (method.predictor.solve is None)
    assert sum(c.seconds for c in record.costs.values()) > 0  # no unpaid work
    assert record.costs["train"].flops > 0
    assert 0 <= min(record.accuracy) <= max(record.accuracy) <= 1


def test_another_seed_is_another_run(learn):
  first, second = (learn(recipes.er(), seed=seed) for seed in (3, 4))
  assert not tiny_network.same_bits(first.state, second.state)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_says_what_it_is(name):
  line = recipes.describe()[name]
  assert line[0].isupper() and "." in line


def test_bounds_and_replay_come_in_order(learn):
  options = {"epochs": 5, "seed": 0}
  accuracy = {
    name: learn(getattr(recipes, name)(), **options).average_accuracy
    for name in ("finetune", "er", "joint")
  }
  assert accuracy["finetune"] < 0.35  # the last experience alone: 0.2
  assert accuracy["er"] > accuracy["finetune"] + 0.3
  assert accuracy["joint"] > accuracy["er"]


def test_memory_fills_and_is_balanced(learn):
  result = learn(recipes.gdumb(buffer=50), epochs=2)
  per_class = np.array(result.records[-1].memory["per_class"])
  assert per_class.tolist() == [5] * 10
  assert result.records[-1].memory["bytes"] > 50 * 64


def test_options_are_read_and_mistakes_are_told():
  method = recipes.build("er:buffer=500,learning_rate=0.5,epochs=3")
  assert method.replay.capacity == 500
  assert method.training.learning_rate == 0.5
  assert method.training.epochs == 3
  with pytest.raises(ValueError, match="did you mean 'derpp'"):
    recipes.build("derp")
  with pytest.raises(ValueError, match="no option .bufer.*buffer"):
    recipes.build("er:bufer=3")
  with pytest.raises(ValueError, match="key=value"):
    recipes.build("er:buffer")


def test_presets_fill_in_published_values():
  method = recipes.build("derpp:buffer=200,preset=split_mnist")
  assert method.replay.num_samples == 128
  assert method.training.learning_rate == 0.03
  assert method.training.head == "all"
  explicit = recipes.build("er:preset=split_mnist,learning_rate=0.2")
  assert explicit.training.learning_rate == 0.2
  with pytest.raises(ValueError, match="no values for gdumb"):
    recipes.build("gdumb:preset=split_mnist")
  with pytest.raises(ValueError, match="'mnist' is not known"):
    recipes.build("er:preset=mnist")


def test_two_parts_make_one_recipe(learn):
  text = "er:buffer=50+elastic:rho=0.9,interval=1,learning_rate=0.2"
  name, options = recipes.parse(text)
  assert name == "er+elastic" and options["buffer"] == 50
  method = recipes.build(text)
  assert method.replay.capacity == 50 and method.selector.every == 1
  assert method.training.learning_rate == 0.2
  assert method.training.norms == "frozen"
  result = learn(method, epochs=2)
  assert [len(record.choices) for record in result.records] == [2] * 5
  assert all(c.share <= 0.9 for r in result.records for c in r.choices)
  assert result.records[-1].memory["examples"] == 50
  with pytest.raises(ValueError, match="'rho' is given to two parts"):
    recipes.build("elastic:rho=0.5+elastic:rho=0.4")


def test_statistics_stand_behind_other_recipes():
  name, options = recipes.parse("er:buffer=50+head_only+slda:shrink=0.5")
  assert name == "er+head_only+slda" and options["shrink"] == 0.5
  method = recipes.build("er:buffer=50+head_only+slda:shrink=0.5")
  assert method.replay.capacity == 50 and method.training.epochs is None
  assert method.predictor.name == "shared_covariance:shrink=0.5"
  assert method.objective.num_draws == 1
  alone = recipes.build("slda:shrink=0.5")
  assert alone.training.epochs == 0 and alone.objective.num_draws == 0
  with pytest.raises(ValueError, match="one of ncm, slda and ridge is enough"):
    recipes.build("er+head_only+slda+ridge")
  with pytest.raises(ValueError, match="forgets nothing"):
    recipes.build("slda:published=true,decay=0.9")


def test_an_unreachable_share_states_the_least(learn):
  with pytest.raises(ValueError, match=r"rho=0.01.*takes 0\.\d+ of a full one"):
    learn(recipes.build("elastic:rho=0.01"))
