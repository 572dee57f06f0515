"""Learning curves, the Pareto front, and candidates of a device."""

import dataclasses

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.control.drift import microprofile

SHARE = st.floats(0, 1)
EPOCHS = np.array([0.0, 1.0, 5.0, 12.0, 30.0, 300.0])


@hypothesis.given(SHARE, SHARE, st.floats(0.5, 30))
def test_predictions_are_bounded(start, measured, epoch):
  found = microprofile.extrapolate(start, measured, epoch, EPOCHS)
  assert np.all(found <= 0.95 + 1e-9)
  assert np.all(found >= min(start, measured, 0.95) - 1e-9)


@hypothesis.given(SHARE, SHARE, SHARE, st.floats(0.5, 30))
def test_predictions_rise_with_the_measurement(start, first, second, epoch):
  low, high = sorted((first, second))
  after = EPOCHS[EPOCHS >= epoch]
  worse = microprofile.extrapolate(start, low, epoch, after)
  better = microprofile.extrapolate(start, high, epoch, after)
  assert np.all(better >= worse - 1e-9)


@hypothesis.given(st.floats(0, 0.9), st.floats(0, 0.94), st.floats(0.5, 30))
def test_the_curve_goes_through_what_is_known(start, measured, epoch):
  hypothesis.assume(measured > start + 1e-3)
  found = microprofile.extrapolate(start, measured, epoch, [0, epoch])
  np.testing.assert_allclose(found, [start, measured], atol=1e-9)


def test_a_curve_by_hand():
  # g = 30 / (0.5 / 0.05 - 1) = 10/3; hoped for at 10/3: 0.95 * 0.75 = 0.7125
  # measured 0.57 is 0.8 of it: b = 0.76, h = 10/3 * 0.19 / 0.07
  h = 10 / 3 * 0.19 / 0.07
  found = microprofile.extrapolate(0.5, 0.57, 10 / 3, [h, 1e12])
  np.testing.assert_allclose(found, [0.63, 0.76])


def test_nothing_learned_is_nothing_to_come():
  found = microprofile.extrapolate(0.5, 0.45, 5, EPOCHS)
  np.testing.assert_allclose(found, 0.45)


@pytest.mark.parametrize(
  ("start", "measured"), [(0.3, 0.5), (0.5, 0.6), (0.6, 0.8), (0.7, 0.72)]
)
def test_the_published_fits_are_near_the_closed_form(start, measured):
  published = microprofile.extrapolate_published(
    start, measured, 5, [5, 15, 30]
  )
  closed = microprofile.extrapolate(start, measured, 5, [5, 15, 30])
  assert np.all(np.diff(published) >= 0)
  np.testing.assert_allclose(published, closed, atol=0.1)
  again = microprofile.extrapolate_published(start, measured, 5, [5, 15, 30])
  np.testing.assert_array_equal(published, again)


@hypothesis.given(SHARE, SHARE, st.floats(0.5, 30))
def test_the_published_fits_make_no_gain_of_a_loss(one, other, epoch):
  measured, start = sorted((one, other))
  hypothesis.assume(measured < start)
  found = microprofile.extrapolate_published(start, measured, epoch, EPOCHS)
  np.testing.assert_array_equal(found, np.full(6, min(measured, 0.95)))


@pytest.mark.parametrize("measured", [0.3, 0.301])
def test_the_published_fits_hope_on_where_nothing_is_lost(measured):
  start, end = microprofile.extrapolate_published(0.3, measured, 5, [0, 30])
  assert start == pytest.approx(0.3, abs=0.01) and 0.35 < end < 0.45


