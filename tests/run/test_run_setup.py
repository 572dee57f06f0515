"""Runs put together from plain options."""

import dataclasses

from absl.testing import flagsaver
import chex
import jax
import numpy as np
import pytest

from jcl import base, recipes
from jcl.cli import asked, flags
from jcl.options.errors import UsageError
from jcl.run import session
from jcl.run import setup as setups
from jcl.streams import sources


@pytest.fixture(scope="module")
def source():
  random = np.random.default_rng(0)
  y = np.arange(60) % 6
  x = random.normal(size=(60, 5)).astype(np.float32) + y[:, None]
  return sources.arrays(x, y, x[:12], y[:12])


@pytest.fixture(scope="module")
def stream(source):
  return setups.deal(
    setups.Setup(stream="class_incremental:tasks=3"), source, 0
  )


def test_its_defaults_are_those_of_the_command_line():
  with flagsaver.flagsaver():
    flags.reset()
    flags.VALUES(["jcl", "--cache_dir=none"])
    assert asked.setup() == setups.Setup()


def test_texts_name_the_data_the_stream_and_the_model():
  setup = setups.Setup(
    data="digits",
    stream="class_incremental:tasks=2,order=random",
    model="mlp:width=7",
  )
  source = setups.read(setup)
  assert setups.usual(source).epochs == 10
  orders = [
    setups.deal(setup, source, seed).experiences[0].data.y[:50].tolist()
    for seed in (0, 0, 1)
  ]
  assert orders[0] == orders[1] != orders[2]
  stream = setups.deal(setup, source, 0)
  network = setups.network(setup, stream)
  assert network.num_classes == 10
  assert network.tensors[0].shape[-1] == 7
  with pytest.raises(UsageError, match="no model is called 'mpl'"):
    setups.network(dataclasses.replace(setup, model="mpl"), stream)


def test_a_run_learns_what_a_call_of_the_library_does(stream):
  setup = setups.Setup(
    model="mlp:width=6", training=base.Training(epochs=2, learning_rate=0.1)
  )
  job = setups.assemble(setup, "er:buffer=10", 3, stream=stream)
  done = session.run(job, None, setup.options)
  direct = session.learn(
    stream,
    setups.network(setup, stream),
    recipes.er(buffer=10),
    seed=3,
    epochs=2,
    learning_rate=0.1,
  )
  assert done.average_accuracy == direct.average_accuracy
  assert [r.loss for r in done.records] == [r.loss for r in direct.records]


def test_hyper_parameters_go_before_what_is_usual(stream):
  usual = base.Training(epochs=4, batch_size=5)
  setup = setups.Setup(training=base.Training(epochs=2))
  job = setups.assemble(setup, "er", stream=stream, usual=usual)
  assert job.learner.training.epochs == 2
  assert job.learner.stream_rows == 5


def test_budgets_make_the_controller(stream):
  setup = setups.Setup(flops_budget=1e6)
  job = setups.assemble(setup, "er", stream=stream)
  done = session.run(job)
  assert "FLOP left for" in done.records[0].decision.reason
  with pytest.raises(UsageError, match="a budget of 0"):
    setups.controller(dataclasses.replace(setup, flops_budget=0.0), 1)
  with pytest.raises(UsageError, match="is no limit of joules"):
    setups.controller(setups.Setup(energy_budget="much"), 1)


def test_a_trunk_is_kept_where_a_recipe_has_one():
  setup = setups.Setup(options=session.Options(trunk_cache="raw"))
  frozen, plain = recipes.build("er+freeze:until=1"), recipes.er()
  assert setups.options(setup, frozen).trunk_cache == "raw"
  assert setups.options(setup, plain).trunk_cache == ""
  setups.check_trunk(setup, {"frozen": frozen, "plain": plain})
  with pytest.raises(UsageError, match="none of plain freezes a trunk"):
    setups.check_trunk(setup, {"plain": plain})


def test_models_are_shared_and_begin_with_learned_weights(
  source, stream, tmp_path
):
  setup = setups.Setup(
    model="mlp:width=6",
    base_classes=3,
    base_epochs=2,
    stream="blurry:tasks=2",
  )
  before, after = setups.split(setup, source)
  assert before is not None
  later = setups.deal(setup, after, 0)
  methods = [recipes.er(), recipes.pnn()]
  parts = setups.parts(setup, before, after, later, methods[:1])
  assert set(parts.networks) == {False} and parts.networks[False].pretrained
  found, accuracy = setups.pretrained(setup, parts, tmp_path)
  again, same = setups.pretrained(setup, parts, tmp_path)  # from its file
  assert same == accuracy > 0
  begun = [
    each.networks[False].init(jax.random.key(seed))[0]["dense_0"]
    for each, seed in ((found, 0), (again, 1))
  ]
  chex.assert_trees_all_equal(*begun)
  both = setups.parts(setup, None, source, stream, methods)
  assert set(both.networks) == {False, True}
  with pytest.raises(UsageError, match="leave out --weights"):
    setups.split(dataclasses.replace(setup, weights="w"), source)
