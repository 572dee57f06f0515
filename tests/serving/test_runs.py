"""Tests of runs that are kept on disk, and of what is written about them."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from jcl.control.drift import times
from jcl.serving import log, paragraph, runs, setup
from jcl.streams import sources

SCRIPT = runs.StreamScript("S1", fps=2, segment_seconds=5, segments=12)


def logged(right, seed=0):
  """A run of which so many of every ten frames were right."""
  num = SCRIPT.window // 2 * SCRIPT.segments
  truth = np.zeros(num, np.int32)
  predictions = (np.arange(num) % 10 >= right).astype(np.int32)
  entry = log.Entry("label", 0, num, 1.0, True, {"drift": True}, {})
  return log.Log(
    predictions, truth, np.ones(num, bool), truth, (entry,), {"seed": seed}
  )


def run(system, right, seed=0):
  return runs.Run(SCRIPT, system, seed, logged(right))


def test_the_table_has_means_and_intervals():
  made = [run("a", 7), run("a", 9, seed=1), run("b", 5)]
  table = runs.table(pd.DataFrame(map(runs.row, made)))
  assert table.loc["b", "S1"] == "50.0"
  # Two values 20 apart: 12.706 times their standard error of 10.
  assert table.loc["a", "S1"] == "80.0 ± 127.1"
  assert list(table.columns) == ["S1", "all"]


def test_a_row_in_percent():
  row = runs.row(run("a", 7))
  assert row["score"] == pytest.approx(70)
  assert row["drifts"] == row["decisions"] == 1
  assert row["range"] == row["dropped"] == 0


def test_a_page_begins_with_who_served_best():
  made = [run("a", 7), run("a", 9, seed=1), run("b", 5), run("b", 5, seed=1)]
  told = " ".join(paragraph.sentences(pd.DataFrame(map(runs.row, made))))
  assert told.startswith(
    "Scenarios S1, 2 seeds. a served best, with a score of 80.0 %, 30.0 points "
    "above b."
  )
  assert "a retrained 0 times, called a drift in 1 of 1 tests" in told
  assert "nan" not in told and told.endswith("Every frame was served.")
  late = [{**runs.row(each), "dropped": 12.5} for each in made]
  assert paragraph.sentences(pd.DataFrame(late))[-1] == (
    "Up to 12.5 % of a system's frames were not served."
  )


def test_decisions_have_what_was_predicted_beside_what_was_spent():
  made = run("a", 7)
  entries = [
    log.Entry("label", 0, 3, 1.25, True, {}, {}, "it began", (), 1.5),
    log.Entry("retrain", 3, 4, 0.0, True, {}, {}, "labels", (), 0.0),
    log.Entry("label", 4, 6, 0.75, True, {}, {}, "a drift", (), 1.0),
    log.Entry("retrain", 6, 9, 9.0, False, {}, {}, "labels", (), 1.5),
    log.Entry("wait", 9, 10, 1.0, True, {}, {}),  # of an earlier version
  ]
  made = made._replace(log=dataclasses.replace(made.log, phases=tuple(entries)))
  label, retrain = runs.decisions(made)
  assert label == {
    "scenario": "S1",
    "system": "a",
    "decision": "label",
    "times": 2,
    "seconds predicted": "2",
    "seconds spent": "2.5",
    "predicted / spent": "80 %",
    "the last reason": "a drift",
  }
  assert (retrain["times"], retrain["predicted / spent"]) == (1, "–")
  assert runs.decisions(run("b", 5)) == []


def test_logs_of_earlier_versions_are_read(tmp_path):
  log.save(logged(7), tmp_path / "a")
  fields = json.loads((tmp_path / "a.json").read_text())
  for name in ("reason", "candidates", "took"):
    del fields["phases"][0][name]
  (tmp_path / "a.json").write_text(json.dumps(fields))
  (entry,) = log.load(tmp_path / "a").phases
  assert (entry.reason, entry.candidates, entry.took) == ("", (), None)


def test_a_finished_run_is_read_and_a_damaged_one_told(tmp_path):
  path = tmp_path / "seed_0"
  log.save(logged(7), path)
  found = runs.run(None, SCRIPT, "a", None, 0, path)
  assert runs.row(found)["score"] == pytest.approx(70)
  path.with_suffix(".json").write_text("{")
  with pytest.raises(ValueError, match="damaged"):
    runs.run(None, SCRIPT, "a", None, 0, path)


def test_who_plays_depends_on_the_images():
  digits = setup.roles(sources.load("digits"))
  assert (digits.student, digits.classes, digits.enlarge) == (
    "mlp:width=64",
    9,
    3,
  )
  x = np.zeros((20, 32, 32, 3), np.uint8)
  y = np.arange(20) % 4
  photographs = setup.roles(sources.arrays(x, y, x, y), teacher="vit")
  assert photographs.student.startswith("slim_resnet18")
  assert (photographs.teacher, photographs.classes) == ("vit", 4)


def test_streams_are_of_images():
  x, y = np.zeros((20, 7), np.float32), np.arange(20) % 4
  with pytest.raises(ValueError, match=r"shape \(7,\).*: systems serve images"):
    setup.roles(sources.arrays(x, y, x, y))


def test_a_run_on_the_wall_clock_tells_what_it_took(tmp_path):
  on = setup.Assets(
    sources.load("digits"),
    setup.Roles("mlp:width=8,depth=1", "mlp:width=8,depth=1", (50, 50), (1, 1)),
    tmp_path,
  )
  stream_script = runs.StreamScript(
    "S1", fps=10, segment_seconds=1, segments=10
  )
  counted = []
  made = runs.run(
    *(
      on,
      stream_script,
      "dacapo:labels=4",
      times.Times(0.01, 0.05, 0.02, 0.05),
      0,
    ),
    tmp_path / "seed_0",
    live=True,
    progress=lambda done, total: counted.append((done, total)),
  )
  row = runs.row(made)
  assert made.log.about["clock"] == "live" and counted[-1] == (100, 100)
  assert 0 < row["p50 ms"] <= row["p99 ms"] < 5000
  assert row["update ms"] > 0 and row["label ms"] > 0
  # A phase ends when it was to end, or late.
  done = [each for each in made.log.phases if each.complete]
  assert all(each.took >= each.seconds - 0.2 for each in done)
  assert all(each.reason for each in made.log.phases)
  again = runs.run(
    on, stream_script, "", None, 0, tmp_path / "seed_0", live=True
  )
  assert runs.row(again) == {**row, "system": ""}
  with pytest.raises(ValueError, match="'oracle' looks at frames to come"):
    runs.run(
      *(on, stream_script, "oracle", times.Times(0.01, 0.05, 0.02, 0.05), 0),
      tmp_path / "seed_1",
      live=True,
    )