def test_the_fits_by_hand(monkeypatch):
  calls, seeds = [], iter([[0.2, 2.0, 0.1], [0.1, 2.0, 0.0], [0.5, 2.0, 0.25]])

  def fit(epochs, accuracies):
    calls.append((list(epochs), list(accuracies)))
    return np.array(next(seeds))

  monkeypatch.setattr(microprofile, "_fit", fit)
  found = microprofile.extrapolate_published(
    0.5, 0.6, 5, [0, 4, 1e9], end=10, most=0.9
  )
  assert calls[0] == ([0, 10], [0.5, 0.9])
  # 1 - (1 / 3 + 0.1) was hoped for: 0.9 times 17 / 30.
  reached = 0.9 * 0.6 / (0.9 * 17 / 30)
  assert calls[1] == ([0, 10], [0.5, pytest.approx(min(1, reached) * 0.9)])
  between = np.linspace(0, 10, 4)
  curve = 1 - 1 / (0.1 * between + 2)
  assert calls[2][0] == pytest.approx([*between, 0, 10, 5])
  assert calls[2][1] == pytest.approx([*curve, 0.5, calls[1][1][1], 0.6])
  np.testing.assert_allclose(found, [0.25, 0.5, 0.75], atol=1e-8)


@pytest.mark.parametrize("true", [(0.3, 1.5, 0.05), (0.1, 3.0, 0.2)])
def test_a_curve_through_its_own_points_is_found_again(true):
  x = np.array([0.0, 2.0, 5.0, 11.0, 30.0, 80.0])
  y = 1 - (1 / (true[0] * x + true[1]) + true[2])
  np.testing.assert_allclose(microprofile._fit(x, y), true, rtol=1e-3)


def test_a_fit_begins_near_what_is_known(monkeypatch):
  from scipy import optimize

  seen = []

  def least_squares(residual, first, bounds):
    seen.append((first.tolist(), bounds, residual(np.array([0.0, 2.0, 0.1]))))
    return optimize.OptimizeResult(x=first)

  monkeypatch.setattr(optimize, "least_squares", least_squares)
  microprofile._fit([0, 1], [0.75, 0.8])
  microprofile._fit([0, 1], [1.0, 1.0])
  assert seen[0][0] == [0.1, 4.0, 1e-3] and seen[1][0] == [0.1, 1e3, 1e-3]
  assert seen[0][1] == (0, np.inf)
  np.testing.assert_allclose(seen[0][2], [-0.35, -0.4])


def test_a_measured_curve_of_the_family_is_found_again():
  curve = lambda x: 1 - 1 / (0.6 * x + 2)  # noqa: E731
  assert curve(30) == pytest.approx(0.95)
  found = microprofile.extrapolate_published(
    0.5, 0.95 * curve(5), 5, [0, 30], end=30
  )
  np.testing.assert_allclose(found, [0.5, 0.95], atol=0.04)


def test_the_front_and_what_is_behind_it():
  accuracy, cost = [0.5, 0.7, 0.6, 0.7, 0.4], [1, 2, 2, 3, 1]
  behind = microprofile.behind_front(accuracy, cost)
  np.testing.assert_allclose(behind, [0, 0, 0.1, 0, 0.1], atol=1e-12)
  assert microprofile.prune(accuracy, cost, 0.2) == [0, 1, 3, 4]
  assert microprofile.prune(accuracy, cost, 0.8) == [0, 1, 3]
  assert microprofile.prune(accuracy, cost, 0.0) == [0, 1, 2, 3, 4]
  assert microprofile.prune([], [], 0.5) == []


