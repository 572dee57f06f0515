"""Models of several devices, and models that forget."""

import numpy as np
import pytest
import tiny_network

import jcl
from jcl import recipes
from jcl.networks import catalogue
from jcl.run import session
from jcl.run.inference import solved
from jcl.streams import scenarios, sources

SOURCE = tiny_network.source(per_class=20)
X, Y = SOURCE.train.x, SOURCE.train.y


def learn(rows, recipe="slda", seed=0, normalize="none"):
  source = sources.arrays(X[rows], Y[rows], SOURCE.test.x, SOURCE.test.y)
  stream = scenarios.class_incremental(source, tasks=2, normalize=normalize)
  return session.learn(
    stream,
    catalogue.build("mlp", (4,), 4, width=6, depth=1),
    recipes.build(recipe),
    seed=seed,
    options=session.Options(progress=False),
  )


@pytest.fixture(scope="module")
def runs():
  parts = slice(0, None, 2), slice(1, None, 2), slice(None)
  return [learn(part) for part in parts]


def alike(found, expected):
  ours, theirs = (
    each.predict_scores(SOURCE.test.x) for each in (found, expected)
  )
  np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
  np.testing.assert_array_equal(found.seen, expected.seen)


def test_two_devices_learn_what_one_would(runs, tmp_path):
  first, second, whole = runs
  merged = solved.merge(first, second)
  alike(merged, whole.model)
  alike(solved.merge(second, first), whole.model)
  alike(solved.merge(first), first.model)
  from jcl.run.inference import files

  loaded = jcl.load_model(files.save(merged, tmp_path / "merged"))
  np.testing.assert_array_equal(
    loaded.predict_scores(X), merged.predict_scores(X)
  )


def test_examples_are_forgotten_as_if_they_had_never_come(runs):
  *_, whole = runs
  some = [3, 41, 42]
  without = learn(np.delete(np.arange(len(Y)), some))
  alike(solved.forget(whole, X[some], Y[some]), without.model)
  label = np.flatnonzero(Y == 2)
  found = solved.forget(whole, X[label], Y[label])
  assert found.seen.tolist() == [True, True, False, True]
  assert not (found.predict(X) == 2).any()


def test_what_does_not_add_up_is_refused(runs):
  first, second, _ = runs
  for other in (
    learn(slice(1, None, 2), seed=1),
    learn(slice(1, None, 2), normalize="standard"),
  ):
    with pytest.raises(jcl.UsageError, match="the trunk, the normalisation"):
      solved.merge(first, other)
  ridge = learn(slice(1, None, 2), "ridge")
  with pytest.raises(jcl.UsageError, match="by the same recipe"):
    solved.merge(first, ridge)
  published = learn(slice(1, None, 2), "slda:published=true")
  with pytest.raises(jcl.UsageError, match="keeps no sums.*randumb"):
    solved.merge(published)
  with pytest.raises(jcl.UsageError, match="of no results"):
    solved.merge()


def test_what_cannot_be_forgotten(runs):
  first, *_ = runs
  with pytest.raises(jcl.UsageError, match="y='9': give classes of"):
    solved.forget(first, X[:1], ["9"])
  with pytest.raises(jcl.UsageError, match="2 classes of 1 inputs"):
    solved.forget(first, X[:1], [0, 0])
  with pytest.raises(jcl.UsageError, match="of class 1 would leave"):
    solved.forget(first, X[Y == 1], Y[Y == 1])
