"""The study of a published trunk, on the digits and on labels alone."""

import math

import numpy as np
import pandas as pd
import pytest
import studies


@pytest.fixture(scope="module")
def study():
  return studies.load("pretrained")


def test_a_long_tail_leaves_ever_fewer_of_each_class(study):
  labels = np.tile(np.arange(100), 200)
  rows = study.long_tail(labels)
  counts = np.bincount(labels[rows])
  assert len(rows) == 4181 and (counts[0], counts[-1]) == (167, 3)
  assert np.all(np.diff(counts) <= 0)
  assert rows[:100].tolist() == list(range(100))  # the first of each class


def test_a_domain_has_one_class_of_every_superclass(study):
  fine = np.array([3, 1, 0, 2, 1, 0])
  coarse = np.array([1, 0, 1, 0])[fine]
  place, names = study.domains(coarse, fine)
  assert place.tolist() == [0, 0, 1, 1] and names == ("0", "1")


def test_the_study_makes_a_table_and_a_picture(study, tmp_path):
  study.main(["--quick", "--rows", "slda", f"--workdir={tmp_path}"])
  place = tmp_path / "digits"
  (line,) = pd.read_csv(place / "table.csv").to_dict("records")
  assert line["row"] == "slda" and 30 < line["accuracy, %"] < 100
  assert line["GFLOP"] > 0
  assert (place / "slda" / "seed_0" / "records.jsonl").exists()
  assert (place / "accuracy_over_joules.png").exists()


def test_a_forward_that_lay_on_disk_is_charged_as_if_it_were_made(study):
  account = {"flops": 1e9}

  class Record:
    memory = {"bytes": 2e6}

  class Result:
    records = (Record,)
    summary = {
      "class_incremental": {"micro_average_accuracy": 0.5},
      "accuracy_class": [1.0, 0.5, 0.25],
      "costs": dict.fromkeys(("train", "replay", "probe", "data"), account),
      "trunk_cache": {"training": {"saved": 4e9, "on_disk": 3, "hits": 1}},
    }

  told = study.costs(Result, 0.5)
  assert math.isclose(told["GFLOP"], 7)
  assert math.isclose(told["joules (modelled)"], 3.5)
  assert told["last third of classes, %"] == 25
