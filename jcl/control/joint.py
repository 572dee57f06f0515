"""One budget over ways of learning: a solved classifier, and gradients if paid.

A classifier solved from sums costs little and forgets nothing: every experience
has it first, and its accuracy on examples set aside is the floor. What the
budget leaves goes to updates while these gain more than a joule is worth
elsewhere. The price of a unit of cost is the slope of the first learning curve
where its equal share ends; after every experience it rises where more than an
equal share was spent, and falls where less was (Balseiro, Lu and Mirrokni, "The
Best of Many Worlds: Dual Mirror Descent for Online Allocation Problems",
Operations Research 2023, https://arxiv.org/abs/2011.10124). With equal
experiences all spend the same; an easy one leaves its share to a hard one.

Nothing here reads test data: accuracies are those of examples set aside.
"""

from collections.abc import Callable, Mapping
import dataclasses
import math
from typing import Any

from jcl import base
from jcl.control import allowance, fixed, limits, pacing, paying
from jcl.options import errors
from jcl.options.errors import UsageError

# What learning takes. Evaluation and files are not the learner's choice.
COUNTED = (*limits.LEARNING, "compile")

LEAST_UPDATES = 8  # below which updates teach nothing
PASSES = 10  # at most with a budget, times those without one
_EXACT = {"flops", "bytes"}  # known ahead
_SPARE = 1.1  # times the seconds and joules that are expected beside updates


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a joint controller weighs and looks.

  Attributes:
    looks: at examples set aside, in an equal share.
    overhead: share of an experience's updates that looks may cost.
    patience: experiences in a row whose updates end behind the classifier,
      after which none are made.
    rate: by which prices follow spending.
  """

  looks: int = 10
  overhead: float = 0.05
  patience: int = 2
  rate: float = 0.5


_SETTINGS = Settings()


def joint(
  epochs: int,
  total: base.Cost = base.UNLIMITED,
  joules: Callable[[], float] | None = None,
  settings: Settings = _SETTINGS,
) -> base.Controller:
  """Decides by experience whether updates are made, and how many.

  All that learning takes counts towards the budget: the accounts of `COUNTED`.
  No update passes a limit of operations or bytes. What the classifiers of
  experiences to come will take is kept for them.

  Where the rest of a budget of seconds or joules is less than compiling has
  taken so far, no program for updates is compiled. Runs with such limits do not
  repeat bit for bit, those with limits of operations do.

  Args:
    epochs: passes over an experience without a budget; ten times as many at
      most with one.
    total: of the whole run; infinite where there is no limit.
    joules: returns what the whole run may take now, see `limits.within`.
    settings: how it weighs and looks.

  Raises:
    UsageError: for a budget that is none; when the run begins, for one that the
      classifiers alone exceed.
  """
  fixed.check(epochs, 1.0)
  amounts = limits.amounts(total)

  def allowed() -> dict[str, float]:
    if joules is None:
      return amounts
    return {**amounts, "joules": min(joules(), total.joules)}

  def decide(
    state: dict[str, Any], seen: base.Observation
  ) -> tuple[base.Decision, dict[str, Any]]:
    if seen.moment == "experience":
      return _begin(state, seen, epochs, allowed(), settings)
    decision = seen.decision
    assert decision is not None
    if seen.moment == "end":
      return decision, _ended(state, seen, settings)
    if decision.epochs <= seen.epoch:
      return decision, state
    now = allowed()
    if now != state["allowed"]:
      decision, state = _followed(state, seen, now)
    if seen.updates < state["next"]:
      return decision, state
    return _look(state, seen.after(decision), settings)

  def init() -> dict[str, Any]:
    nothing = dataclasses.asdict(base.Cost())
    return {
      "prices": {},
      "behind": 0,
      "used": nothing,
      "trained": False,
      "allowed": {},
      "beside": [],
      "equal": {},
    }

  return base.Controller(init, decide, ("experience", "dispatch", "end"))


def _begin(
  state: dict[str, Any],
  seen: base.Observation,
  epochs: int,
  amounts: Mapping[str, float],
  settings: Settings,
) -> tuple[base.Decision, dict[str, Any]]:
  """Decides whether an experience gets updates, and how much they may take."""
  pending = _counted(seen.pending)
  state = {**state, "looks": [], "next": 1, "in_vain": False}
  state["beside"] = _beside(state, seen)
  state["floor"] = _floor(state, seen, amounts)
  equal, most = _shares(state, seen, amounts)
  begun = {name: getattr(pending, name) for name in amounts}
  state |= {"allowed": dict(amounts), "equal": equal, "begun": begun}
  look = paying.first(seen)
  state["looks"].append(list(look))
  why = _no_updates(state, seen, most, settings)
  if why:
    reason = f"no updates: {why}; {paying.told(look, seen)}"
    return base.Decision(base.Allocation(0), reason=reason), state
  passes = PASSES * epochs if amounts else epochs
  told = errors.count(passes, "epoch")
  if most:
    told = allowance.listed(most)
  decision = base.Decision(
    base.Allocation(passes),
    _limit(most, pending),
    f"at most {told}; so far {paying.told(look, seen)}",
    counts=COUNTED if amounts else (),
  )
  return decision, state


def _floor(
  state: Mapping[str, Any],
  seen: base.Observation,
  amounts: Mapping[str, float],
) -> list[dict[str, float]]:
  """Returns what experiences take beside their updates, by limit.

  Of this one that is what it is yet to take, of those to come all. Operations
  and bytes are known; seconds and joules are taken to be in proportion to
  operations, as they have been so far.

  Raises:
    UsageError: in the first experience, for a budget that is less in all.
  """
  if not amounts:
    return []
  first, beside = seen.experience, [base.Cost(**c) for c in state["beside"]]
  opened = _counted({k: v for k, v in seen.pending.items() if k != "compile"})
  past = {k: v for k, v in seen.recorded.items() if k != "compile"}
  took = _counted(past) - base.Cost(**state["used"]) + opened
  done = sum(each.flops for each in beside[:first]) + opened.flops
  found = [
    {
      name: getattr(each, name)
      if name in _EXACT
      else _SPARE * getattr(took, name) * each.flops / max(done, 1.0)
      for name in amounts
    }
    for each in (beside[first] - opened, *beside[first + 1 :])
  ]
  if not first:
    _check_least(beside, amounts)
  return found


def _beside(
  state: Mapping[str, Any], seen: base.Observation
) -> list[dict[str, float]]:
  """Returns what each experience takes beside its updates, priced once."""
  known = list(state["beside"])
  assert seen.beside is not None
  for number in range(len(known), seen.num_experiences):
    known.append(dataclasses.asdict(seen.beside(number)))
  return known


def _check_least(beside: list[base.Cost], amounts: Mapping[str, float]) -> None:
  """Raises UsageError for a budget below what classifiers take."""
  for name in _EXACT & amounts.keys():
    needed = sum(getattr(each, name) for each in beside)
    if needed > amounts[name]:
      unit = limits.UNITS[name]
      raise UsageError(
        f"a budget of {errors.amount(amounts[name], unit)}: to solve a "
        f"classifier in {errors.count(len(beside), 'experience')} takes "
        f"{errors.amount(needed, unit)}, and nothing here learns for less; "
        f"give {math.ceil(needed)} or more, or fewer random features, such as "
        "auto:m=100"
      )


def _shares(
  state: Mapping[str, Any],
  seen: base.Observation,
  amounts: Mapping[str, float],
) -> tuple[dict[str, float], dict[str, float]]:
  """Returns the equal share of updates, and the most that they may take now.

  The equal share is that of the run's beginning, or of a budget's latest
  change. Beyond it goes what earlier experiences have saved: the shares of
  those to come are theirs, as nobody knows yet how hard they are.
  """
  spent = _counted(seen.recorded) + _counted(seen.pending)
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


def _limit(most: Mapping[str, float], spent: base.Cost) -> base.Cost:
  """Returns the limit of an experience that has spent something already."""
  limit = {name: getattr(spent, name) + each for name, each in most.items()}
  return dataclasses.replace(base.UNLIMITED, **limit)


def _followed(
  state: dict[str, Any], seen: base.Observation, amounts: Mapping[str, float]
) -> tuple[base.Decision, dict[str, Any]]:
  """Follows a budget that has changed while an experience is learned."""
  assert seen.decision is not None
  equal, most = _shares(state, seen, amounts)
  limit = _limit(most, _counted(seen.pending))
  reason = f"the budget has changed: at most {allowance.listed(most)} more"
  decision = dataclasses.replace(seen.decision, limit=limit, reason=reason)
  return decision, {**state, "allowed": dict(amounts), "equal": equal}


def _no_updates(
  state: Mapping[str, Any],
  seen: base.Observation,
  most: Mapping[str, float],
  settings: Settings,
) -> str:
  """Returns why an experience gets no updates, "" where it gets some."""
  if state["behind"] >= settings.patience:
    return (
      f"after {errors.count(state['behind'], 'experience')} the network was "
      "behind the classifier"
    )
  for name, each in most.items():
    left = errors.amount(each, limits.UNITS[name])
    if not each > 0:
      return f"{left} are left"
    if name in _EXACT:
      assert seen.update is not None
      update = getattr(seen.update(), name)
      if each < LEAST_UPDATES * update:
        needed = errors.amount(update, limits.UNITS[name])
        return f"{left} are left, and one takes {needed}"
    elif not state["trained"]:
      found = (
        costs.get("compile", base.Cost())
        for costs in (seen.recorded, seen.pending)
      )
      compiled = sum(getattr(cost, name) for cost in found)
      if each < compiled:
        needed = errors.amount(compiled, limits.UNITS[name])
        return f"{left} are left, and compiling has taken {needed}"
  return ""


def _look(
  state: dict[str, Any], seen: base.Observation, settings: Settings
) -> tuple[base.Decision, dict[str, Any]]:
  """Looks at examples set aside, and ends updates that no longer pay."""
  assert seen.decision is not None
  planned, share = _planned(state, seen)
  if len(state["looks"]) == 1:
    probed = dataclasses.asdict(_counted(seen.pending, ("probe",)))
    state = {**state, "trained": True, "probed": probed}
  interval = _interval(state, seen, share, settings)
  state = {**state, "interval": interval, "planned": planned}
  if len(state["looks"]) == 1 and seen.updates < interval:
    return seen.decision, {**state, "next": interval}
  assert seen.judge is not None
  right = paying.share(seen.judge().right)
  look = paying.Look(*state["looks"][0])._replace(
    updates=seen.updates, trained=right
  )
  state["looks"] = [*state["looks"], list(look)]
  state["next"] = seen.updates + interval
  looks = [paying.Look(*each) for each in state["looks"]]
  each = _per_update(state, seen)
  why = paying.in_vain(looks, interval, planned, state["prices"], each)
  if not why:
    return seen.decision, state
  state["in_vain"] = True
  reason = (
    f"ends after {errors.count(seen.updates, 'update')}: {why}; "
    f"{paying.told(look, seen)}"
  )
  change = base.Change("ended", reason)
  decision = seen.decision.changed(change, epochs=seen.epoch)
  return dataclasses.replace(decision, reason=reason), state


def _ended(
  state: dict[str, Any], seen: base.Observation, settings: Settings
) -> dict[str, Any]:
  """Sets prices by what an experience has taken, and tells who was ahead."""
  looks = [paying.Look(*look) for look in state["looks"]]
  used = base.Cost(**state["used"]) + seen.used
  state = {**state, "used": dataclasses.asdict(used)}
  if len(looks) == 1:
    return state
  last = looks[-1]
  # One that ran out of its share may have been on its way.
  behind = state["in_vain"] and last.trained < last.solved - last.noise
  state = {**state, "behind": state["behind"] + 1 if behind else 0}
  spent = _counted(seen.pending)
  taken = {k: getattr(spent, k) - v for k, v in state["begun"].items()}
  equal = {k: v for k, v in state["equal"].items() if v > 0}
  prices = {k: v for k, v in state["prices"].items() if k in equal}
  if prices:
    prices = pacing.multiplied(prices, taken, equal, settings.rate)
  elif equal:
    prices = paying.first_prices(looks, state["interval"], taken, equal)
  return {**state, "prices": {**state["prices"], **prices}}


def _planned(
  state: Mapping[str, Any], seen: base.Observation
) -> tuple[int, int]:
  """Returns the updates of the experience, in all and in its equal share."""
  each = _per_update(state, seen)
  assert seen.decision is not None
  limit = seen.decision.limit
  fits, share = [float(seen.planned)], [float(seen.planned)]
  for name, cost in each.items():
    if cost > 0:
      fits.append((getattr(limit, name) - state["begun"][name]) / cost)
      share.append(state["equal"][name] / cost)
  planned = max(1, math.floor(min(fits)))
  return planned, min(planned, max(1, math.floor(min(share))))


def _per_update(
  state: Mapping[str, Any], seen: base.Observation
) -> dict[str, float]:
  """Returns what an update has taken on average, by limit."""
  count = max(seen.updates, 1)
  return {name: getattr(seen.used, name) / count for name in state["begun"]}


def _interval(
  state: Mapping[str, Any],
  seen: base.Observation,
  share: int,
  settings: Settings,
) -> int:
  """Returns the updates between looks, whose cost is a small share of theirs.

  Seconds are compared only where they are limited, or joules are: runs with
  other limits repeat bit for bit.
  """
  timed = {"seconds", "joules"} & set(state["begun"])
  unit = "seconds" if timed else "flops"
  probed = getattr(_counted(seen.pending, ("probe",)), unit)
  look = (probed - state["probed"][unit]) / max(len(state["looks"]) - 1, 1)
  update = getattr(seen.used, unit) / max(seen.updates, 1)
  least = look / (settings.overhead * update) if update > 0 else 1.0
  return max(1, math.ceil(share / settings.looks), math.ceil(least))


def _counted(
  costs: Mapping[str, base.Cost], accounts: tuple[str, ...] = COUNTED
) -> base.Cost:
  """Returns the sum of some accounts."""
  found = (costs[name] for name in accounts if name in costs)
  return sum(found, base.Cost())
