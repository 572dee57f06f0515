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

from jcl import base
from jcl.errors import UsageError
from jcl.replay import herding
from jcl.replay.store import store as store_lib
from jcl.replay.tiers import archive as archive_lib
from jcl.replay.tiers import limits
from jcl.replay.tiers import tiers as tiers_lib
from jcl.run import judge, sizing
from jcl.run.cursor import Place, Setting

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
      raise UsageError(
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
  tiers.table, tiers.looks = [], []
  # From the second choice on, sizes stay as they were where it finds no better.
  if plan is None or not plan.tries or index <= plan.start:
    em, sb = map(tiers.in_examples, (hierarchy.em, hierarchy.sb))
    tiers.wanted = em, 0 if hierarchy.trains == "memory" else sb
  kind, reason = "fixed", "sizes as given"
  more: dict[str, Any] = {}
  if hierarchy.trains == "store":
    return
  if plan is not None and index >= plan.start and tiers.earlier():
    kind, reason, more = sizing.planned(setting, state, place, scope)
  room = tiers.room
  if index and room < sizing.classes_seen(setting, place):
    em, sb = 0, 0
    kind, reason = "paused", f"{sizing.allowed(tiers)} are allowed"
  else:
    em, sb = sizing.fitting(setting, place, room, *tiers.wanted)
  with setting.ledger.timed("data"):
    if hierarchy.trains == "memory":
      tiers.arrange(min(em, len(tiers.em)), 0)
      tiers.absorb(data, em)
      tiers.sizes = em, 0
      tiers.begin_epoch()
    else:
      tiers.arrange(em, sb, data)
  note(setting, place, kind, reason, **more)


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
  if room < sizing.classes_seen(setting, place):
    if not waits:
      tiers.arrange(0, 0)
      note(setting, place, "paused", f"{sizing.allowed(tiers)} are allowed")
    time.sleep(_WAIT)
    return True
  if waits:
    data = setting.stream.experiences[place.experience].data
    tiers.arrange(*sizing.fitting(setting, place, room, *tiers.wanted), data)
    note(setting, place, "resumed", f"{sizing.allowed(tiers)} are allowed")
  return False


def between(
  setting: Setting, state: base.LearnerState, place: Place, scope: base.Scope
) -> bool:
  """Follows what the host allows, and ends what brings nothing more.

  Returns:
    Whether an epoch begins that goes through other examples than planned, or
    none, as the experience has ended.
  """
  tiers = setting.tiers
  changed = False
  if tiers.hierarchy.trains == "store":
    return False
  tiers.fit_staging()
  room = tiers.room  # asked once, as it may change at any time
  if room < sizing.classes_seen(setting, place):
    return False  # training pauses
  if tiers.nbytes > tiers.limit():
    em, sb = sizing.fitting(setting, place, room, *tiers.sizes)
    tiers.arrange(em, sb)
    note(setting, place, "shrunk", f"{sizing.allowed(tiers)} are allowed")
    changed = True
  if place.batch:
    return False
  if judge.exhausted(setting, state, place, scope):
    assert place.decision is not None
    planned = place.decision.epochs
    place.decision = dataclasses.replace(place.decision, epochs=place.epoch)
    best, _ = max(tiers.looks)
    reason = (
      f"ends after {place.epoch} of {planned} epochs: {best:.1f} % of what is "
      "set aside are right, and it gets no better"
    )
    note(setting, place, "ended", reason)
    return True
  if reason := tiers.exchanges.end_epoch():
    note(setting, place, "swap", reason)
  wanted = sizing.fitting(setting, place, room, *tiers.wanted)
  if sum(wanted) > sum(tiers.sizes):
    data = setting.stream.experiences[place.experience].data
    whole = tiers.hierarchy.trains != "memory"
    tiers.arrange(*wanted, data if whole else None)
    note(setting, place, "grown", f"{sizing.allowed(tiers)} are allowed")
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
