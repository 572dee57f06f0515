"""The parts of the loop that runs, each by itself."""

import dataclasses
import math
import types

import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.run import cursor, deciding, dispatch, loop, session


@pytest.mark.parametrize(
  ("limit", "asked"),
  [({}, False), ({"flops": 5.0}, False), ({"seconds": 5.0}, True)],
)
@pytest.mark.parametrize("reached", [True, False])
def test_processes_end_by_the_clock_of_the_first(
  limit, asked, reached, monkeypatch
):
  """It says the opposite of this one's here."""
  told = []

  def first_of(value):
    told.append(value)
    return not value

  monkeypatch.setattr(loop.together, "first_of", first_of)
  limits = dataclasses.replace(base.UNLIMITED, **limit)
  at = cursor.Cursor(decision=base.Decision(base.Allocation(2), limits))
  job = types.SimpleNamespace(limit_reached=lambda where: reached)
  assert loop._ends(job, at) is (reached != asked)
  assert told == [reached] * asked


@pytest.mark.parametrize(
  ("answers", "changed"),
  [
    ([False], False),
    ([True], True),
    ([False, False, True], True),
    ([True, False], True),
    ([True, True], True),
    ([False, False], False),
  ],
)
def test_training_waits_and_looks_twice_a_second(answers, changed, monkeypatch):
  slept, left = [], list(answers)
  at = cursor.Cursor()

  def decide(job, state, where, scope, moment):
    assert where is at and moment == "dispatch"
    answer = left.pop(0)
    at.decision = base.Decision(1, wait=bool(left))
    return answer

  monkeypatch.setattr(loop.deciding, "decide", decide)
  monkeypatch.setattr(loop.time, "sleep", slept.append)
  steps, events = loop._ready(None, "state", at, None), []
  while True:
    try:
      event = next(steps)
      assert len(slept) == len(events)  # who stops here does not wait first
      events.append(event)
    except StopIteration as end:
      assert end.value is changed
      break
  assert slept == [0.5] * (len(answers) - 1)
  assert events == [loop.Event("paused", "state", at, {})] * len(slept)


def test_steps_are_told_when_the_experience_began():
  job = types.SimpleNamespace(
    learner=types.SimpleNamespace(timed=lambda *given: given)
  )
  at = cursor.Cursor(step=9, planned=7)
  at.totals.steps = 4
  assert loop._timed(job, at, "scope") == ("scope", 5, 7)


class Asked:
  """Trains three epochs, or two from a question on, and notes when."""

  def __init__(self, fewer=math.inf):
    self.fewer, self.moments = fewer, []

  def controller(self):
    return base.Controller(
      lambda: (),
      self.decide,
      moments=("experience", "dispatch", "epoch", "end"),
    )

  def decide(self, state, seen):
    self.moments.append((seen.moment, seen.epoch))
    epochs = 2 if len(self.moments) > self.fewer else 3
    return base.Decision(epochs), state


def play(asked):
  job = session.assemble(
    tiny_network.stream(tasks=1, num_classes=2),
    tiny_network.build(num_classes=2),
    recipes.finetune(),
    base.Training(epochs=1, batch_size=8),
    options=session.Options(steps_per_dispatch=2),
    controller=asked.controller(),
  )
  state, place = loop.start(job)
  for _ in loop.run(job, state, place):
    pass
  return place


def test_controllers_are_asked_at_every_moment():
  asked = Asked()
  place = play(asked)  # three updates an epoch, by two
  [record] = place.records
  assert record.steps == 9
  once = [("dispatch", 0), ("dispatch", 0), ("dispatch", 0), ("epoch", 1)]
  assert asked.moments == [
    ("experience", 0),
    ("dispatch", 0),
    *((moment, epoch + i) for i in range(3) for moment, epoch in once),
    ("end", 3),
  ]


@pytest.mark.parametrize("fewer", range(1, 10))
def test_an_experience_ends_as_soon_as_fewer_epochs_are_over(fewer):
  assert play(Asked(fewer)).records[0].steps == 6


def test_nothing_is_read_behind_the_last_epoch():
  feed = types.SimpleNamespace(
    take=lambda *given: given, again=lambda epoch, batch: (epoch + 1, 0)
  )
  job = types.SimpleNamespace(feed=feed)
  at = cursor.Cursor(epoch=0, batch=5, decision=base.Decision(2))
  assert dispatch.take(job, at, 1, 4) == (1, 4)
  assert dispatch.take(job, at, 2, 0) is dispatch.take(job, at, 3, 0) is None
  assert dispatch.again(job, at) == (1, 0) == (at.epoch, at.batch)
  assert dispatch.again(job, at) is None


