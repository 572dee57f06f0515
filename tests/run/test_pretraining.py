"""A part of the classes first, the others as a stream behind a frozen trunk."""

import jax
import numpy as np
import pytest

from jcl import base, recipes
from jcl.networks import catalogue
from jcl.run import pretraining, session
from jcl.streams import scenarios, sources


def build(classes):
  return catalogue.build("mlp", (8, 8, 1), classes, width=12, depth=2)


@pytest.fixture(scope="module")
def parts(digits):
  return pretraining.split(digits, 4, then=4, most=(20, 15))


@pytest.fixture(scope="module")
def weights(parts, tmp_path_factory):
  folder = tmp_path_factory.mktemp("base")
  return folder, pretraining.learned(parts[0], build(4), folder, epochs=3)


@pytest.fixture(scope="module")
def stream(parts):
  return scenarios.class_incremental(parts[1], tasks=2)


@pytest.fixture(scope="module")
def network(weights):
  return pretraining.begun(build(4), *weights[1])


def test_classes_are_numbered_anew(digits, parts):
  first, rest = parts
  assert np.bincount(first.train.y).tolist() == [20] * 4
  assert np.bincount(rest.train.y).tolist() == [15] * 4
  assert len(rest.test) == np.isin(digits.test.y, range(4, 8)).sum()


@pytest.mark.parametrize(
  "options, message",
  [
    ({"classes": 9}, "9 classes to begin with, of 10: give 2 to 8"),
    ({"classes": 4, "then": 7}, "7 classes to follow 4, of 10: give 2 to 6"),
  ],
)
def test_splits_that_leave_nothing(digits, options, message):
  with pytest.raises(ValueError, match=message):
    pretraining.split(digits, **options)


def test_a_missing_test_set_is_held_out():
  y = np.repeat(list("abcdef"), 10)
  x = np.arange(60, dtype=np.float32)[:, None]
  group = np.tile(["left", "right"], 30)
  first, rest = pretraining.split(sources.arrays(x, y, group=group), 4)
  assert first.train.class_names == tuple("abcd")
  assert rest.train.class_names == tuple("ef")
  for part, classes in ((first, 4), (rest, 2)):
    assert np.bincount(part.train.y).tolist() == [8] * classes
    assert np.bincount(part.test.y).tolist() == [2] * classes
    assert np.bincount(part.test.group).tolist() == [classes] * 2
  rows = [
    np.asarray(data.x)
    for part in (first, rest)
    for data in (part.train, part.test)
  ]
  assert np.sort(np.concatenate(rows)[:, 0]).tolist() == list(range(60))
  assert scenarios.class_incremental(rest, tasks=2).task_classes == ((0,), (1,))


def test_classes_without_training_examples_are_passed_over():
  y, test = np.array([0, 1, 3, 5, 6] * 4), np.array([0, 1, 2, 3, 5, 6])
  x, x_test = np.zeros((20, 1)), np.zeros((6, 1))
  source = sources.arrays(x, y, x_test, test, class_names=tuple("abcdefg"))
  first, rest = pretraining.split(source, 3)
  assert first.train.class_names == ("a", "b", "d")
  assert rest.train.class_names == ("f", "g")
  assert rest.test.y.tolist() == [0, 1]
  note = (
    "2 classes without training examples in the stream take no part: 'c', 'e'; "
    "1 test example left out"
  )
  assert scenarios.class_incremental(rest, tasks=2).notes == (note,)
  with pytest.raises(
    ValueError, match="of 5 with training examples: give 2 to"
  ):
    pretraining.split(source, 4)


def test_weights_are_kept_and_checked(parts, weights, network):
  folder, learned = weights
  again = pretraining.learned(parts[0], build(4), folder)
  assert jax.tree.all(jax.tree.map(np.array_equal, learned, again))
  assert 0.25 < pretraining.accuracy(folder) <= 1
  assert network.pretrained
  wider = catalogue.build("mlp", (8, 8, 1), 4, width=13, depth=2)
  with pytest.raises(ValueError, match="weights of another network"):
    pretraining.learned(parts[0], wider, folder)


def learn(stream, network, text, **options):
  return session.learn(
    stream,
    network,
    recipes.build(text),
    options=session.Options(**options),
    epochs=2,
    batch_size=10,
    learning_rate=0.1,
  )


def test_a_kept_trunk_learns_the_same(stream, network):
  text = "lightcl:anchors=8,freeze=0.7"
  plain = learn(stream, network, text)
  kept = learn(stream, network, text, trunk_cache="raw")
  for one, other in zip(plain.records, kept.records, strict=True):
    np.testing.assert_allclose(one.accuracy, other.accuracy, atol=0.02)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-4)
  report = kept.summary["trunk_cache"]
  assert (
    report["held"]
    == report["training"]["misses"] + (report["held_out"]["misses"])
  )
  assert report["training"]["saved"] > 0
  plain, kept = (run.summary["step_memory"] for run in (plain, kept))
  assert 0 == plain["trunk"] < kept["trunk"] < plain["weights"]
  assert kept["trunk"] + kept["weights"] == plain["weights"]


def test_memories_hold_codes(stream, network):
  text = "er:buffer=16,minibatch=4+freeze:until=0.7"
  plain = learn(stream, network, text).records[-1].memory["bytes"]
  coded = learn(stream, network, text, trunk_cache="uint8")
  assert coded.records[-1].memory["bytes"] < plain


def test_caches_that_make_no_sense(stream, network):
  cached = session.Options(trunk_cache="raw")
  with pytest.raises(ValueError, match="it has no frozen trunk"):
    session.assemble(
      stream, network, recipes.er(), base.Training(), options=cached
    )
  with pytest.raises(ValueError, match="it has no learned weights"):
    session.assemble(
      stream, build(4), recipes.lightcl(), base.Training(), options=cached
    )
