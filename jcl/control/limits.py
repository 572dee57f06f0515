"""Budgets: of a whole run, shared out, or the same for every experience."""

from collections.abc import Callable, Mapping
import dataclasses
import math

from jcl import base
from jcl.control import fixed
from jcl.options import errors
from jcl.options.errors import UsageError

# All that learning files its work under; evaluation is no part of it.
LEARNING = ("train", "replay", "probe", "data")
# And compiling with it: all that a learner chooses to take, as it does not
# choose evaluation and files.
COUNTED = (*LEARNING, "compile")

UNITS = {"seconds": "s", "joules": "J", "flops": "FLOP", "bytes": "B"}


def amounts(total: base.Cost) -> dict[str, float]:
  """Returns the limits that there are, by the name of their unit.

  Raises:
    UsageError: for a limit that is not above 0.
  """
  found = {
    name: value
    for name, value in dataclasses.asdict(total).items()
    if value != math.inf
  }
  for name, value in found.items():
    if not value > 0:
      raise UsageError(
        f"a budget of {value:g} {name}: give more than 0, or infinity where "
        "there is no limit"
      )
  return found


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
  limits = amounts(total)
  if not limits and joules is None:
    return fixed.fixed(epochs, budget)

  def shared(seen, used):
    """Returns the experience's limit, and how it came about."""
    now = dict(limits)
    if joules is not None:
      now["joules"] = min(joules(), now.get("joules", math.inf))
    now = {name: value for name, value in now.items() if value < math.inf}
    left = seen.num_experiences - seen.experience
    shares, reasons = {}, []
    for name, value in now.items():
      spent = getattr(seen.spent, name) - getattr(used, name)
      rest = max(value - spent, 0.0)
      shares[name] = rest / left
      unit = UNITS[name]
      reasons.append(
        f"{errors.part(rest, value, unit)} left for "
        f"{errors.count(left, 'experience')}: at most "
        f"{errors.amount(shares[name], unit)}"
      )
    reason = "; ".join(reasons) or "no limit"
    return dataclasses.replace(base.UNLIMITED, **shares), reason

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


def equal(
  epochs: int,
  flops_per_experience: float,
  accounts: tuple[str, ...] = LEARNING,
  budget: float = 1.0,
) -> base.Controller:
  """Gives every experience the same operations, whatever they are spent on.

  All passes that learning makes count: updates, replay, passes over an
  experience ahead of its updates or behind them, probes and trials, and solving
  predictions. Those behind the last update are priced before the first one, and
  so much is kept for them; no update is made that would pass the limit. What is
  left over goes to the next experience, so that recipes with the same limit
  have spent the same after each experience, but for less than one update.
  Evaluation counts for nothing, however often it happens.

  Not known ahead, and so no part of what is kept, are looks at examples set
  aside behind an epoch, the review of a memory on the host, and a frozen
  trunk's outputs that are kept while the next batches are read: what they take
  beyond the limit is missing in the next experience.

  Prabhu et al., "Computationally Budgeted Continual Learning: What Does
  Matter?", CVPR 2023, https://arxiv.org/abs/2303.11165, whose limit counts
  updates alone.

  Args:
    epochs: passes over an experience where the limit does not stop it before.
    flops_per_experience: floating-point operations.
    accounts: of the ledger, those that count.
    budget: as for `fixed.fixed`.

  Raises:
    UsageError: for a limit that is none; when an experience begins, for one
      that its passes beside the updates exceed.
  """
  fixed.check(epochs, budget)
  if not 0 < flops_per_experience < math.inf:
    raise UsageError(
      f"a budget of {flops_per_experience:g} flops for every experience: give "
      "a number above 0"
    )

  def decide(
    state: tuple[()], seen: base.Observation
  ) -> tuple[base.Decision, tuple[()]]:
    given = flops_per_experience * (seen.experience + 1)
    limit = given - counted(seen.recorded, accounts).flops
    reserved = 0.0 if seen.closing is None else seen.closing().flops
    needed = reserved + counted(seen.pending, accounts).flops
    if needed > limit:
      raise UsageError(
        f"{flops_per_experience:g} flops for every experience: experience "
        f"{seen.experience} needs {needed:.4g} beside its updates, and has "
        f"{limit:.4g}; give {flops_per_experience + needed - limit:.4g} or more"
      )
    reason = (
      f"{errors.amount(flops_per_experience, 'FLOP')} for every experience, "
      f"{errors.amount(limit - flops_per_experience, 'FLOP')} left over, "
      f"{errors.amount(needed, 'FLOP')} for passes beside the updates"
    )
    decision = base.Decision(
      base.Allocation(epochs, budget),
      dataclasses.replace(base.UNLIMITED, flops=limit),
      reason,
      counts=accounts,
      reserved=base.Cost(flops=reserved),
    )
    return decision, state

  return base.Controller(init=lambda: (), decide=decide)


def counted(
  costs: Mapping[str, base.Cost], accounts: tuple[str, ...] = COUNTED
) -> base.Cost:
  """Returns the sum of some accounts."""
  found = (costs[name] for name in accounts if name in costs)
  return sum(found, base.Cost())