@pytest.mark.parametrize(
  ("moment", "before", "epochs", "applies", "changed", "asked"),
  [
    ("idle", 3, 3, True, False, []),  # not a moment that it names
    ("experience", None, 3, True, False, []),
    ("experience", 3, 2, True, False, []),
    ("end", 3, 2, True, False, []),
    ("dispatch", None, 3, True, False, []),
    ("dispatch", 3, 2, False, True, []),
    ("dispatch", 3, 3, True, True, [False]),
    ("dispatch", 3, 4, False, False, [False]),
    ("epoch", 3, 3, True, True, [True]),
  ],
)
def test_what_a_decision_changes(
  moment, before, epochs, applies, changed, asked, monkeypatch
):
  found = []

  def apply(allocation, whole):
    found.append(whole)
    return applies

  def observation(*given):
    assert given[-2:] == (moment, "spent")
    return "seen"

  monkeypatch.setattr(deciding, "observation", observation)
  controller = base.Controller(
    init=lambda: (),
    decide=lambda state, seen: (base.Decision(epochs), (state, seen)),
    moments=("experience", "dispatch", "epoch", "end"),
  )
  job = types.SimpleNamespace(
    controller=controller, feed=types.SimpleNamespace(apply=apply)
  )
  at = cursor.Cursor(control="before")
  at.decision = None if before is None else base.Decision(before)
  given = job, "state", at, "scope", moment, "spent"
  assert deciding.decide(*given) is changed
  assert found == asked
  if moment == "idle":
    assert at.decided.epochs == before and at.control == "before"
  else:
    assert at.decided.epochs == epochs and at.control == ("before", "seen")


@pytest.mark.parametrize("held", [None, "held"])
def test_what_a_controller_sees(held, monkeypatch):
  asked = []

  def holds(examples):
    asked.append(examples)
    return held

  def costs(*names):
    return {name: lambda name=name: name for name in names}

  experiences = [
    types.SimpleNamespace(data=range(count)) for count in (5, 7, 9)
  ]
  job = types.SimpleNamespace(
    stream=types.SimpleNamespace(experiences=experiences),
    feed=types.SimpleNamespace(held=holds),
    ledger=types.SimpleNamespace(**costs("total", "recorded", "pending")),
    learner=types.SimpleNamespace(method=recipes.finetune()),
    trainee=types.SimpleNamespace(selection=None),
  )
  at = cursor.Cursor(experience=1, epoch=2, decision=base.Decision(3))
  at.spent, at.totals.steps, at.planned = base.Cost(2.0), 4, 12
  seen = deciding.observation(job, None, at, None, "epoch")
  assert (seen.experience, seen.num_experiences, seen.num_examples) == (1, 3, 7)
  assert (seen.spent, seen.recorded, seen.pending) == (
    "total",
    "recorded",
    "pending",
  )
  assert (seen.moment, seen.epoch) == ("epoch", 2)
  assert seen.decision == base.Decision(3) and seen.used == base.Cost(2.0)
  assert (seen.updates, seen.planned) == (4, 12)
  assert callable(seen.closing) and seen.held == held
  assert callable(seen.trial) is callable(seen.judge) is bool(held)
  assert callable(seen.beside) and callable(seen.update)
  assert seen.compare is None  # there is nothing to compare the network with
  at.records = [types.SimpleNamespace(examples=i) for i in (30, 40)]
  spent = base.Cost(1.0)
  again = deciding.observation(job, None, at, None, "epoch", spent)
  assert again.spent == spent and asked == [None, 40]


@pytest.mark.parametrize(
  ("begun", "decided", "epochs", "steps"),
  [
    (True, None, 2, 9 - 4 + 2 * 4 + 2 * 2),
    (False, None, 2, 9 + 2 * 4 + 2 * 2),
    (True, 3, 2, 9 - 4 + 3 * 4 + 3 * 2),
    (True, None, None, 9 - 4 + 4 + 2),
  ],
)
def test_updates_of_a_run_whose_experiences_are_alike(
  begun, decided, epochs, steps
):
  asked = []

  def rows(start, count, allocation):
    asked.append((start, count, allocation and allocation.epochs))
    return count

  job = types.SimpleNamespace(
    learner=types.SimpleNamespace(
      training=base.Training(epochs=epochs), stream_rows=4
    ),
    stream=types.SimpleNamespace(starts=np.array([0, 10, 25, 30])),
    feed=types.SimpleNamespace(expected_rows=rows),
  )
  at = cursor.Cursor(experience=1, begun=begun, step=9)
  at.totals.steps = 4
  at.decision = None if decided is None else base.Decision(decided)
  assert cursor.Job.expected_steps(job, at) == steps
  assert asked == [(10, 15, decided), (25, 5, decided)]


def test_what_is_left_where_whole_accounts_count():
  limit = dataclasses.replace(base.UNLIMITED, flops=100.0)
  decision = base.Decision(
    1, limit, counts=("train", "data"), reserved=base.Cost(flops=30.0)
  )
  at = cursor.Cursor(decision=decision, spent=base.Cost(flops=99.0))
  costs = {
    "train": base.Cost(flops=20.0),
    "data": base.Cost(flops=10.0),
    "idle": base.Cost(flops=50.0),
  }
  left = at.left(lambda: costs)
  assert left.flops == 40.0
  for each, steps in ((20.0, 2), (15.0, 2), (40.0 + 1e-6, 1), (41.0, 0)):
    cost = types.SimpleNamespace(flops=each, bytes_accessed=1.0)
    assert at.steps_to_limit(cost, left) == steps
