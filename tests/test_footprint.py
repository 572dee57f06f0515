import csv
import os
from pathlib import Path
import subprocess
import sys

import pytest
import studies

SCRIPT = Path(__file__).parents[1] / "experiments" / "footprint.py"

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_memory_of_a_run_and_of_predicting_by_stage(tmp_path):
  path = tmp_path / "table.csv"
  done = subprocess.run(
    [sys.executable, str(SCRIPT), "--quick", f"--csv={path}"],
    capture_output=True,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  with path.open(newline="") as file:
    rows = list(csv.DictReader(file))
  of = {
    process: {r["stage"]: r for r in rows if r["process"] == process}
    for process in ("run", "report", "predict")
  }
  ran, told, predicted = of.values()
  assert list(ran)[:4] == ["interpreter", "libraries", "jcl", "data"]
  assert {"compiled programs", "training", "report"} < set(ran)
  for stages in (ran, told, predicted):
    last = [float(r["resident_mib"]) for r in stages.values() if r["added_mib"]]
    assert float(stages["peak"]["resident_mib"]) >= max(last) - 1
    assert float(stages["libraries"]["added_mib"]) > 20
  peaks = [float(each["peak"]["resident_mib"]) for each in (ran, predicted)]
  assert peaks[0] > peaks[1]
  # A run draws in another process, and needs no library for the digits.
  assert abs(float(ran["report"]["added_mib"])) < 10
  assert float(ran["data"]["added_mib"]) < 10
  assert "peak of a run above JAX" in done.stdout.splitlines()[-1]


@linux
def test_growth_is_filed_under_the_stage_that_brings_it():
  study = studies.load("footprint")
  measure = study.Measure()
  kept = bytearray(b"x") * (64 * study.MIB)
  measure.end("first")
  del kept
  measure.end("second")
  assert 60 < measure.stages["first"] < 70
  assert measure.stages["second"] < 0
  rows = study.table("run", {"a": 2.0, "b": 1.5, "peak": 4.0})
  assert [row[2:] for row in rows] == [
    ("2.0", "2.0"),
    ("1.5", "3.5"),
    ("", "4.0"),
  ]
