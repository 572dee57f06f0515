"""Retrains while that gains something, pauses where it does not.

A turn is that of DaCapo (`turns`). Three rules of this project's own decide
what follows it; all of them read labels that the system paid for.

*Gain.* Frames that arrived during a retraining were answered by the weights
before it. Once labelled, they are answered by those after it as well, without
having trained them. What changed from wrong to right, less what changed the
other way, is the gain of a retraining, and the changes tell its error too.

*Pauses.* Where the latest retrainings together gain no more than the error, the
rows that do not serve pause, and each further time twice as long. A pause lasts
half as long as a retraining; then half as many frames as usual are labelled, so
that a drift is seen. They are trained on later.

*Doubt.* The test for drift is that of proportions (`detection`). Where noise
alone hardly explains what it finds, the stream has drifted: samples are dropped
and more labelled. Where noise is merely an unlikely explanation, nothing is
dropped, but the pause ends and retraining goes on.

As long as the weights stay the same, their right and wrong answers add up to
what later labels are compared with. The buffer is short, so that samples from
before a small drift, which no test finds, are soon gone.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
from typing import Literal, NamedTuple

import numpy as np

from jcl.control.drift import allocation, buffer, detection
from jcl.control.drift import turns as turns_lib
from jcl.control.drift.phases import (
  WAIT,
  Labelled,
  Phase,
  Phases,
  Retrained,
  View,
)
from jcl.options import errors
from jcl.options.errors import UsageError

Outcome = Literal["drift", "doubt", "calm"]


class Answers(NamedTuple):
  """Labelled frames that the present weights answered."""

  right: int
  num: int


class Change(NamedTuple):
  """Labelled frames answered by the weights before a retraining and after."""

  num: int
  better: int  # wrong before, right after
  worse: int  # the other way


class Known(NamedTuple):
  """The answers and changes that a system decides by; a value."""

  answers: Answers = Answers(0, 0)
  changes: tuple[Change, ...] = ()  # of the latest, since the last doubt
  pauses: int = 0  # decided on the last time
  left: int = 0  # of them


def change(before: np.ndarray, after: np.ndarray) -> Change:
  """Compares which frames were answered rightly, [n] bool each.

  >>> change(np.array([True, False, False]), np.array([True, True, False]))
  Change(num=3, better=1, worse=0)
  """
  if before.shape != after.shape:
    raise ValueError(f"{before.shape} and {after.shape}: give the same frames")
  better, worse = after & ~before, before & ~after
  return Change(len(before), int(better.sum()), int(worse.sum()))


def gain(changes: Sequence[Change], design: float = 1.0) -> tuple[float, float]:
  """Returns the gain of retrainings, a mean over them, and its standard error.

  Args:
    changes: of each retraining.
    design: variance of the frames over that of independent ones, as for
      `detection.robust`.

  Returns:
    Both as shares of the frames; zeros where no frame was compared.

  >>> [round(each, 4) for each in gain([Change(50, 4, 2), Change(50, 6, 0)])]
  [0.08, 0.0337]
  """
  num = sum(each.num for each in changes)
  if not num:
    return 0.0, 0.0
  better = sum(each.better for each in changes)
  worse = sum(each.worse for each in changes)
  mean = (better - worse) / num
  variance = max(0.0, (better + worse) / num - mean**2)
  return mean, math.sqrt(design * variance / num)


def gains(
  changes: Sequence[Change], patience: int, design: float = 1.0
) -> bool:
  """Tells whether the latest retrainings gained more than noise explains.

  Args:
    changes: of each retraining, oldest first.
    patience: how many of them count together; fewer are too few to tell, and
      retraining goes on.
    design: as for `gain`.
  """
  if len(changes) < patience:
    return True
  mean, error = gain(changes[-patience:], design)
  return mean > error


def longer(pauses: int, start: int, most: int) -> int:
  """Returns how many pauses follow a retraining that gained nothing.

  Args:
    pauses: that followed the last such retraining in a row; 0 for none.
    start: of the first one.
    most: of any.

  >>> longer(0, 2, 8), longer(2, 2, 8), longer(4, 2, 8), longer(8, 2, 8)
  (2, 4, 8, 8)
  """
  return min(most, max(start, 2 * pauses))


def outcome(p_value: float, level: float, watch: float) -> Outcome:
  """Returns what a test for drift says.

  Args:
    p_value: probability that noise alone makes accuracy fall as far.
    level: of a drift.
    watch: of a doubt, `level` or more.

  >>> [outcome(p, level=0.01, watch=0.1) for p in (0.01, 0.1, 0.11)]
  ['drift', 'doubt', 'calm']
  """
  if p_value <= level:
    return "drift"
  return "doubt" if p_value <= watch else "calm"


def following(
  known: Known, said: Outcome, now: Answers, rules: "Rules", trained: bool
) -> Known:
  """Returns what is known behind a test, the pauses to come included.

  Args:
    known: before it, with the change of a retraining just made.
    said: by the test.
    now: what the present weights made of the labels that were tested.
    rules: numbers of the rules.
    trained: whether a retraining came before the test, and not a pause.
  """
  if said != "calm":
    return Known()
  right, num = known.answers
  known = known._replace(
    answers=Answers(right + now.right, num + now.num),
    changes=known.changes[-rules.patience :],
  )
  if not trained:
    return known._replace(left=known.left - 1)
  if gains(known.changes, rules.patience, rules.design):
    return known._replace(pauses=0, left=0)
  pauses = longer(known.pauses, rules.start, rules.most)
  return known._replace(pauses=pauses, left=pauses)


@dataclasses.dataclass(frozen=True)
class Rules:
  """Numbers of the rules above; see `systems.auto`."""

  level: float = detection.LEVEL
  watch: float = 0.1
  design: float = 3.0
  patience: int = 2
  start: int = 2
  most: int = 8

  def __post_init__(self) -> None:
    detection.robust(1, 1, 1, 1, level=self.level, design=self.design)
    if not self.level <= self.watch < 1:
      raise UsageError(
        f"watch={self.watch}: give a share from level={self.level} and below 1"
      )
    if min(self.patience, self.start) < 1:
      raise UsageError(
        f"patience={self.patience}, start={self.start}: give 1 or more"
      )
    if self.most < self.start:
      raise UsageError(
        f"most={self.most}: give start={self.start} pauses or more"
      )


@dataclasses.dataclass(frozen=True)
class Pausing:
  """The phases of `systems.auto`; the fields are its arguments."""

  turns: turns_lib.Turns
  first: int
  rules: Rules

  def phases(self, view: View) -> Phases:
    """Yields a first labelling; then retrains or pauses, and labels."""
    turns, known = self.turns, Known()
    note: dict[str, float] = {}
    num, reason = self.first * turns.labels, "nothing is labelled yet"
    found = yield turns.label(view, "first_label", num, view.seen, reason)
    held = turns.push(buffer.empty(), found, 0)
    reason = f"{num} frames are labelled"
    for cycle in itertools.count(1):
      since, trained = view.seen, not known.left
      retrain = turns.retrain(held, note, reason)
      pause = _pause(retrain)
      ways = [_way(retrain), _way(pause)]
      result = yield dataclasses.replace(
        retrain if trained else pause, candidates=ways
      )
      began = view.seen
      found = yield self._label(view, since, trained)
      now = found.now if found.now is not None else found.served
      if trained:
        known = _retrained(known, result, found, began)
      said, note = self._tested(known, now)
      answers = Answers(int(now.sum()), len(now))
      known = following(known, said, answers, self.rules, trained)
      reason = _why(note, said, known)
      if said == "drift":
        held = buffer.cleared(held)
      held = turns.push(held, found, cycle)
      if said == "drift" and self.first > 1:
        num = (self.first - 1) * turns.labels
        extra = turns.label(view, "extra_label", num, view.seen, reason)
        found = yield dataclasses.replace(extra, note=note)
        held, note = turns.push(held, found, cycle), {}
        reason = f"{num} more frames are labelled"

  def _label(self, view: View, since: int, trained: bool) -> Phase:
    """Labels frames since the phase before; in a pause, half as many."""
    turns = self.turns
    if trained:
      reason = "labels follow each retraining, and tell what it gained"
      return turns.label(
        view, "label", turns.labels, since, reason, recheck=True
      )
    half = -(-turns.labels // 2)
    reason = "labels follow each pause, and test for drift"
    return turns.label(view, "label", half, since, reason)

  def _tested(
    self, known: Known, now: np.ndarray
  ) -> tuple[Outcome, dict[str, float]]:
    """Tests the answers [n] bool to new labels, with figures for the log."""
    rules = self.rules
    p_value = float(
      detection.p_value(
        int(now.sum()), len(now), *known.answers, design=rules.design
      )
    )
    said = outcome(p_value, rules.level, rules.watch)
    mean, error = gain(known.changes[-rules.patience :], rules.design)
    return said, {
      "drift": said == "drift",
      "doubt": said == "doubt",
      "p": p_value,
      "acc_label": 100 * float(now.mean()),
      "acc_valid": 100 * known.answers.right / known.answers.num,
      "gain": 100 * mean,
      "error": 100 * error,
    }


def _pause(retrain: Phase) -> Phase:
  """Returns the pause that may take a retraining's place."""
  half = allocation.exact(retrain.seconds) / 2
  return Phase(WAIT, half, None, retrain.note, retrain.reason)


