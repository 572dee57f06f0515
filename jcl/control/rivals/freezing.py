"""Freezes leading units whose features no longer move.

SimFreeze of Li et al., "ETuner: A Redundancy-Aware Framework for Efficient
Continual Learning Application on Edge Devices",
https://arxiv.org/abs/2401.16694: every 200 or so updates, the features of each
unit for one fixed batch are compared, by CKA, with those that it had at first;
a unit whose CKA changed by less than 1 % since the last look is frozen, until
the scenario changes.

Beyond its abstract the paper is recalled, not re-read. This project's choice:
the change is that of the CKA itself, not relative to it; what it had at first
is what it had when the experience began; an experience's end undoes all
freezing; only a leading run of units freezes, since a frozen unit behind a
trained one saves next to nothing. CKA is that of `metrics.similarity`, which
takes four examples or more.

It is a rule and no controller: `Allocation.trunk` freezes for good, between
experiences. The state is JSON-ready: `frozen`, `last`. Features are the
caller's, who computes them in evaluation mode.
"""

from collections.abc import Sequence
from typing import Any

from jcl.metrics import generality
from jcl.options.errors import UsageError

EVERY = 200  # updates between two looks
BELOW = 0.01

State = dict[str, Any]


def init() -> State:
  """Returns the state when an experience begins: nothing is frozen."""
  return {"frozen": 0, "last": None}


def is_due(updates: int, every: int = EVERY) -> bool:
  """Tells whether a look is due after some updates of the experience.

  Args:
    updates: made in the experience.
    every: updates between two looks, 1 or more.
  """
  if every < 1:
    raise UsageError(f"freeze: every={every}: give updates, 1 or more")
  return updates > 0 and updates % every == 0


def alignments(
  first: generality.Features, now: generality.Features
) -> list[float]:
  """Returns the CKA of every unit's features with those it had at first.

  Args:
    first: [n, D] features of each unit when the experience began, for a fixed
      batch of n >= 4 examples.
    now: features of the same units for the same batch.

  Raises:
    ValueError: where they do not fit.
  """
  return [float(value) for value in generality.agreement(first, now)]


def looked(state: State, found: Sequence[float], below: float = BELOW) -> State:
  """Returns the state after a look.

  Frozen units stay frozen; of those behind them, the leading run freezes whose
  CKA changed by less than `below` since the last look. The first look of an
  experience has none before it and freezes nothing.

  Args:
    state: of `init` or the last look.
    found: CKA of each unit that may freeze, input side first: all but the head.
    below: change from which a unit goes on training, above 0.
  """
  if not below > 0:
    raise UsageError(f"freeze: below={below}: give more than 0, such as 0.01")
  for value in found:
    if not 0 <= value <= 1:
      raise UsageError(f"freeze: a CKA of {value}: give 0 to 1")
  last, frozen = state["last"], state["frozen"]
  if last is not None:
    if len(last) != len(found):
      raise UsageError(
        f"freeze: {len(found)} units, and there were {len(last)}: look at the "
        "same ones until the experience ends"
      )
    while frozen < len(found) and abs(found[frozen] - last[frozen]) < below:
      frozen += 1
  return {"frozen": frozen, "last": list(found)}


def ended(state: State) -> State:
  """Returns the state after an experience, all freezing undone."""
  del state  # nothing of it outlives the experience
  return init()
