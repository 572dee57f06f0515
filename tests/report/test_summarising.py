"""Tests of the figures that a summary holds."""

import dataclasses
import json

import numpy as np
import pytest

from jcl.report import summarising


def summarised(records, **changes):
  given = {"initial": None, "test_sizes": None, "anytime": (), "context": {}}
  return summarising.summarise(records, **{**given, **changes})


def with_accuracy(record, rows, index):
  row = tuple(rows[index])
  return dataclasses.replace(record, accuracy=row, accuracy_task=row)


def test_summary_of_a_run_worked_by_hand(records):
  rows = [[0.9, 0.1, 0.2], [0.5, 0.8, 0.3], [0.6, 0.4, 0.7]]
  records = [with_accuracy(r, rows, i) for i, r in enumerate(records)]
  # 50 steps each: the point at step 120 lies in the third experience.
  point = {"step": 120, "accuracy": [0.2, 0.6, 0.1]}
  found = summarised(
    records,
    initial={"accuracy": [0.1, 0.2, 0.1]},
    test_sizes=[10, 10, 20],
    anytime=[point],
    context={"num_experiences": 3, "seed": 4},
  )
  json.dumps(found, allow_nan=False)
  assert found["seed"] == 4 and found["finished"]
  scores = found["class_incremental"]
  assert scores["matrix"] == rows
  near = pytest.approx
  assert scores["final_average_accuracy"] == near(1.7 / 3)
  assert scores["micro_average_accuracy"] == near((6 + 4 + 14) / 40)
  assert scores["forgetting_from_maximum"] == near(0.35)
  assert scores["forward_transfer"] == near(0.05)
  assert scores["worst_case"] == near(0.4)
  assert scores["worst_case_accuracy"] == near(0.7 / 3 + 2 / 3 * 0.3)
  # Seen averages 0.9, 0.65, 0.3, 1.7/3 at steps 50, 100, 120, 150.
  area = 50 * 0.775 + 20 * 0.475 + 30 * (0.3 + 1.7 / 3) / 2
  assert scores["anytime_average"] == near(area / 100)
  other = found["task_incremental"]
  assert other["forward_transfer"] is None
  assert other["worst_case_accuracy"] == near(0.7 / 3 + 2 / 3 * 0.45)
  assert found["costs"]["train"]["joules"] == 1200.0
  assert found["total"]["joules"] == 1290.0
  assert found["accuracy_per_joule"] == near(1.7 / 3 / 1290)
  assert found["steps"] == 150 and found["examples"] == 9600
  assert found["peak_bytes"] == 10**9 + 2


def test_an_unfinished_run_counts_what_it_has_seen(records):
  found = summarised(
    records[:2],
    initial={"accuracy": [0.1] * 3, "accuracy_task": [0.1] * 3},
    test_sizes=[1, 1, 98],
    context={"num_experiences": 3},
  )
  scores = found["class_incremental"]
  rows = np.array([record.accuracy for record in records])[:2, :2]
  assert not found["finished"] and found["experiences"] == 2
  assert scores["matrix"] == rows.tolist()
  assert scores["final_average_accuracy"] == pytest.approx(rows[-1].mean())
  assert scores["micro_average_accuracy"] == pytest.approx(rows[-1].mean())
  assert found["macro_class_accuracy"] == pytest.approx(rows[-1].mean())


def test_a_run_that_has_only_begun():
  found = summarised([], context={"num_experiences": 5})
  assert not found["finished"]
  assert found["class_incremental"]["matrix"] == []
  assert found["class_incremental"]["final_average_accuracy"] is None
  assert found["total"]["joules"] == 0.0


def test_one_experience_under_many_test_sets(records):
  found = summarised(records[:1], context={"num_experiences": 1})
  scores = found["class_incremental"]
  assert scores["matrix"] == [list(records[0].accuracy)]
  assert scores["final_average_accuracy"] == pytest.approx(
    np.mean(records[0].accuracy)
  )
  assert scores["average_incremental_accuracy"] is None


def test_summaries_refuse_what_does_not_fit(records):
  with pytest.raises(ValueError, match="names what is computed: 'steps'"):
    summarised(records, context={"steps": 3})
  with pytest.raises(ValueError, match="of experiences 1, 2: give"):
    summarised(records[1:])


def test_context_that_is_known_late_is_asked_for_each_time(records):
  sources = ["measured (a)"]
  context = {"joules_source": lambda: sources[-1]}

  def summarised():
    return summarising.summarise(
      records, initial=None, test_sizes=None, anytime=[], context=context
    )["joules_source"]

  assert summarised() == "measured (a)"
  sources.append("partly measured (a)")
  assert summarised() == "partly measured (a)"
