"""When the tiers of a memory hierarchy act, and what sizes they get.

The run's loop calls these between its steps. Sizes are fixed by the recipe, or
chosen from short trials; either way they follow what the host allows, which may
change at any time.
"""

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import functools
import math
from pathlib import Path
import tempfile
import time
from typing import Any

from absl import logging
import numpy as np

from jcl import base, trials
from jcl.control import choice
from jcl.hierarchy import archive as archive_lib
from jcl.hierarchy import limits
from jcl.hierarchy import tiers as tiers_lib
from jcl.progress import Place, Setting
from jcl.replay import herding
from jcl.storage import store as store_lib

_RUN = "run"  # the run's name in its own store
_WAIT = 0.5  # seconds between looks at what the host allows


@contextlib.contextmanager
def opened(
  setting: Setting,
  folder: Path | None,
  limit: limits.Limit | str | None = None,
) -> Iterator[Setting]:
  """Opens the tiers that the setting's method asks for, if any.

  Args:
    setting: of the run.
    folder: of the run, which holds the store; None: a temporary one.
    limit: bytes that memory, stream buffer and reading may take; as text, what
      `limits.parse` takes, or "auto" for half of what the machine has left and
      what its control group allows.

  Raises:
    ValueError: where the memory has fewer seats than there are classes.
    StoreError: where the store cannot be used.
  """
  learner = setting.learner
  hierarchy = learner.method.hierarchy
  if hierarchy is None:
    yield setting
    return
  bound = None if limit == "auto" else limits.parse(limit)
  with contextlib.ExitStack() as stack:
    if folder is None:
      made = stack.enter_context(tempfile.TemporaryDirectory())
      folder = Path(made)
    store = stack.enter_context(store_lib.Store.open(folder / "store"))
    beside = None
    if learner.example.extras:
      beside = stack.enter_context(store_lib.Store.open(folder / "extras"))
    names = setting.stream.class_names
    tiers = tiers_lib.Tiers(
      hierarchy,
      archive_lib.Archive(store, _RUN, names, learner.example, beside),
      seed=setting.seed,
      limit=bound or (lambda: math.inf),
      lag=4 * learner.steps_per_dispatch,
      # As many again as are waited for.
      staged=8 * learner.steps_per_dispatch * learner.rows_per_step,
    )
    stack.callback(tiers.close)
    seats = tiers.in_examples(hierarchy.em)
    if hierarchy.trains != "store" and seats < len(names):
      raise ValueError(
        f"em={hierarchy.em} makes {seats} seats in memory for {len(names)} "
        f"classes: give em={len(names)} or more"
      )
    if limit == "auto":
      tiers.limit = limits.lowest(
        limits.available(lambda: tiers.nbytes),
        limits.cgroup(lambda: tiers.nbytes),
      )
    yield dataclasses.replace(setting, tiers=tiers)


def restore(setting: Setting, place: Place) -> None:
  """Has the tiers hold what they held at a saved place."""
  if setting.tiers is None or place.tiers is None:
    return
  data = setting.stream.experiences[max(place.tiers["experience"], 0)].data
  setting.tiers.restore(place.tiers, data)


def begin(
  setting: Setting, state: base.LearnerState, place: Place, scope: base.Scope
) -> None:
  """Stores an experience's examples and shares out the memory for it."""
  tiers, index = setting.tiers, place.experience
  hierarchy, plan = tiers.hierarchy, tiers.hierarchy.plan
  data = setting.stream.experiences[index].data
  with setting.ledger.timed("data"):
    tiers.store(index, data)
  tiers.fit_staging()
  tiers.table = []
  em, sb = map(tiers.in_examples, (hierarchy.em, hierarchy.sb))
  tiers.wanted = em, 0 if hierarchy.trains == "memory" else sb
  kind, reason = "fixed", "sizes as given"
  more: dict[str, Any] = {}
  if hierarchy.trains == "store":
    return
  if plan is not None and index >= plan.start and tiers.earlier():
    kind, reason, more = _planned(setting, state, place, scope)
  room = tiers.room
  if index and room < _classes(setting, place):
    em, sb = 0, 0
    kind, reason = "paused", f"{_allowed(tiers)} are allowed"
  else:
    em, sb = _fitting(setting, place, room, *tiers.wanted)
  with setting.ledger.timed("data"):
    if hierarchy.trains == "memory":
      tiers.arrange(min(em, len(tiers.em)), 0)
      tiers.absorb(data, em)
      tiers.sizes = em, 0
      tiers.begin_epoch()
    else:
      tiers.arrange(em, sb, data)
  note(setting, place, kind, reason, **more)


