"""Tests of reading run folders."""

import json

import pytest

from jcl.report import summary


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
