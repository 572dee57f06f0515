"""Losses against float64 NumPy, their masks, and their padding."""

import functools

import jax
import jax.numpy as jnp
import linear_case
import numpy as np
import pytest

from jcl.objectives import losses

MASK = np.array([True, True, False, True, False])
WEIGHT = np.array([1.0, 0.0, 2.0], np.float32)
LABELS = np.array([0, 2, 3])


def _values(seed):
  return np.random.default_rng(seed).normal(size=(3, 5)).astype(np.float32)


# name -> loss of (values [B, C], second argument of B rows, weight [B])
LOSSES = {
  "cross_entropy": (
    lambda v, t, w: losses.cross_entropy(v, jnp.argmax(t, 1), w, MASK),
    np.eye(5, dtype=np.float32)[LABELS],
  ),
  "binary_cross_entropy": (
    lambda v, t, w: losses.binary_cross_entropy(v, jax.nn.sigmoid(t), w, MASK),
    _values(1),
  ),
  "distillation": (
    lambda v, t, w: losses.distillation(v, t, w, MASK, 2.0),
    _values(2),
  ),
  "squared_error": (
    lambda v, t, w: losses.squared_error(v, t, w, MASK),
    _values(3),
  ),
}


def _expected(name, values, second):
  """Per example, in float64."""
  values, second = np.float64(values), np.float64(second)
  kept = np.flatnonzero(MASK)
  if name == "cross_entropy":
    log_p = linear_case.log_softmax(values, kept)
    return -log_p[np.arange(3), second.argmax(axis=1)]
  if name == "binary_cross_entropy":
    p, q = linear_case.sigmoid(values), linear_case.sigmoid(second)
    terms = -q * np.log(p) - (1 - q) * np.log(1 - p)
    return terms[:, kept].mean(axis=1)
  if name == "distillation":
    log_p = linear_case.log_softmax(values / 2, kept)[:, kept]
    log_q = linear_case.log_softmax(second / 2, kept)[:, kept]
    return (np.exp(log_q) * (log_q - log_p)).sum(axis=1)
  return np.square(values - second)[:, kept].mean(axis=1)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("name", LOSSES)
def test_values(name, wrap):
  loss, second = LOSSES[name]
  values = _values(0)
  result = wrap(loss)(values, second, WEIGHT)
  rows = _expected(name, values, second)[[0, 2]]
  expected = (rows @ WEIGHT[[0, 2]]) / 3
  np.testing.assert_allclose(result, expected, rtol=1e-5)
  assert result.dtype == jnp.float32


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_zero_outside_mask_and_weight(name):
  loss, second = LOSSES[name]
  grad = np.asarray(jax.grad(loss)(_values(0), second, WEIGHT))
  assert (grad[:, ~MASK] == 0).all()
  assert (grad[1] == 0).all()
  assert (grad[np.ix_([0, 2], MASK)] != 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_no_weight_gives_zero(name):
  loss, second = LOSSES[name]
  value, grad = jax.value_and_grad(loss)(_values(0), second, np.zeros(3))
  assert value == 0 and (np.asarray(grad) == 0).all()
  empty = functools.partial(loss, jnp.zeros((0, 5)), jnp.zeros((0, 5)))
  if name != "cross_entropy":  # whose test has an argmax over the rows
    assert empty(jnp.zeros(0)) == 0


@pytest.mark.parametrize("name", LOSSES)
def test_padding_changes_nothing(name):
  loss, second = LOSSES[name]
  values = _values(0)
  padded = [np.concatenate([part, _values(8)]) for part in (values, second)]
  weight = np.concatenate([WEIGHT, np.zeros(3)])
  np.testing.assert_allclose(
    loss(*padded, weight), loss(values, second, WEIGHT), rtol=1e-6
  )


def test_distillation_of_equal_predictions_is_zero():
  values = _values(0)
  value = losses.distillation(values, values + 3, WEIGHT, MASK, 2.0)
  np.testing.assert_allclose(value, 0, atol=1e-6)


def test_half_precision_is_summed_in_single():
  logits = jnp.full((4, 5), 0.1, jnp.bfloat16)
  value = losses.cross_entropy(
    logits, np.zeros(4, int), np.ones(4), np.ones(5, bool)
  )
  np.testing.assert_allclose(value, np.log(5), rtol=1e-6)
  assert value.dtype == jnp.float32


def test_weights_and_masks_of_little():
  assert losses.weighted_mean(jnp.array([4.0, 9.0]), np.array([0.5, 0])) == 4
  values, zeros = np.float32([[1.0, 3.0]]), np.zeros((1, 2))
  for mask, expected in (([True, False], 1), ([False, True], 9)):
    assert losses.squared_error(values, zeros, np.ones(1), np.array(mask)) == (
      expected
    )
  none = np.zeros(2, bool)
  assert losses.squared_error(values, zeros, np.ones(1), none) == 0
