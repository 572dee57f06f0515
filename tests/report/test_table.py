"""Tests of the comparison of runs."""

import math

import pytest

from jcl import metrics
from jcl.report import summary, table


@pytest.fixture
def read(write_run, tmp_path):
  def make(name, **kwargs):
    return summary.read_run(write_run(tmp_path / name, **kwargs))

  return make


def test_names_of_recipes():
  assert table.name({"name": "er", "options": {"b": 2, "a": 1}}) == (
    "er (a=1, b=2)"
  )
  assert table.name({"name": "er", "options": {}}) == "er"
  assert table.name("er:a=1") == "er:a=1"
  assert table.name(None) == "unnamed"


def test_means_over_seeds(read):
  runs = [read(f"er{seed}", recipe="er", seed=seed) for seed in range(3)]
  runs.append(read("ft", recipe="finetune", ceiling=0.5))
  frame = table.comparison(runs)
  assert list(frame.index) == ["er", "finetune"]
  values = [
    run.summary["class_incremental"]["final_average_accuracy"]
    for run in runs[:3]
  ]
  mean, half_width = metrics.confidence_interval(values)
  row = frame.loc["er", "class-incremental accuracy"]
  assert row["mean"] == pytest.approx(mean)
  assert row["half width"] == pytest.approx(half_width)
  assert math.isnan(frame.loc["finetune", ("seconds", "half width")])
  assert frame.loc["er", ("runs", "")] == 3
  assert frame.loc["er", ("joules (modelled)", "mean")] == 1290.0


def test_as_text_and_markdown(read):
  runs = [read(f"er{seed}", recipe="a|b", seed=seed) for seed in range(2)]
  frame = table.comparison(runs)
  lines = table.text(frame).splitlines()
  header, row = lines[:-1], lines[-1]
  assert any("joules" in line for line in header)
  assert "(modelled)" in header[-1]  # joules are never shown as measured
  assert "1,290 ± 0" in row and "3 of 3" in row
  assert max(map(len, header)) <= len(row)
  lines = table.markdown(frame).splitlines()
  assert len(lines) == 3
  assert lines[0].startswith("| recipe | runs | experiences |")
  assert set(lines[1]) <= set("|- ")
  assert lines[2].startswith(r"| a\|b | 2 | 3 of 3 | 0.")


def test_unfinished_runs_stay_out_of_means_of_finished_ones(read):
  finished = read("a", seed=0)
  broken = read("b", seed=1, done=1)
  (group,) = table.group([broken, finished])
  assert group.runs == (finished,) and group.num_runs == 2
  assert group.notes == ("1 unfinished left out of the means",)
  (alone,) = table.group([broken])
  assert alone.runs == (broken,) and alone.label == "replay [1 of 3]"


def test_writing_counts_checkpoints_records_and_what_came_after(read):
  cost = {"seconds": 1.0, "joules": 0.0, "flops": 0.0, "bytes": 0.0}
  run = read("a")
  told = {
    "costs": {"checkpoint": cost, "write": cost, "train": cost},
    "closing": {"write": {**cost, "seconds": 0.5}, "idle": cost},
  }
  assert table.writing(told) == 2.5
  del told["closing"], told["costs"]["write"]  # of an earlier version
  assert table.writing(told) == 1.0
  assert table.comparison([run])["seconds of writing", "mean"].iloc[0] == 0.0


def test_streams_are_never_averaged_together(read):
  runs = [read("a", stream="first"), read("b", stream={"name": "second"})]
  assert [group.label for group in table.group(runs)] == [
    "replay on first",
    "replay on second",
  ]


def test_runs_are_told_apart_by_what_differs(read):
  runs = [
    read("a", training={"learning_rate": 0.1, "epochs": 2}),
    read("b", training={"learning_rate": 0.5, "epochs": 2}),
    read("c", training={"learning_rate": 0.5, "epochs": 2}, seed=1),
    read("d", recipe="er", training={"learning_rate": 0.5, "epochs": 2}),
  ]
  groups = table.group(runs)
  assert [group.label for group in groups] == [
    "replay [learning_rate=0.1]",
    "replay [learning_rate=0.5]",
    "er",
  ]
  assert groups[1].runs == (runs[1], runs[2])


def test_budgets_tell_runs_apart(read):
  runs = [
    read("a", environment={"flags": {"flops_budget": 5e8}}),
    read("b", environment={"flags": {"flops_budget": 1e9}}),
    read("c", environment={"flags": {"flops_budget": 1e9}}, seed=1),
  ]
  assert [group.label for group in table.group(runs)] == [
    "replay [flops_budget=5e+08]",
    "replay [flops_budget=1e+09]",
  ]


def test_remarks_on_runs_that_are_no_plain_seeds(read):
  runs = [
    read("a", seed=3, environment={"device": "one", "versions": {}}),
    read("b", seed=3, environment={"device": "two", "versions": {}}),
  ]
  (group,) = table.group(runs)
  assert "seed 3 occurs more than once" in group.notes[0]
  assert group.notes[1:] == ("the runs differ in device",)


def test_sources_of_energy(read):
  runs = [
    read("a"),
    read("b", joules_source="measured: a counter"),
    read("c", joules_source=None),
    read("d", joules_source="partly measured (GPU 0 (A: B))"),
  ]
  assert table.joules_source(runs) == (
    "measured, modelled, partly measured, source unknown"
  )


def test_energy_is_named_once_where_all_agree_and_by_recipe_elsewhere(read):
  measured = [
    read(f"er{seed}", recipe="er", seed=seed, joules_source="measured (a: b)")
    for seed in range(2)
  ]
  assert table.energy(measured) == "joules: measured (a: b)"
  runs = [*measured, read("ft", recipe="ft", joules_source="modelled (5 W)")]
  assert table.energy(runs) == (
    "joules: of er, measured (a: b); of ft, modelled (5 W)"
  )
  mixed = read("er2", recipe="er", seed=2, joules_source="modelled (5 W)")
  assert table.energy([*measured, mixed]) == (
    "joules: measured (a: b), modelled (5 W)"
  )


def test_memory_of_steps(read, step_memory):
  more = {**step_memory, "kept": 5000}
  full = {**step_memory, "gradients": 900}
  runs = [
    read("a", recipe="er", step_memory=step_memory),
    read("b", recipe="er", seed=1, step_memory=more, step_memory_full=full),
    read("c", recipe="er", seed=2),
    read("d", recipe="silent"),
  ]
  frame = table.step_memory(runs)
  assert list(frame.index) == ["er", "er, all tensors"]
  assert list(frame.columns) == [*table.STEP_PARTS.values(), "peak"]
  assert frame.loc["er", "activations and scratch"] == 4500
  assert frame.loc["er", "peak"] == 6000
  assert frame.loc["er", "frozen trunk"] == 200
  assert frame.loc["er, all tensors", "gradients"] == 900
  assert table.step_memory(runs[3:]).empty
  del step_memory["trunk"]  # as earlier runs have it
  older = table.step_memory([read("e", recipe="er", step_memory=step_memory)])
  assert older.loc["er", "frozen trunk"] == 0


def test_amounts():
  assert table.amount(12_345.6) == "12,346"
  assert table.amount(0.001234) == "0.00123"
  assert table.amount(math.nan) == "–"
  assert table.amount(math.inf) == "inf"


def test_nothing_to_compare():
  with pytest.raises(ValueError, match="no run to compare"):
    table.comparison([])
