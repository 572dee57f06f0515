"""Recipes where JAX has numbers of 64 bits, as JAX_ENABLE_X64=1 asks."""

import functools
import math

import jax
import pytest
import test_recipes

from jcl import recipes
from jcl.networks import catalogue
from jcl.run import session
from jcl.streams import scenarios, sources


@pytest.fixture
def wide():
  """Has all threads compute so, and leaves things as they were."""
  before = jax.config.jax_enable_x64
  jax.config.update("jax_enable_x64", True)
  yield
  jax.config.update("jax_enable_x64", before)


@pytest.fixture(scope="module")
def few(digits):
  train, test = digits.train, digits.test
  few = sources.arrays(
    train.x[::8], train.y[::8], test.x[::8], test.y[::8], scale=16.0
  )
  return scenarios.class_incremental(few, tasks=2)


@functools.cache
def dense(shape, classes):
  """One network for all recipes, built where numbers have 64 bits."""
  return catalogue.build("mlp", shape, classes, width=12, depth=1)


# Those that keep state of another kind; the rest are made of their parts.
KEEPING = (
  *("auto", "bic", "carm", "derpp", "elastic", "ewc", "fdr", "frugal", "gdumb"),
  *("icarl", "lightcl", "lwf", "miro", "ncm", "pnn", "pruning", "randumb"),
  *("ranpac", "ridge", "si", "slda", "solved", "sparcl"),
)


@pytest.mark.parametrize("name", KEEPING)
def test_recipes_learn_in_numbers_of_their_own_width(name, few, wide):
  method = getattr(recipes, name)(**test_recipes.OPTIONS.get(name, {}))
  if name in test_recipes.NETWORKS:
    network = test_recipes.NETWORKS[name](few)
  else:
    network = dense(few.example_shape, few.num_classes)
  result = session.learn(
    few, network, method, epochs=1, batch_size=10, learning_rate=0.1
  )
  assert len(result.records) == 2
  assert all(math.isfinite(record.loss) for record in result.records)
  wide_leaves = [
    jax.tree_util.keystr(path)
    for path, leaf in jax.tree_util.tree_leaves_with_path(result.state)
    if leaf.dtype.name in ("float64", "int64", "uint64")
  ]
  assert not wide_leaves
