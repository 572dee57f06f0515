"""Sums that a hand can check."""

import math

from hypothesis import given
from hypothesis import strategies as st
import pytest
import signatures

from jcl.cost.meters import energy

AMOUNTS = st.floats(0.0, 1e6)


def test_a_trace_is_integrated_by_trapezoids_over_uneven_steps():
  assert energy.integrate([0.0, 1.0, 3.0], [10.0, 20.0, 0.0]) == 15.0 + 20.0


@pytest.mark.parametrize("times, power", [([], []), ([5.0], [100.0])])
def test_less_than_two_samples_hold_no_energy(times, power):
  assert energy.integrate(times, power) == 0.0


@given(
  st.lists(st.floats(0.0, 100.0), min_size=2, max_size=20),
  st.floats(-5.0, 5.0),
  AMOUNTS,
)
def test_a_straight_line_is_integrated_exactly(times, slope, level):
  times = sorted(times)
  power = [level + slope * t for t in times]
  first, last = times[0], times[-1]
  exact = level * (last - first) + 0.5 * slope * (last**2 - first**2)
  assert energy.integrate(times, power) == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize(
  "times, power, message",
  [
    ([0.0, 1.0], [1.0], "2 times and 1 powers"),
    ([0.0, 2.0, 1.0], [1.0] * 3, r"times\[2\]=1.0 lies before times\[1\]=2.0"),
    ([0.0, 1.0], [1.0, math.nan], "must be finite"),
  ],
)
def test_traces_that_are_none_are_refused(times, power, message):
  with pytest.raises(ValueError, match=message):
    energy.integrate(times, power)


@pytest.mark.parametrize(
  "a, b, wrap, delta",
  [
    (3.0, 10.0, 16.0, 7.0),
    (15.0, 2.0, 16.0, 3.0),  # over the end
    (16.0, 0.0, 16.0, 0.0),  # the end is the beginning
    (5.0, 5.0, 16.0, 0.0),
    (3.0, 10.0, math.inf, 7.0),
    (10.0, 3.0, math.inf, 3.0),  # started anew
  ],
)
def test_a_counter_goes_up_and_over(a, b, wrap, delta):
  assert energy.counter_delta(a, b, wrap) == delta


@given(
  st.integers(0, 2**32),
  st.lists(st.integers(0, 2**32 - 1), max_size=20),
)
def test_steps_over_the_end_add_up(start, steps):
  wrap = 2**32
  values = [start % wrap]
  for step in steps:
    values.append((values[-1] + step) % wrap)
  total = sum(
    energy.counter_delta(a, b, wrap)
    for a, b in zip(values, values[1:], strict=False)
  )
  assert total == sum(steps)


@pytest.mark.parametrize(
  "a, b, wrap, message",
  [
    (-1.0, 0.0, 16.0, "a=-1.0"),
    (0.0, 17.0, 16.0, "b=17.0 is no value of a counter up to 16.0"),
    (0.0, math.nan, 16.0, "b=nan"),
    (0.0, 0.0, 0.0, "wrap=0.0"),
    (17.0, 0.0, 16.0, "a=17.0"),
    (0.0, math.inf, math.inf, "b=inf"),
  ],
)
def test_values_that_no_counter_shows_are_refused(a, b, wrap, message):
  with pytest.raises(ValueError, match=message):
    energy.counter_delta(a, b, wrap)


def test_a_trial_is_scaled_to_all_examples_and_epochs():
  # 5 epochs of 10 batches of 8 took 40 J: 0.1 J an example.
  joules = energy.extrapolate(40.0, 5, 10, 8, em=100, sb=200, epochs=70)
  assert joules == pytest.approx(0.1 * 300 * 70)


def test_what_trains_nothing_takes_nothing():
  assert energy.extrapolate(0, 1, 1, 1, 5, 5, 5) == 0
  assert energy.extrapolate(2, 1, 1, 1, 0, 0, 5) == 0
  assert energy.extrapolate(2, 1, 1, 1, 5, 5, 0) == 0
  assert energy.extrapolate(3, 0.5, 1, 2, 1, 0, 1) == 3.0
  # Two samples at one time hold nothing between them.
  assert energy.integrate([1, 1, 2], [5, 7, 9]) == 8.0


@given(
  st.floats(0.0, 1e4),
  st.integers(1, 20),
  st.integers(1, 50),
  st.integers(1, 64),
)
def test_a_trial_on_everything_is_its_own_extrapolation(
  joules, epochs, batches, batch
):
  examples = batches * batch
  found = energy.extrapolate(
    joules,
    epochs,
    batches,
    batch,
    examples // 2,
    examples - examples // 2,
    epochs,
  )
  assert found == pytest.approx(joules)


@pytest.mark.parametrize(
  "change",
  [{name: 0} for name in ("trial_epochs", "trial_batches", "batch")]
  + [{name: -1} for name in ("trial_joules", "em", "sb", "epochs")]
  + [{"epochs": math.inf}, {"batch": math.inf}],
)
def test_trials_that_never_ran_are_refused(change):
  values = dict(
    trial_joules=1.0,
    trial_epochs=1,
    trial_batches=1,
    batch=1,
    em=1,
    sb=1,
    epochs=1,
  )
  with pytest.raises(ValueError, match=next(iter(change))):
    energy.extrapolate(**(values | change))


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(energy.counter_delta) == {"wrap": math.inf}
