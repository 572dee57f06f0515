"""Predictions from raw inputs: those that the run's own tests counted."""

import copy
import dataclasses
import pickle

import jax
import numpy as np
import pytest
import tiny_network

import jcl
from jcl import recipes
from jcl.networks import catalogue, precision
from jcl.objectives import group_lasso
from jcl.run import session
from jcl.streams import scenarios, sources

LATE = np.zeros((301, 4))  # beyond the first batch, a value is missing
LATE[300, 2] = np.nan
OPTIONS = session.Options(progress=False)


def learn(recipe="er:buffer=8,minibatch=4", options=OPTIONS, **changes):
  method = recipes.build(recipe) if isinstance(recipe, str) else recipe
  source = changes.pop("source", None) or tiny_network.source(inputs=4)
  stream = scenarios.class_incremental(source, tasks=2)
  network = changes.pop("network", None) or catalogue.build(
    "mlp", (4,), 4, width=8, depth=2
  )
  training = {
    "epochs": 2, "batch_size": 6, "learning_rate": 0.1, **changes
  }  # fmt: skip
  return stream, session.learn(
    stream, network, method, options=options, **training
  )


def right(stream, result) -> list[float]:
  with stream.held_out.open() as test_sets:
    return [
      float((result.predict(data.x) == data.y).mean()) for data in test_sets
    ]


def frozen() -> jcl.Network:
  network = catalogue.build("mlp", (4,), 4, width=8, depth=2)
  return dataclasses.replace(network, pretrained=True)


def fading():
  method = recipes.build("pruning:interval=1,threshold=0.1")
  return method._replace(objective=group_lasso.group_lasso(strength=0.2))


@pytest.mark.parametrize(
  "recipe, changes",
  [
    ("er:buffer=8,minibatch=4", {}),
    ("icarl:buffer=8,minibatch=4", {}),
    ("bic:buffer=12,minibatch=4", {}),
    ("icarl+carm:em=8,sb=12", {}),
    ("er:buffer=8,minibatch=4", {"head": "all"}),
    (fading(), {"epochs": 4, "learning_rate": 0.05, "momentum": 0.5}),
    (
      "er:buffer=8,minibatch=4+freeze:until=1",
      {
        "network": frozen(),
        "options": session.Options(trunk_cache="raw", progress=False),
      },
    ),
    (
      "er:buffer=8,minibatch=4",
      {
        "network": precision.with_precision(
          catalogue.build("mlp", (4,), 4, width=8), "bfloat16"
        )
      },
    ),
  ],
)
def test_predictions_are_those_that_were_judged(recipe, changes, tmp_path):
  stream, result = learn(recipe, **changes)
  assert right(stream, result) == pytest.approx(result.records[-1].accuracy)
  kept = jcl.load_model(result.save(tmp_path / "model"))
  x = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
  scores = result.predict_scores(x)
  np.testing.assert_array_equal(kept.predict_scores(x), scores)
  # By the example as by the batch, but for rounding.
  alone = np.concatenate([kept.predict_scores(x[[i]]) for i in range(3)])
  np.testing.assert_allclose(alone, scores[:3], rtol=1e-2, atol=1e-2)


def test_inputs_are_normalised_as_they_were_learned():
  source = tiny_network.source()
  moved = sources.arrays(
    50 + 9 * source.train.x, source.train.y, 50 + 9 * source.test.x,
    source.test.y,
  )  # fmt: skip
  stream, result = learn(source=moved)
  assert right(stream, result) == pytest.approx(result.records[-1].accuracy)
  x = np.asarray(moved.test.x)
  train = result.state.train
  by_hand = result.network.apply(
    train.params, train.stats, (x - stream.mean) / stream.std
  )
  np.testing.assert_allclose(
    result.predict_scores(x), by_hand.logits, rtol=1e-5, atol=1e-5
  )


