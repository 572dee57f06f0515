"""What summaries tell of budgets."""

import dataclasses

import pytest

from jcl.report import budgets, summary


@pytest.fixture
def budgeted(write_run, tmp_path):
  """Returns a run of three experiences with flags in its summary."""
  run = summary.read_run(write_run(tmp_path / "run"))

  def made(**flags):
    return dataclasses.replace(
      run, summary={**run.summary, "environment": {"flags": flags}}
    )

  return made


@pytest.mark.parametrize(
  ("flags", "kind", "amount", "told"),
  [
    ({"energy_budget": "1500J"}, "joules", 1500.0, "1.5 kJ"),
    ({"energy_budget": "5"}, "joules", 5.0, "5 J"),
    ({"flops_budget": 5e8}, "flops", 5e8, "500 MFLOP"),
    ({"equal_flops": 1e6}, "flops", 3e6, "3 MFLOP"),  # of each of three
    ({"seconds_budget": 30.0}, "seconds", 30.0, "30 s"),
    ({"memory_budget": "64KiB"}, "memory", 65536.0, "65.5 kB"),
    ({"energy_budget": "limit.txt"}, "joules", None, "joules by limit.txt"),
    ({"memory_budget": "auto"}, "memory", None, "memory by auto"),
  ],
)
def test_flags_are_read(budgeted, flags, kind, amount, told):
  (found,) = budgets.of(budgeted(**flags))
  assert found == (kind, amount, told)


@pytest.mark.parametrize(
  "flags",
  [
    {},
    {"energy_budget": None, "memory_budget": ""},
    {"seconds_budget": "inf"},
    {"energy_budget": "inf"},
  ],
)
def test_no_budget_is_none(budgeted, flags):
  assert budgets.of(budgeted(**flags)) == []


def test_summaries_without_flags_tell_of_none(write_run, tmp_path):
  run = summary.read_run(write_run(tmp_path / "run", environment={}))
  assert budgets.of(run) == []
  assert budgets.of(dataclasses.replace(run, summary={})) == []


def test_joules_are_shown_unless_something_else_is_limited(budgeted):
  energy, flops = budgeted(energy_budget="5J"), budgeted(flops_budget=1e9)
  file, memory = budgeted(energy_budget="a"), budgeted(memory_budget="1MB")

  def unit(*runs):
    return budgets.spent_in(budgets.several(runs))

  assert unit(flops) == "flops"
  assert unit(flops, energy) == "joules"
  assert unit(budgeted(seconds_budget=3.0)) == "seconds"
  assert unit(memory) == unit(file) == unit() == "joules"


def test_runs_with_the_same_budget_have_one(budgeted):
  runs = [budgeted(energy_budget="5J"), budgeted(energy_budget="5")]
  assert len(budgets.several(runs)) == 1
