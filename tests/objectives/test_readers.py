"""Scores that are solved from statistics."""

import jax
import numpy as np
import pytest
import signatures

from jcl import base
from jcl.objectives import (
  closed_form,
  keeping,
  named,
  predictors,
  readers,
  statistics,
  streaming,
)
from jcl.options import spec

X = np.array([[0, 0], [2, 0], [4, 1], [4, 3]], np.float32)
Y = np.array([0, 0, 2, 2], np.int32)
SUMS = statistics.add(statistics.zeros(4, 2), X, Y, np.ones(4))
RECURSION = streaming.add(streaming.zeros(4, 2), X, Y, np.ones(4))


def apply(params, stats, x, taps):
  """Features are the inputs."""
  del params, stats
  return base.Output(x, {}, {tap: x for tap in taps})


READERS = {
  "mean": (readers.mean(), SUMS),
  "cosine": (readers.mean(cosine=True), SUMS),
  "lda": (readers.shared_covariance(shrink=0.5), SUMS),
  "oas": (readers.shared_covariance(), SUMS),
  "published": (readers.shared_covariance(published=True), RECURSION),
  "ridge": (readers.ridge(), SUMS),
  "gcv": (readers.ridge(lam="gcv", balanced=False), SUMS),
  "number": (readers.ridge(lam=2.0), SUMS),
  "weak": (readers.ridge(prior=0.5), SUMS),
}
every_reader = pytest.mark.parametrize("name", READERS)


def scores(predictor, kept, x=X):
  (recalled,) = predictor.recalls(keeping.Kept((), kept))
  fitted, _ = predictor.solve(recalled)
  fit = predictor.fit(apply, {}, {}, None, recalled)
  jax.tree.map(np.testing.assert_array_equal, fit, fitted)
  return np.asarray(predictor.scores(apply, {}, {}, x, fitted))


@every_reader
def test_classes_that_were_not_seen_are_never_predicted(name):
  found = scores(*READERS[name])
  assert (found[:, [1, 3]] == predictors.NEVER).all()
  assert (found[:, [0, 2]] > predictors.NEVER).all()
  assert np.argmax(found, axis=1)[2:].tolist() == [2, 2]


@every_reader
def test_a_saved_model_finds_its_predictor_again(name):
  predictor, kept = READERS[name]
  kind, options = spec.parse(predictor.name)
  again = named.NAMED[kind].build(**options)
  assert again.name == predictor.name
  np.testing.assert_array_equal(scores(again, kept), scores(predictor, kept))
  assert named.NAMED[kind].fitted is closed_form.Linear


def test_the_nearest_mean_by_hand():
  found = scores(readers.mean(), SUMS)[:, [0, 2]]
  centres = np.array([[1, 0], [4, 2]])
  distance = np.square(X[:, None] - centres).sum(axis=2)
  own = np.square(X).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(found, 0.5 * (own - distance), atol=1e-5)


def test_the_cosine_by_hand():
  x = np.array([[3, 0], [2, 1], [0, 0]], np.float32)
  found = scores(readers.mean(cosine=True), SUMS, x)[:, [0, 2]]
  half = 2 / np.sqrt(5)
  slant = (2 * half + 1 / np.sqrt(5)) / np.sqrt(5)
  np.testing.assert_allclose(
    found, [[1, half], [half, slant], [0, 0]], atol=1e-6
  )


def test_discriminant_analysis_and_ridge_by_hand():
  lda = scores(readers.shared_covariance(shrink=0.0), SUMS)[:, [0, 2]]
  np.testing.assert_allclose(lda, X @ [[1, 4], [0, 2]] + [-0.5, -10], atol=1e-5)
  ridge = scores(readers.ridge(lam=1.0, balanced=False), SUMS)[:, [0, 2]]
  np.testing.assert_allclose(
    ridge, X @ np.array([[22, 24], [-32, 20]]) / 151, atol=1e-6
  )


@every_reader
def test_a_price_is_what_solving_takes(name):
  predictor, kept = READERS[name]
  assert predictor.price(kept) == predictor.solve(kept)[1]
  shapes = jax.eval_shape(lambda: kept)
  assert predictor.price(shapes) == predictor.price(kept)


def test_the_published_share_may_be_another():
  for shrink, share in (("oas", 1e-4), (0.5, 0.5)):
    reader = readers.shared_covariance(shrink=shrink, published=True)
    expected, _ = streaming.solve(RECURSION, share)
    found, _ = reader.solve(RECURSION)
    np.testing.assert_array_equal(found.weight, expected.weight)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(readers.mean) == {"cosine": False}
  assert signatures.defaults(readers.shared_covariance) == {
    "shrink": "oas",
    "published": False,
  }
  assert signatures.defaults(readers.ridge) == {
    "lam": "prior",
    "balanced": True,
    "prior": 2.0,
  }


def test_another_prior_is_named_and_taken():
  """The covariance of the rows is the identity, and its trace is 2."""
  assert readers.ridge().name == "ridge:lam=prior,balanced=True"
  weak = readers.ridge(prior=0.5)
  assert weak.name == "ridge:lam=prior,balanced=True,prior=0.5"
  expected, _ = closed_form.ridge(SUMS, 1.0)
  np.testing.assert_allclose(
    weak.solve(SUMS)[0].weight, expected.weight, rtol=1e-5
  )
