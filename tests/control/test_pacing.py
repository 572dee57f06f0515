"""Prices of budgets: by hand, and over streams that are made up."""

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import signatures

from jcl.control import curves, pacing
from jcl.control.curves import Curve
from jcl.control.pacing import Arm

AMOUNTS = st.floats(0, 100)
LIMITS = ("bytes", "joules", "seconds")
COSTS = st.fixed_dictionaries({name: AMOUNTS for name in LIMITS})
PRICES = st.fixed_dictionaries({name: st.floats(0, 0.1) for name in LIMITS})
ARMS = st.lists(st.builds(Arm, st.floats(-1, 1), COSTS), max_size=6)


def joules(value):
  return {"joules": value}


# By hand


@pytest.mark.parametrize(
  "cost, multiplied, added",
  [(20, 1.648721, 1.5), (5, 0.778801, 0.75), (10, 1, 1)],
)
def test_prices_move_with_spending(cost, multiplied, added):
  found = pacing.multiplied(joules(1), joules(cost), joules(10), eta=0.5)
  assert found == joules(pytest.approx(multiplied, abs=1e-6))
  found = pacing.added(joules(1), joules(cost), joules(10), eta=0.05)
  assert found == joules(pytest.approx(added, abs=1e-12))


def test_the_price_decides_between_more_and_less():
  arms = [Arm(0.10, joules(8)), Arm(0.06, joules(2))]
  for mu, index, worths in ((0.005, 0, (0.06, 0.05)), (0.01, 1, (0.02, 0.04))):
    found = [arm.gain - pacing.charged(joules(mu), arm.cost) for arm in arms]
    assert found == pytest.approx(worths)
    assert pacing.choose(arms, joules(mu)) == index
  assert pacing.choose(arms, joules(0.03)) is None  # -.14 : 0
  assert pacing.choose(arms, joules(0.031)) is None
  assert pacing.choose(arms, joules(0.029)) == 1


def test_of_equal_arms_the_cheaper_is_taken():
  arms = [Arm(0.05, joules(4)), Arm(0.05, joules(2)), Arm(0.05, joules(3))]
  assert pacing.choose(arms, joules(0.001)) == 1
  assert pacing.choose(arms, joules(0.0)) == 1  # even where nothing is charged
  # .06 - .02 and .10 - .06, but for rounding
  arms = [Arm(0.10, joules(6)), Arm(0.06, joules(2))]
  assert 0.10 - 0.06 > 0.06 - 0.02
  assert pacing.choose(arms, joules(0.01)) == 1
  assert pacing.choose([Arm(0.1, joules(1)), Arm(0.1, joules(1))], {}) == 0


def test_nothing_is_worth_nothing():
  assert pacing.choose([], joules(1)) is None
  assert pacing.choose([Arm(0.0, joules(0)), Arm(-1.0, {})], {}) is None
  assert pacing.choose([Arm(0.04, joules(4))], joules(0.01)) is None


def test_nothing_is_bought_from_an_empty_budget():
  arms = [Arm(0.5, {"joules": 1, "seconds": 0})]
  prices = {"joules": 0.001, "seconds": 0.001}
  assert pacing.choose(arms, prices, {"joules": 0.1, "seconds": 1}) == 0
  assert pacing.choose(arms, prices, {"joules": 0.0, "seconds": 1}) is None
  assert pacing.choose(arms, prices, {"joules": 9.0, "seconds": -1}) is None


def test_every_limit_has_its_price():
  shares = {"joules": 10.0, "seconds": 2.0}
  prices = pacing.start(0.4, shares)
  assert prices == {"joules": 0.02, "seconds": 0.1}
  assert pacing.charged(prices, shares) == pytest.approx(0.4)
  spent = {"joules": 10.0, "flops": 1e12}  # of no limit
  found = pacing.multiplied(prices, spent, shares)
  assert found["joules"] == 0.02
  assert found["seconds"] == pytest.approx(0.1 * math.exp(-0.5))
  assert list(found) == list(prices)


def test_a_start_is_above_zero():
  assert pacing.start(0.0, joules(10)) == joules(pytest.approx(1e-7))
  assert pacing.start(-0.5, joules(10)) == pacing.start(1e-6, joules(10))
  assert pacing.start(0.02, {"flops": 1e12}) == {"flops": 2e-14}


def test_one_experience_raises_a_price_by_no_more_than_the_bound():
  found = pacing.multiplied(joules(1), joules(1e9), joules(1))
  assert found == joules(pytest.approx(math.exp(2)))
  found = pacing.multiplied(joules(1), joules(9), joules(1), largest=math.inf)
  assert found == joules(pytest.approx(math.exp(4)))


# Whatever there is to choose from


@given(ARMS, PRICES)
def test_no_arm_is_worth_more_than_the_chosen(arms, prices):
  index = pacing.choose(arms, prices)
  worths = [arm.gain - pacing.charged(prices, arm.cost) for arm in arms]
  if index is None:
    assert all(worth < 1e-8 for worth in worths)
  else:
    assert worths[index] > 0
    assert worths[index] >= max(worths) - 1e-8


