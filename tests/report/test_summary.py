"""Tests of run folders and summaries."""

import dataclasses
import json
import math

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl import base
from jcl.report import decoding, summary

NUMBERS = st.floats(allow_subnormal=False)
COSTS = st.builds(base.Cost, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
SIZES = st.integers() | st.lists(st.integers())
WHOLE = st.integers(0, 2**53)
RECORDS = st.builds(
  base.Record,
  experience=st.integers(0, 9),
  classes=st.tuples(st.integers(0, 9)),
  decision=st.builds(
    base.Decision,
    allocation=st.builds(
      base.Allocation,
      epochs=st.integers(0, 9),
      rho=st.floats(0, 1),
      em=WHOLE,
      sb=WHOLE,
      swap=st.floats(0, 1),
      replay=st.none() | st.floats(0, 1),
    ),
    limit=st.builds(base.Cost, *[st.floats(0, allow_nan=False)] * 4),
    reason=st.text(),
  ),
  trained=st.tuples(WHOLE, WHOLE),
  parameters=st.tuples(WHOLE, WHOLE),
  steps=WHOLE,
  examples=WHOLE,
  loss=NUMBERS,
  online_accuracy=NUMBERS,
  accuracy=st.tuples(NUMBERS, NUMBERS),
  accuracy_task=st.tuples(NUMBERS, NUMBERS),
  accuracy_class=st.tuples(NUMBERS),
  memory=st.dictionaries(st.text(), SIZES)
  | st.dictionaries(st.sampled_from(["seconds", "swap"]), SIZES | NUMBERS),
  costs=st.dictionaries(st.text(), COSTS),
  peak_bytes=WHOLE,
)


def summarised(records, **changes):
  given = {"initial": None, "test_sizes": None, "anytime": (), "context": {}}
  return summary.summarise(records, **{**given, **changes})


def with_accuracy(record, rows, index):
  row = tuple(rows[index])
  return dataclasses.replace(record, accuracy=row, accuracy_task=row)


@hypothesis.settings(max_examples=40)
@hypothesis.given(RECORDS)
def test_records_come_back_from_json(record):
  line = json.dumps(summary.to_json(record), allow_nan=False)
  # NaN equals nothing, so compare what is written, and the types by repr.
  back = decoding.record(json.loads(line))
  assert json.dumps(summary.to_json(back)) == line
  assert repr(back) == repr(record)


def test_json_of_what_is_not_finite(records):
  record = dataclasses.replace(records[0], loss=math.nan)
  value = summary.to_json(record)
  assert value["loss"] is None
  assert value["decision"]["limit"]["joules"] == "inf"
  # A writer that has null for infinity still means no limit.
  value["decision"]["limit"]["joules"] = None
  assert decoding.record(value).decision.limit.joules == math.inf


def test_encode_takes_what_contexts_hold(tmp_path):
  value = {
    1: np.float32(0.5),
    "a": np.array([1.0, np.nan]),
    "b": (tmp_path, -math.inf),
  }
  assert summary.encode(value) == {
    "1": 0.5,
    "a": [1.0, None],
    "b": [str(tmp_path), "-inf"],
  }


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


def test_reading_a_run(write_run, tmp_path):
  run = summary.read_run(write_run(tmp_path / "run", seed=7))
  assert run.finished and run.summary["seed"] == 7
  assert [record.experience for record in run.records] == [0, 1, 2]
  steps = [point["step"] for point in run.curve]
  assert steps == sorted(steps) and steps[-1] == 150
  assert summary.matrix(run).shape == (3, 3)


def test_a_half_written_last_line_is_left_out(write_run, tmp_path):
  folder = write_run(tmp_path / "run")
  path = folder / "records.jsonl"
  path.write_text(path.read_text()[:-30])
  with pytest.warns(UserWarning, match="half-written last line"):
    run = summary.read_run(folder)
  # The summary knew three experiences; what is left of them decides.
  assert run.summary["experiences"] == 2 and not run.finished
  assert run.summary["seed"] == 0
  assert len(run.summary["class_incremental"]["matrix"]) == 2
  assert run.summary["class_incremental"]["forward_transfer"] is not None


def test_of_repeated_lines_the_last_counts(write_run, tmp_path):
  folder = write_run(tmp_path / "run")
  path = folder / "records.jsonl"
  again = json.loads(path.read_text().splitlines()[1])
  again["loss"] = 77.0
  with path.open("a") as file:
    file.write(json.dumps(again) + "\n")
  run = summary.read_run(folder)
  assert len(run.records) == 3 and run.records[1].loss == 77.0


def test_a_run_without_summary_is_named_by_its_folder(write_run, tmp_path):
  folder = write_run(tmp_path / "lonely")
  (folder / "summary.json").unlink()
  (folder / "curve.jsonl").unlink()
  run = summary.read_run(folder)
  assert run.summary["recipe"]["name"] == "lonely"
  assert run.curve == ()


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("records.jsonl", "{}\n", "records.jsonl, line 1: not the record"),
    ("records.jsonl", "[1]\n", "records.jsonl, line 1: not the record"),
    ("records.jsonl", "{\n{}\n", "records.jsonl, line 1 is no JSON"),
    ("curve.jsonl", '{"loss": 1}\n', "curve.jsonl, line 1: not a point"),
    ("curve.jsonl", "9" * 3000 + "\n", "line 1: not a point.{,200}$"),
    (
      "curve.jsonl",
      '{"step": 1, "accuracy": [0.5, {}]}\n',
      'line 1: not a point .*"accuracy" is {} instead of a number',
    ),
    ("curve.jsonl", '{"step": 1, "loss": "x"}\n', "\"loss\" is 'x' instead"),
    ("summary.json", "9" * 4400, "summary.json is no JSON"),
    ("summary.json", "{", "summary.json is no JSON"),
    ("summary.json", "[]", "summary.json is no summary"),
  ],
)
def test_files_that_cannot_be_read(write_run, tmp_path, name, content, message):
  folder = write_run(tmp_path / "run")
  (folder / name).write_text(content)
  with pytest.raises(ValueError, match=message):
    summary.read_run(folder)


