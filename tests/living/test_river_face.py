"""The classifier for river: its own checks, and a stream of examples."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
import threadpoolctl

from jcl.options.errors import UsageError

river = pytest.importorskip(
  "river", reason="river is not installed: pip install jcl[river]"
)

from river import (  # noqa: E402
  checks,
  datasets,
  evaluate,
  metrics,
  preprocessing,
)

from jcl.river import Classifier  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread():
  """Small systems are solved faster by one thread than by many."""
  with threadpoolctl.threadpool_limits(1):
    yield


def _checks():
  found = list(checks.yield_checks(Classifier()))
  names = [check.__name__ for check in found]
  for i, check in enumerate(found):
    yield pytest.param(
      check, id=f"{check.__name__}-{names[:i].count(names[i])}"
    )


@pytest.mark.parametrize("check", list(_checks()))
def test_river_checks(check):
  check(Classifier())


def test_a_stream_is_predicted_before_it_is_learned():
  model = preprocessing.StandardScaler() | Classifier()
  found = evaluate.progressive_val_score(
    datasets.Phishing(), model, metrics.Accuracy()
  )
  assert found.get() > 0.87


def example(label, rng):
  return {"b": rng.normal() + 4 * label, "a": rng.normal() - 4 * label}


def learned(count=40, **options):
  rng = np.random.default_rng(0)
  model = Classifier("randumb:m=50", examples=16, **options)
  for i in range(count):
    model.learn_one(example(i % 2, rng), f"kind {i % 2}")
  return model


def test_nothing_is_known_at_first():
  model = Classifier()
  assert model.predict_proba_one({"a": 1.0}) == {}
  assert model.predict_one({"a": 1.0}) is None
  assert model.predict_many(pd.DataFrame({"a": [1, 2]})).tolist() == [None] * 2
  model.learn_one({"a": 1.0}, "x")
  model.learn_one({"a": 2.0}, "x")
  model.learn_one({"b": 2.0}, "y")
  found = model.predict_proba_one({"c": 3.0})
  assert found == {"x": pytest.approx(2 / 3), "y": pytest.approx(1 / 3)}


def test_labels_are_known_before_they_are_learned():
  model = learned(16)
  model.learn_one({"a": 0.0, "b": 0.0}, "new")
  assert model.predict_proba_one({"a": 0.0, "b": 0.0})["new"] == 0.0
  assert model.predict_one({"b": 4.0, "a": -4.0}) == "kind 1"


def test_missing_features_count_as_their_means_and_new_ones_not_at_all():
  model = learned()
  whole = model.predict_proba_one({"a": -4.0, "b": 4.0})
  with_more = model.predict_proba_one({"c": 1e9, "b": 4.0, "a": -4.0})
  assert whole == with_more
  mean = float(model._learner._standard.mean[0])  # of "a", the first by name
  expected = model.predict_proba_one({"a": mean, "b": 4.0})
  for given in ({"b": 4.0}, {"a": None, "b": 4.0}, {"a": math.nan, "b": 4.0}):
    assert model.predict_proba_one(given) == pytest.approx(expected)


def test_the_first_examples_settle_the_names():
  model = Classifier("ncm", examples=3)
  for x, y in (({"a": 1.0}, 0), ({"b": 1.0}, 1), ({2: 5.0, "a": 3.0}, 0)):
    model.learn_one(x, y)
  assert model._names == [2, "a", "b"]


@pytest.mark.parametrize("value", ["red", math.inf, [1, 2]])
def test_other_values_are_refused_and_not_taken_in(value):
  model = Classifier()
  with pytest.raises(UsageError, match="feature 'a'"):
    model.learn_one({"a": value}, "x")
  assert model.predict_proba_one({"a": 1.0}) == {}


def test_labels_of_another_number_are_refused():
  model = Classifier()
  with pytest.raises(UsageError, match="2 labels for 1 example"):
    model.learn_many(pd.DataFrame({"a": [1.0]}), pd.Series(["x", "y"]))
  assert model.predict_one({"a": 1.0}) is None


def test_examples_without_features_are_no_experience():
  model = Classifier(examples=2)
  for label in ("x", "x", "x", "y"):
    model.learn_one({}, label)
  assert model.predict_proba_one({}) == {"x": 0.75, "y": 0.25}


def test_examples_are_at_least_one():
  with pytest.raises(UsageError, match="examples=0"):
    Classifier(examples=0)


def test_a_pickle_goes_on_with_what_waits():
  model = learned()
  again = pickle.loads(pickle.dumps(model))
  rng = np.random.default_rng(1)
  for i in range(20):
    x = example(i % 3, rng)
    assert model.predict_proba_one(x) == again.predict_proba_one(x)
    model.learn_one(x, f"kind {i % 3}")
    again.learn_one(x, f"kind {i % 3}")
