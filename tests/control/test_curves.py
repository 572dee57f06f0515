"""Learning curves against ones worked out by hand, and their promises."""

import dataclasses
import json
import math

from hypothesis import assume, given
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.control import curves
from jcl.control.curves import Curve, Prior

SCORES = st.floats(0, 1)
POINTS = st.lists(
  st.tuples(st.integers(1, 100), SCORES),
  min_size=1,
  max_size=12,
  unique_by=lambda point: point[0],
)
DECAYS = st.sampled_from(curves.GRID)


def points(curve, ks):
  return [(k, curve.at(k)) for k in ks]


# By hand


def test_exact_points_give_their_curve():
  found = curves.fit([(1, 0.4), (2, 0.6), (4, 0.7)])
  assert found.a == pytest.approx(0.8, abs=1e-6)
  assert found.b == pytest.approx(0.4, abs=1e-6)
  assert found.c == 1 and found.rises
  assert found.at(8) == pytest.approx(0.75, abs=1e-6)
  assert found.noise < 1e-9


def test_the_curve_of_etuner():
  found = curves.fit([(1, 0.5), (2, 0.6), (4, 0.64)], grid=(1.0,))
  assert found.a == pytest.approx(0.69, abs=1e-6)
  assert found.b == pytest.approx(0.188571, abs=1e-6)
  assert found.gain(4, 8) == pytest.approx(0.023571, abs=1e-6)
  # Residuals -.001429, .004286, -.002857: their squares are 2.857e-5.
  assert found.noise == pytest.approx(math.sqrt(2.857143e-5), rel=1e-5)


@pytest.mark.parametrize("prior", [None, Prior(0.5)])
def test_two_points_forecast_the_last(prior):
  for known in ([(3, 0.6)], [(1, 0.2), (2, 0.6)], [(2, 0.6), (1, 0.2)]):
    found = curves.fit(known, prior=prior)
    assert not found.rises
    assert found.at(100) == found.at(1) == 0.6
  # A third point at a k that is known already is no third place.
  assert curves.fit([(1, 0.2), (2, 0.6), (2, 0.7)]).at(50) == 0.7


def test_noise_above_the_gain_forecasts_the_last():
  up_and_down = [(1, 0.5), (2, 0.7), (3, 0.4), (4, 0.7), (5, 0.5)]
  assert curves.fit(up_and_down).at(50) == 0.5
  rising = [(1, 0.4), (2, 0.6), (4, 0.7)]  # by .3
  assert curves.fit(rising, noise=0.29).at(8) > 0.7
  assert curves.fit(rising, noise=0.31).at(8) == 0.7
  falling = [(1, 0.7), (2, 0.6), (4, 0.5)]
  assert curves.fit(falling).at(8) == 0.5


def test_a_flat_curve_rises_by_no_rounding():
  found = curves.fit([(k, 0.1 + 0.2) for k in range(1, 9)])
  assert not found.rises and found.at(99) == 0.1 + 0.2


def test_weights_are_copies():
  once = [(1, 0.5), (2, 0.6), (4, 0.7), (8, 0.71)]
  twice = [*once, once[1]]
  weighted = curves.fit(once, weights=[1, 2, 1, 1])
  copied = curves.fit(twice)
  assert weighted.c == copied.c
  assert weighted.a == pytest.approx(copied.a)
  assert weighted.b == pytest.approx(copied.b)
  assert weighted.a != pytest.approx(curves.fit(once).a)


def test_a_score_cannot_pass_what_is_possible():
  known = [(1, 0.5), (2, 0.7), (3, 0.85)]  # no power law: it straightens
  assert curves.fit(known).a > 1
  found = curves.fit(known, most=1.0)
  # a = 1 and c = .5: b = (.5 + .3 2^-.5 + .15 3^-.5) / (1 + 1/2 + 1/3)
  alone = curves.fit(known, most=1.0, grid=(0.5,))
  assert alone.a == 1 and alone.b == pytest.approx(0.435674, abs=1e-6)
  assert found.a <= 1 and found.at(1e6) <= 1


def test_when_a_curve_reaches_a_score():
  curve = Curve(0.8, 0.4, 1.0)
  assert curve.reaches(0.75) == pytest.approx(8)
  assert curve.reaches(0.8) == curve.reaches(0.9) == math.inf
  flat = Curve(0.5, 0.0, 1.0)
  assert flat.reaches(0.5) == 0 and flat.reaches(0.51) == math.inf
  assert Curve(1.0, 1.0, 0.1).reaches(1 - 1e-4) == math.inf  # 1e40


