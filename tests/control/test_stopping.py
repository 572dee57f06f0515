"""When an experience ends earlier than planned."""

import math
import types

import numpy as np

from jcl import base
from jcl.control import stopping
from jcl.control.verdict import Verdict


def verdict(right, logs=None):
  logs = np.log(0.1) * np.ones(len(right)) if logs is None else logs
  return Verdict(np.array(right, bool), np.asarray(logs, np.float32))


THREE_OF_NINE = verdict([1] * 3 + [0] * 6)


def asked(epochs, done, patience=1, found=THREE_OF_NINE, room=math.inf):
  """Returns the decision, and how many looks there are beside the first."""
  controller = stopping.early(patience)
  held = types.SimpleNamespace(room=room, classes=4)
  seen = base.Observation(
    0,
    1,
    10,
    base.Cost(),
    moment="epoch",
    epoch=done,
    decision=base.Decision(base.Allocation(epochs, em=5)),
    held=held,
    judge=lambda: found,
  )
  state = {"looks": [[40.0, 40.0]]}
  decision, state = controller.decide(state, seen)
  return decision, len(state["looks"]) - 1


def test_which_epochs_are_looked_at():
  for epochs, looks in (
    (24, [3, 5, 8, 10, 12, 15, 17, 20, 22]),
    (10, list(range(1, 10))),
    (3, [1, 2]),
    (1, []),
  ):
    found = [d for d in range(epochs + 2) if asked(epochs, d)[1]]
    assert found == looks


def test_an_experience_ends_where_looks_bring_nothing():
  decision, looks = asked(10, 3)  # 40 stays the best; 33 is within 16 of it
  assert looks == 1 and decision.epochs == 3 and decision.allocation.em == 5
  [change] = decision.changes
  assert change.kind == "ended"
  assert "ends after 3 of 10 epochs: 40.0 %" in change.reason
  decision, looks = asked(10, 3, patience=2)
  assert looks == 1 and decision.epochs == 10 and not decision.changes
  assert asked(10, 3, found=verdict([]))[1] == 0
  # While training waits for memory, nothing is judged.
  assert asked(10, 3, room=3)[1] == 0 and asked(10, 3, room=4)[1] == 1


def test_looks_are_those_of_one_experience():
  controller = stopping.early(1)
  decision = base.Decision(4)
  begins = base.Observation(1, 2, 10, base.Cost(), decision=decision)
  found, state = controller.decide({"looks": [[1.0, 2.0]]}, begins)
  assert found is decision and state == controller.init() == {"looks": []}


def test_an_end_is_no_bad_moment():
  looks = [(90, 50), (90, 50), (89, 50)]
  assert not stopping.may_end(looks, 3, 100)
  assert stopping.may_end(looks, 2, 100)
  assert stopping.may_end([*looks, (87, 50)], 2, 100)  # a standard error is 3
  assert not stopping.may_end([*looks, (86.9, 50)], 2, 100)
  assert not stopping.may_end([(100, 50), (99, 50)], 1, 1000)


def test_a_look_is_better_by_either_measure():
  assert stopping.idle([(50, 30)]) == 0
  assert stopping.idle([(50, 30), (50, 30.9), (50, 30.9)]) == 2
  assert stopping.idle([(50, 30), (50, 31), (50, 31)]) == 1
  assert stopping.idle([(50, 30), (50, 32), (50, 32)]) == 1
  assert stopping.idle([(50, 30), (50, 30), (50, 31)]) == 0
  assert stopping.idle([(50, 30), (50, 30.5), (50, 31.4)]) == 2
  assert stopping.idle([(50, 30), (50, 20), (50, 22)]) == 2
  assert stopping.idle([(50, 30), (51, 20), (40, 30.5), (51, 30.9)]) == 2
