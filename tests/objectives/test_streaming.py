"""The published recursion, against figures worked out by hand."""

import jax
import numpy as np
import pytest

from jcl.objectives import streaming

X = np.array([[0, 0], [2, 0], [4, 1], [4, 3]], np.float32)
Y = np.array([0, 0, 1, 1], np.int32)
_add = jax.jit(streaming.add)


def of(order, weight=(1, 1, 1, 1)):
  order = np.array(order)
  weight = np.array(weight, np.float32)
  return _add(streaming.zeros(2, 2), X[order], Y[order], weight)


@pytest.mark.parametrize(
  "order, expected",
  [
    ((0, 1, 2, 3), [[3.16667, 0.66667], [0.66667, 0.91667]]),
    ((2, 3, 0, 1), [[0.75, 0], [0, 0.5]]),
    ((0, 2, 1, 3), [[2.66667, 0.5], [0.5, 0.875]]),
  ],
)
def test_the_covariance_depends_on_the_order(order, expected):
  state = of(order)
  np.testing.assert_allclose(state.covariance, expected, atol=1e-5)
  np.testing.assert_allclose(state.mean, [[1, 0], [4, 2]], atol=1e-6)
  np.testing.assert_array_equal(state.rows, [2, 2])


def test_rows_of_weight_zero_are_left_out():
  state = of((0, 3, 1, 2), (1, 0, 1, 1))
  expected = _add(
    streaming.zeros(2, 2),
    X[[0, 1, 2, 0]],
    Y[[0, 1, 2, 0]],
    np.array([1, 1, 1, 0], np.float32),
  )
  for mine, other in zip(state, expected, strict=True):
    np.testing.assert_array_equal(mine, other)


def test_it_is_solved_with_a_share_of_the_identity():
  state = of((0, 1, 2, 3))
  linear, flops = streaming.solve(state)
  matrix = (1 - 1e-4) * np.float64(state.covariance) + 1e-4 * np.eye(2)
  weight = np.linalg.solve(matrix, np.array([[1.0, 4], [0, 2]]))
  np.testing.assert_allclose(linear.weight, weight, rtol=1e-5)
  bias = -0.5 * np.sum(np.array([[1.0, 4], [0, 2]]) * weight, axis=0)
  np.testing.assert_allclose(linear.bias, bias, rtol=1e-5)
  assert flops == 8 / 3 + 16


def test_what_cannot_be_solved():
  linear, flops = streaming.solve(streaming.zeros(2, 2))
  assert not linear.known.any() and flops == 0
  one = _add(
    streaming.zeros(2, 2), X[:4], Y[:4], np.array([1, 0, 0, 0], np.float32)
  )
  assert streaming.solve(one)[0].known.tolist() == [True, False]
  with pytest.raises(ValueError, match="shrink=0 leaves.*give shrink=0.0001"):
    streaming.solve(one, 0.0)
