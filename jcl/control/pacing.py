"""A price for what a budget limits, so that hard experiences get more of it.

Before each experience the arms, ways to spend, are compared by what they are
forecast to gain, less what they cost at the present prices. A price rises where
more than an equal share was spent, and falls where less was. `limits.within` is
the rule without prices: as much for an easy experience as for a hard one.

Balseiro, Lu and Mirrokni, "The Best of Many Worlds: Dual Mirror Descent for
Online Allocation Problems", Operations Research 2023,
https://arxiv.org/abs/2011.10124: with a step eta of the order of 1 / sqrt(T)
over T requests the regret is O(sqrt(T)) for independent requests, and the
competitive ratio the best possible one for adversarial ones. A run has 5 to 20
experiences, for which such bounds say little.

What is this project's own: eta = 0.5 in the multiplicative form, the bound on
its step, the start, and that the prices of several limits start with equal
parts.

The price knows nothing of what becomes of a gain: what an experience learns may
be forgotten by the end of the run, and experiences with more classes so far may
be harder than those that the price has seen. On streams whose experiences are
all alike, equal shares are the rule to beat.

A gain is a share of right answers, in [0, 1]. Prices, costs and shares are
records by the name of the limit, such as "joules": JSON-ready.
"""

from collections.abc import Mapping, Sequence
import math
from typing import NamedTuple

from jcl.options.errors import UsageError

# Of a multiplicative update's exponent: no price grows more than 7.4 times.
LARGEST_STEP = 2.0
# A start expects this much at least; a price of 0 would stay there.
LEAST_GAIN = 1e-6

# Arms whose worth differs by this share of their gains are equal.
_ROUNDING = 1e-12
# Prices stay between these, where their products with costs are numbers.
_LEAST, _MOST = 1e-100, 1e100

Amounts = Mapping[str, float]  # by limit


class Arm(NamedTuple):
  """A way to spend, with its forecast."""

  gain: float  # forecast; may be below 0
  cost: Amounts  # of each limit, 0 or more


def start(gain: float, shares: Amounts) -> dict[str, float]:
  """Returns prices to begin with: gain per unit of cost at equal shares.

  Of n limits each has an n-th of it, so that one experience at its equal share
  is charged what it is expected to gain. Where gain flattens as more is spent,
  what counts is the gain of the last unit that an equal share buys: give the
  gain of the share's last epoch, and that epoch's cost.

  Args:
    gain: expected of the cost below; counted as `LEAST_GAIN` if smaller.
    shares: cost of each limit, above 0.

  >>> start(0.1, {"joules": 20.0})
  {'joules': 0.005}
  """
  _check_shares(shares)
  if not gain < math.inf:
    raise UsageError(f"an expected gain of {gain}: give a finite number")
  worth = max(gain, LEAST_GAIN) / len(shares)
  return {name: _bounded(worth / share) for name, share in shares.items()}


def multiplied(
  prices: Amounts,
  spent: Amounts,
  shares: Amounts,
  eta: float = 0.5,
  largest: float = LARGEST_STEP,
) -> dict[str, float]:
  """Returns the next prices, mu exp(eta (spent / share - 1)) each.

  Args:
    prices: mu of each limit, above 0; one of 0 stays there.
    spent: by the experience, 0 or more; a limit that it lacks was not touched.
    shares: an equal share of each budget, above 0.
    eta: relative step.
    largest: the most that eta (spent / share - 1) counts as.

  >>> multiplied({"joules": 1.0}, {"joules": 10.0}, {"joules": 10.0})
  {'joules': 1.0}
  """
  _check_update(prices, spent, shares, eta)
  return {
    name: _bounded(
      price
      * math.exp(min(largest, eta * (spent.get(name, 0.0) / shares[name] - 1)))
    )
    for name, price in prices.items()
  }


