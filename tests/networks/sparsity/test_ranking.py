"""Exact numbers of largest scores, whatever the ties."""

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from jcl.networks.sparsity import ranking

largest = jax.jit(ranking.largest)  # `count` is traced


@pytest.mark.parametrize(
  ("size", "sparsity", "kept"),
  [(64, 0.2, 51), (128, 0.2, 102), (256, 0.7, 77), (512, 0.8, 102)]
  # Halves go up, and a rounding error takes nothing away.
  + [(10, 0.75, 3), (5, 0.9, 1), (7, 0.0, 7), (3, 0.99, 0)],
)
def test_numbers(size, sparsity, kept):
  assert ranking.num_kept(size, sparsity) == kept


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_shares_out_of_range(sparsity):
  with pytest.raises(ValueError, match="give the share that goes"):
    ranking.num_kept(10, sparsity)


def test_equals_go_by_index():
  scores = np.float32([[2, 0, 1], [1, -0.0, 1]])
  for count, expected in enumerate([[], [0], [0, 2], [0, 2, 3]]):
    assert np.flatnonzero(largest(scores, count)).tolist() == expected
  assert np.flatnonzero(largest(scores, 5)).tolist() == [0, 1, 2, 3, 5]
  assert largest(scores, 6).all() and largest(scores, 6).shape == (2, 3)


@settings(max_examples=60)
@given(
  st.lists(
    st.sampled_from([-np.inf, -2.5, -1e-40, -0.0, 0.0, 1e-40, 0.5, np.inf])
    | st.floats(width=32, allow_nan=False),
    min_size=12,
    max_size=12,
  ),
  st.integers(0, 12),
)
def test_the_same_as_sorting(values, count):
  scores = np.asarray(values, np.float32)
  # XLA takes what is too small for full precision as zero.
  scores[np.abs(scores) < np.finfo(np.float32).tiny] = 0
  expected = np.zeros(12, bool)
  expected[np.argsort(-scores, kind="stable")[:count]] = True
  np.testing.assert_array_equal(largest(scores, count), expected)


@pytest.mark.parametrize(
  ("size", "sparsity", "kept"),
  [
    (10, 0.0, 10),
    (1, 0.5, 1),
    (3, 0.5, 2),
    (4, 0.625, 2),
    (10**8, 0.5, 5 * 10**7),
  ]
  # What is clearly below a half goes down.
  + [(1, 0.5001, 0), (100, 0.99501, 0), (1000, 0.9995001, 0)],
)
def test_halves(size, sparsity, kept):
  assert ranking.num_kept(size, sparsity) == kept
