"""The similarity of two sets of features."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.metrics import similarity

COUNT = np.arange(6.0)[:, None]


def draw(seed, rows=12, channels=5):
  return np.random.default_rng(seed).normal(size=(rows, channels))


def by_definition(x, y):
  """The formula as it is written, entry by entry."""
  n, ones = len(x), np.ones(len(x))

  def h(k, l):  # noqa: E741
    return (
      np.trace(k @ l)
      + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
      - 2 * (ones @ k @ l @ ones) / (n - 2)
    ) / (n * (n - 3))

  k, l = x @ x.T, y @ y.T  # noqa: E741
  np.fill_diagonal(k, 0)
  np.fill_diagonal(l, 0)
  return h(k, l) / np.sqrt(h(k, k) * h(l, l))


@pytest.mark.parametrize(
  "x, y, value",
  [
    (COUNT, 3 * COUNT + 1, 1.0),
    (COUNT, np.array([0, 1, 2, 3, 5, 4.0])[:, None], 0.947090),
    (COUNT + 1, np.array([1, -1, 1, -1, 1, -1.0])[:, None], -0.162650),
  ],
)
def test_cases_worked_by_hand(x, y, value):
  found = similarity.debiased_cka(x, y, clip=False)
  assert found == pytest.approx(value, abs=1e-6)
  assert similarity.debiased_cka(x, y) == pytest.approx(
    np.clip(value, 0, 1), abs=1e-6
  )


@given(st.integers(0, 2**32), st.integers(4, 30), st.integers(1, 8))
@settings(max_examples=30)
def test_it_is_the_formula(seed, rows, channels):
  x, y = draw(seed, rows, channels), draw(seed + 1, rows, 3)
  found = similarity.debiased_cka(x, y, clip=False)
  assert found == pytest.approx(by_definition(x, y), abs=1e-7)


@given(st.integers(0, 2**32))
@settings(max_examples=30)
def test_order_rotation_scale_and_shift_do_not_change_it(seed):
  x, y = draw(seed), draw(seed + 1) + draw(seed)
  generator = np.random.default_rng(seed)
  rotation, _ = np.linalg.qr(generator.normal(size=(5, 5)))
  order = generator.permutation(len(x))
  value = similarity.debiased_cka(x, y, clip=False)
  for other, same in (
    (x[order], y[order]),
    (y, x),
    (x @ rotation, y),
    (1e-3 * x, 50 * y),
    (x + 100, y),
  ):
    found = similarity.debiased_cka(other, same, clip=False)
    assert found == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("channels", [64, 4096])
def test_independent_features_have_nothing_in_common(channels):
  x, y = draw(0, 256, channels), draw(1, 256, channels)
  assert abs(similarity.debiased_cka(x, y, clip=False)) < 0.05


@pytest.mark.parametrize(
  "still",
  [
    np.zeros((6, 2)),
    np.full((6, 2), 0.1),
    np.eye(6)[:, :1],  # varies, but no pair of rows shows it
  ],
)
def test_features_that_do_not_vary_are_like_nothing(still):
  assert similarity.debiased_cka(still, still) == 0
  assert similarity.debiased_cka(still, COUNT) == 0


def test_a_unit_that_has_not_moved_is_like_itself():
  x = draw(0, 64, 8).astype(np.float32)
  assert similarity.debiased_cka(x, x.copy()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
  "x, y, message",
  [
    (draw(0)[:3], draw(1)[:3], "x has 3 rows"),
    (draw(0), draw(1)[:5], "12 rows and y has 5"),
    (draw(0), draw(1)[:, 0], r"y has shape \(12,\)"),
    (draw(0), draw(1) * np.nan, "not finite"),
  ],
)
def test_features_that_cannot_be_compared(x, y, message):
  with pytest.raises(ValueError, match=message):
    similarity.debiased_cka(x, y)


def test_bounds():
  four = draw(0)[:4]
  assert similarity.debiased_cka(four, four) == pytest.approx(1)
  assert similarity.LEAST_ROWS == 4
  with pytest.raises(ValueError, match=r"12 rows and y has 11"):
    similarity.debiased_cka(draw(0), draw(1)[:11])
  # What varies by a millionth varies all the same.
  faint = 1 + 1e-6 * draw(2)
  assert similarity.debiased_cka(faint, draw(2)) == pytest.approx(1, abs=1e-6)
  # One outlier among pairs that hardly differ is more than rounding.
  gram = similarity._centred_gram(COUNT * 1e-3)
  assert gram.shape == (6, 6) and (gram**2).sum() > 0
  np.testing.assert_allclose(gram.sum(axis=0), 0, atol=1e-12)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(similarity.debiased_cka) == {"clip": True}
