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
from jcl.control import allowance, fixed, limits, pacing, paying, shares
from jcl.options import errors

LEAST_UPDATES = 8  # below which updates teach nothing a classifier does not
PASSES = 10  # at most with a budget, times those without one
_NEVER = 1 << 62  # updates


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

  Where a recipe sets no examples aside, all of the budget goes to updates.

  All that learning takes counts towards the budget: the accounts of
  `limits.COUNTED`. No update passes a limit of operations or bytes. What the
  classifiers of experiences to come will take is kept for them.

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
      classifiers alone exceed, or that is spent before anything is learned.
  """
  fixed.check(epochs, 1.0)
  amounts = limits.amounts(total)

  def allowed() -> dict[str, float]:
    if joules is None:
      return amounts
    now = {**amounts, "joules": min(joules(), total.joules)}
    return {name: value for name, value in now.items() if value < math.inf}

  def decide(
    state: dict[str, Any], seen: base.Observation
  ) -> tuple[base.Decision, dict[str, Any]]:
    if seen.moment == "experience":
      begun, state = _begin(state, seen, epochs, allowed(), settings)
      shares.check_begun(amounts, seen, begun)
      return begun, state
    decision = seen.decision
    assert decision is not None
    if seen.moment == "end":
      told = paying.figures(state, decision.limit)
      decision = dataclasses.replace(decision, forecast=told)
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
  pending = limits.counted(seen.pending)
  state = {**state, "looks": [], "next": 1, "in_vain": False}
  state["beside"] = shares.beside(state, seen)
  state["floor"] = shares.floor(state, seen, amounts)
  equal, most = shares.split(state, seen, amounts)
  found = ""
  if _sees(seen):
    look = paying.first(seen)
    state["looks"].append(list(look))
    found = paying.told(look, seen)
  else:
    state["next"] = _NEVER
  state["around"] = paying.around(state["floor"], pending)
  if seen.comparison is not None:
    pending += seen.comparison()  # made by now, and kept apart from the rest
  begun = dataclasses.asdict(pending)
  state |= {"allowed": dict(amounts), "equal": equal, "begun": begun}
  counts = limits.COUNTED if amounts else ()
  why = _no_updates(state, seen, most, settings)
  if why:
    reason = f"no updates: {why}" + (f"; {found}" if found else "")
    none = base.Allocation(0)
    return base.Decision(none, reason=reason, counts=counts), state
  passes = PASSES * epochs if amounts else epochs
  told = errors.count(passes, "epoch")
  if most:
    told = allowance.listed(most)
  decision = base.Decision(
    base.Allocation(passes),
    shares.limit(most, pending),
    f"at most {told}" + (f"; so far {found}" if found else ""),
    counts=counts,
  )
  return decision, state


def _sees(seen: base.Observation) -> bool:
  """Tells whether there are examples set aside to look at."""
  return seen.compare is not None or seen.judge is not None


def _followed(
  state: dict[str, Any], seen: base.Observation, amounts: Mapping[str, float]
) -> tuple[base.Decision, dict[str, Any]]:
  """Follows a budget that has changed while an experience is learned."""
  assert seen.decision is not None
  equal, most = shares.split(state, seen, amounts)
  limit = shares.limit(most, limits.counted(seen.pending))
  more = f"at most {allowance.listed(most)} more" if most else "no limit"
  decision = dataclasses.replace(
    seen.decision,
    limit=limit,
    reason=f"the budget has changed: {more}",
    counts=limits.COUNTED if amounts else (),
  )
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
    if name in shares.EXACT:
      assert seen.update is not None
      update = getattr(seen.update(), name)
      if each < (LEAST_UPDATES if _sees(seen) else 1) * update:
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
    probed = dataclasses.asdict(limits.counted(seen.pending, ("probe",)))
    state = {**state, "trained": True, "probed": probed}
  interval = _interval(state, seen, share, settings)
  state = {**state, "interval": interval, "planned": planned}
  if len(state["looks"]) == 1 and seen.updates < interval:
    return seen.decision, {**state, "next": interval}
  if not _room(state, seen):
    return seen.decision, {**state, "next": _NEVER}
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


def _room(state: Mapping[str, Any], seen: base.Observation) -> bool:
  """Tells whether the limit leaves a look, and an update behind it."""
  assert seen.decision is not None
  left = seen.decision.limit - limits.counted(seen.pending)
  look = base.Cost()
  if seen.comparison is not None:
    look = seen.comparison()  # of classifier and network: more than a look
  each = _per_update(state, seen)
  return all(
    getattr(left, name) >= getattr(look, name) + cost
    for name, cost in each.items()
  )


def _ended(
  state: dict[str, Any], seen: base.Observation, settings: Settings
) -> dict[str, Any]:
  """Sets prices by what an experience has taken, and tells who was ahead."""
  looks = [paying.Look(*look) for look in state["looks"]]
  used = base.Cost(**state["used"]) + seen.used
  state = {**state, "used": dataclasses.asdict(used)}
  if len(looks) <= 1:
    return state
  last = looks[-1]
  # One that ran out of its share may have been on its way.
  behind = state["in_vain"] and last.trained < last.solved - last.noise
  state = {**state, "behind": state["behind"] + 1 if behind else 0}
  spent = limits.counted(seen.pending)
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
  return {name: getattr(seen.used, name) / count for name in state["allowed"]}


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
  timed = {"seconds", "joules"} & set(state["allowed"])
  unit = "seconds" if timed else "flops"
  probed = getattr(limits.counted(seen.pending, ("probe",)), unit)
  look = (probed - state["probed"][unit]) / max(len(state["looks"]) - 1, 1)
  update = getattr(seen.used, unit) / max(seen.updates, 1)
  least = look / (settings.overhead * update) if update > 0 else 1.0
  return max(1, math.ceil(share / settings.looks), math.ceil(least))