def test_the_prior_decides_where_points_do_not():
  truth = Curve(0.8, 0.4, 1.0)
  exact = points(truth, (1, 2, 4))
  assert curves.fit(exact, prior=Prior(0.3)).c == 1
  # With a noise of .1 all decays fit about alike.
  found = curves.fit(exact, prior=Prior(0.3, spread=0.1), noise=0.1)
  assert found.c == 0.3
  assert curves.fit(exact, prior=Prior(0.3, spread=9), noise=0.01).c > 0.7


def test_only_the_decay_is_carried_over():
  assert curves.carried(None, Curve(0.8, 0.4, 0.5)) == Prior(0.5)
  prior = Prior(0.5, spread=0.2)
  found = curves.carried(prior, Curve(0.8, 0.4, 2.0))
  assert found.c == pytest.approx(1.0) and found.spread == 0.2
  assert curves.carried(prior, Curve(0.8, 0.0, 2.0)) is prior
  assert curves.carried(None, Curve(0.8, 0.0, 2.0)) is None
  moved = curves.carried(prior, Curve(0.8, 0.4, 2.0), share=1.0)
  assert moved.c == pytest.approx(2.0)


def test_what_is_forgotten_is_no_gain():
  new = Curve(0.8, 0.4, 1.0)  # from .7 to .75 over 4 to 8
  falling = [(k, 0.5 + 0.1 / k) for k in (1, 2, 4)]
  old = curves.fit([(k, -score) for k, score in falling], most=0.0)
  assert -old.at(8) == pytest.approx(0.5125)  # from .525
  for classes, gain in (
    ((2, 0), 0.05),
    ((0, 2), -0.0125),
    ((1, 1), 0.01875),
    ((1, 4), 0.0),
    ((1, 9), -0.00625),
  ):
    found = curves.net_gain(new, old, classes, 4, 8)
    assert found == pytest.approx(gain, abs=1e-9)


@pytest.mark.parametrize(
  "gain, price, cost, more",
  [
    (0.005, 0.001, 8, False),
    (0.005, 0.001, 4, True),
    (0.004, 0.001, 4, True),  # stops only below
    (0.0, 0.001, 4, False),
    (0.0, 0.0, 4, True),
  ],
)
def test_training_goes_on_while_it_pays(gain, price, cost, more):
  assert curves.goes_on(gain, price, cost) is more


# Whatever the points


@given(st.floats(-1, 1), st.floats(0.01, 1), DECAYS, st.floats(0.5, 20))
def test_every_curve_of_the_grid_is_recovered(a, b, c, unit):
  truth = Curve(a, b, c)
  found = curves.fit([(unit * k, truth.at(k)) for k in (1, 2, 3, 5, 8)])
  assert found.c == c
  assert found.a == pytest.approx(a, abs=1e-6)
  assert found.at(20 * unit) == pytest.approx(truth.at(20), abs=1e-6)


def by_trial(known, noise, prior):
  """Returns (score, a, b, c) of the best c, each by NumPy's least squares."""
  k, y = np.array(known, float).T
  found = []
  for c in curves.GRID:
    columns = np.stack([np.ones_like(k), -(k**-c)], axis=1)
    (a, b), *_ = np.linalg.lstsq(columns, y, rcond=None)
    if b < 0:
      a, b = y.mean(), 0.0
    squares = ((y - a + b * k**-c) ** 2).sum() + len(k) * noise**2
    score = squares
    if prior is not None:
      score = len(k) / 2 * np.log(squares)
      score += np.log(c / prior.c) ** 2 / (2 * prior.spread**2)
    found.append((score, a, b, c))
  return sorted(found)


@given(
  st.lists(
    st.tuples(st.integers(1, 40), st.floats(-0.1, 0.1)),
    min_size=4,
    max_size=9,
    unique_by=lambda point: point[0],
  ),
  st.sampled_from([None, Prior(0.3, 0.2), Prior(1.2, 0.1), Prior(0.7)]),
  st.sampled_from([0.01, 0.05]),
)
def test_the_best_decay_is_that_of_trying_all(offsets, prior, noise):
  known = [(k, 0.9 - 0.7 / k + offset) for k, offset in offsets]
  (first, a, b, c), (second, *_), *_ = by_trial(known, noise, prior)
  found = curves.fit(known, prior=prior, noise=noise)
  if found.rises and second > first + 1e-6:
    assert found.c == c
    assert (found.a, found.b) == pytest.approx((a, b), abs=1e-6)


