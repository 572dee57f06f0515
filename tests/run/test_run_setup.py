"""Runs put together from plain options."""

import dataclasses

from absl.testing import flagsaver
import chex
import jax
import numpy as np
import pytest

from jcl import base, recipes
from jcl.cli import asked, flags
from jcl.networks import catalogue, mlp, pretrained
from jcl.options.errors import UsageError
from jcl.run import beforehand, session
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
  for recipe in ("er", "auto"):
    with pytest.raises(UsageError, match="a budget of 0 joules: give more"):
      govern = recipes.build(recipe).govern
      setups.controller(setups.Setup(energy_budget="0J"), 1, govern)


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
  found, accuracy = beforehand.parts(setup, parts, tmp_path)
  again, same = beforehand.parts(setup, parts, tmp_path)  # from its file
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


@pytest.fixture(scope="module")
def pictures():
  """Grey images of 6x5 pixels of four classes, as floats from 0 to 1."""
  x = np.random.default_rng(0).random((24, 6, 5, 1)).astype(np.float32)
  y = np.arange(24) % 4
  return sources.arrays(x, y, x, y)


@pytest.fixture
def trunk(monkeypatch):
  """A network of two units under the name of one with published weights."""
  units = {"side": []}

  def tiny(input_shape, num_classes, *, side: int | None = None):
    """Tiny."""
    units["side"].append(side)
    return mlp.mlp(input_shape, num_classes, width=3, depth=1)

  def begun(network):
    params, stats = network.init(jax.random.key(0))
    return pretrained.with_weights(network, params, stats, fresh=("head",))

  monkeypatch.setitem(catalogue.MODELS, "efficientnet_lite0", tiny)
  monkeypatch.setattr(setups.published, "with_weights", begun)
  return units["side"]


def test_one_flag_brings_weights_with_their_inputs(pictures, trunk):
  setup = setups.Setup(weights="imagenet", stream="blurry:tasks=2")
  stream = setups.deal(setup, pictures, 0)
  np.testing.assert_allclose(stream.mean, 127 / 255, rtol=1e-6)
  np.testing.assert_allclose(stream.std, 128 / 255, rtol=1e-6)
  assert stream.notes[-1] == (
    "efficientnet_lite0 reads 224x224 pixels as (x - 127) / 128 of 0 to 255; "
    "images of 6x5 are resized by bicubic interpolation; grey becomes three "
    "equal channels; values of 0 to 1 are brought to 0 to 255"
  )
  network = setups.network(setup, stream)
  assert network.pretrained and trunk == [224]
  assert network.origin == {
    "model": "efficientnet_lite0",
    "options": {"side": 224},
  }
  smaller = dataclasses.replace(setup, model="auto:side=96")
  setups.network(smaller, stream)
  assert trunk == [224, 96]
  assert "96x96" in setups.deal(smaller, pictures, 0).notes[-1]


def test_a_file_may_have_been_learned_on_other_inputs(pictures, trunk):
  model = "efficientnet_lite0"
  plain = setups.Setup(model=model, stream="blurry:tasks=2")
  assert setups.deal(plain, pictures, 0).notes == ()
  setups.network(plain, setups.deal(plain, pictures, 0))
  assert trunk == [None]
  file = dataclasses.replace(plain, weights="a.pth")
  assert "224x224" in setups.deal(file, pictures, 0).notes[-1]
  asked = dataclasses.replace(file, stream="blurry:tasks=2,normalize=standard")
  stream = setups.deal(asked, pictures, 0)
  assert stream.notes == () and stream.mean.shape == (1,)
  with pytest.raises(UsageError, match="expect normalize=signed; leave"):
    setups.deal(dataclasses.replace(asked, weights="imagenet"), pictures, 0)


def test_models_without_published_weights_are_told(pictures):
  setup = setups.Setup(model="resnet18", weights="imagenet")
  with pytest.raises(UsageError, match="none for the model 'resnet18'; choose"):
    setups.deal(setup, pictures, 0)


def test_an_equal_cost_is_the_only_budget(stream):
  setup = setups.Setup(model="mlp:width=6", equal_flops=1e5)
  done = session.run(setups.assemble(setup, "er", stream=stream))
  assert "100 kFLOP for every exp" in done.records[0].decision.reason
  both = dataclasses.replace(setup, energy_budget="5J")
  with pytest.raises(UsageError, match="energy_budget=5J: give one of them"):
    setups.controller(both, 1)