def _planned(setting, state, place, scope) -> tuple[str, str, dict[str, Any]]:
  """Chooses sizes for an experience; returns what a decision says of it."""
  tiers = setting.tiers
  plan = tiers.hierarchy.plan
  seen = sum(len(ids) for ids in tiers.earlier().values())
  fresh = sum(len(ids) for ids in tiers.fresh().values())
  room = tiers.room
  total = int(min(room, sum(tiers.wanted) if math.isinf(room) else room))
  current = choice.clamp_grid([tiers.wanted], seen, fresh)[0]
  sizes = choice.clamp_grid(plan.grid, seen, fresh) or choice.candidates(
    total, seen, fresh, current, plan.most
  )
  if plan.policy in ("largest", "half", "random"):
    half = choice.clamp_grid([(total // 2, total // 2)], seen, fresh)[0]
    tiers.wanted = half if plan.policy == "half" else _of(tiers, sizes)
    return plan.policy, f"the rule {plan.policy!r} asks for no trials", {}
  sizes = [pair for pair in sizes if sum(pair) <= room]
  if not sizes:
    return "kept", "no candidate fits the memory allowed", {}
  # The trials' own examples need room beside the memory, which can be read
  # again.
  most = math.ceil(plan.share * max(map(sum, sizes))) + len(tiers.earlier())
  if len(tiers.em) + most > room:
    tiers.arrange(max(int(room) - most, 0), 0)
  if not any(len(ids) for ids in tiers.archive.held_out.values()):
    return "kept", "too few examples of a class to set any aside as judges", {}
  outcome = trials.run(setting, state, place, scope, sizes)
  tiers.table = [dataclasses.asdict(row) for row in outcome.table]
  tried = sum(row.accuracy is not None for row in outcome.table)
  # Of all candidates, of which those that fell behind have no accuracy.
  cutline = min(1.0, plan.cutline * len(sizes) / max(tried, 1))
  affordable = _affordable(setting, place, outcome.table)
  found = choice.choose(affordable, cutline, plan.policy)
  took: dict[str, Any] = {
    "seconds": outcome.spent.seconds,
    "joules": outcome.spent.joules,
    "step_joules": outcome.step_joules,
    "candidates": tiers.table,
  }
  took["kept"] = list(found.kept)
  if found.index is None:
    return "kept", "no candidate can be used", took
  row = outcome.table[found.index]
  tiers.wanted = row.em, row.sb
  reason = (
    f"{plan.policy} among the {len(found.kept)} best of {len(sizes)} tried: "
    f"{row.accuracy:.1f} % in the trial, {row.energy:.3g} J predicted"
  )
  return "chosen", reason, {**took, "predicted": row.energy}


def _of(tiers, sizes: list[choice.Sizes]) -> choice.Sizes:
  """Returns the largest sizes, or any, as the policy says."""
  if tiers.hierarchy.plan.policy == "largest":
    return max(sizes, key=lambda pair: (sum(pair), pair))
  generator = np.random.default_rng((tiers.seed, 12, tiers.experience))
  return sizes[int(generator.integers(len(sizes)))]


def _affordable(setting, place, table) -> tuple[choice.Row, ...]:
  """Takes the accuracy of rows that what is left of the joules cannot pay."""
  assert place.decision is not None
  left = place.decision.limit.joules
  if all(row.energy > left for row in table):
    return table  # training ends where they are spent
  return tuple(
    row if row.energy <= left else dataclasses.replace(row, accuracy=None)
    for row in table
  )


def after_steps(
  setting: Setting, place: Place, first: int, ids: Any, hardness: Any
) -> None:
  """Has examples exchanged that a dispatch has replayed.

  Args:
    setting: of the run.
    place: before the dispatch.
    first: step of the dispatch's first update.
    ids: [k, B] of its batches.
    hardness: [k, B'] as `step.Info` has it.
  """
  assert place.decision is not None
  part = place.epoch / max(place.decision.epochs, 1)
  for i, row in enumerate(ids):
    setting.tiers.trained(first + i, part, place.epoch, row, hardness[i])


def starved(setting: Setting, place: Place) -> bool:
  """Waits a moment where the host allows less than an example of every class.

  Memory and stream buffer are empty meanwhile, and filled again afterwards.
  """
  tiers = setting.tiers
  if tiers.hierarchy.trains == "store":
    return False
  tiers.fit_staging()
  room = tiers.room
  waits = tiers.sizes == (0, 0) and tiers.wanted != (0, 0)
  if room < _classes(setting, place):
    if not waits:
      tiers.arrange(0, 0)
      note(setting, place, "paused", f"{_allowed(tiers)} are allowed")
    time.sleep(_WAIT)
    return True
  if waits:
    data = setting.stream.experiences[place.experience].data
    tiers.arrange(*_fitting(setting, place, room, *tiers.wanted), data)
    note(setting, place, "resumed", f"{_allowed(tiers)} are allowed")
  return False


def between(setting: Setting, place: Place) -> bool:
  """Follows what the host allows.

  Returns:
    Whether an epoch begins that goes through other examples than planned.
  """
  tiers = setting.tiers
  changed = False
  if tiers.hierarchy.trains == "store":
    return False
  tiers.fit_staging()
  room = tiers.room  # asked once, as it may change at any time
  if room < _classes(setting, place):
    return False  # training pauses
  if tiers.nbytes > tiers.limit():
    em, sb = _fitting(setting, place, room, *tiers.sizes)
    tiers.arrange(em, sb)
    note(setting, place, "shrunk", f"{_allowed(tiers)} are allowed")
    changed = True
  if place.batch:
    return False
  if reason := tiers.exchanges.end_epoch():
    note(setting, place, "swap", reason)
  wanted = _fitting(setting, place, room, *tiers.wanted)
  if sum(wanted) > sum(tiers.sizes):
    data = setting.stream.experiences[place.experience].data
    whole = tiers.hierarchy.trains != "memory"
    tiers.arrange(*wanted, data if whole else None)
    note(setting, place, "grown", f"{_allowed(tiers)} are allowed")
    changed = True
  return tiers.begin_epoch() or changed


def end(setting: Setting, state: base.LearnerState, place: Place) -> None:
  """Takes the experience's examples into the memory."""
  tiers, learner = setting.tiers, setting.learner
  data = setting.stream.experiences[place.experience].data
  if tiers.hierarchy.trains == "store":
    return
  extras = None
  if tiers.archive.extra_names:
    extras = functools.partial(_logits, learner, state)
  order = None
  if tiers.hierarchy.keep == "herding":
    order = functools.partial(_herded, learner, state)
  size = tiers.in_examples(tiers.hierarchy.em)
  if tiers.hierarchy.plan is not None and tiers.wanted[0]:
    size = max(tiers.wanted[0], tiers.sizes[0])
  with setting.ledger.timed("data"):
    tiers.end(data, int(min(size, tiers.room)), extras, order)


def _logits(learner, state, x: np.ndarray) -> dict[str, np.ndarray]:
  return {"logits": learner.outputs(state, x, "logits")}


def _herded(
  learner, state, labels: np.ndarray, blocks: Iterable[np.ndarray]
) -> np.ndarray:
  """Returns positions, of each class the most valuable ones last."""
  features = np.concatenate(
    [learner.outputs(state, x, "features") for x in blocks]
  )
  found = []
  for label in np.unique(labels):
    mine = np.flatnonzero(labels == label)
    best = herding.herd(features[mine], len(mine))
    found.append(mine[best[::-1]])
  return np.concatenate(found)


def note(
  setting: Setting, place: Place, kind: str, reason: str, **more: Any
) -> None:
  """Files a decision, for the report."""
  tiers = setting.tiers
  tiers.decisions.append(
    {
      "experience": place.experience,
      "epoch": place.epoch,
      "step": place.step,
      "kind": kind,
      "em": tiers.sizes[0],
      "sb": tiers.sizes[1],
      "swap": tiers.exchanges.progress.target,
      "reason": reason,
      **more,
    }
  )
  if kind == "fixed":
    return
  logging.info(
    "experience %d: memory %d, stream buffer %d: %s",
    place.experience,
    *tiers.sizes,
    reason,
  )


def _fitting(setting, place, room: float, em: int, sb: int) -> choice.Sizes:
  """Returns the best sizes within what there is room for, at most these.

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
  classes = _classes(setting, place)
  if room >= classes and sb and not tiers.earlier():
    return 0, min(sb, room)  # nothing could fill a memory yet
  scaled = choice.scaled(em, sb, room, classes)
  if scaled is None:
    raise ValueError(
      f"{_allowed(tiers)} are allowed for the memory hierarchy, which holds "
      f"{room} examples of {tiers.row_bytes} bytes: fewer than the {classes} "
      "classes seen; allow more with --memory_budget"
    )
  return scaled


def _classes(setting, place) -> int:
  return int(setting.stream.classes_seen(place.experience).sum())


def _allowed(tiers) -> str:
  return f"{tiers.limit() / 2**20:.3g} MiB"