@given(ARMS, PRICES, st.floats(1, 10))
def test_higher_prices_never_choose_what_is_charged_more(arms, prices, factor):
  """With all prices in proportion, the fee at the old ones only falls."""
  raised = {name: factor * price for name, price in prices.items()}
  before, after = (pacing.choose(arms, each) for each in (prices, raised))
  if after is not None:
    assert before is not None
    fee = pacing.charged(prices, arms[after].cost)
    assert fee <= pacing.charged(prices, arms[before].cost) + 1e-6


@given(PRICES, COSTS, st.floats(0.01, 2))
def test_prices_rise_with_what_was_spent(prices, spent, eta):
  shares = {name: 10.0 for name in LIMITS}
  updates = (
    pacing.multiplied(prices, spent, shares, eta),
    pacing.added(prices, spent, shares, eta / 1000),
  )
  for found in updates:
    assert json.loads(json.dumps(found)) == found
    for name, price in found.items():
      assert price >= 0
      if spent[name] >= 10:
        assert price >= prices[name]
      else:
        assert price <= prices[name] or price < 1e-99


# Over a stream


def bought(curve, prices, left, cost, most=500):
  """Trains epochs while they pay; returns how many."""
  epochs = 0
  while epochs < most:
    gain = curve.gain(1 + epochs, 2 + epochs)
    fee = pacing.charged(prices, joules(cost))
    still = left - epochs * cost
    if not pacing.is_open(joules(still)) or not curves.goes_on(gain, 1.0, fee):
      break
    epochs += 1
  return epochs


def spending(stream, share, cost, prices):
  """Returns what each experience of a stream of curves spends."""
  left, spent = share * len(stream), []
  for curve in stream:
    spent.append(cost * bought(curve, prices, left, cost))
    left -= spent[-1]
    prices = pacing.multiplied(prices, joules(spent[-1]), joules(share))
  return spent


CURVES = st.builds(
  Curve, st.just(0.9), st.floats(0, 0.8), st.sampled_from(curves.GRID)
)


@settings(max_examples=50)
@given(
  st.lists(CURVES, min_size=1, max_size=8),
  st.floats(1, 60),
  st.floats(0.5, 20),
  st.floats(0, 0.01),
)
def test_a_budget_is_passed_by_less_than_an_epoch(stream, share, cost, price):
  spent = spending(stream, share, cost, joules(price))
  assert sum(spent) < share * len(stream) + cost


@settings(max_examples=50)
@given(st.floats(0.1, 0.8), st.sampled_from(curves.GRID), st.integers(20, 50))
def test_identical_experiences_spend_alike(b, c, epochs):
  curve, cost = Curve(0.9, b, c), 2.0
  gain = curve.gain(epochs, epochs + 1)  # of the last epoch of a share
  prices = pacing.start(gain, joules(cost))
  spent = spending([curve] * 10, epochs * cost, cost, prices)
  assert max(spent[3:]) - min(spent[3:]) < 0.1 * max(spent[3:])


def test_a_start_that_is_off_is_made_good():
  curve = Curve(0.9, 0.5, 1.0)
  right = pacing.start(curve.gain(30, 31), joules(1.0))["joules"]
  for factor in (0.5, 2.0):
    spent = spending([curve] * 30, 30.0, 1.0, joules(factor * right))
    off = [abs(each - 30) for each in spent[:12]]
    assert off[0] > 8 and off[-1] <= 3


def test_a_hard_experience_gets_more_than_its_equal_share():
  easy, hard = Curve(0.9, 0.02, 2.0), Curve(0.9, 0.8, 0.3)
  prices = pacing.start(easy.gain(20, 21) + hard.gain(20, 21), joules(2.0))
  spent = spending([easy, easy, hard, easy], 20.0, 1.0, prices)
  assert spent[2] >= 40 and sum(spent) <= 80


# Bad input


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: pacing.start(0.1, {}), "no limits to price"),
    (lambda: pacing.start(0.1, joules(0)), "an equal share of 0 joules"),
    (lambda: pacing.start(math.nan, joules(1)), "an expected gain of nan"),
    (lambda: pacing.start(math.inf, joules(1)), "an expected gain of inf"),
    (lambda: pacing.start(0.1, joules(math.inf)), "an equal share of inf"),
    (
      lambda: pacing.multiplied(joules(1), {}, joules(1), math.inf),
      "eta=inf: give a step",
    ),
    (
      lambda: pacing.multiplied(joules(-1), {}, joules(1)),
      "a price of -1 joules: give 0 or more",
    ),
    (
      lambda: pacing.multiplied(joules(1), joules(math.nan), joules(1)),
      "a spending of nan joules",
    ),
    (
      lambda: pacing.added(joules(1), {}, {"seconds": 1}, 0.1),
      "no equal share of joules: give one for each price",
    ),
    (
      lambda: pacing.added(joules(1), {}, joules(1), 0),
      "eta=0: give a step above 0",
    ),
    (lambda: pacing.choose([Arm(math.nan, {})], {}), "a gain of nan"),
    (
      lambda: pacing.choose([Arm(0, joules(math.inf))], {}),
      "a cost of inf joules",
    ),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(pacing.multiplied) == {"eta": 0.5, "largest": 2.0}