def added(
  prices: Amounts, spent: Amounts, shares: Amounts, eta: float
) -> dict[str, float]:
  """Returns the next prices, max(0, mu - eta (share - spent)) each.

  The published form. Its step has the unit of a price per unit of cost, so that
  it suits one limit alone.

  Args:
    prices: mu of each limit, 0 or more.
    spent: as for `multiplied`.
    shares: as for `multiplied`.
    eta: absolute step.

  >>> added({"joules": 1.0}, {"joules": 20.0}, {"joules": 10.0}, eta=0.05)
  {'joules': 1.5}
  """
  _check_update(prices, spent, shares, eta)
  return {
    name: min(
      max(0.0, price - eta * (shares[name] - spent.get(name, 0.0))), _MOST
    )
    for name, price in prices.items()
  }


def charged(prices: Amounts, cost: Amounts) -> float:
  """Returns what a cost is charged: the sum of price times cost.

  A cost that no price belongs to is free, and so is one that is not named.

  >>> charged({"joules": 0.01, "seconds": 0.1}, {"joules": 2.0, "bytes": 9.0})
  0.02
  """
  return math.fsum(
    price * cost.get(name, 0.0) for name, price in prices.items()
  )


def is_open(left: Amounts) -> bool:
  """Tells whether every budget has something left.

  Asked ahead of every epoch, it lets spending pass a budget by less than one
  epoch's cost.
  """
  return all(value > 0 for value in left.values())


def choose(
  arms: Sequence[Arm], prices: Amounts, left: Amounts | None = None
) -> int | None:
  """Returns the index of the arm that is worth most, or None for nothing.

  An arm is worth its gain less what it is charged, and nothing is worth 0. Of
  equal ones the cheaper is taken: the one that is charged less, then the one
  with the smaller costs, limit by limit in the order of their names, then the
  first. So an arm that is worth 0 is not taken.

  Args:
    arms: in any order.
    prices: of each limit, 0 or more.
    left: of each budget; where one has nothing left, nothing is chosen. None
      where that is tested elsewhere.

  Raises:
    UsageError: for gains that are not finite, or costs that are not or are
      below 0.

  >>> arms = [Arm(0.10, {"joules": 8.0}), Arm(0.06, {"joules": 2.0})]
  >>> choose(arms, {"joules": 0.005}), choose(arms, {"joules": 0.01})
  (0, 1)
  """
  for arm in arms:
    if not math.isfinite(arm.gain):
      raise UsageError(f"a gain of {arm.gain}: give a finite forecast")
    _check_amounts("a cost", arm.cost)
  if left is not None and not is_open(left):
    return None
  fees = [charged(prices, arm.cost) for arm in arms]
  worths = [arm.gain - fee for arm, fee in zip(arms, fees, strict=True)]
  best = max(worths, default=0.0)
  scale = max(
    (max(abs(arm.gain), fee) for arm, fee in zip(arms, fees, strict=True)),
    default=0.0,
  )
  if best <= _ROUNDING * scale:
    return None
  names = sorted({name for arm in arms for name in arm.cost})

  def cost(i: int) -> tuple[float, ...]:
    return (fees[i], *(arms[i].cost.get(name, 0.0) for name in names))

  equal = [
    i for i, worth in enumerate(worths) if worth >= best - _ROUNDING * scale
  ]
  return min(equal, key=cost)


def _bounded(price: float) -> float:
  return 0.0 if price == 0 else min(max(price, _LEAST), _MOST)


def _check_amounts(what: str, amounts: Amounts) -> None:
  for name, value in amounts.items():
    if not 0 <= value < math.inf:
      raise UsageError(f"{what} of {value} {name}: give 0 or more")


def _check_shares(shares: Amounts) -> None:
  if not shares:
    raise UsageError("no limits to price: give the share of one")
  for name, value in shares.items():
    if not 0 < value < math.inf:
      raise UsageError(f"an equal share of {value} {name}: give more than 0")


def _check_update(
  prices: Amounts, spent: Amounts, shares: Amounts, eta: float
) -> None:
  _check_amounts("a price", prices)
  _check_amounts("a spending", spent)
  _check_shares(shares)
  if missing := prices.keys() - shares.keys():
    raise UsageError(
      f"no equal share of {', '.join(sorted(missing))}: give one for each price"
    )
  if not 0 < eta < math.inf:
    raise UsageError(f"eta={eta}: give a step above 0, such as 0.5")
