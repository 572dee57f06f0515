"""Scores from outputs and from exemplars."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcl import base
from jcl.objectives import predictors


def _apply(params, stats, x, taps):
  del stats
  features = x @ params
  logits = jnp.concatenate([features, -features], axis=1)  # four classes
  return base.Output(logits, {}, {name: features for name in taps})


PARAMS = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)


def _memory(x, y, weight):
  count = len(y)
  return base.Batch(
    np.asarray(x, np.float32),
    np.asarray(y, np.int32),
    np.zeros(count, np.int32),
    np.arange(count, dtype=np.int32),
    np.asarray(weight, np.float32),
    {},
  )


def test_logits_are_the_scores():
  predictor = predictors.logits()
  x = np.array([[3.0, 4.0]], np.float32)
  fitted = predictor.fit(_apply, PARAMS, {}, None)
  scores = predictor.scores(_apply, PARAMS, {}, x, fitted)
  np.testing.assert_array_equal(scores, [[3, 8, -3, -8]])


def test_outputs_pass_the_layers_that_the_objective_remembers():
  predictor = predictors.rescaled()
  scale, shift = np.array([1, 2, 0.5, 1]), np.array([0, -1, 3, 0])
  state = predictors.Layer(scale, shift)
  recalled = predictor.recalls(state)
  fitted = predictor.fit(_apply, PARAMS, {}, None, *recalled)
  x = np.array([[3.0, 4.0]], np.float32)
  scores = predictor.scores(_apply, PARAMS, {}, x, fitted)
  np.testing.assert_allclose(scores, [[3, 15, 1.5, -8]])
  assert predictors.logits().recalls(state) == ()


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_nearest_mean_by_hand(wrap):
  predictor = predictors.nearest_mean("body")
  # Features of class 0: (5, 0) and (0, 2), so its mean points to 45 degrees;
  # of class 2: (0, 2). The last row is an empty slot.
  memory = _memory([[5, 0], [0, 1], [0, 1], [9, 9]], [0, 0, 2, 1], [1, 1, 1, 0])
  fit = wrap(lambda memory: predictor.fit(_apply, PARAMS, {}, memory))
  fitted = fit(memory)
  half = np.sqrt(0.5)
  np.testing.assert_allclose(fitted.mean[0], [half, half], rtol=1e-6)
  np.testing.assert_array_equal(fitted.known, [True, False, True, False])
  assert np.isfinite(fitted.mean).all()
  assert predictor.reads_memory and not predictors.logits().reads_memory
  scores = wrap(
    lambda x, fitted: predictor.scores(_apply, PARAMS, {}, x, fitted)
  )(np.array([[0.0, 7.0]], np.float32), fitted)
  # Unit vectors at 45 degrees are 2 - sqrt(2) apart, squared.
  np.testing.assert_allclose(scores[0, 0], np.sqrt(2) - 2, rtol=1e-5)
  np.testing.assert_allclose(scores[0, 2], 0, atol=1e-6)
  assert (np.asarray(scores)[0, [1, 3]] == predictors.NEVER).all()


def test_many_exemplars_are_read_in_parts():
  generator = np.random.default_rng(0)
  count = 1203
  memory = _memory(
    generator.normal(size=(count, 2)),
    generator.integers(0, 4, count),
    generator.integers(0, 2, count),
  )
  fitted = predictors.nearest_mean().fit(_apply, PARAMS, {}, memory)
  features = np.float64(memory.x @ PARAMS)
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  for label in range(4):
    mean = features[(memory.y == label) & (memory.weight > 0)].mean(axis=0)
    np.testing.assert_allclose(
      fitted.mean[label], mean / np.linalg.norm(mean), rtol=1e-3, atol=1e-4
    )


def test_nearest_mean_without_memory():
  with pytest.raises(ValueError, match="needs a memory.*predictors.logits"):
    predictors.nearest_mean().fit(_apply, PARAMS, {}, None)


def test_short_vectors_get_unit_length_and_zeros_stay():
  found = predictors.unit_length(np.array([[0.03, 0.04], [0.0, 0.0]]))
  np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]], rtol=1e-6)
