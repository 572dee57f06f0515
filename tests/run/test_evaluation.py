"""What is scored, and what the record of an experience says."""

import contextlib
import dataclasses
import types

import pytest

from jcl import base
from jcl.run import cursor, evaluation
from jcl.train import evaluate

SCORES = evaluate.Scores((0.5, 0.25), (1.0, 0.75), (0.125, 0.0))


def tensor(*shape):
  return types.SimpleNamespace(shape=shape)


def job(hierarchy=None, told=None, reads_memory=False):
  """As much of a run as scores and records ask for."""
  network = types.SimpleNamespace(tensors=[tensor(3, 4), tensor(4), tensor()])
  method = types.SimpleNamespace(
    hierarchy=hierarchy,
    consolidation=types.SimpleNamespace(told=told),
    predictor=types.SimpleNamespace(reads_memory=reads_memory),
  )
  experiences = [
    types.SimpleNamespace(classes=(0, 1), name="one"),
    types.SimpleNamespace(classes=(2, 0), name="two"),
  ]
  return types.SimpleNamespace(
    learner=types.SimpleNamespace(network=network, method=method),
    trainee=types.SimpleNamespace(
      selection=base.Selection((True, False, True)), choices=["chosen"]
    ),
    stream=types.SimpleNamespace(
      experiences=experiences,
      class_names=("a", "b", "c"),
      task_classes="classes of tasks",
      held_out=types.SimpleNamespace(
        open=lambda: contextlib.nullcontext("test sets")
      ),
    ),
    feed=types.SimpleNamespace(
      summary=lambda state: {"examples": 2}, memory=lambda: "memory"
    ),
    ledger=types.SimpleNamespace(drain=lambda: {"train": base.Cost(1.0)}),
  )


def place(steps=4):
  at = cursor.Cursor(experience=1, decision=base.Decision(3, reason="thrice"))
  at.totals = cursor.Totals(steps, 10.0, 2.0, 3.0, 8.0 if steps else 0.0)
  at.decisions = [{"kind": "fixed"}]
  return at


@pytest.fixture
def record(monkeypatch):
  def made(run, at, statistics=None):
    for part, name, value in (
      (evaluation, "evaluate", SCORES),
      (evaluation.solving, "statistics_bytes", statistics),
      (evaluation.mask, "trained_parameters", 13),
      (evaluation.program_cost, "peak_rss_bytes", 77),
      (evaluation.learners, "effective_flops", (5.0, 4.0)),
    ):
      monkeypatch.setattr(part, name, lambda *_, value=value: value)
    state = types.SimpleNamespace(objective={"right": 1.0})
    scope = types.SimpleNamespace(head=None)
    return evaluation.record(run, state, at, scope)

  return made


def test_a_record_tells_all_of_an_experience(record):
  found = record(job(), place())
  assert found == base.Record(
    experience=1,
    classes=(2, 0),
    decision=base.Decision(3, reason="thrice"),
    trained=(2, 3),
    parameters=(13, 17),
    steps=4,
    examples=10,
    loss=0.5,
    online_accuracy=0.375,
    accuracy=SCORES.accuracy,
    accuracy_task=SCORES.accuracy_task,
    accuracy_class=SCORES.accuracy_class,
    memory={"examples": 2},
    costs={"train": base.Cost(1.0)},
    peak_bytes=77,
    choices=("chosen",),
    class_names=("c", "a"),
    name="two",
    effective_flops=(5.0, 4.0),
    judged={},
  )


def test_means_are_over_what_there_is(record):
  one = place(steps=1)
  one.totals.online_examples = 1.0
  assert record(job(), one).loss == 2
  assert record(job(), one).online_accuracy == 3
  none = dataclasses.replace(place(steps=0), totals=cursor.Totals())
  assert record(job(), none).loss == record(job(), none).online_accuracy == 0


def test_statistics_are_counted_with_the_memory(record):
  found = record(job(), place(), statistics=40)
  assert found.memory == {
    "examples": 2,
    "statistics_bytes": 40,
    "bytes": 40,
  }
  other = job(hierarchy=base.Hierarchy(4, 4), told=dict)
  other.feed.summary = lambda state: {"bytes": 60}
  found = record(other, place(), statistics=40)
  assert found.memory == {
    "statistics_bytes": 40,
    "bytes": 100,
    "decisions": [{"kind": "fixed"}],
  }
  assert found.judged == {"right": 1.0}
  assert record(job(), place(), statistics=0).memory["bytes"] == 0


@pytest.mark.parametrize("reads", [True, False])
def test_predictors_get_the_memory_where_they_read_it(reads, monkeypatch):
  given = []

  def scored(*args):
    given.extend(args)
    return SCORES

  monkeypatch.setattr(evaluation.scoring, "evaluate", scored)
  run = job(reads_memory=reads)
  assert evaluation.evaluate(run, "state", "head") is SCORES
  _, *rest = given
  memory = "memory" if reads else None
  assert rest == ["state", "test sets", "classes of tasks", "head", memory]
