"""A budget for a whole run, shared out over its experiences."""

from collections.abc import Callable
import dataclasses
import math

from jcl import base
from jcl.control import fixed
from jcl.options.errors import UsageError

_UNITS = {"seconds": "s", "joules": "J", "flops": "FLOP", "bytes": "B"}


def within(
  epochs: int,
  total: base.Cost,
  budget: float = 1.0,
  joules: Callable[[], float] | None = None,
) -> base.Controller:
  """Stops each experience's training at its share of what is left.

  What the run has spent so far, in all accounts, is taken from `total`, and the
  rest is shared evenly over this experience and those to come. Limits of
  seconds and joules depend on the machine's speed, so that such runs do not
  repeat bit for bit; limits of operations do.

  Args:
    epochs: passes over an experience where no limit stops it before.
    total: of the whole run; infinite where there is no limit.
    budget: as for `fixed.fixed`.
    joules: returns what the whole run may take, which may change as it goes on;
      asked at the beginning of every experience and at the end of every epoch.
      None leaves it to `total`.
  """
  fixed.check(epochs, budget)
  limits = {
    name: value
    for name, value in dataclasses.asdict(total).items()
    if value != math.inf
  }
  for name, value in limits.items():
    if not value > 0:
      raise UsageError(
        f"a budget of {value:g} {name}: give more than 0, or infinity where "
        "there is no limit"
      )
  if not limits and joules is None:
    return fixed.fixed(epochs, budget)

  def shared(seen, used):
    """Returns the experience's limit, and how it came about."""
    now = dict(limits)
    if joules is not None:
      now["joules"] = min(joules(), now.get("joules", math.inf))
    left = seen.num_experiences - seen.experience
    shares, reasons = {}, []
    for name, value in now.items():
      spent = getattr(seen.spent, name) - getattr(used, name)
      rest = max(value - spent, 0.0)
      shares[name] = rest / left
      unit = _UNITS[name]
      reasons.append(
        f"{rest:.3g} of {value:.3g} {unit} left for {left} experiences: at "
        f"most {shares[name]:.3g} {unit}"
      )
    return dataclasses.replace(base.UNLIMITED, **shares), "; ".join(reasons)

  def decide(state, seen):
    limit, reason = shared(seen, seen.used)
    if seen.moment == "epoch":
      decided = dataclasses.replace(seen.decision, limit=limit, reason=reason)
    else:
      allocation = base.Allocation(epochs, budget)
      decided = base.Decision(allocation, limit, reason)
    return decided, state

  return base.Controller(
    init=lambda: (),
    decide=decide,
    moments=("experience",) if joules is None else ("experience", "epoch"),
  )