def test_candidates_fit_the_window():
  found = microprofile.orin_configs(0.01713, 0.08250, 0.04766)
  assert len(found) == 9
  assert {each.epochs for each in found} == {5, 15, 30}
  percents = sorted({each.percent for each in found})
  low, middle, high = percents
  assert middle == (low + high) // 2
  # the largest rate is that of five epochs: one percent more does not fit
  spent = {(each.percent, each.epochs): each.seconds for each in found}
  assert spent[high, 5] <= 120 and spent[low, 30] <= 120
  more = 36 * (high + 1)
  assert 3600 * 0.01713 + -(-more // 32) * 0.0825 * 5 + more * 0.04766 > 120


def test_nine_candidates_by_hand():
  def found(*args, **options):
    configs = microprofile.orin_configs(*args, **options)
    return [(each.percent, each.epochs) for each in configs]

  lengths = (5, 15, 30)
  expected = [(rate, n) for rate in (12, 19, 26) for n in lengths]
  assert found(0.01713, 0.0825, 0.04766) == expected
  # 61.668 s to serve, 432 frames in 14 batches to train on and to label
  first = microprofile.orin_configs(0.01713, 0.0825, 0.04766)[0]
  seconds = 61.668 + 14 * 0.0825 * 5 + 432 * 0.04766
  assert first.seconds == pytest.approx(seconds)
  # 32 s are as much as all frames take in 30 epochs: 1 + 30 + 1.
  options = {"frames": 128, "batch": 1}
  for window, most in ((32, 100), (31.99, 99)):
    rates = found(*[2**-7] * 3, window=window, **options)
    assert rates[0] == (most, 5) and rates[-1] == (100, 30)


def test_the_bounds_of_a_curve():
  curve = microprofile.extrapolate
  np.testing.assert_array_equal(curve(0, 1, 5, [0]), [0])
  # as good as the most, or no better than before: it stays
  np.testing.assert_array_equal(curve(0.95, 0.97, 5, [0, 9]), [0.95, 0.95])
  np.testing.assert_array_equal(curve(0.5, 0.5, 5, [0, 9]), [0.5, 0.5])
  np.testing.assert_array_equal(curve(0.5, 0.96, 5, [0, 9]), [0.5, 0.95])
  # What is hoped for half-way is 0.95 * (1 - 0.5 / 5.5); reached, it goes on.
  found = curve(0.5, 0.95 * (1 - 0.5 / 5.5), 0.5, [1e12], end=1)
  np.testing.assert_allclose(found, [0.95])
  for bad in ({"epoch": -1}, {"end": 0}, {"most": 0}):
    with pytest.raises(ValueError, match="give epochs of more than 0"):
      curve(**{"start": 0.5, "measured": 0.5, "epoch": 5, "epochs": 3} | bad)
  for bad in ({"start": -0.1}, {"measured": 1.1}):
    with pytest.raises(ValueError, match=r"give an accuracy in \[0, 1\]"):
      curve(**{"start": 0.5, "measured": 0.5, "epoch": 5, "epochs": 3} | bad)


def test_configurations_cannot_be_changed():
  (first, *_) = microprofile.orin_configs(0.01713, 0.0825, 0.04766)
  with pytest.raises(dataclasses.FrozenInstanceError):
    first.percent = 3


def test_a_slow_device_gets_one_percent():
  found = microprofile.orin_configs(0.03244, 0.27914, 0.12472)
  assert {each.percent for each in found} == {1}
  assert all(each.seconds > 120 for each in found)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: microprofile.extrapolate(1.5, 0.5, 5, 30), "start=1.5"),
    (lambda: microprofile.extrapolate(0.5, 0.5, 0, 30), "epoch=0"),
    (lambda: microprofile.extrapolate(0.5, 0.5, 5, 30, most=1), "most=1"),
    (lambda: microprofile.extrapolate_published(0.5, 2, 5, 3), "measured=2"),
    (lambda: microprofile.prune([0.5], [1], 1.0), "fraction=1.0"),
    (lambda: microprofile.prune([0.5], [1], -0.1), "fraction=-0.1"),
    (lambda: microprofile.behind_front([[1]], [[1]]), "one cost per"),
    (lambda: microprofile.behind_front([0.5], [1, 2]), "one cost per"),
  ],
)
def test_bad_numbers_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(microprofile.extrapolate) == {
    "end": 30,
    "most": 0.95,
  }
  assert signatures.defaults(microprofile.extrapolate_published) == {
    "end": 30,
    "most": 0.95,
  }
  assert signatures.defaults(microprofile.orin_configs) == {
    "window": 120,
    "frames": 3600,
    "batch": 32,
  }
