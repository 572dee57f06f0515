"""Orders that are drawn: shares of classes, windows, reservoirs."""

import numpy as np
import pytest

from jcl import base
from jcl.streams import draws

LABELS = np.array([5, 7, 5, 5])  # three of one class, one of another


def drawn(draw, labels=LABELS, wanted=4, seed=0):
  return draws.drawn(draw, labels, wanted, np.random.default_rng(seed))


@pytest.mark.parametrize(
  "draw, share",
  [
    (base.Draw(), 0.75),
    (base.Draw("balanced"), 0.5),
    (base.Draw("balanced", counts=True), 0.9),
  ],
)
def test_classes_are_drawn_in_their_shares(draw, share):
  rows = np.concatenate([drawn(draw, seed=i) for i in range(2500)])
  assert np.mean(LABELS[rows] == 5) == pytest.approx(share, abs=0.02)
  of_five = np.bincount(rows, minlength=4)[[0, 2, 3]] / np.sum(rows != 1)
  np.testing.assert_allclose(of_five, 1 / 3, atol=0.02)  # alike in a class


@pytest.mark.parametrize("by", ["uniform", "balanced", "recent", "recency"])
def test_the_seed_decides(by):
  labels = np.arange(50) % 3
  first, again, other = (
    drawn(base.Draw(by), labels, 50, seed) for seed in (1, 1, 2)
  )
  assert first.tolist() == again.tolist() != other.tolist()
  assert first.dtype == np.int32 and first.shape == (50,)


@pytest.mark.parametrize("by", ["recent", "recency"])
def test_a_window_beyond_the_set_is_a_pass_over_everything(by):
  rows = drawn(base.Draw(by), np.zeros(20), wanted=20)
  assert sorted(rows.tolist()) == list(range(20))
  assert rows.tolist() != list(range(20))
  rows = drawn(base.Draw(by), np.zeros(20), wanted=7)
  assert len(set(rows.tolist())) == 7
  assert (by == "recent") == (set(rows.tolist()) == set(range(13, 20)))


def test_a_reservoir_may_prefer_what_is_new():
  def mean(alpha):
    each = base.Draw("recency", alpha)
    return np.mean(
      [drawn(each, np.zeros(100), 10, seed).mean() for seed in range(200)]
    )

  assert mean(1.0) == pytest.approx(49.5, abs=2)  # a fair one
  assert mean(4.0) > 70


def test_nothing_is_drawn_of_nothing():
  for by in ("uniform", "balanced", "recent", "recency"):
    assert not len(drawn(base.Draw(by), np.zeros(0, int)))
