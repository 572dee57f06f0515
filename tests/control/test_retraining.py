"""Whether to retrain: by hand, and what more of anything does to it."""

import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from jcl.control import retraining

GAINS = st.floats(-1, 1)
NUMBERS = st.floats(0, 1e6)


@pytest.mark.parametrize(
  "gain, requests, value, cost, trains",
  [
    (0.02, 500, 1, 8, True),  # 10 > 8
    (0.02, 300, 1, 8, False),  # 6 < 8
    (0.02, 400, 1, 8, False),  # worth what it costs, and no more
    (0.02, 300, 2, 8, True),
    (-0.02, 500, 1, 8, False),
    (1.0, 0, 1, 8, False),
    (1.0, 0, 1, 1e-9, False),
    (0.02, 500, 1, 0, True),
    (0.0, 0, 0, 0, True),
    (-0.5, 500, 1, 0, True),
    (1.0, 9, 1, 8, True),
    (-1.0, 9, 1, 8, False),
  ],
)
def test_training_by_hand(gain, requests, value, cost, trains):
  assert retraining.pays(gain, requests, value, cost) is trains


def test_what_is_left_over():
  assert retraining.surplus(0.02, 500, 1, 8) == pytest.approx(2)
  assert retraining.surplus(-0.02, 500, 1, 8) == pytest.approx(-18)


def test_where_training_begins_to_pay():
  assert retraining.break_even(0.02, 1, 8) == 400
  assert retraining.break_even(0.0, 1, 8) == math.inf
  assert retraining.break_even(-0.1, 1, 8) == math.inf
  assert retraining.break_even(0.1, 0, 8) == math.inf
  assert retraining.break_even(-0.1, 1, 0) == 0


def test_requests_go_on_at_their_rate():
  assert retraining.expected_requests(30, 60, 90) == 45
  assert retraining.expected_requests(0, 60, 90) == 0


@given(GAINS, NUMBERS, NUMBERS)
def test_no_requests_no_training(gain, value, cost):
  assert not retraining.pays(gain, 0, value, cost) or cost == 0


@given(GAINS, NUMBERS, NUMBERS)
def test_free_training_is_always_done(gain, requests, value):
  assert retraining.pays(gain, requests, value, 0)


@given(st.floats(0, 1), NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_more_requests_and_lower_costs_never_stop_it(
  gain, requests, more, value, cost
):
  if retraining.pays(gain, requests, value, cost):
    assert retraining.pays(gain, min(requests + more, 1e300), value, cost)
    assert retraining.pays(gain, requests, value, cost / 2)


@given(st.floats(0.001, 1), st.floats(0.001, 1e3), st.floats(0.001, 1e3))
def test_the_break_even_parts_the_two(gain, value, cost):
  least = retraining.break_even(gain, value, cost)
  assert retraining.pays(gain, least * 1.001, value, cost)
  assert not retraining.pays(gain, least * 0.999, value, cost)


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: retraining.pays(2, 1, 1, 1), "a gain of 2: give a share"),
    (lambda: retraining.pays(math.nan, 1, 1, 1), "a gain of nan"),
    (lambda: retraining.pays(0.1, -1, 1, 1), "requests=-1: give 0"),
    (lambda: retraining.pays(0.1, 1, math.inf, 1), "value=inf: give 0"),
    (lambda: retraining.pays(0.1, 1, 1, -1), "a cost of -1 for training"),
    (lambda: retraining.pays(0.1, 1, 1, math.inf), "a cost of inf"),
    (lambda: retraining.expected_requests(1, math.inf, 1), "a past of inf"),
    (lambda: retraining.break_even(0.1, 1, math.nan), "a cost of nan"),
    (lambda: retraining.expected_requests(1, 0, 1), "a past of 0"),
    (lambda: retraining.expected_requests(-1, 1, 1), "seen=-1"),
    (lambda: retraining.expected_requests(1, 1, math.inf), "ahead=inf"),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()
