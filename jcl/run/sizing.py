"""What sizes memory and stream buffer get for an experience.

By short trials or by a rule, as the plan of a hierarchy says, and never more
than the host allows.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from jcl import base
from jcl.control import choice
from jcl.errors import UsageError
from jcl.run import trials
from jcl.run.cursor import Place, Setting

_LEAST_BATCHES = 4  # of an epoch with sizes that are chosen, where room allows


def planned(
  setting: Setting, state: base.LearnerState, place: Place, scope: base.Scope
) -> tuple[str, str, dict[str, Any]]:
  """Has the tiers want other sizes, where the plan finds some.

  Args:
    setting: of the run, whose hierarchy has a plan.
    state: at the beginning of the experience; only read.
    place: where the run stands.
    scope: what is known of the classes.

  Returns:
    What a decision says of it: its kind, the reason, and what trials showed.
  """
  tiers = setting.tiers
  plan = tiers.hierarchy.plan
  sizes = _candidates(setting)
  if not sizes:
    return "kept", "no candidate fits the memory allowed", {}
  if not plan.tries:
    tiers.wanted = _ruled(tiers, sizes)
    return plan.policy, f"the rule {plan.policy!r} asks for no trials", {}
  judges = len(tiers.archive.aside)
  if not judges:
    return "kept", "too few examples of a class to set any aside as judges", {}
  share = trials.share_within(setting, place, sizes)
  if not share:
    part = f"{100 * plan.overhead:g} %"
    return "kept", f"trials within {part} of training would tell nothing", {}
  # The trials' own examples and their judges need room beside the memory, which
  # can be read again.
  most = math.ceil(share * max(map(sum, sizes))) + len(tiers.earlier()) + judges
  if len(tiers.em) + most > tiers.room:
    tiers.arrange(max(int(tiers.room) - most, 0), 0)
  outcome = trials.run(setting, state, place, scope, sizes, share)
  return _chosen(setting, place, outcome)


def fitting(
  setting: Setting, place: Place, room: float, em: int, sb: int
) -> choice.Sizes:
  """Returns the best sizes within what there is room for, at most these.

  Args:
    setting: of the run.
    place: where it stands.
    room: examples that the host allows.
    em: examples of the memory, and
    sb: of the stream buffer, which are wanted.

  Raises:
    ValueError: where an example of every class does not fit.
  """
  tiers = setting.tiers
  if em + sb <= room:
    return em, sb
  room = int(room)
  rows = [choice.Row(**row) for row in tiers.table]
  plan = tiers.hierarchy.plan
  if rows and plan is not None:
    found = choice.best_fit(rows, room, plan.cutline, plan.policy)
    if found.index is not None:
      return rows[found.index].em, rows[found.index].sb
  seen = classes_seen(setting, place)
  if room >= seen and sb and not tiers.earlier():
    return 0, min(sb, room)  # nothing could fill a memory yet
  scaled = choice.scaled(em, sb, room, seen)
  if scaled is None:
    raise UsageError(
      f"{allowed(tiers)} are allowed for the memory hierarchy, which holds "
      f"{room} examples of {tiers.row_bytes} bytes: fewer than the {seen} "
      "classes seen; allow more with --memory_budget"
    )
  return scaled


def classes_seen(setting: Setting, place: Place) -> int:
  """Returns how many there are, those of the experience included."""
  return int(setting.stream.classes_seen(place.experience).sum())


def allowed(tiers: Any) -> str:
  """Returns what the host allows, to be read."""
  return f"{tiers.limit() / 2**20:.3g} MiB"


def _candidates(setting: Setting) -> list[choice.Sizes]:
  """Returns sizes that the plan chooses among, and that there is room for."""
  tiers = setting.tiers
  plan, room = tiers.hierarchy.plan, tiers.room
  earlier, current = tiers.earlier(), tiers.fresh()
  seen, fresh = (sum(map(len, ids.values())) for ids in (earlier, current))
  given = map(tiers.in_examples, (tiers.hierarchy.em, tiers.hierarchy.sb))
  total = sum(given) if math.isinf(room) else int(room)
  if plan.policy == "half":
    sizes = choice.clamp_grid([(total // 2, total // 2)], seen, fresh)
  elif plan.grid:
    sizes = choice.clamp_grid(plan.grid, seen, fresh)
  else:
    sizes = choice.candidates(
      total,
      seen,
      fresh,
      tiers.wanted,
      plan.most,
      least=(len(earlier), len(current)),
      least_total=min(total, _LEAST_BATCHES * setting.learner.stream_rows),
    )
  return [pair for pair in sizes if sum(pair) <= room]


def _ruled(tiers, sizes: list[choice.Sizes]) -> choice.Sizes:
  """Returns the largest sizes, or any, as the policy says."""
  if tiers.hierarchy.plan.policy != "random":
    return max(sizes, key=lambda pair: (sum(pair), pair))
  generator = np.random.default_rng((tiers.seed, 12, tiers.experience))
  return sizes[int(generator.integers(len(sizes)))]


def _chosen(
  setting: Setting, place: Place, outcome: trials.Outcome
) -> tuple[str, str, dict[str, Any]]:
  """Chooses from what trials showed; returns as `planned`."""
  tiers = setting.tiers
  assert place.decision is not None
  plan, count = tiers.hierarchy.plan, len(outcome.table)
  tiers.table = [dataclasses.asdict(row) for row in outcome.table]
  cutline = plan.cutline
  if plan.policy != "enough":
    # Of all candidates, of which those that fell behind have no accuracy.
    tried = sum(row.accuracy is not None for row in outcome.table)
    cutline = min(1.0, cutline * count / max(tried, 1))
  affordable = _affordable(place, outcome.table)
  found = choice.choose(affordable, cutline, plan.policy)
  took: dict[str, Any] = {
    "seconds": outcome.spent.seconds,
    "joules": outcome.spent.joules,
    "step_joules": outcome.step_joules,
    "judge": plan.judge,
    "epochs": place.decision.epochs,
    "candidates": tiers.table,
    "kept": list(found.kept),
  }
  if found.index is None:
    reason = "no candidate can be used"
    if plan.policy == "enough":
      reason = "no candidate gained more in its trial than may be chance"
    return "kept", reason, took
  row = outcome.table[found.index]
  tiers.wanted = row.em, row.sb
  # Exchanges are left out of the table, as what reading takes differs from run
  # to run and choices would with it. There are none where all is in memory.
  exchanged = 0.0
  if row.em < sum(map(len, tiers.earlier().values())):
    exchanged = place.decision.epochs * row.em * tiers.exchanges.progress.target
  predicted = row.energy + exchanged * outcome.read_joules
  reason = (
    f"by {plan.policy!r} from the best {len(found.kept)} of {count} tried: "
    f"{plan.judge} {row.accuracy:.1f} % in the trial, {predicted:.3g} J "
    "predicted"
  )
  return "chosen", reason, {**took, "predicted": predicted}


def _affordable(
  place: Place, table: tuple[choice.Row, ...]
) -> tuple[choice.Row, ...]:
  """Takes the accuracy of rows that what is left of the joules cannot pay."""
  assert place.decision is not None
  left = place.decision.limit.joules
  if all(row.energy > left for row in table):
    return table  # training ends where they are spent
  return tuple(
    row if row.energy <= left else dataclasses.replace(row, accuracy=None)
    for row in table
  )
