"""The study of neighbouring methods: rows, and going on after a stop."""

import csv

import pytest
import studies

from jcl import recipes


@pytest.fixture(scope="module")
def study():
  return studies.load("kin")


def test_every_row_is_a_recipe(study):
  for part in study.PARTS.values():
    for recipe in part.recipes:
      recipes.build(recipe)


def test_rows_are_kept_and_not_made_again(study, tmp_path, capsys):
  asked = ["--quick", "--parts", "budget", "--recipes", "naive", "finetune"]
  asked += ["--workdir", str(tmp_path)]
  study.main(asked)
  before = (tmp_path / "cells.csv").read_text()
  with (tmp_path / "cells.csv").open(newline="") as lines:
    rows = {row["recipe"]: row for row in csv.DictReader(lines)}
  assert set(rows) == {"naive", "finetune"}
  accuracy = {name: float(row["accuracy"]) for name, row in rows.items()}
  assert accuracy["naive"] > accuracy["finetune"] + 20
  flops = [float(row["flops"]) for row in rows.values()]
  assert max(flops) <= 5 * 2e7 and min(flops) > 0.98 * max(flops)
  study.main(asked)
  assert (tmp_path / "cells.csv").read_text() == before
  assert "budget, digits, naive: " in capsys.readouterr().out


def test_means_are_over_seeds(study):
  rows = {
    study.Cell("budget", "digits", "naive", seed): (50.0 + seed, 2e9)
    for seed in range(2)
  }
  assert study.told(rows) == [
    "budget, digits, naive: 50.5 ± 6.4 % of 2, 2 GFLOP"
  ]
