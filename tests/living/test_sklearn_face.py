"""The classifier for scikit-learn: its own checks, and what stays learned."""

import pickle

import numpy as np
import pytest
import ready
from sklearn import base as sklearn_base
from sklearn import (
  datasets,
  exceptions,
  model_selection,
  pipeline,
  preprocessing,
)
from sklearn.utils import estimator_checks
import threadpoolctl

import jcl
from jcl.options.errors import UsageError
from jcl.sklearn import ContinualClassifier
from jcl.train import background

ER = {"recipe": "er:buffer=60", "network": "mlp:width=16,depth=1"}
TRAINING = {"epochs": 5, "batch_size": 16, "learning_rate": 0.1}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
  """Small systems are solved faster by one thread than by many."""
  with threadpoolctl.threadpool_limits(1):
    yield


@pytest.fixture(scope="module")
def iris():
  x, y = datasets.load_iris(return_X_y=True)
  return model_selection.train_test_split(x, y, random_state=0, stratify=y)


@estimator_checks.parametrize_with_checks([ContinualClassifier()])
def test_scikit_learn_checks(estimator, check):
  check(estimator)


def by_class(x, y):
  for each in np.unique(y)[::-1]:
    yield x[y == each], y[y == each]


@pytest.mark.parametrize(
  ("options", "least"), [({}, 0.85), ({**ER, **TRAINING, "epochs": 20}, 0.7)]
)
def test_classes_that_come_one_after_the_other_stay(iris, options, least):
  x, x_test, y, y_test = iris
  model = ContinualClassifier(**options)
  for some, labels in by_class(x, y):
    assert model.partial_fit(some, labels) is model
  assert model.score(x_test, y_test) > least  # a single class has 0.34
  assert model.classes_.tolist() == [0, 1, 2] and model.n_iter_ == 3
  assert np.allclose(model.predict_proba(x_test).sum(axis=1), 1)


def test_order_does_not_matter_to_what_is_solved(iris):
  x, x_test, y, _ = iris
  found = []
  for direction in (1, -1):
    model = ContinualClassifier().fit(x[::2], y[::2])  # settles the figures
    for some, labels in list(by_class(x[1::2], y[1::2]))[::direction]:
      model.partial_fit(some, labels)
    found.append(model.predict_proba(x_test))
  assert np.allclose(*found, atol=1e-3)


def test_a_fit_starts_from_scratch(iris):
  x, x_test, y, _ = iris
  model = ContinualClassifier().fit(x, y)
  expected = model.predict_proba(x_test)
  model.partial_fit(x, y + 5).fit(x, y)
  assert model.classes_.tolist() == [0, 1, 2]
  assert np.array_equal(model.predict_proba(x_test), expected)


@pytest.mark.parametrize(
  "names",
  [
    np.array(["b", "a", "c"]),
    np.array(["b", "a", "c"], object),
    np.array([5, -2, 3]),
    np.array([2.0, 0.0, 1.0]),
    np.array([5, 9, 3], np.uint8),
  ],
)
def test_labels_keep_their_type_and_are_sorted(iris, names):
  x, x_test, y, y_test = iris
  model = ContinualClassifier()
  for some, labels in by_class(x, y):
    model.partial_fit(some, names[labels])
  assert model.classes_.tolist() == sorted(names.tolist())
  assert model.classes_.dtype.kind == names.dtype.kind
  assert model.score(x_test, names[y_test]) > 0.85


def test_announced_classes_have_columns_and_others_may_come(iris):
  x, x_test, y, _ = iris
  model = ContinualClassifier().partial_fit(x, y, classes=[0, 1, 2, 7])
  assert model.classes_.tolist() == [0, 1, 2, 7]
  found = model.predict_proba(x_test)
  assert found.shape[1] == 4 and not found[:, 3].any()
  model.partial_fit(x + 30, np.full(len(x), 5))
  assert model.classes_.tolist() == [0, 1, 2, 5, 7]
  assert (model.predict(x + 30) == 5).mean() > 0.95


def test_a_head_grows_beyond_its_room():
  x, y = datasets.make_blobs(400, 4, centers=20, random_state=0)
  model = ContinualClassifier()
  for first in (0, 10):
    some = (y >= first) & (y < first + 10)
    model.partial_fit(x[some], y[some])
  assert len(model.classes_) == 20 and model.score(x, y) > 0.9


def test_it_works_in_pipelines_and_searches(iris):
  x, x_test, y, y_test = iris
  whole = pipeline.make_pipeline(
    preprocessing.MinMaxScaler(), ContinualClassifier()
  )
  search = model_selection.GridSearchCV(
    whole,
    {"continualclassifier__recipe": ["randumb:m=50", "randumb:m=200"]},
    cv=2,
  )
  assert search.fit(x, y).score(x_test, y_test) > 0.85
  scores = model_selection.cross_val_score(ContinualClassifier(), x, y, cv=3)
  assert scores.shape == (3,) and scores.min() > 0.85


