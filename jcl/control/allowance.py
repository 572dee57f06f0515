"""Budgets of learners whose experiences nobody has counted ahead."""

from collections.abc import Callable, Mapping
import dataclasses
import datetime
import math
import time
from typing import Any, Literal

from jcl import base
from jcl.control import fixed, limits
from jcl.options import errors, kinds, parameters, plain, spec
from jcl.options.errors import UsageError

Per = Literal["experience", "hour", "day", "week", "total"]

_LENGTHS = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0}  # seconds
_MONDAY = 4 * 86_400.0  # the first one of the clock, which starts on a Thursday


@dataclasses.dataclass(frozen=True)
class Budget:
  """The most that a live learner may spend, and hold at once.

  JSON holds what `dataclasses.asdict` makes of it, and `Budget(**fields)` reads
  that again.

  Args:
    joules: energy; None, here and below, for no limit.
    seconds: time of learning, waiting left out.
    flops: floating-point operations.
    bytes: bytes moved.
    per: what the amounts above are for. "experience": each one; "hour", "day",
      "week": windows of the wall clock, in UTC, weeks from Monday on; "total":
      everything until further notice. See `controller`.
    ram: bytes held at once, as a number or with their unit, such as "64MiB".

  Raises:
    UsageError: for an amount that is not above 0, or another `per`.

  >>> Budget(joules=2000, per="day", ram="64MiB").per
  'day'
  """

  joules: kinds.Positive | None = None
  seconds: kinds.Positive | None = None
  flops: kinds.Positive | None = None
  bytes: kinds.Positive | None = None
  per: Per = "experience"
  ram: kinds.Memory | None = None

  def __post_init__(self) -> None:
    hints = parameters.fields(Budget)
    defaults = {each.name: each.default for each in dataclasses.fields(Budget)}
    for name, hint in hints.items():
      given = getattr(self, name)
      found = spec.value(f"budget: {name}", given, hint, defaults)
      object.__setattr__(self, name, found)

  @property
  def amounts(self) -> dict[str, float]:
    """The limits that there are, by the name that `base.Cost` has for them."""
    names = (field.name for field in dataclasses.fields(base.Cost))
    given = {name: getattr(self, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def room(budget: Budget) -> float:
  """Returns the bytes that may be held at once; infinity for no limit."""
  if budget.ram is None:
    return math.inf
  if isinstance(budget.ram, str):
    return plain.parse_size(budget.ram)
  return budget.ram


def check(budget: Budget, needed: float, what: str) -> None:
  """Raises UsageError where a part of a learner needs more RAM than allowed.

  Args:
    budget: of the learner.
    needed: bytes that the part holds at once.
    what: the part, which the message begins with.
  """
  if needed > room(budget):
    raise UsageError(
      f"{what} needs {needed:,.0f} bytes at once, and the budget of "
      f"ram={budget.ram} allows {room(budget):,.0f}: give "
      f"ram={math.ceil(needed)} or more, or ask for less"
    )


def controller(
  epochs: int,
  budget: Budget,
  clock: Callable[[], float] = time.time,
  rho: float = 1.0,
) -> base.Controller:
  """Keeps learning within a budget that knows no number of experiences.

  Of an "experience", training stops once the learning of it has cost what the
  budget says: the accounts of `limits.LEARNING`. The passes behind the last
  update are priced before the first one where operations or bytes are limited,
  and so much is kept for them.

  Of an "hour", "day" or "week", all that the learner spends counts from the
  first decision in the window on, time that it waits left out. Where nothing is
  left, training pauses, and goes on in the next window with the bits that it
  would have had without the pause. An experience is never cut short: it is
  trained in full, over as many windows as that takes, and where windows are too
  small the learner falls behind; the reason of a decision says how many windows
  the experience needs. A dispatch of updates that has begun is finished, as are
  the passes ahead of an experience's first update and behind its last one, so
  that a window's spending may exceed the budget by these. What a window leaves
  is not carried over, and neither is what it exceeds.

  A clock that steps back begins no window: the one in force goes on to its end,
  or to that of the window behind the present one by the clock, whichever comes
  first. A clock that jumps ahead, however far, begins one window.

  In "total", an experience may take half of what all those before it have left.
  Where these have left nothing, training pauses until the budget is raised.

  A budget that is changed while an experience is learned, or while training
  waits, is followed from the next dispatch on.

  Args:
    epochs: passes over an experience where no limit stops it before.
    budget: of the learner.
    clock: returns the seconds since 1970 began in UTC, as `time.time` does.
    rho: share of a full step's time that a selector may fill, in (0, 1].
  """
  fixed.check(epochs, rho)
  allocation = base.Allocation(epochs, rho)
  if not budget.amounts:
    return fixed.fixed(epochs, rho)
  if budget.per == "experience":
    return _equal(allocation, budget.amounts)
  if budget.per == "total":
    return _halving(allocation, budget.amounts)
  return _windows(allocation, budget.amounts, budget.per, clock)


def _equal(
  allocation: base.Allocation, amounts: Mapping[str, float]
) -> base.Controller:
  """Gives every experience the same amounts."""
  reason = f"at most {listed(amounts)} for every experience"

  def decide(state: Any, seen: base.Observation) -> tuple[base.Decision, Any]:
    return _limited(allocation, amounts, reason, seen), state

  return base.Controller(dict, decide, ("experience", "dispatch"))


def _halving(
  allocation: base.Allocation, amounts: Mapping[str, float]
) -> base.Controller:
  """Gives every experience half of what those before it have left."""

  def decide(state: Any, seen: base.Observation) -> tuple[base.Decision, Any]:
    before = dict(state or {}).get("before")
    if before is None or seen.moment == "experience":
      before = dataclasses.asdict(_spent(seen))
    left = _left(amounts, base.Cost(**before))
    half = {name: rest / 2 for name, rest in left.items()}
    reason = f"{_rests(left, amounts)} left until further notice: "
    waits = min(left.values()) <= 0
    if waits:
      reason += "waits for a larger budget"
    else:
      reason += f"at most half of it, {listed(half)}"
    decision = _limited(allocation, half, reason, seen)
    return dataclasses.replace(decision, wait=waits), {"before": before}

  return base.Controller(dict, decide, ("experience", "dispatch"))


def _windows(
  allocation: base.Allocation,
  amounts: Mapping[str, float],
  per: Per,
  clock: Callable[[], float],
) -> base.Controller:
  """Has training wait for the next window where this one has nothing left."""

  def decide(state: Any, seen: base.Observation) -> tuple[base.Decision, Any]:
    now, state = clock(), dict(state or {})
    until = state.get("until", -math.inf)
    if now < until:
      # The end may be far away where the clock has stepped back.
      state["until"] = min(until, _end(now + _LENGTHS[per], per))
    else:
      spent = dataclasses.asdict(_spent(seen))
      state = {"until": _end(now, per), "spent": spent}
    left = _left(amounts, _spent(seen) - base.Cost(**state["spent"]))
    waits, ends = min(left.values()) <= 0, _moment(state["until"])
    reason = f"{_rests(left, amounts)} left of the {per}" + (
      f": waits until {ends}" if waits else f" until {ends}"
    )
    decision = seen.decision
    if decision is None or seen.moment == "experience":
      decision = base.Decision(allocation)
    # Not as a limit: it would end the experience, and the schedule of the
    # learning rate follows from it.
    decision = dataclasses.replace(
      decision,
      limit=base.UNLIMITED,
      reason=reason + _needed(seen, amounts, per),
      counts=(),
      reserved=base.Cost(),
      wait=waits,
    )
    return decision, state

  return base.Controller(dict, decide, ("experience", "dispatch"))


def _limited(
  allocation: base.Allocation,
  amounts: Mapping[str, float],
  reason: str,
  seen: base.Observation,
) -> base.Decision:
  """Returns the decision with a limit on all learning of the experience."""
  decision = seen.decision
  if decision is None or seen.moment == "experience":
    known = {"flops", "bytes"} & amounts.keys()  # ahead of the updates
    closing = seen.closing() if known and seen.closing else base.Cost()
    reserved = {name: getattr(closing, name) for name in known}
    decision = base.Decision(allocation, reserved=base.Cost(**reserved))
  kept = {
    name: value
    for name, value in dataclasses.asdict(decision.reserved).items()
    if value
  }
  if kept:
    reason += f", {listed(kept)} of it for passes behind the updates"
  return dataclasses.replace(
    decision,
    limit=dataclasses.replace(base.UNLIMITED, **amounts),
    reason=reason,
    counts=limits.LEARNING,
    wait=False,
  )


def _spent(seen: base.Observation) -> base.Cost:
  """Returns the cost of all that the learner has done since its start."""
  waited = (
    costs["idle"] for costs in (seen.recorded, seen.pending) if "idle" in costs
  )
  return seen.spent - sum(waited, base.Cost())


def _left(amounts: Mapping[str, float], spent: base.Cost) -> dict[str, float]:
  """Returns what is left of each amount, 0 at least."""
  return {
    name: max(most - getattr(spent, name), 0.0)
    for name, most in amounts.items()
  }


def _needed(
  seen: base.Observation, amounts: Mapping[str, float], per: Per
) -> str:
  """Tells how many windows the experience's updates fill, by those made."""
  if not seen.updates:
    return ""
  filled = max(
    getattr(seen.used, name) / most for name, most in amounts.items()
  )
  times = filled * seen.planned / seen.updates
  return (
    f"; {seen.updates} of the experience's {seen.planned} updates are made, "
    f"and all of them take {times:.3g} times the budget of one {per}"
  )


def _end(now: float, per: Per) -> float:
  """Returns the end of the window that a moment lies in."""
  length, first = _LENGTHS[per], _MONDAY if per == "week" else 0.0
  return first + length * (math.floor((now - first) / length) + 1)


def _moment(seconds: float) -> str:
  """Returns a moment of the clock to be read."""
  try:
    found = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
  except (OverflowError, ValueError, OSError):  # beyond the calendar
    return f"{seconds:.0f} s"
  return f"{found:%Y-%m-%d %H:%M} UTC"


def listed(amounts: Mapping[str, float]) -> str:
  """Returns amounts by the names of `base.Cost` in words, with their units."""
  return " and ".join(
    errors.amount(value, limits.UNITS[name]) for name, value in amounts.items()
  )


def _rests(left: Mapping[str, float], amounts: Mapping[str, float]) -> str:
  return " and ".join(
    errors.part(left[name], most, limits.UNITS[name])
    for name, most in amounts.items()
  )
