"""Tests of what the report says of costs that decisions predicted."""

import dataclasses
import math

import pytest

from jcl import base
from jcl.report import page, predictions, summary

NONE = base.Cost(*(math.inf,) * 4)


def with_limit(record, **limits):
  limit = dataclasses.replace(NONE, **limits)
  decision = dataclasses.replace(record.decision, limit=limit)
  return dataclasses.replace(record, decision=decision, choices=())


@pytest.fixture
def run(write_run, tmp_path):
  return summary.read_run(write_run(tmp_path / "run"))


def rows(run, records):
  found = predictions.tables(dataclasses.replace(run, records=tuple(records)))
  return [row for each in found for row in each.rows]


def test_runs_without_predictions_have_no_table(run, records):
  assert rows(run, [with_limit(each) for each in records]) == []


def test_limits_stand_beside_what_training_took(run, records):
  replay = {"replay": base.Cost(10.0, 50.0, 1e12, 1.0)}
  first, second, _ = records
  first = with_limit(first, joules=500.0, flops=1e12)
  second = with_limit(second, seconds=0.0)
  second = dataclasses.replace(second, costs={"train": base.Cost(seconds=2.0)})
  first = dataclasses.replace(first, costs=first.costs | replay)
  # 400 J and 50 J, 1 TFLOP and 1 TFLOP; evaluation is not bounded.
  assert rows(run, [first, second]) == [
    ("1", "limit of joules", "500 J", "450 J", "90 %"),
    ("1", "limit of flops", "1 TFLOP", "2 TFLOP", "200 %"),
    ("2", "limit of seconds", "0 s", "2 s", "–"),
  ]


def sized(record, **more):
  decisions = [
    {"kind": "kept", "em": 9, "sb": 9},
    {"kind": "chosen", "em": 1200, "sb": 40, **more},
  ]
  memory = record.memory | {"decisions": decisions}
  return dataclasses.replace(with_limit(record), memory=memory)


def test_sizes_are_predicted_for_the_epochs_that_were_made(run, records):
  # Two epochs were made of the five that were planned.
  record = sized(records[1], predicted=1250.0, epochs=5)
  told = ("2", "sizes 1,200 + 40", "500 J", "400 J", "80 %")
  assert rows(run, [record]) == [told]
  assert rows(run, [sized(records[1], predicted=500.0)]) == [told]
  assert rows(run, [sized(records[1], predicted=math.nan)]) == []


def choice(step, adopted, seconds):
  return base.Choice(step, 0, (True,), 0.5, adopted, seconds)


def test_steps_are_predicted_by_the_choice_that_trains(run, records):
  """50 steps an experience, of which a choice is waited for at first."""
  chosen = [
    (choice(0, 0, 0.1), choice(20, 30, 0.2)),
    (choice(50, 60, 0.4), choice(80, 110, 1.0)),
    (choice(100, 105, 0.1), choice(120, 120, 0.0)),
  ]
  made = [
    dataclasses.replace(
      with_limit(record),
      choices=each,
      costs={"train": base.Cost(seconds=14.0)},
    )
    for record, each in zip(records, chosen, strict=True)
  ]
  assert rows(run, made) == [
    ("1", "2 choices of tensors", "7 s", "14 s", "200 %"),  # 30 x .1 + 20 x .2
    (
      "2",
      "2 choices of tensors",
      "18 s",
      "14 s",
      "77.8 %",
    ),  # 10 x .2 + 40 x .4
    ("3", "2 choices of tensors", "6.5 s", "14 s", "215 %"),  # 5 x 1 + 15 x .1
  ]
  unknown = dataclasses.replace(made[0], choices=(choice(0, 0, math.nan),))
  assert rows(run, [unknown]) == []
  one = dataclasses.replace(made[0], choices=(choice(0, 0, 0.28),))
  assert rows(run, [one]) == [
    ("1", "1 choice of tensors", "14 s", "14 s", "100 %")
  ]


def test_the_page_shows_them(run, tmp_path):
  markup = page.write([run], tmp_path / "report").read_text(encoding="utf-8")
  assert "Predicted and spent" in markup and "limit of seconds" in markup