def test_a_clone_has_the_parameters_alone(iris):
  x, _, y, _ = iris
  model = ContinualClassifier(**ER, budget=jcl.Budget(flops=1e9)).fit(x, y)
  copy = sklearn_base.clone(model)
  assert copy.get_params() == model.get_params()
  with pytest.raises(exceptions.NotFittedError):
    copy.predict(x)


_ELSEWHERE = """
import pickle, sys
import numpy as np
with open(sys.argv[1], "rb") as file:
  model, x, y = pickle.load(file)
before = model.predict_proba(x) if hasattr(model, "classes_") else None
model.partial_fit(x, y)
with open(sys.argv[1], "wb") as file:
  pickle.dump((model, before), file)
"""


@pytest.mark.parametrize("options", [{}, {**ER, **TRAINING}])
def test_a_pickle_goes_on_in_another_process(iris, options, tmp_path):
  x, _, y, _ = iris
  file = tmp_path / "model.pickle"
  model = ContinualClassifier(**options).fit(x, y)
  file.write_bytes(pickle.dumps((model, x, y + 1)))
  done = ready.call("-c", _ELSEWHERE, file)
  assert done.returncode == 0, done.stderr
  elsewhere, before = pickle.loads(file.read_bytes())
  assert np.array_equal(before, model.predict_proba(x))
  model.partial_fit(x, y + 1)
  found, expected = elsewhere.predict_proba(x), model.predict_proba(x)
  assert np.array_equal(found, expected)
  assert elsewhere.classes_.tolist() == [0, 1, 2, 3]


def test_a_pickle_holds_no_examples():
  x = np.random.default_rng(0).normal(size=(5000, 20))
  model = ContinualClassifier("ncm", "mlp:width=16,depth=1")
  model.fit(x, x[:, 0] > 0)
  assert len(pickle.dumps(model)) < 100_000


def test_a_model_that_has_not_learned_pickles(iris):
  x, _, y, _ = iris
  model = pickle.loads(pickle.dumps(ContinualClassifier()))
  assert model.fit(x, y).score(x, y) > 0.85


def test_the_second_fit_compiles_nothing(iris, monkeypatch):
  x, x_test, y, _ = iris
  model = ContinualClassifier(**ER, **TRAINING).fit(x, y)
  expected = model.predict_proba(x_test)

  def compiled(*_, **__):
    raise AssertionError("a program is compiled again")

  monkeypatch.setattr(background, "compile_program", compiled)
  again = ContinualClassifier(**ER, **TRAINING).fit(x, y)
  assert np.array_equal(again.predict_proba(x_test), expected)


def test_random_states_decide(iris):
  x, x_test, y, _ = iris

  def found(state):
    model = ContinualClassifier("randumb:m=20", random_state=state)
    return model.fit(x, y).predict_proba(x_test)

  assert np.array_equal(found(3), found(3))
  assert not np.array_equal(found(3), found(4))
  drawn = found(np.random.RandomState(3))
  assert np.array_equal(drawn, found(np.random.RandomState(3)))
  assert not np.array_equal(found(None), found(None))


def test_a_budget_ends_learning_and_a_pickle_remembers_it(iris):
  x, _, y, _ = iris
  tight = jcl.Budget(flops=1.0, per="day")
  model = ContinualClassifier(**ER, epochs=1, batch_size=16, budget=tight)
  model.partial_fit(x[y < 2], y[y < 2])  # one dispatch, which spends all
  model.partial_fit(x[y == 2], y[y == 2])
  assert model.classes_.tolist() == [0, 1, 2]
  found = model.predict_proba(x)
  assert not found[:, 2].any()
  again = pickle.loads(pickle.dumps(model))
  again.partial_fit(x[y == 2], y[y == 2])
  assert np.array_equal(again.predict_proba(x), found)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"recipe": "miro"}, "store on disk"),
    ({"recipe": "nonsense"}, "nonsense"),
    ({"recipe": "pnn"}, "tasks are to be known ahead"),
    ({"network": "nonsense"}, "nonsense"),
    ({"epochs": -1, **ER}, "epochs"),
  ],
)
def test_what_does_not_serve_is_refused_by_fit(iris, options, words):
  x, _, y, _ = iris
  with pytest.raises(UsageError, match=words):
    ContinualClassifier(**options).fit(x, y)


def test_text_and_numbers_do_not_mix(iris):
  x, _, y, _ = iris
  model = ContinualClassifier().fit(x, y)
  with pytest.raises(UsageError, match="all as text, or all as numbers"):
    model.partial_fit(x, y.astype(str))
