"""Whether updates pay: looks at examples set aside, and what they forecast.

The curve of one experience is fitted to what the network answered right at a
few looks, and read one look ahead and at the end of the updates. Looks come as
often as their cost allows.
"""

from collections.abc import Mapping, Sequence
import math
from typing import Any, NamedTuple

import numpy as np

from jcl import base
from jcl.control import curves, pacing
from jcl.options import errors

LEAST_LOOKS = 3  # behind the first one, that a forecast rests on


class Look(NamedTuple):
  """Shares of examples set aside that are answered right."""

  updates: int  # of the experience, made before
  examples: int  # judged
  solved: float  # by the classifier
  trained: float  # by the network

  @property
  def noise(self) -> float:
    """Standard error of the better share, one answer away from all or none."""
    best = max(self.solved, self.trained)
    best = (best * self.examples + 1) / (self.examples + 2)
    return math.sqrt(best * (1 - best) / max(self.examples, 1))


def in_vain(
  looks: Sequence[Look],
  interval: int,
  planned: int,
  prices: Mapping[str, float],
  each: Mapping[str, float],
) -> str:
  """Returns why updates should end here, "" where they should go on.

  They should where the network is not forecast to end above the classifier,
  where it gains nothing more, and where the gain up to the next look is worth
  less than its cost.

  Args:
    looks: of the experience, the first ahead of its updates.
    interval: updates to the next look.
    planned: updates in all.
    prices: of what is limited, see `pacing`.
    each: what an update takes, by limit.
  """
  now = looks[-1]
  if len(looks) <= LEAST_LOOKS or now.updates >= planned:
    return ""
  found = curve(looks, interval)
  end = found.at(1 + planned / interval)
  if end <= now.solved:
    return (
      f"with all updates the network is forecast to end at {percent(end)}, not "
      "above the classifier"
    )
  if not found.rises:
    return "the network gains nothing more that can be told from chance"
  here = 1 + now.updates / interval
  gain = found.gain(here, here + 1)
  costs = {name: interval * cost for name, cost in each.items()}
  worth = pacing.charged(prices, costs)
  if gain < worth:
    return (
      f"the next {errors.count(interval, 'update')} are forecast to gain "
      f"{100 * gain:.2f} points, and what they take gains {100 * worth:.2f} "
      "elsewhere"
    )
  return ""


def curve(looks: Sequence[Look], interval: int) -> curves.Curve:
  """Returns the curve of what the network answers, over looks from 1 on."""
  points = [(1 + each.updates / interval, each.trained) for each in looks]
  # Looks are at the same examples, most of which are answered as before.
  return curves.fit(points, noise=looks[-1].noise / 4, most=1.0)


def first_prices(
  looks: Sequence[Look],
  interval: int,
  taken: Mapping[str, float],
  equal: Mapping[str, float],
) -> dict[str, float]:
  """Returns the slope of a curve where an equal share ends, by limit.

  Args:
    looks: of the first experience with updates.
    interval: updates between them.
    taken: by the updates.
    equal: share of the experience, above 0.

  Returns:
    Prices, see `pacing.start`; none where too few looks tell of a slope.
  """
  if len(looks) <= LEAST_LOOKS:
    return {}
  each = {name: interval * taken[name] / looks[-1].updates for name in equal}
  each = {name: cost for name, cost in each.items() if cost > 0}
  if not each:
    return {}
  # Where the share of what is scarcest ends.
  end = 1 + min(equal[name] / cost for name, cost in each.items())
  gain = curve(looks, interval).gain(end, end + 1)
  return pacing.start(gain, each)


def around(
  floor: Sequence[Mapping[str, float]], opened: base.Cost
) -> dict[str, float]:
  """Returns what an experience takes beside its updates, by limit.

  Args:
    floor: what it and those to come are yet to take, see `shares.floor`.
    opened: what it has taken before.
  """
  return {
    name: getattr(opened, name) + max(value, 0.0)
    for name, value in (floor[0] if floor else {}).items()
  }


def figures(state: Mapping[str, Any], limit: base.Cost) -> dict[str, float]:
  """Returns figures of an experience that is over, see `base.Decision`.

  The forecast is that of the first looks that allow one, for the updates that
  were made in the end. It stands beside what the last look showed, where that
  is a later one.

  Args:
    state: of `joint.joint` ahead of the next experience, with prices as they
      were in force.
    limit: of the experience's updates and what came before them.
  """
  found = {f"price_{name}": value for name, value in state["prices"].items()}
  if found:
    found["price"] = pacing.charged(state["prices"], state["equal"])
  # A run that an older version began has none of them at first.
  for name, beside in state.get("around", {}).items():
    if name not in state["equal"]:
      continue
    most = getattr(limit, name) - state["begun"][name]
    found[f"share_{name}"] = beside + state["equal"][name]
    if most < math.inf:
      found[f"allowed_{name}"] = beside + most
  looks = [Look(*look) for look in state["looks"]]
  early = looks[: LEAST_LOOKS + 1]
  if len(looks) > len(early):
    last = looks[-1]
    end = 1 + last.updates / state["interval"]
    found["forecast"] = curve(early, state["interval"]).at(end)
    found["reached"] = last.trained
  return found


def first(seen: base.Observation) -> Look:
  """Returns the look that an experience begins with.

  Where there is no classifier, it is right in nothing.
  """
  if seen.compare is None:
    assert seen.judge is not None
    right = seen.judge().right
    return Look(seen.updates, len(right), 0.0, share(right))
  found = seen.compare()
  count = max(found["examples"], 1.0)
  return Look(
    seen.updates,
    int(found["examples"]),
    found["solved"] / count,
    found["trained"] / count,
  )


def share(right: np.ndarray) -> float:
  """Returns the share of right answers [N] bool, 0 of none."""
  return float(np.mean(right)) if len(right) else 0.0


def percent(share: float) -> str:
  """Returns a share to be read."""
  return f"{100 * share:.1f} %"


def told(look: Look, seen: base.Observation) -> str:
  """Tells what a look showed, of the classifier too where there is one."""
  found = f"of what is set aside the network has {percent(look.trained)} right"
  if seen.compare is None:
    return found
  return f"{found}, the classifier {percent(look.solved)}"
