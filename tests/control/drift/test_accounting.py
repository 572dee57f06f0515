"""How frames are served and scored."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.control.drift import accounting

ALL = np.ones(6, bool)


def test_a_busy_server_takes_every_so_manieth_frame():
  assert accounting.served(5, 30, 1 / 30).tolist() == [True] * 5
  assert accounting.served(5, 25, 0.04).tolist() == [True] * 5
  found = accounting.served(7, 30, 0.05)  # one and a half frames
  assert found.tolist() == [True, False] * 3 + [True]
  assert accounting.drop_ratio(found[:6]) == pytest.approx(0.5)
  assert accounting.published_drop_ratio(30, 0.05) == pytest.approx(1 / 3)
  assert accounting.published_drop_ratio(30, 0.02) == 0


@hypothesis.given(
  st.integers(1, 60),
  st.fractions(min_value="1/1000", max_value=1, max_denominator=1000),
)
def test_served_frames_are_those_of_a_simulation(fps, seconds):
  from fractions import Fraction

  free, taken = Fraction(0), []
  for i in range(50):
    taken.append(Fraction(i, fps) >= free)
    if taken[-1]:
      free = Fraction(i, fps) + seconds
  found = accounting.served(50, fps, seconds)
  assert found.tolist() == taken
  published = accounting.published_drop_ratio(fps, seconds)
  busy = -(-fps * seconds // 1)
  assert published <= 1 - 1 / busy + 1e-12


def test_stale_and_strict():
  predictions = np.array([9, 1, 0, 2, 0, 0])
  labels = np.array([1, 1, 1, 2, 2, 1])
  served = np.array([0, 1, 0, 1, 0, 0], bool)
  stale = accounting.correct(predictions, labels, served)
  assert stale.tolist() == [False, True, True, True, True, False]
  strict = accounting.correct(predictions, labels, served, "strict")
  assert strict.tolist() == [False, True, False, True, False, False]
  for policy in ("stale", "strict"):
    found = accounting.correct(predictions, labels, ALL, policy)
    assert found.tolist() == (predictions == labels).tolist()


def test_windows_and_their_geometric_mean():
  windows = accounting.window_accuracies([1, 1, 1, 0, 0, 0], 2)
  assert windows.tolist() == [1.0, 0.5, 0.0]
  assert accounting.geometric_mean([0.1, 0.5, 0.8], warmup=1) == pytest.approx(
    np.sqrt(0.4)
  )
  assert accounting.geometric_mean([0.5, 0.0]) == 0.0
  assert accounting.geometric_mean([0.25, 1.0]) == pytest.approx(0.5)
  assert accounting.window_accuracies([1, 0], 1).tolist() == [1.0, 0.0]


def test_paired_differences():
  ours, theirs = [0.8, 0.7, 0.9, np.nan], [0.7, 0.65, 0.8, 0.1]
  mean, half = accounting.paired_interval(ours, theirs)
  assert mean == pytest.approx(0.25 / 3)
  assert half == pytest.approx(0.0717, abs=1e-4)  # 4.303 * 0.02887 / sqrt(3)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: accounting.served(5, 0, 1), "fps=0"),
    (lambda: accounting.served(5, 30, -1), "seconds=-1"),
    (lambda: accounting.served(5, 30, np.inf), "seconds=inf"),
    (lambda: accounting.correct([[1]], [[1]], [[True]]), "one of each"),
    (lambda: accounting.correct([1], [1], [True, True]), "one of each"),
    (lambda: accounting.window_accuracies([], 2), "0 frames"),
    (lambda: accounting.window_accuracies([1], 0), "windows of 0"),
    (lambda: accounting.geometric_mean([0.5], warmup=-1), "warmup=-1"),
    (lambda: accounting.geometric_mean([0.5], warmup=1), "warmup=1"),
    (lambda: accounting.paired_interval([[1]], [[1]]), "one of each per"),
    (lambda: accounting.correct([1], [1, 2], [True]), "one of each"),
    (lambda: accounting.correct([1], [1], [True], "kind"), "policy='kind'"),
    (lambda: accounting.window_accuracies([1, 1, 1], 2), "no whole windows"),
    (lambda: accounting.geometric_mean([0.5], warmup=4), "warmup=4"),
    (lambda: accounting.geometric_mean([-0.5]), "0 or more"),
    (lambda: accounting.paired_interval([1], [1, 2]), "one of each per seed"),
  ],
)
def test_bad_input_is_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(accounting.geometric_mean) == {"warmup": 0}
  assert signatures.defaults(accounting.paired_interval) == {"level": 0.95}


def test_a_policy_is_known_by_its_letters():
  policy = "".join(["str", "ict"])  # another object than the literal
  found = accounting.correct([1, 1], [1, 1], [True, False], policy)
  assert found.tolist() == [True, False]
  with pytest.raises(ValueError, match="stale"):
    accounting.correct([1], [1], [True], "".join(["str", "icter"]))


def test_frames_ahead_of_the_first_served_one_are_wrong():
  """Even where the last prediction is their class."""
  found = accounting.correct([9, 1], [1, 1], [False, True])
  assert found.tolist() == [False, True]