def _way(phase: Phase) -> dict[str, float | str]:
  return {"kind": phase.kind, "seconds": float(phase.seconds)}


def _retrained(
  known: Known, judged: Retrained, found: Labelled, began: int
) -> Known:
  """Returns what is known of new weights, and of what they changed.

  Args:
    known: of the weights before.
    judged: the validation of the new ones.
    found: labels, with the answers of the new weights.
    began: the first frame that the new weights served.
  """
  assert found.now is not None
  old = found.ids < began
  made = change(found.served[old], found.now[old])
  answers = Answers(judged.correct, judged.num)
  return known._replace(answers=answers, changes=(*known.changes, made))


def _why(note: Mapping[str, float], said: Outcome, known: Known) -> str:
  """Returns the outcome of a test, and what follows, in words."""
  told = (
    f"{note['acc_label']:.1f} % of new labels are answered rightly, "
    f"{note['acc_valid']:.1f} % of those before, p = {note['p']:.2g}"
  )
  if said != "calm":
    return f"{said}: {told}"
  gained = f"a gain of {note['gain']:.1f} ± {note['error']:.1f} points"
  if known.left:
    pauses = errors.count(known.left, "pause")
    return f"{pauses} to come, for {gained}: {told}"
  return f"no drift, and {gained}: {told}"