def test_only_classes_that_were_learned_are_predicted():
  source = tiny_network.source()
  kept = source.train.y != 3
  names = ("phone box", "猫", "b", "never")
  train = dataclasses.replace(
    source.train, x=source.train.x[kept], y=source.train.y[kept],
    class_names=names,
  )  # fmt: skip
  test = dataclasses.replace(source.test, class_names=names)
  _, result = learn(source=sources.Source(train, test), head="all")
  x = np.random.default_rng(0).normal(size=(300, 4)) * 5
  found = result.predict(x)
  assert set(found) <= set(names[:3]) and result.class_names == names
  assert np.isneginf(result.predict_scores(x)[:, 3]).all()
  assert set(result.predict(x, among=["猫", "b"])) == {"猫", "b"}
  with pytest.raises(ValueError, match="'never'.*that were learned"):
    result.predict(x, among=["never"])
  with pytest.raises(ValueError, match="among=none"):
    result.predict(x, among=[])


@pytest.fixture(scope="module")
def result():
  return learn()[1]


@pytest.fixture(scope="module")
def of_bytes():
  generator = np.random.default_rng(0)
  x = generator.integers(0, 256, (24, 4), dtype=np.uint8)
  y = np.arange(24) % 4
  return learn(source=sources.arrays(x, y, x, y))[1]


def test_whole_numbers_compare_with_labels(result):
  found = result.predict(np.zeros((3, 4)))
  assert found.dtype == np.int64
  named = dataclasses.replace(result.model, class_names=("01", "1", "2", "3"))
  assert named.predict(np.zeros((1, 4))).dtype.kind == "U"
  assert tuple(named.labels.tolist()) == named.class_names


@pytest.mark.parametrize("count", [1, 2, 16, 17, 256, 300])
def test_any_number_of_inputs_has_the_same_answers(result, count):
  x = np.random.default_rng(count).normal(size=(count, 4))
  scores = result.predict_scores(x)
  assert scores.shape == (count, 4) and scores.dtype == np.float32
  np.testing.assert_allclose(
    scores, result.predict_scores(x[::-1])[::-1], rtol=1e-5, atol=1e-5
  )
  assert len(result.model.programs) <= 3


@pytest.mark.parametrize(
  "x, told",
  [
    (np.zeros(4), r"write x\[None\]"),
    (np.zeros((2, 5)), r"shape \(2, 5\): give \[N, 4\]"),
    (np.zeros((2, 4, 1)), r"give \[N, 4\]"),
    (3.0, r"shape \(\)"),
    ([], r"shape \(0,\)"),
    (np.zeros((0, 4)), "no example"),
    ([[1.0, 2.0], [1.0]], "no array"),
    (np.full((2, 4), "a"), "dtype <U1"),
    (np.full((2, 4), None), "dtype object"),
    (np.full((2, 4), 1e300), r"x\[0, 0\] is inf"),
    (LATE, r"x\[300, 2\] is nan"),
    (np.zeros((2, 4), complex), "dtype complex128"),
    (np.ma.masked_equal([[0.0, 1, 2, 3]], 2), r"x\[0, 2\] is masked"),
  ],
)  # fmt: skip
def test_inputs_of_another_kind_are_told(result, x, told):
  with pytest.raises(ValueError, match=told) as caught:
    result.predict(x)
  assert len(str(caught.value)) < 300


def test_bytes_are_taken_as_they_were_read(of_bytes):
  x = np.array([[0, 1, 2, 255]])
  same = of_bytes.predict_scores(x.astype(np.uint8))
  np.testing.assert_array_equal(of_bytes.predict_scores(x), same)
  with pytest.raises(ValueError, match="neither scaled nor normalised"):
    of_bytes.predict(x / 255)
  with pytest.raises(ValueError, match="from 0 to 256"):
    of_bytes.predict(x + [0, 0, 0, 1])


def test_inputs_of_other_libraries_and_readers(result):
  x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
  expected = result.predict_scores(x)

  class Reader:
    shape, dtype = x.shape, x.dtype

    def __len__(self):
      return len(x)

    def __getitem__(self, rows):
      return x[rows]

  for other in (x.tolist(), jax.numpy.asarray(x), Reader(), x.astype(">f8")):
    np.testing.assert_array_equal(result.predict_scores(other), expected)


def test_a_result_that_does_not_pickle_says_what_does(result):
  for write in (pickle.dumps, copy.deepcopy):
    with pytest.raises(TypeError, match="result.save.*jcl.load_model"):
      write(result)
    with pytest.raises(TypeError, match="Result.save.*jcl.load_model"):
      write(result.model)
  assert pickle.loads(pickle.dumps(result.summary)) == result.summary
