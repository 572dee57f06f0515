"""Sums over examples: order, cut and device do not matter, and rows may leave.

The rows of `TOY` are few enough to add up by hand.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import numpy as np
import pytest
import signatures

from jcl.objectives import statistics

TOY_X = np.array([[0, 0], [2, 0], [4, 1], [4, 3]], np.float32)
TOY_Y = np.array([0, 0, 1, 1], np.int32)


_add = jax.jit(statistics.add, static_argnames="decay")


def of(x, y, num_classes=2, *, size=None, shift=None, decay=1.0):
  """Statistics of rows, added `size` at a time, by one program for all."""
  sums = statistics.zeros(num_classes, np.shape(x)[1])
  if shift is not None:
    sums = sums._replace(
      shift=np.asarray(shift, np.float32), begun=np.array(True)
    )
  size = size or max(len(y), 1)
  padded = 64 if size <= 64 else 512
  for start in range(0, len(y), size):
    rows = np.arange(start, min(start + size, len(y)))
    weight = (np.arange(padded) < len(rows)).astype(np.float32)
    rows = np.resize(rows, padded)
    sums = _add(sums, np.asarray(x)[rows], np.asarray(y)[rows], weight, decay)
  return sums


def random_rows(seed, count=500, width=6, num_classes=4):
  generator = np.random.default_rng(seed)
  y = generator.integers(0, num_classes, count).astype(np.int32)
  x = generator.normal(size=(count, width)) + 3.0 + y[:, None]
  return x.astype(np.float32), y


def close(first, second, rtol=1e-5):
  """Whether two statistics about one point agree."""
  assert np.array_equal(first.rows, second.rows)
  for name in ("total", "moment"):
    mine, other = (np.asarray(getattr(s, name)) for s in (first, second))
    scale = np.abs(other).max(initial=1e-6)
    np.testing.assert_allclose(mine, other, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("shift", [None, (0, 0), (3, 1)])
def test_four_rows_by_hand(shift):
  sums = of(TOY_X, TOY_Y, shift=shift)
  expected = TOY_X.mean(axis=0) if shift is None else shift
  np.testing.assert_allclose(sums.shift, expected)
  np.testing.assert_array_equal(sums.rows, [2, 2])
  np.testing.assert_allclose(
    statistics.means(sums), [[1, 0], [4, 2]], atol=1e-6
  )
  np.testing.assert_allclose(statistics.within(sums), 2 * np.eye(2), atol=1e-6)
  np.testing.assert_allclose(
    statistics.gram(sums), [[36, 16], [16, 10]], atol=1e-5
  )
  np.testing.assert_allclose(
    statistics.cross(sums), [[2, 8], [0, 4]], atol=1e-6
  )


def test_rows_of_weight_zero_count_for_nothing():
  padded = np.concatenate([TOY_X, np.full((2, 2), np.nan, np.float32)])
  weight = np.array([1, 1, 1, 1, 0, 0], np.float32)
  nothing = statistics.add(
    statistics.zeros(2, 2), TOY_X, TOY_Y, np.zeros(4, np.float32)
  )
  assert not nothing.begun and not np.any(nothing.moment)
  found = statistics.add(
    nothing, np.nan_to_num(padded), np.append(TOY_Y, [0, 1]), weight
  )
  close(found, of(TOY_X, TOY_Y), rtol=1e-7)


def test_the_shift_is_that_of_the_first_batch_for_good():
  sums = of(TOY_X, TOY_Y, size=2)
  np.testing.assert_array_equal(sums.shift, [1, 0])
  np.testing.assert_array_equal(
    statistics.within(sums), statistics.within(of(TOY_X, TOY_Y))
  )


@settings(max_examples=25)
@given(
  st.integers(0, 50),
  st.permutations(range(40)),
  st.integers(1, 40),
  st.integers(0, 40),
)
def test_order_cut_and_device_do_not_matter(seed, order, size, cut):
  x, y = random_rows(seed, count=40)
  whole = of(x, y, 4)
  order = np.array(order)
  point = np.asarray(whole.shift)
  again = of(x[order], y[order], 4, size=size)
  close(statistics.about(again, point), whole)
  first, second = (
    of(x[part], y[part], 4) for part in (slice(cut), slice(cut, None))
  )
  merged = statistics.merge(first, second)
  close(statistics.about(merged, point), whole)
  close(statistics.about(statistics.merge(second, first), point), whole)
  left = statistics.subtract(whole, second)
  close(left, statistics.about(first, point))


@pytest.mark.parametrize("seed", range(3))
def test_many_rows_in_any_order_and_on_two_devices(seed):
  x, y = random_rows(0)
  whole = of(x, y, 4, size=64)
  order = np.random.default_rng(seed).permutation(len(y))
  point = np.asarray(whole.shift)
  close(statistics.about(of(x[order], y[order], 4, size=50), point), whole)
  halves = [
    of(x[part], y[part], 4, size=64) for part in (slice(250), slice(250, 500))
  ]
  close(statistics.merge(*halves), whole)
  close(
    statistics.subtract(whole, halves[0]), statistics.about(halves[1], point)
  )


def test_cross_terms_of_two_devices_by_hand():
  one, other = (
    of(TOY_X[[0, 2]], TOY_Y[[0, 2]]),
    of(TOY_X[[1, 3]], TOY_Y[[1, 3]]),
  )
  for part in (one, other):
    np.testing.assert_allclose(statistics.within(part), np.zeros((2, 2)))
  merged = statistics.merge(one, other)
  np.testing.assert_allclose(
    statistics.within(merged),
    np.array([[2, 0], [0, 0]]) + np.array([[0, 0], [0, 2]]),
    atol=1e-6,
  )
  np.testing.assert_array_equal(merged.shift, one.shift)


def test_nothing_merged_with_something_is_that():
  sums, nothing = of(TOY_X, TOY_Y), statistics.zeros(2, 2)
  assert statistics.merge(nothing, sums) is sums
  close(statistics.merge(sums, nothing), sums, rtol=0)


def test_one_example_leaves_as_if_it_had_never_come():
  x, y = random_rows(1, count=60)
  whole = of(x, y, 4, size=7)
  left = statistics.remove(whole, x[[17, 40]], y[[17, 40]])
  stay = np.delete(np.arange(60), [17, 40])
  expected = of(x[stay], y[stay], 4)
  close(left, statistics.about(expected, np.asarray(left.shift)))
  back = statistics.add(left, x[[17, 40]], y[[17, 40]], np.ones(2))
  close(back, whole)


def test_rows_that_never_came_cannot_leave():
  sums = of(TOY_X, TOY_Y)
  with pytest.raises(ValueError, match="1 rows of class 1 would leave"):
    statistics.remove(sums, TOY_X[[2, 2, 3]], TOY_Y[[2, 2, 3]])
  with pytest.raises(ValueError, match="of class 0 would leave"):
    statistics.subtract(of(TOY_X[1:], TOY_Y[1:]), sums)


@settings(max_examples=25)
@given(st.sampled_from([0.5, 0.9, 0.999]), st.integers(1, 12))
def test_a_decay_is_by_row_and_not_by_batch(decay, size):
  x, y = random_rows(2, count=12)
  found = of(x, y, 4, size=size, decay=decay)
  age = np.arange(12)[::-1]
  expected = [np.sum(decay ** age[y == label]) for label in range(4)]
  np.testing.assert_allclose(found.rows, expected, rtol=1e-5)
  rows = np.float64(x) - np.float64(found.shift)
  weighted = (decay**age)[:, None] * rows
  np.testing.assert_allclose(found.moment, weighted.T @ rows, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
  "place, name",
  [(0, "trunk"), (1, "normalisation"), (2, "random expansion")],
)
def test_rows_made_in_another_way_are_not_merged(place, name):
  source = np.array([7, 8, 9], np.uint32)
  sums = of(TOY_X, TOY_Y)._replace(source=source)
  other = sums._replace(source=source + (np.arange(3) == place))
  close(
    statistics.merge(sums, sums),
    of(np.tile(TOY_X, (2, 1)), np.tile(TOY_Y, 2), shift=sums.shift),
  )
  for combine in (statistics.merge, statistics.subtract):
    with pytest.raises(ValueError, match=f"the {name}.* differs"):
      combine(sums, other)


def test_other_shapes_are_not_merged():
  wide = statistics.zeros(2, 3)
  with pytest.raises(ValueError, match="2 features and 2 classes and of 3"):
    statistics.merge(of(TOY_X, TOY_Y), wide)


def test_adding_compiles():
  add = jax.jit(lambda *args: statistics.add(*args, decay=0.9))
  found = add(statistics.zeros(2, 2), TOY_X, TOY_Y, np.ones(4, np.float32))
  close(found, of(TOY_X, TOY_Y, decay=0.9)._replace(rows=found.rows))


def test_bytes_of_a_usual_size():
  sums = jax.eval_shape(lambda: statistics.zeros(100, 1280))
  size = sum(leaf.size * leaf.dtype.itemsize for leaf in sums)
  assert size == 4 * (1280**2 + 100 * 1280 + 100 + 1280 + 3) + 1
  assert round(size / 1e6, 2) == 7.07


def test_classes_without_rows_have_the_shift_as_their_mean():
  sums = of(TOY_X, TOY_Y * 2, 3)
  means = statistics.means(sums)
  assert means[1].tolist() == np.float64(sums.shift).tolist() == [2.5, 1]


def test_what_rounding_leaves_of_a_class_is_not_seen():
  rows = np.array([-0.0005, 0.0, 0.0005, 0.0015, 1.0], np.float32)
  sums = statistics.zeros(5, 2)._replace(rows=rows)
  assert statistics.seen(sums).tolist() == [False] * 3 + [True] * 2
  assert statistics._checked(sums) is sums
  with pytest.raises(ValueError, match="^0.0015 rows of class 0 would leave"):
    statistics._checked(sums._replace(rows=-rows[::-1].copy()[1:]))


def test_moments_are_those_of_the_rows_in_float64():
  x, y = random_rows(3, count=40)
  sums, x = of(x, y, 4), np.float64(x)
  np.testing.assert_allclose(statistics.gram(sums), x.T @ x, rtol=1e-5)
  for label, found in enumerate(statistics.cross(sums).T):
    np.testing.assert_allclose(found, x[y == label].sum(axis=0), rtol=1e-5)
  apart = x - statistics.means(sums)[y]
  np.testing.assert_allclose(
    statistics.within(sums), apart.T @ apart, rtol=0, atol=1e-3
  )


def test_weights_that_leave_are_told():
  """Rows that are taken out have the weight that they have by now."""
  sums = of(TOY_X, TOY_Y, decay=0.5)
  np.testing.assert_allclose(sums.rows, [0.375, 1.5])
  left = statistics.remove(sums, TOY_X[:1], TOY_Y[:1], np.array([0.125]))
  np.testing.assert_allclose(left.rows, [0.25, 1.5])
  with pytest.raises(ValueError, match="^0.625 rows of class 0"):
    statistics.remove(sums, TOY_X[:1], TOY_Y[:1])


@pytest.mark.parametrize("unknown", [0, 1, 2])
def test_rows_of_an_unknown_source_are_merged(unknown):
  source = np.array([7, 8, 9], np.uint32)
  sums = of(TOY_X, TOY_Y)._replace(source=source)
  other = sums._replace(source=source * (np.arange(3) != unknown))
  for one, two in ((sums, other), (other, sums)):
    assert np.sum(statistics.merge(one, two).rows) == 8


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(statistics.add) == {"decay": 1.0}
