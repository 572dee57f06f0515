"""Splits a budget among the updates of experiences, limit by limit.

All amounts are by the name of what is limited: seconds, joules, flops, bytes.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

from jcl import base
from jcl.control import limits
from jcl.options import errors
from jcl.options.errors import UsageError

EXACT = frozenset({"flops", "bytes"})  # known ahead

_SPARE = 1.1  # times the seconds and joules that are expected beside updates


def floor(
  state: Mapping[str, Any],
  seen: base.Observation,
  amounts: Mapping[str, float],
) -> list[dict[str, float]]:
  """Returns what experiences take beside their updates, in each unit.

  Of this one that is what it is yet to take, of those to come all. Operations
  and bytes are known; seconds and joules are taken to be in proportion to
  operations, as they have been so far. Units without a limit are there as well:
  a file may set one while the experience is learned.

  Raises:
    UsageError: in the first experience, for a budget that is less in all.
  """
  first, takes = seen.experience, [base.Cost(**c) for c in state["beside"]]
  opened = limits.counted(
    {k: v for k, v in seen.pending.items() if k != "compile"}
  )
  past = {k: v for k, v in seen.recorded.items() if k != "compile"}
  took = limits.counted(past) - base.Cost(**state["used"]) + opened
  done = sum(each.flops for each in takes[:first]) + opened.flops
  found = [
    {
      name: getattr(each, name)
      if name in EXACT
      else _SPARE * getattr(took, name) * each.flops / max(done, 1.0)
      for name in limits.UNITS
    }
    for each in (takes[first] - opened, *takes[first + 1 :])
  ]
  if not first and amounts:
    if seen.compare is None:  # and so no classifier, only updates
      assert seen.update is not None
      takes = [each + seen.update() for each in takes]
    _check_least(takes, amounts, solves=seen.compare is not None)
  return found


def beside(
  state: Mapping[str, Any], seen: base.Observation
) -> list[dict[str, float]]:
  """Returns what each experience takes beside its updates, priced once."""
  known = list(state["beside"])
  assert seen.beside is not None
  for number in range(len(known), seen.num_experiences):
    known.append(dataclasses.asdict(seen.beside(number)))
  return known


def _check_least(
  takes: list[base.Cost], amounts: Mapping[str, float], *, solves: bool
) -> None:
  """Raises UsageError for a budget below what there is beside updates."""
  count = errors.count(len(takes), "experience")
  what = f"to solve a classifier in {count}"
  less = ", or fewer random features, such as auto:m=100"
  if not solves:
    what, less = f"to make an update in {count}", ""
  for name in EXACT & amounts.keys():
    needed = sum(getattr(each, name) for each in takes)
    if needed > amounts[name]:
      unit = limits.UNITS[name]
      raise UsageError(
        f"a budget of {errors.amount(amounts[name], unit)}: {what} takes "
        f"{errors.amount(needed, unit)}, and nothing here learns for less; "
        f"give {math.ceil(needed)} or more{less}"
      )


def check_begun(
  amounts: Mapping[str, float], seen: base.Observation, decision: base.Decision
) -> None:
  """Raises UsageError where a run could not learn anything at all.

  That is the case where the first experience begins with nothing left and no
  classifier to solve. What a file allows may rise again, and is not refused.

  Args:
    amounts: limits that stay as they are.
    seen: when an experience begins.
    decision: on its updates.
  """
  if seen.experience or seen.compare is not None or decision.epochs:
    return
  spent = limits.counted(seen.recorded) + limits.counted(seen.pending)
  for name, value in amounts.items():
    took = getattr(spent, name)
    if took >= value:
      unit = limits.UNITS[name]
      raise UsageError(
        f"a budget of {errors.amount(value, unit)}: ahead of the first update "
        f"{errors.amount(took, unit)} are spent, and nothing is learned; give "
        "several times as much"
      )


def split(
  state: Mapping[str, Any],
  seen: base.Observation,
  amounts: Mapping[str, float],
) -> tuple[dict[str, float], dict[str, float]]:
  """Returns the equal share of updates, and the most that they may take now.

  The equal share is that of the run's beginning, or of a budget's latest
  change. Beyond it goes what earlier experiences have saved: the shares of
  those to come are theirs, as nobody knows yet how hard they are.
  """
  spent = limits.counted(seen.recorded) + limits.counted(seen.pending)
  to_come = seen.num_experiences - seen.experience - 1
  equal, most = {}, {}
  for name, value in amounts.items():
    kept = sum(max(each[name], 0.0) for each in state["floor"])
    rest = max(value - getattr(spent, name) - kept, 0.0)
    now = rest / (to_come + 1)
    known = state["equal"] if amounts == state["allowed"] else {}
    equal[name] = known.get(name, now)
    most[name] = max(rest - equal[name] * to_come, now)
  return equal, most


def limit(most: Mapping[str, float], spent: base.Cost) -> base.Cost:
  """Returns the limit of an experience that has spent something already."""
  found = {name: getattr(spent, name) + each for name, each in most.items()}
  return dataclasses.replace(base.UNLIMITED, **found)