WRONG_IN_A_RECORD = {
  "experience": -1,
  "classes": [0, "x"],
  "decision": None,
  "trained": [1, 2, 3],
  "parameters": [1, 1e300],
  "steps": 1.5,
  "examples": True,
  "loss": "low",
  "online_accuracy": [],
  "accuracy": "0.5",
  "accuracy_task": {"0": 0.5},
  "accuracy_class": [[0.5]],
  "memory": [["a", 1]],
  "costs": {"train": {**dataclasses.asdict(base.Cost()), "flops": "x"}},
  "peak_bytes": None,
  "choices": [{"step": 1}],
  "class_names": [1],
  "name": 5,
  "effective_flops": ["x", 1.0],
}


def test_decisions_of_version_0_1_are_read(records):
  told = summary.to_json(records[0])
  old = {"epochs": 3, "budget": 0.25}
  for name in ("limit", "reason"):
    old[name] = told["decision"][name]
  found = decoding.record({**told, "decision": old}).decision
  assert found.allocation == base.Allocation(3, rho=0.25)


@pytest.mark.parametrize("name", WRONG_IN_A_RECORD)
def test_a_record_with_a_value_of_another_kind_is_none(records, name):
  told = summary.to_json(records[0])
  assert WRONG_IN_A_RECORD.keys() == told.keys()
  assert decoding.record(told) == records[0]
  told[name] = WRONG_IN_A_RECORD[name]
  with pytest.raises(ValueError, match="not the record of an") as caught:
    decoding.record(told)
  assert len(str(caught.value)) < 250
  if not isinstance(told[name], dict | list):
    assert f'"{name}" is {told[name]!r} instead of' in str(caught.value)


def test_numbers_too_large_for_a_float_are_told():
  with pytest.raises(ValueError, match='"loss" is 1000.* instead of a number'):
    decoding.point({"step": 0, "loss": 10**400})
  with pytest.raises(ValueError, match='"step" is 9007199254740993 instead'):
    decoding.point({"step": 2**53 + 1})


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("num_experiences", {"a": 1}),
    ("experiences", "3"),
    ("finished", 1),
    ("initial", 3),
    ("initial", {"accuracy": 3}),
    ("test_sizes", [1, None]),
    ("class_incremental", []),
    ("task_incremental", {"matrix": [1]}),
    ("costs", []),
    ("recipe", "er"),
  ],
)
def test_a_summary_with_a_value_of_another_kind_is_none(
  write_run, tmp_path, name, value
):
  path = write_run(tmp_path / "run") / "summary.json"
  path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
  with pytest.raises(ValueError, match=r"summary.json: \".*\" is .* instead"):
    summary.read_run(path.parent)


def test_a_summary_that_lacks_a_part_is_made_anew(write_run, tmp_path):
  folder = write_run(tmp_path / "run")
  path = folder / "summary.json"
  whole = json.loads(path.read_text())
  path.write_text(json.dumps({"num_experiences": None, "recipe": {}}))
  run = summary.read_run(folder)
  assert run.finished and run.summary["recipe"] == {}
  assert run.summary["total"] == whole["total"]


def test_files_that_do_not_fit_one_another_are_told(write_run, tmp_path):
  folder = write_run(tmp_path / "run")
  (folder / "summary.json").unlink()
  path = folder / "records.jsonl"
  record = json.loads(path.read_text().splitlines()[0])
  for wrong in ({"classes": [77]}, {"experience": 7}, {"accuracy": [0.5]}):
    again = {**record, "experience": 1, **wrong}
    path.write_text(json.dumps(record) + "\n" + json.dumps(again) + "\n")
    with pytest.raises(ValueError, match=r"run: what its .* not fit together"):
      summary.read_run(folder)


def test_a_folder_of_no_run(tmp_path):
  with pytest.raises(FileNotFoundError, match="no run folder"):
    summary.read_run(tmp_path)


def test_context_that_is_known_late_is_asked_for_each_time(records):
  sources = ["measured (a)"]
  context = {"joules_source": lambda: sources[-1]}

  def summarised():
    return summary.summarise(
      records, initial=None, test_sizes=None, anytime=[], context=context
    )["joules_source"]

  assert summarised() == "measured (a)"
  sources.append("partly measured (a)")
  assert summarised() == "partly measured (a)"
