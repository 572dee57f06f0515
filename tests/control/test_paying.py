"""Looks at examples set aside, and whether updates go on."""

import numpy as np
import pytest

from jcl import base
from jcl.control import paying, verdict


def looks(*shares, solved=0.0, every=10):
  return [
    paying.Look(i * every, 100, solved, share) for i, share in enumerate(shares)
  ]


def test_three_looks_behind_the_first_are_needed():
  assert paying.in_vain(looks(0.5, 0.5, 0.5), 10, 100, {}, {}) == ""
  found = paying.in_vain(looks(0.5, 0.5, 0.5, 0.5), 10, 100, {}, {})
  assert "nothing more" in found


def test_at_the_end_nothing_is_to_be_ended():
  assert paying.in_vain(looks(0.5, 0.5, 0.5, 0.5), 10, 30, {}, {}) == ""


def test_a_network_that_stays_below_the_classifier_is_in_vain():
  rising = (0.2, 0.4, 0.5, 0.55)
  assert paying.in_vain(looks(*rising), 10, 60, {}, {}) == ""
  found = paying.in_vain(looks(*rising, solved=0.9), 10, 60, {}, {})
  assert "not above the classifier" in found


def test_a_gain_is_weighed_against_its_price():
  rising = looks(0.2, 0.5, 0.6, 0.65)  # 0.8 - 0.6 / (1 + updates / 10)
  curve = paying.curve(rising, 10)
  assert curve.at(5) - curve.at(4) == pytest.approx(0.03, abs=1e-3)
  each = {"joules": 1.0}
  assert paying.in_vain(rising, 10, 100, {"joules": 0.0029}, each) == ""
  found = paying.in_vain(rising, 10, 100, {"joules": 0.0031}, each)
  assert "the next 10 updates are forecast to gain 3.00 points" in found
  assert "what they take gains 3.10 elsewhere" in found


def test_first_prices_are_the_slope_where_an_equal_share_ends():
  rising = looks(0.2, 0.5, 0.6, 0.65)
  # 30 updates took 60 J; an equal share of 80 J buys 40, the curve's 5.
  found = paying.first_prices(rising, 10, {"joules": 60.0}, {"joules": 80.0})
  assert found == {"joules": pytest.approx(0.02 / 20, abs=1e-5)}
  assert paying.first_prices(rising[:3], 10, {"joules": 1}, {"joules": 1}) == {}


def test_the_first_look_is_at_classifier_and_network():
  told = {"examples": 50.0, "solved": 40.0, "trained": 25.0}
  seen = base.Observation(0, 1, 10, base.Cost(), compare=lambda: told)
  assert paying.first(seen) == paying.Look(0, 50, 0.8, 0.5)
  right = np.array([True, False, True, True])
  judged = verdict.Verdict(right, np.zeros(4, np.float32))
  seen = base.Observation(0, 1, 10, base.Cost(), judge=lambda: judged)
  assert paying.first(seen) == paying.Look(0, 4, 0.0, 0.75)
  blank = {"examples": 0.0, "solved": 0.0, "trained": 0.0}
  seen = base.Observation(0, 1, 10, base.Cost(), compare=lambda: blank)
  assert paying.first(seen) == paying.Look(0, 0, 0.0, 0.0)


def test_a_look_is_told_with_the_classifier_where_there_is_one():
  alone = base.Observation(0, 1, 10, base.Cost())
  beside = base.Observation(0, 1, 10, base.Cost(), compare=dict)
  look = paying.Look(0, 50, 0.8, 0.5)
  found = "of what is set aside the network has 50.0 % right"
  assert paying.told(look, alone) == found
  assert paying.told(look, beside) == f"{found}, the classifier 80.0 %"


def test_noise_is_never_zero():
  assert paying.Look(0, 16, 1.0, 1.0).noise == pytest.approx(
    np.sqrt(17 / 18 / 18 / 16)
  )


def state(found, **more):
  """State of a joint controller whose experience is over."""
  nothing = {"prices": {}, "equal": {}, "begun": {}}
  return {**nothing, "looks": [list(each) for each in found], **more}


def test_a_forecast_by_early_looks_stands_beside_the_last_look():
  shares = (0.2, 0.5, 0.6, 0.65)  # 0.8 - 0.6 / (1 + updates / 10)
  known = state(looks(*shares), interval=10)
  # No look is later than those of the forecast.
  assert paying.figures(known, base.UNLIMITED) == {}
  known = state(looks(*shares, 0.66, 0.7), interval=10)
  found = paying.figures(known, base.UNLIMITED)
  assert found["reached"] == 0.7
  assert found["forecast"] == pytest.approx(0.8 - 0.6 / 6, abs=1e-3)


def test_without_looks_there_is_no_forecast():
  assert paying.figures(state([]), base.UNLIMITED) == {}


def test_what_is_beside_updates_is_taken_or_yet_to_come():
  floor = [{"joules": 1.0, "flops": -3.0}, {"joules": 50.0, "flops": 50.0}]
  found = paying.around(floor, base.Cost(joules=2.0, flops=10.0))
  assert found == {"joules": 3.0, "flops": 10.0}
  assert paying.around([], base.Cost()) == {}


def test_shares_are_those_of_the_whole_experience():
  known = state(
    looks(0.5),
    prices={"joules": 0.01},
    around={"joules": 3.0, "flops": 10.0},
    begun={"joules": 2.5, "flops": 10.0},
    equal={"joules": 5.0, "flops": 100.0},
  )
  limit = base.Cost(np.inf, 9.5, np.inf, np.inf)
  assert paying.figures(known, limit) == {
    "price_joules": 0.01,
    "price": 0.05,
    "share_joules": 8.0,
    "allowed_joules": 10.0,
    "share_flops": 110.0,
  }
