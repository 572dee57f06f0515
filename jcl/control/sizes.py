"""Chooses the sizes of a memory on the host, within what the host allows.

By a recipe's own sizes, by a rule, or by short trials: Ma et al.,
"Cost-effective On-device Continual Learning over Memory Hierarchy with Miro",
MobiCom 2023, https://doi.org/10.1145/3570361.3613297. What the host allows may
change at any time: memory and stream buffer shrink at once, grow again when an
epoch has ended, and training waits where there is no room for an example of
every class.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any, NamedTuple, cast

from jcl import base, keys
from jcl.control import choice
from jcl.options import errors
from jcl.options.errors import UsageError

_LEAST_BATCHES = 4  # of an epoch with sizes that are chosen, where room allows
# Updates of the largest candidate, below which a bounded trial tells nothing.
_LEAST_UPDATES = 8


class Outcome(NamedTuple):
  """Results of the trials of an experience, and their costs."""

  table: tuple[choice.Row, ...]
  step_joules: float  # of one update
  read_joules: float  # of an example's exchange, where updates have none
  spent: base.Cost  # on all of it


class _Plan(NamedTuple):
  """Sizes that are wanted for an experience, and how they came about."""

  wanted: choice.Sizes
  change: base.Change
  table: list[dict[str, Any]]  # of trials, a row each


def sizes(trials: base.Trials | None, seed: int = 0) -> base.Controller:
  """Chooses sizes when an experience begins, and keeps them within the host's.

  Args:
    trials: how sizes are chosen; None leaves them as the recipe gives them.
    seed: of random sizes.
  """

  def init() -> dict[str, Any]:
    return {"wanted": [0, 0], "table": []}

  def decide(
    state: dict[str, Any], seen: base.Observation
  ) -> tuple[base.Decision, dict[str, Any]]:
    if seen.moment == "experience":
      return _begin(trials, seed, state, seen)
    if seen.moment == "end":
      return _leave(trials, state, seen), state
    return _follow(trials, state, seen), state

  moments: tuple[base.Moment, ...] = ("experience", "dispatch", "epoch", "end")
  return base.Controller(init, decide, moments)


def _begin(
  trials: base.Trials | None,
  seed: int,
  state: dict[str, Any],
  seen: base.Observation,
) -> tuple[base.Decision, dict[str, Any]]:
  """Decides on the sizes of an experience that begins."""
  decision, held = seen.decision, seen.held
  assert decision is not None and held is not None
  em, sb = state["wanted"]
  # From the second choice on, sizes stay as they were where it finds no better.
  if trials is None or not trials.tries or seen.experience <= trials.start:
    em, sb = held.given
  made = _Plan((em, sb), base.Change("fixed", "sizes as given"), [])
  if trials is not None and seen.experience >= trials.start and held.earlier():
    made = _planned(trials, seed, made.wanted, seen)
  state = {"wanted": list(made.wanted), "table": made.table}
  if seen.experience and held.room < held.classes:
    change = base.Change(
      "paused", f"{held.allowed} are allowed", made.change.details
    )
    paused = decision.changed(change, em=0, sb=0)
    return dataclasses.replace(paused, wait=True), state
  em, sb = fitting(held, made.wanted, trials, made.table)
  return decision.changed(made.change, em=em, sb=sb), state


def _leave(
  trials: base.Trials | None, state: dict[str, Any], seen: base.Observation
) -> base.Decision:
  """Decides how much memory an experience leaves behind."""
  decision, held = seen.decision, seen.held
  assert decision is not None and held is not None
  em = held.given[0]
  if trials is not None and state["wanted"][0]:
    em = max(state["wanted"][0], decision.allocation.em)
  return decision.changed(em=int(min(em, held.room)))


def _follow(
  trials: base.Trials | None, state: dict[str, Any], seen: base.Observation
) -> base.Decision:
  """Follows what the host allows while an experience is learned."""
  decision, held = seen.decision, seen.held
  assert decision is not None and held is not None
  now = decision.allocation.em, decision.allocation.sb
  wanted = state["wanted"][0], state["wanted"][1]
  told = f"{held.allowed} are allowed"
  waits = now == (0, 0) != wanted
  if held.room < held.classes:
    if not waits:
      change = base.Change("paused", told)
      decision = decision.changed(change, em=0, sb=0)
    return dataclasses.replace(decision, wait=True)
  kind, fitted = "", now
  if waits:
    kind, fitted = "resumed", fitting(held, wanted, trials, state["table"])
  elif held.over:
    fitted = fitting(held, now, trials, state["table"])
    kind = "shrunk" if fitted != now else ""
  if kind:
    em, sb = fitted
    decision = decision.changed(base.Change(kind, told), em=em, sb=sb)
  if seen.moment == "epoch":
    em, sb = fitting(held, wanted, trials, state["table"])
    if em + sb > sum(fitted):
      decision = decision.changed(base.Change("grown", told), em=em, sb=sb)
  return dataclasses.replace(decision, wait=False)


def fitting(
  held: base.Held,
  wanted: choice.Sizes,
  trials: base.Trials | None = None,
  table: Sequence[dict[str, Any]] = (),
) -> choice.Sizes:
  """Returns the best sizes within what there is room for, at most those wanted.

  Args:
    held: the memory, and the room that the host allows.
    wanted: examples of memory and stream buffer.
    trials: whose policy and cut-line choose among rows of the table.
    table: rows of trials, as dicts of `choice.Row`.

  Raises:
    ValueError: where an example of every class does not fit.
  """
  em, sb = wanted
  if em + sb <= held.room:
    return em, sb
  room, seen = int(held.room), held.classes
  if table and trials is not None:
    rows = [choice.Row(**row) for row in table]
    policy = cast(choice.Policy, trials.policy)
    found = choice.best_fit(rows, room, trials.cutline, policy)
    if found.index is not None:
      return rows[found.index].em, rows[found.index].sb
  if room >= seen and sb and not held.earlier():
    return 0, min(sb, room)  # nothing could fill a memory yet
  scaled = choice.scaled(em, sb, room, seen)
  if scaled is None:
    raise UsageError(
      f"{held.allowed} are allowed for the memory hierarchy, which holds "
      f"{room} examples of {held.row_bytes} bytes: fewer than the {seen} "
      "classes seen; allow more with --memory_budget"
    )
  return scaled


def _planned(
  trials: base.Trials, seed: int, wanted: choice.Sizes, seen: base.Observation
) -> _Plan:
  """Chooses among candidates, by a rule or by trials."""
  held, decision = seen.held, seen.decision
  assert held is not None and decision is not None and seen.trial is not None
  tried = candidates(trials, held, wanted)

  def kept(reason: str) -> _Plan:
    return _Plan(wanted, base.Change("kept", reason), [])

  if not tried:
    return kept("no candidate fits the memory allowed")
  if not trials.tries:
    reason = f"the rule {trials.policy!r} asks for no trials"
    change = base.Change(trials.policy, reason)
    return _Plan(_ruled(trials, tried, seed, seen.experience), change, [])
  if not held.aside:
    return kept("too few examples of a class to set any aside as judges")
  share = share_within(trials, held, tried)
  if not share:
    part = f"{100 * trials.overhead:g} %"
    return kept(f"trials within {part} of training would tell nothing")
  return _chosen(
    trials, wanted, seen, seen.trial(tried, share, decision.epochs)
  )


def candidates(
  trials: base.Trials, held: base.Held, wanted: choice.Sizes
) -> list[choice.Sizes]:
  """Returns the sizes to choose among that there is room for.

  Args:
    trials: with a grid, or a policy that makes one.
    held: the memory, and the room that the host allows.
    wanted: sizes until now, a candidate where the budget decides the others.
  """
  earlier, current = held.earlier(), held.fresh()
  seen, fresh = sum(earlier.values()), sum(current.values())
  total = sum(held.given) if math.isinf(held.room) else int(held.room)
  if trials.policy == "half":
    found = choice.clamp_grid([(total // 2, total // 2)], seen, fresh)
  elif trials.grid:
    found = choice.clamp_grid(trials.grid, seen, fresh)
  else:
    found = choice.candidates(
      total,
      seen,
      fresh,
      wanted,
      trials.most,
      least=(len(earlier), len(current)),
      least_total=min(total, _LEAST_BATCHES * held.rows),
    )
  return [
    pair
    for pair in found
    if sum(pair) <= held.room and not choice.reject(choice.Row(*pair), seen)
  ]


def share_within(
  trials: base.Trials, held: base.Held, tried: Sequence[choice.Sizes]
) -> float:
  """Returns the share of the examples that trials may train on.

  It is less than the share asked for where trials would take more of what the
  experience before was trained with than their overhead allows, and 0 where so
  little is left that the largest candidate would make less than 8 updates.
  """
  if not trials.overhead or held.trained is None:
    return trials.share
  largest = max(tried, key=sum)
  whole = choice.profile_cost(
    tried, 1.0, trials.epochs, trials.warmup, *largest, held.aside
  )
  # A pass forward is a third of one with both gradients.
  left = trials.overhead * held.trained - whole.evaluation / 3
  share = min(trials.share, max(left, 0.0) / (whole.trials + whole.warmup))
  batches = math.ceil(share * sum(largest) / held.rows)
  return share if trials.epochs * batches >= _LEAST_UPDATES else 0.0


def _ruled(
  trials: base.Trials, tried: list[choice.Sizes], seed: int, experience: int
) -> choice.Sizes:
  """Returns the largest sizes, or any, as the policy says."""
  if trials.policy != "random":
    return max(tried, key=lambda pair: (sum(pair), pair))
  generator = keys.rng(seed, keys.Purpose.SIZES, experience)
  return tried[int(generator.integers(len(tried)))]


def _chosen(
  trials: base.Trials,
  wanted: choice.Sizes,
  seen: base.Observation,
  outcome: Outcome,
) -> _Plan:
  """Chooses from what trials showed."""
  decision, held, count = seen.decision, seen.held, len(outcome.table)
  assert decision is not None and held is not None
  table = [dataclasses.asdict(row) for row in outcome.table]
  cutline = trials.cutline
  if trials.policy != "enough":
    # The cut-line counts all candidates; dropped ones have no accuracy.
    tried = sum(row.accuracy is not None for row in outcome.table)
    cutline = min(1.0, cutline * count / max(tried, 1))
  affordable = _affordable(decision.limit.joules, outcome.table)
  found = choice.choose(affordable, cutline, cast(choice.Policy, trials.policy))
  took: dict[str, Any] = {
    "seconds": outcome.spent.seconds,
    "joules": outcome.spent.joules,
    "step_joules": outcome.step_joules,
    "judge": trials.judge,
    "epochs": decision.epochs,
    "candidates": table,
    "kept": list(found.kept),
  }
  if found.index is None:
    reason = "no candidate can be used"
    if trials.policy == "enough":
      reason = "no candidate gained more in its trial than may be chance"
    return _Plan(wanted, base.Change("kept", reason, took), table)
  row = outcome.table[found.index]
  # Exchanges are left out of the table, as what reading takes differs from run
  # to run and choices would with it. There are none where all is in memory.
  exchanged = 0.0
  if row.em < sum(held.earlier().values()):
    exchanged = decision.epochs * row.em * decision.allocation.swap
  predicted = row.energy + exchanged * outcome.read_joules
  reason = (
    f"by {trials.policy!r} from the best {len(found.kept)} of {count} tried: "
    f"{trials.judge} {row.accuracy:.1f} % in the trial, "
    f"{errors.amount(predicted, 'J')} predicted"
  )
  change = base.Change("chosen", reason, {**took, "predicted": predicted})
  return _Plan((row.em, row.sb), change, table)


def _affordable(
  left: float, table: tuple[choice.Row, ...]
) -> tuple[choice.Row, ...]:
  """Takes the accuracy of rows that what is left of the joules cannot pay."""
  if all(row.energy > left for row in table):
    return table  # training ends where they are spent
  return tuple(
    row if row.energy <= left else dataclasses.replace(row, accuracy=None)
    for row in table
  )
