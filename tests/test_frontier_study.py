"""The study of budgets: what becomes of cells."""

import csv

import pytest
import studies


@pytest.fixture(scope="module")
def study():
  return studies.load("frontier")


def add(study, table, share, accuracy, seed=0):
  for recipe, each in accuracy.items():
    cell = study.Cell("digits", share, recipe, seed)
    table.add(cell, accuracy=each, flops=80.0, budget=100.0)


def test_cells_are_read_back_and_the_latest_of_two_holds(study, tmp_path):
  path = tmp_path / "cells.csv"
  table = study.Table(path)
  add(study, table, 0.05, {"auto": 90.0})
  add(study, table, 0.05, {"auto": 91.0})
  again = study.Table(path).rows
  assert again == table.rows
  assert [each["accuracy"] for each in again.values()] == [91.0]


def test_gaps_and_areas_are_those_of_the_best_in_hindsight(study, tmp_path):
  table = study.Table(tmp_path / "cells.csv")
  er, joint = study.FIXED[2], "joint"
  add(study, table, 0.05, {"auto": 90.0, er: 92.0, joint: 80.0})
  add(study, table, 0.4, {"auto": 97.0, er: 90.0, joint: 96.0})
  *cells, gap, area = study.compared(table.rows)
  assert [each.split(": auto")[0] for each in cells] == [
    "digits 0.05 seed 0",
    "digits 0.4 seed 0",
  ]
  assert "mean 0.50 points, largest 2.0, 0 of 2 cells below" in gap
  assert f": {(90 + 97) / (92 + 96):.3f}, least" in area


def test_the_table_has_means_with_intervals(study, tmp_path):
  table = study.Table(tmp_path / "cells.csv")
  add(study, table, 0.05, {"auto": 90.0, "joint": 80.0})
  add(study, table, 0.05, {"auto": 92.0}, seed=1)
  study.write(tmp_path / "table.csv", table.rows)
  with (tmp_path / "table.csv").open(newline="") as lines:
    (row,) = csv.DictReader(lines)
  assert row["auto, %"] == "91.0"
  assert row["auto, % ±"] == "12.7"  # t of one degree of freedom: 12.7
  assert (row["joint, %"], row["joint, % ±"]) == ("80.0", "")
  assert (row["auto spent, % of it"], row["seeds"]) == ("80", "2")
  assert study.FIXED[0] + ", %" not in row
