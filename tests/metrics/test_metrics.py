"""Tests of the metrics: hand-worked matrices and properties."""

import math

import hypothesis
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from jcl import metrics

MATRIX = np.array([[0.9, 0.1, 0.2], [0.5, 0.8, 0.3], [0.6, 0.4, 0.7]])
INITIAL = np.array([0.1, 0.2, 0.1])
QUICK = hypothesis.settings(max_examples=30)

SQUARE = st.integers(1, 6).flatmap(
  lambda size: hnp.arrays(
    float, (size, size), elements=st.floats(0, 1, allow_subnormal=False)
  )
)


def test_values_worked_by_hand():
  near = pytest.approx
  assert metrics.final_average_accuracy(MATRIX) == near(1.7 / 3)
  np.testing.assert_allclose(
    metrics.accuracy_on_seen(MATRIX), [0.9, 0.65, 1.7 / 3]
  )
  assert metrics.average_incremental_accuracy(MATRIX) == near(
    (0.9 + 0.65 + 1.7 / 3) / 3
  )
  assert metrics.learning_accuracy(MATRIX) == near(0.8)
  np.testing.assert_allclose(metrics.forgetting_per_test(MATRIX), [0.3, 0.4])
  assert metrics.forgetting_from_maximum(MATRIX) == near(0.35)
  assert metrics.forgetting_from_first(MATRIX) == near(0.35)
  assert metrics.backward_transfer(MATRIX) == near(-0.35)
  assert metrics.forward_transfer(MATRIX, INITIAL) == near((-0.1 + 0.2) / 2)
  assert metrics.worst_case(MATRIX) == near(0.4)


def test_the_maximum_may_come_after_the_first():
  matrix = [[0.5, 0, 0], [0.9, 0.5, 0], [0.4, 0.5, 0.5]]
  assert metrics.forgetting_from_maximum(matrix) == pytest.approx(0.25)
  assert metrics.forgetting_from_first(matrix) == pytest.approx(0.05)


def test_worst_case_accuracy_sees_the_dip_between_experiences():
  at_ends = metrics.worst_case_accuracy(MATRIX, [0, 1, 2])
  # 1/3 of the newest, 2/3 of the mean of the minima 0.5 and 0.4.
  assert at_ends == pytest.approx(0.7 / 3 + 2 / 3 * 0.45)
  often = np.insert(MATRIX, 2, [0.2, 0.6, 0.1], axis=0)
  # The dip to 0.2 lies in experience 2, once both earlier ones were over.
  assert metrics.worst_case_accuracy(often, [0, 1, 2, 2]) == pytest.approx(
    0.7 / 3 + 2 / 3 * (0.2 + 0.4) / 2
  )
  # Within its own experience a test set has no past to lose.
  early = np.insert(MATRIX, 0, [0.0, 0.0, 0.0], axis=0)
  assert metrics.worst_case_accuracy(early, [0, 0, 1, 2]) == at_ends
  assert metrics.worst_case_accuracy([[0.3]], [0]) == 0.3


def test_anytime_average_is_the_area_over_the_range():
  # Trapezoids: 2 * 0.2 + 4 * 0.4 = 2.0 over 6 steps.
  assert metrics.anytime_average([2, 4, 8], [0, 0.4, 0.4]) == pytest.approx(
    (0.4 + 1.6) / 6
  )
  assert metrics.anytime_average([5], [0.3]) == 0.3
  assert metrics.anytime_average([1, 2, 3], [0.2, math.nan, 0.4]) == (
    pytest.approx(0.3)
  )
  assert math.isnan(metrics.anytime_average([], []))


def test_averages_by_name():
  assert metrics.macro_average([0.2, 0.8]) == pytest.approx(0.5)
  assert metrics.micro_average([0.2, 0.8], [30, 10]) == pytest.approx(0.35)
  assert metrics.micro_average([0.2, math.nan], [30, 10]) == pytest.approx(0.2)
  assert math.isnan(metrics.micro_average([0.2], [0]))
  assert math.isnan(metrics.macro_average([math.nan]))


def test_accuracy_per_joule():
  assert metrics.accuracy_per_joule(0.5, 200.0) == 0.0025
  assert math.isnan(metrics.accuracy_per_joule(0.5, 0.0))
  with pytest.raises(ValueError, match="negative: -1"):
    metrics.accuracy_per_joule(0.5, -1.0)


def test_one_experience_leaves_nothing_to_forget():
  single = [[0.7]]
  assert metrics.final_average_accuracy(single) == 0.7
  assert metrics.average_incremental_accuracy(single) == 0.7
  assert metrics.forgetting_per_test(single).shape == (0,)
  for value in (
    metrics.forgetting_from_maximum(single),
    metrics.forgetting_from_first(single),
    metrics.backward_transfer(single),
    metrics.forward_transfer(single, [0.1]),
  ):
    assert math.isnan(value)


def test_a_missing_test_set_is_left_out():
  matrix = MATRIX.copy()
  matrix[:, 1] = np.nan
  assert metrics.final_average_accuracy(matrix) == pytest.approx(0.65)
  np.testing.assert_allclose(metrics.accuracy_on_seen(matrix), [0.9, 0.5, 0.65])
  assert metrics.forgetting_from_maximum(matrix) == pytest.approx(0.3)
  assert metrics.forgetting_from_first(matrix) == pytest.approx(0.3)
  assert metrics.forward_transfer(matrix, INITIAL) == pytest.approx(0.2)
  assert metrics.worst_case(matrix) == pytest.approx(0.6)
  assert metrics.worst_case_accuracy(matrix, [0, 1, 2]) == pytest.approx(
    0.7 / 3 + 2 / 3 * 0.5
  )