@given(POINTS)
def test_a_forecast_never_falls_and_ends_at_its_asymptote(known):
  found = curves.fit(known, most=1.0)
  values = [found.at(k) for k in (1, 2, 5, 50, 1e4, 1e9)]
  assert values == sorted(values) and values[-1] <= found.a <= 1
  assert found.b >= 0
  assert found.gain(3, 7) == pytest.approx(found.at(7) - found.at(3))


@given(POINTS, st.floats(0, 1))
def test_without_a_rise_above_the_noise_the_last_value_is_forecast(
  known, noise
):
  found = curves.fit(known, noise=noise)
  last = max(known)
  if found.rises:
    assert found.gain(min(known)[0], last[0]) > max(noise, found.noise)
    assert len(known) > 2
  else:
    assert found.at(1000) == last[1]


@given(POINTS, st.randoms(use_true_random=False), st.floats(0.5, 2))
def test_order_and_the_scale_of_weights_change_nothing(known, random, scale):
  mixed = list(known)
  random.shuffle(mixed)
  assert curves.fit(mixed) == curves.fit(known)
  scaled = curves.fit(known, weights=[scale] * len(known))
  one = curves.fit(known)
  if scaled.c == one.c and scaled.rises == one.rises:  # but for ties
    assert scaled.at(200) == pytest.approx(one.at(200), rel=1e-6)


@given(POINTS, st.floats(-5, 5))
def test_a_shift_of_all_scores_shifts_the_forecast(known, shift):
  one = curves.fit(known)
  other = curves.fit([(k, score + shift) for k, score in known])
  assume(one.c == other.c and one.rises == other.rises)
  assert other.at(150) - one.at(150) == pytest.approx(shift, abs=1e-6)


@given(POINTS, SCORES)
def test_what_is_reached_is_reached_there(known, score):
  found = curves.fit(known)
  k = found.reaches(score)
  if 0 < k < math.inf:
    assert found.at(k) == pytest.approx(score, abs=1e-6)


@given(POINTS)
def test_a_curve_comes_back_from_json(known):
  found = curves.fit(known)
  text = json.dumps(dataclasses.asdict(found))
  assert Curve(**json.loads(text)) == found


# Bad input


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: curves.fit([]), "no points"),
    (lambda: curves.fit([(0, 0.5)]), "k=0 of a learning curve: give 1e-30"),
    (lambda: curves.fit([(1, math.nan)]), "a score of nan: give a finite"),
    (lambda: curves.fit([(1, math.inf)]), "a score of inf"),
    (lambda: curves.fit([(1, 1.5)], most=1), "a score of 1.5: .* at most 1"),
    (lambda: curves.fit([(1, 0.5)], weights=[]), "0 weights of 1 points"),
    (lambda: curves.fit([(1, 0.5)], weights=[0]), "a weight of 0: give more"),
    (lambda: curves.fit([(1, 0.5)], noise=-1), "noise=-1: give"),
    (lambda: curves.fit([(1, 0.5)], noise=math.inf), "noise=inf: give"),
    (lambda: curves.fit([(1, 0.5)], grid=()), "grid=.*: give values of c"),
    (lambda: curves.fit([(1, 0.5)], grid=(0,)), "grid=.*: give values of c"),
    (lambda: Prior(0), "c=0 of a curve's prior: give more than 0"),
    (lambda: Prior(1, spread=math.nan), "spread=nan of a curve's prior"),
    (lambda: curves.carried(None, Curve(1, 1, 1), 0), "share=0 of a curve's"),
    (
      lambda: curves.net_gain(Curve(1, 1, 1), Curve(1, 1, 1), (0, 0), 1, 2),
      "0 new and 0 old classes: give one or more",
    ),
    (
      lambda: curves.net_gain(Curve(1, 1, 1), Curve(1, 1, 1), (-1, 2), 1, 2),
      "-1 new and 2 old classes",
    ),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert curves.GRID[0] == 0.1 and curves.GRID[-1] == 2
  assert len(curves.GRID) == 20
  assert signatures.defaults(curves.fit) == {
    "noise": 0.0,
    "most": math.inf,
    "grid": curves.GRID,
  }
  assert Prior(1.0).spread == 0.5
