"""Classifiers from statistics, against figures worked out by hand."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
import jax
import numpy as np
import pytest
import signatures

from jcl.objectives import closed_form, statistics

X = np.array([[0, 0], [2, 0], [4, 1], [4, 3]], np.float32)
Y = np.array([0, 0, 1, 1], np.int32)


_add = jax.jit(statistics.add)


def of(x, y, num_classes=2):
  x, y = np.asarray(x, np.float32), np.asarray(y, np.int32)
  sums = statistics.zeros(num_classes, x.shape[1])
  # Padded, so that few programs serve all tests.
  padded = 64 if len(y) <= 64 else 512
  rows = np.resize(np.arange(len(y)), padded)
  weight = (np.arange(padded) < len(y)).astype(np.float32)
  return _add(sums, x[rows], y[rows], weight)


def scores(linear, x):
  found = np.asarray(x) @ linear.weight + linear.bias
  return np.where(linear.known, found, -np.inf)


def random_rows(seed, count, width, num_classes):
  generator = np.random.default_rng(seed)
  y = np.arange(count, dtype=np.int32) % num_classes
  centres = 2 * generator.normal(size=(num_classes, width))
  mixing = generator.normal(size=(width, width)) / np.sqrt(width)
  x = centres[y] + generator.normal(size=(count, width)) @ mixing + 1.0
  return x.astype(np.float32), y


@pytest.mark.parametrize("shrink", [0.0, 0.01, 0.5, 1.0, "oas"])
def test_discriminant_analysis_by_hand(shrink):
  # The covariance is the identity, which every shrinkage leaves as it is.
  linear, _ = closed_form.shared_covariance(of(X, Y), shrink)
  np.testing.assert_allclose(linear.weight, [[1, 4], [0, 2]], atol=1e-6)
  np.testing.assert_allclose(linear.bias, [-0.5, -10], atol=1e-5)


def test_discriminant_analysis_is_the_same_in_every_order():
  expected, _ = closed_form.shared_covariance(of(X, Y))
  for order in itertools.permutations(range(4)):
    sums = statistics.zeros(2, 2)
    for i in order:
      sums = _add(sums, X[[i]], Y[[i]], np.ones(1))
    np.testing.assert_allclose(
      statistics.within(sums) / 2, np.eye(2), atol=1e-6
    )
    linear, _ = closed_form.shared_covariance(sums)
    np.testing.assert_allclose(linear.weight, expected.weight, atol=1e-5)


def test_ridge_by_hand():
  linear, _ = closed_form.ridge(of(X, Y), 1.0, balanced=False)
  np.testing.assert_allclose(
    linear.weight, np.array([[22, 24], [-32, 20]]) / 151, atol=1e-6
  )
  np.testing.assert_array_equal(linear.bias, [0, 0])


def recursive(batches, width, num_classes, lam, symmetric, dtype):
  """Recursive least squares: the solution after every batch of rows."""
  inverse = np.eye(width, dtype=dtype) / dtype(lam)
  weight = np.zeros((width, num_classes), dtype)
  for x, y in batches:
    x, target = x.astype(dtype), np.eye(num_classes, dtype=dtype)[y]
    inner = np.eye(len(x), dtype=dtype) + x @ inverse @ x.T
    inverse = inverse - inverse @ x.T @ np.linalg.solve(inner, x @ inverse)
    if symmetric:
      inverse = (inverse + inverse.T) / 2
    weight = weight + inverse @ x.T @ (target - x @ weight)
  return inverse, weight


def test_a_recursion_comes_to_the_same_by_hand():
  inverse, weight = recursive([(X[:2], Y[:2])], 2, 2, 1, False, np.float64)
  np.testing.assert_allclose(inverse, np.diag([0.2, 1]))
  np.testing.assert_allclose(weight, [[0.4, 0], [0, 0]], atol=1e-12)
  first, _ = closed_form.ridge(of(X[:2], Y[:2]), 1.0, balanced=False)
  np.testing.assert_allclose(first.weight, weight, atol=1e-6)
  inverse, weight = recursive(
    [(X[:2], Y[:2]), (X[2:], Y[2:])], 2, 2, 1, False, np.float64
  )
  np.testing.assert_allclose(inverse, np.array([[11, -16], [-16, 37]]) / 151)
  linear, _ = closed_form.ridge(of(X, Y), 1.0, balanced=False)
  np.testing.assert_allclose(linear.weight, weight, atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize(
  "dtype, symmetric, tolerance",
  [(np.float64, False, 1e-5), (np.float32, True, 1e-4)],
)
def test_a_recursion_comes_to_the_same(size, dtype, symmetric, tolerance):
  generator = np.random.default_rng(0)
  x = generator.normal(size=(500, 64)).astype(np.float32)
  y = generator.integers(0, 5, 500)
  cuts = range(0, 500, size)
  batches = [(x[i : i + size], y[i : i + size]) for i in cuts]
  _, weight = recursive(batches, 64, 5, 1.0, symmetric, dtype)
  # Statistics are summed in float32, which bounds how near they can come.
  linear, _ = closed_form.ridge(of(x, y, 5), 1.0, balanced=False)
  error = np.abs(linear.weight - weight).max() / np.abs(weight).max()
  assert error < tolerance
  exact = np.linalg.solve(
    np.float64(x.T) @ np.float64(x) + np.eye(64), np.float64(x.T) @ np.eye(5)[y]
  )
  bound = 1e-10 if dtype is np.float64 else tolerance
  assert np.abs(weight - exact).max() / np.abs(exact).max() < bound


@pytest.mark.parametrize(
  "lam, residual, freedom, score",
  [
    (0.1, 1.769763, 1.957462, 1.696817),
    (1.0, 1.798342, 1.682119, 1.338906),
    (10.0, 2.045870, 1.006024, 0.912938),
  ],
)
def test_cross_validation_by_hand(lam, residual, freedom, score):
  values, vectors = np.linalg.eigh(statistics.gram(of(X, Y)))
  projected = vectors.T @ statistics.cross(of(X, Y))
  found = closed_form.gcv(values, projected, 4, lam)
  np.testing.assert_allclose(found, (residual, freedom, score), rtol=2e-6)


def test_cross_validation_takes_the_best_of_its_grid():
  x, y = random_rows(3, 60, 12, 3)
  sums = of(x, y, 3)
  found, flops = closed_form.ridge(sums, "gcv", balanced=False)
  spread = np.trace(statistics.within(sums)) / (60 - 3)
  values, vectors = np.linalg.eigh(statistics.gram(sums))
  projected = vectors.T @ statistics.cross(sums)
  grid = spread * 10.0 ** np.arange(-2, 3.01, 0.5)
  best = min(
    grid, key=lambda lam: closed_form.gcv(values, projected, 60, lam).score
  )
  expected, _ = closed_form.ridge(sums, float(best), balanced=False)
  np.testing.assert_allclose(found.weight, expected.weight, atol=1e-5)
  assert flops == 9 * 12**3 + 4 * 12**2 * 3
  # As leaving every row out would: the error of the hat matrix's average.
  hat = x @ np.linalg.solve(x.T @ x + best * np.eye(12), x.T)
  error = np.eye(3)[y] - hat @ np.eye(3)[y]
  score = 60 * np.square(error).sum() / (60 - np.trace(hat)) ** 2
  np.testing.assert_allclose(
    closed_form.gcv(values, projected, 60, best).score, score, rtol=1e-4
  )


@pytest.mark.parametrize("told, expected", [(0.01, 1e-2), (0.0, 1e3)])
def test_the_ends_of_the_grid(told, expected):
  """Faint but exact features want least of it, and noise wants most."""
  generator = np.random.default_rng(0)
  y = np.arange(300) % 3
  x = np.hstack([told * np.eye(3)[y], generator.normal(size=(300, 20))])
  sums = of(x, y, 3)
  found, _ = closed_form.ridge(sums, "gcv", balanced=False)
  strength = expected * np.trace(statistics.within(sums)) / (300 - 3)
  same, _ = closed_form.ridge(sums, float(strength), balanced=False)
  np.testing.assert_allclose(found.weight, same.weight, rtol=1e-4, atol=1e-7)


def test_balance_by_hand():
  sums = of([[1, 1]] * 3 + [[2, 1]], [0, 0, 0, 1])
  plain, _ = closed_form.ridge(sums, 1.0, balanced=False)
  rows = np.array([[2, 1], [1, 1]])
  np.testing.assert_allclose(scores(plain, rows)[0], [0.6, 8 / 15], atol=1e-5)
  balanced, _ = closed_form.ridge(sums, 1.0)
  np.testing.assert_allclose(
    scores(balanced, rows),
    [[0.315789, 0.736842], [0.421053, 0.315789]],
    atol=1e-5,
  )


@given(st.integers(0, 30), st.floats(0.1, 100.0))
def test_balance_is_that_of_weighted_rows_where_scatter_is_shared(seed, lam):
  generator = np.random.default_rng(seed)
  # Three classes of the same rows about their means, of 8, 16 and 24 rows.
  about = generator.normal(size=(8, 5))
  about -= about.mean(axis=0)
  about /= np.sqrt(8.0)
  centres = generator.normal(size=(3, 5))
  counts = (8, 16, 24)
  x = np.concatenate(
    [
      c + np.tile(about, (n // 8, 1))
      for c, n in zip(centres, counts, strict=True)
    ]
  )
  y = np.repeat(np.arange(3), counts)
  weight = len(y) / (3 * np.array(counts))[y]
  weighted = x * weight[:, None]
  scatter = 48 / 45  # the covariance's divisor is N - C, that of weights is N
  gram = weighted.T @ x + (scatter - 1) * 48 * about.T @ about / 8
  expected = np.linalg.solve(gram + lam * np.eye(5), weighted.T @ np.eye(3)[y])
  found, _ = closed_form.ridge(of(x, y, 3), lam)
  np.testing.assert_allclose(found.weight, expected, atol=2e-4)


@pytest.mark.parametrize("asked, times", [({}, 2), ({"prior": 0.5}, 0.5)])
def test_the_prior_is_relative_to_the_trace_of_the_covariance(asked, times):
  x, y = random_rows(5, 40, 6, 2)
  sums = of(x, y)
  strength = times * np.trace(statistics.within(sums)) / 38
  for balanced in (True, False):
    found, _ = closed_form.ridge(sums, balanced=balanced, **asked)
    expected, _ = closed_form.ridge(sums, float(strength), balanced)
    np.testing.assert_allclose(found.weight, expected.weight, rtol=1e-4)


@pytest.mark.parametrize("rows, share", [(10, 0.848485), (100, 0.092409)])
def test_shrinkage_by_hand(rows, share):
  found = closed_form.oas(np.diag([4.0, 1.0]), rows)
  assert found == pytest.approx(share, abs=1e-6)
  assert closed_form.oas(np.eye(3), rows) == 1


def test_shrinking_all_the_way_is_the_nearest_mean():
  x, y = random_rows(7, 30, 4, 3)
  lda, _ = closed_form.shared_covariance(of(x, y, 3), 1.0)
  near, flops = closed_form.mean(of(x, y, 3))
  assert flops == 0
  centres = np.stack([x[y == label].mean(axis=0) for label in range(3)])
  distance = np.linalg.norm(x[:, None] - centres, axis=2)
  order = np.argsort(distance, axis=1)
  assert (np.argsort(-scores(near, x), axis=1) == order).all()
  assert (np.argsort(-scores(lda, x), axis=1) == order).all()


def test_directions_are_compared_by_their_cosine():
  sums = of([[1, 0], [3, 0], [0, 5]], [0, 0, 1])
  linear, _ = closed_form.mean(sums, cosine=True)
  np.testing.assert_allclose(linear.weight, np.eye(2), atol=1e-6)


def test_distances_are_those_of_mahalanobis():
  x, y = random_rows(8, 200, 5, 3)
  linear, flops = closed_form.shared_covariance(of(x, y, 3), 0.0)
  assert flops == 5**3 / 3 + 2 * 5**2 * 3
  centres = np.stack([np.float64(x[y == c]).mean(axis=0) for c in range(3)])
  rows = np.float64(x) - centres[y]
  inverse = np.linalg.inv(rows.T @ rows / 197)
  apart = np.float64(x)[:, None] - centres
  distance = np.einsum("ncd,de,nce->nc", apart, inverse, apart)
  found = scores(linear, x)
  differences = found - found[:, :1]
  np.testing.assert_allclose(
    differences, -0.5 * (distance - distance[:, :1]), rtol=1e-3, atol=2e-3
  )


SOLVERS = {
  "mean": closed_form.mean,
  "cosine": lambda sums: closed_form.mean(sums, cosine=True),
  "lda": closed_form.shared_covariance,
  "ridge": closed_form.ridge,
  "plain": lambda sums: closed_form.ridge(sums, balanced=False),
  "gcv": lambda sums: closed_form.ridge(sums, "gcv"),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_classes_without_rows_are_not_known(name):
  linear, _ = SOLVERS[name](of(X, Y * 2, 4))
  assert linear.known.tolist() == [True, False, True, False]
  assert not linear.weight[:, 1::2].any() and not linear.bias[1::2].any()
  assert linear.weight[:, ::2].any()
  assert linear.weight.dtype == linear.bias.dtype == np.float32


@pytest.mark.parametrize("name", SOLVERS)
def test_without_rows_no_class_is_known(name):
  linear, flops = SOLVERS[name](statistics.zeros(3, 2))
  assert not linear.known.any() and flops == 0
  assert linear.weight.shape == (2, 3) and not linear.weight.any()


@pytest.mark.parametrize("name", SOLVERS)
def test_a_row_of_each_class_is_learned(name):
  rows = [[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]]
  linear, _ = SOLVERS[name](of(rows, [0, 1]))
  assert np.isfinite(linear.weight).all()
  assert np.argmax(scores(linear, rows), axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("name", SOLVERS)
def test_rows_that_repeat_are_learned(name):
  rows = np.eye(4, 3)[[0, 1, 2] * 4] + 0.1
  linear, _ = SOLVERS[name](of(rows, [0, 1, 2] * 4, 3))
  found = scores(linear, rows[:3])
  assert np.argmax(found, axis=1).tolist() == [0, 1, 2]


def test_too_few_rows_are_refused_with_the_number_that_would_do():
  rows = of([[3, 0, 1], [0, 2, 1], [1, 2, 1]], [0, 1, 1])
  with pytest.raises(
    ValueError, match=r"3 features need 5 rows.*give shrink=0.0001 or more"
  ):
    closed_form.shared_covariance(rows, 0.0)
  assert np.isfinite(closed_form.shared_covariance(rows, 1e-4)[0].weight).all()
  few = of([[3, 0, 1], [0, 2, 1]], [0, 1])
  with pytest.raises(ValueError, match=r"need 3 rows.*give lam=15, or"):
    closed_form.ridge(few, 0.0)
  assert np.isfinite(closed_form.ridge(few, 15.0)[0].weight).all()


def test_features_that_never_vary_are_told():
  x, y = random_rows(9, 40, 3, 2)
  x[:, 1] = 0
  with pytest.raises(ValueError, match="singular: give shrink=0.0001"):
    closed_form.shared_covariance(of(x, y), 0.0)
  with pytest.raises(ValueError, match="lam=0 .*singular: give lam=.*prior"):
    closed_form.ridge(of(x, y), 0.0)
  assert np.isfinite(closed_form.shared_covariance(of(x, y))[0].weight).all()


def test_operations_of_a_usual_size():
  assert closed_form.solve_flops(1280, 100) == pytest.approx(1.03e9, rel=5e-3)


def test_short_means_have_directions_too():
  sums = of([[0.3, 0.4], [0, 0.5], [0, 0.5], [0, 0]], [0, 1, 1, 2], 3)
  linear, _ = closed_form.mean(sums, cosine=True)
  expected = [[0.6, 0, 0], [0.8, 1, 0]]
  np.testing.assert_allclose(linear.weight, expected, atol=1e-5)
  assert not linear.bias.any()


def test_one_row_more_than_classes_by_hand():
  """Means are 1 and 5, and the variance, of one degree of freedom, is 2."""
  sums = of([[0], [2], [5]], [0, 0, 1])
  linear, flops = closed_form.shared_covariance(sums, 0.5)
  np.testing.assert_allclose(linear.weight, [[0.5, 2.5]], rtol=1e-6)
  np.testing.assert_allclose(linear.bias, [-0.25, -6.25], rtol=1e-6)
  assert flops == 1 / 3 + 4
  balanced, _ = closed_form.ridge(sums, 1.0)
  np.testing.assert_allclose(balanced.weight, [[1.5 / 46, 7.5 / 46]], rtol=1e-5)


@pytest.mark.parametrize("shrink", [0.25, 1.0, "oas"])
def test_a_share_of_the_mean_variance_is_on_the_diagonal(shrink):
  x, y = random_rows(4, 12, 3, 2)
  sums = of(x, y)
  covariance = statistics.within(sums) / 10
  share = closed_form.oas(covariance, 12) if shrink == "oas" else shrink
  assert 0 < share <= 1
  average = np.trace(covariance) / 3
  shrunk = (1 - share) * covariance + share * average * np.eye(3)
  centres = statistics.means(sums)
  weight = np.linalg.solve(shrunk, centres.T)
  linear, _ = closed_form.shared_covariance(sums, shrink)
  np.testing.assert_allclose(linear.weight, weight, rtol=1e-4)
  bias = -0.5 * (centres.T * weight).sum(axis=0)
  np.testing.assert_allclose(linear.bias, bias, rtol=1e-4)


def test_as_many_rows_as_features_are_met_exactly():
  rows = [[1.0, 1.0], [0.0, 2.0]]
  linear, _ = closed_form.ridge(of(rows, [0, 1]), 0.0, balanced=False)
  np.testing.assert_allclose(scores(linear, rows), np.eye(2), atol=1e-5)


def test_rows_of_zeros_are_not_told_apart():
  for balanced in (True, False):
    linear, _ = closed_form.ridge(of(np.zeros((4, 2)), Y), balanced=balanced)
    assert not linear.weight.any() and linear.known.all()
  with pytest.raises(ValueError, match="lam=0 with 1 rows.*give lam=2, or"):
    closed_form.ridge(of([[0, 0]], [0]), 0.0)
  # The covariance of the rows by hand is the identity.
  with pytest.raises(ValueError, match="singular: give lam=4, or lam=prior"):
    closed_form.ridge(of(np.pad(X, ((0, 0), (0, 1))), Y), 0.0)


def test_shrinkage_does_not_depend_on_the_scale():
  small = closed_form.oas(np.diag([0.4, 0.1]), 100)
  assert small == pytest.approx(0.092409, abs=1e-6)
  assert closed_form.oas(np.diag([4.0, 1.0]), 1) == 1


def test_little_that_is_left_to_judge():
  nothing = np.zeros((2, 1))
  found = closed_form.gcv(np.array([3.0, 3.0]), nothing, 2, 1.0)
  assert found == (2.0, 1.5, 2 * 2 / 0.25)
  found = closed_form.gcv(np.array([9.0, 9.0]), nothing, 1, 1.0)
  assert found == (1.0, 1.8, np.inf)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(closed_form.mean) == {"cosine": False}
  assert signatures.defaults(closed_form.ridge) == {
    "lam": "prior",
    "balanced": True,
    "prior": 2.0,
  }