@QUICK
@hypothesis.given(SQUARE)
def test_relations_between_the_metrics(matrix):
  if len(matrix) > 1:
    maximum = metrics.forgetting_from_maximum(matrix)
    assert maximum >= metrics.forgetting_from_first(matrix) - 1e-12
    assert metrics.backward_transfer(matrix) == pytest.approx(
      -metrics.forgetting_from_first(matrix)
    )
  average = metrics.final_average_accuracy(matrix)
  assert metrics.worst_case(matrix) <= average + 1e-12
  ends = np.arange(len(matrix))
  assert metrics.worst_case_accuracy(matrix, ends) <= average + 1e-12
  equal = np.full(len(matrix), 7)
  assert metrics.micro_average(matrix[-1], equal) == pytest.approx(average)


@QUICK
@hypothesis.given(SQUARE, st.randoms(use_true_random=False))
def test_the_order_of_test_sets_does_not_change_final_values(matrix, random):
  order = random.sample(range(len(matrix)), len(matrix))
  shuffled = matrix[:, order]
  assert metrics.final_average_accuracy(shuffled) == pytest.approx(
    metrics.final_average_accuracy(matrix)
  )
  assert metrics.worst_case(shuffled) == metrics.worst_case(matrix)


@QUICK
@hypothesis.given(SQUARE, st.integers(2, 9), st.floats(-0.5, 0.5))
def test_shifts_and_scales(matrix, factor, shift):
  # All that compares two accuracies is blind to a common shift.
  moved = matrix + shift
  assert metrics.forgetting_from_maximum(moved) == pytest.approx(
    metrics.forgetting_from_maximum(matrix), abs=1e-9, nan_ok=True
  )
  steps = np.arange(len(matrix)) + 1
  assert metrics.anytime_average(factor * steps, matrix[0]) == pytest.approx(
    metrics.anytime_average(steps, matrix[0])
  )


def test_confidence_interval_by_students_t():
  # t(0.975, 2) = 4.302653; deviation 1, three values.
  mean, half = metrics.confidence_interval([1.0, 2.0, 3.0])
  assert mean == 2.0
  assert half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
  assert metrics.confidence_interval([1.0, math.nan, 2.0, 3.0]) == (mean, half)
  narrow = metrics.confidence_interval([1.0, 2.0, 3.0], level=0.5)[1]
  assert narrow < half
  mean, half = metrics.confidence_interval([0.4])
  assert mean == 0.4 and math.isnan(half)
  assert all(map(math.isnan, metrics.confidence_interval([])))


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: metrics.final_average_accuracy([0.5]), r"shape \(1,\)"),
    (lambda: metrics.final_average_accuracy(np.empty((0, 3))), r"\(0, 3\)"),
    (
      lambda: metrics.forgetting_from_maximum(MATRIX[:2]),
      r"not square: of an unfinished run give accuracy\[:, :2\]",
    ),
    (lambda: metrics.forward_transfer(MATRIX, [0.1]), r"\(1,\) where \(3,\)"),
    (lambda: metrics.micro_average([0.1], [1, 2]), "1 accuracies .* 2 sizes"),
    (lambda: metrics.micro_average([0.1, 0.2], [0.5, -1]), "negative: -1.0$"),
    (lambda: metrics.anytime_average([1, 1], [0, 0]), "rise strictly"),
    (lambda: metrics.anytime_average([1], [0, 0]), "one length"),
    (lambda: metrics.worst_case_accuracy(MATRIX, [0, 1]), "3 evaluations"),
    (lambda: metrics.worst_case_accuracy(MATRIX, [1, 0, 2]), "must not fall"),
    (lambda: metrics.worst_case_accuracy(MATRIX, [0, 1, 3]), r"\[0, 3\)"),
    (lambda: metrics.confidence_interval([1.0], level=95), "level .* 95"),
  ],
)
def test_bad_input_is_named(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_bounds_of_arguments():
  assert metrics.micro_average([0.2, 0.4], [0, 3]) == pytest.approx(0.4)
  assert metrics.accuracy_per_joule(0.0, 2.0) == 0
  assert metrics.anytime_average([1, 3], [0.2, 0.6]) == pytest.approx(0.4)
  assert metrics.worst_case_accuracy(MATRIX[:2], [2, 2]) == pytest.approx(
    0.3 / 3 + 2 / 3 * (0.5 + 0.1) / 2
  )
  _, half = metrics.confidence_interval([1.0, 2.0])
  assert half == pytest.approx(12.7062 / 2, rel=1e-5)  # t(0.975, 1)
  for level in (0, 1):
    with pytest.raises(ValueError, match="level"):
      metrics.confidence_interval([1.0, 2.0], level=level)
  for course in ([-1, 0, 1], [0, 0, 3]):
    with pytest.raises(ValueError, match="must lie in"):
      metrics.worst_case_accuracy(MATRIX, course)


def test_lists_that_fall_or_weigh_nothing():
  for steps in ([2, 1], [1, 3, 2]):
    with pytest.raises(ValueError, match="rise strictly"):
      metrics.anytime_average(steps, [0.1] * len(steps))
  with pytest.raises(ValueError, match=r"steps \(2, 1\)"):
    metrics.anytime_average([[1], [2]], [[0], [0]])
  with pytest.raises(ValueError, match="none is negative"):
    metrics.micro_average([0.1, 0.2], [1, math.nan])
  assert math.isnan(metrics.micro_average([], []))
  assert metrics.micro_average([0.5, 1.0], [1, 0]) == 0.5
  # A fraction of an example is something.
  assert metrics.micro_average([0.5, 1.0], [0.25, 0.25]) == 0.75
  # One experience, evaluated twice: the last evaluation counts.
  course = [0, 0]
  assert metrics.worst_case_accuracy([[0.3, 1], [0.4, 1]], course) == 0.4
