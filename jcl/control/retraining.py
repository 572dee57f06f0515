"""Whether to retrain now: what training is worth against what it costs.

One rule covers what several systems decide by: train if
```
gain * requests * value > cost
```
where `requests` are those until the next chance to train, and a right answer is
worth `value` in the unit of the cost. Regol et al., "When to retrain a machine
learning model", ICML 2025, https://arxiv.org/abs/2505.14903, forecast the gain
with its uncertainty and weigh it against a ratio of costs; Mahadevan and
Mathioudakis, "Cost-Aware Retraining for Machine Learning", Knowledge-Based
Systems 2024, https://arxiv.org/abs/2310.04216, weigh staleness against
retraining; Cai et al., "ORRIC", INFOCOM 2024, https://arxiv.org/abs/2405.16029,
share a device among retraining and inference.

What is this project's own: the rule above, that free training is always done,
and how requests are forecast. The gain comes from a learning curve
(`curves.Curve.gain`) or from the accuracy lost to drift, the value from the
user or from a price (`pacing`): a gain of 1 on all requests is worth 1 / price.
"""

import math

from jcl.options.errors import UsageError


def pays(gain: float, requests: float, value: float, cost: float) -> bool:
  """Tells whether training now is worth more than it costs.

  Without requests nothing is trained, unless training is free.

  Args:
    gain: predicted, as a share of the requests that are answered rightly
      afterwards and were not before; may be below 0.
    requests: expected until the next chance to train.
    value: of a right answer, in the unit of the cost.
    cost: of training, 0 or more. Where it is 0, training always pays.

  Raises:
    UsageError: for numbers out of their range.

  >>> pays(0.02, requests=500, value=1.0, cost=8.0)
  True
  >>> pays(0.02, requests=300, value=1.0, cost=8.0)
  False
  """
  return cost == 0 or surplus(gain, requests, value, cost) > 0


def surplus(gain: float, requests: float, value: float, cost: float) -> float:
  """Returns what training is worth beyond its cost, below 0 for a loss.

  Args:
    gain: as for `pays`.
    requests: as for `pays`.
    value: as for `pays`.
    cost: as for `pays`.
  """
  if not -1 <= gain <= 1:
    raise UsageError(f"a gain of {gain}: give a share of the requests, -1 to 1")
  for name, number in (("requests", requests), ("value", value)):
    if not 0 <= number < math.inf:
      raise UsageError(f"{name}={number}: give 0 or more")
  if not 0 <= cost < math.inf:
    raise UsageError(f"a cost of {cost} for training: give 0 or more")
  return gain * requests * value - cost


def break_even(gain: float, value: float, cost: float) -> float:
  """Returns the requests above which training pays; infinity for never.

  Args:
    gain: as for `pays`.
    value: as for `pays`.
    cost: as for `pays`.

  >>> break_even(0.02, value=1.0, cost=8.0)
  400.0
  """
  surplus(gain, 0.0, value, cost)  # refuses what it refuses
  if cost == 0:
    return 0.0
  worth = gain * value
  return cost / worth if worth > 0 else math.inf


def expected_requests(seen: float, past: float, ahead: float) -> float:
  """Returns how many requests to expect, at the rate of the recent past.

  Args:
    seen: requests in the recent past.
    past: length of it, in seconds or in experiences, above 0.
    ahead: until the next chance to train, in the same unit.

  Raises:
    UsageError: for numbers out of their range.

  >>> expected_requests(seen=30, past=60.0, ahead=90.0)
  45.0
  """
  if not 0 < past < math.inf:
    raise UsageError(f"a past of {past}: give a length above 0")
  for name, number in (("seen", seen), ("ahead", ahead)):
    if not 0 <= number < math.inf:
      raise UsageError(f"{name}={number}: give 0 or more")
  return seen / past * ahead
