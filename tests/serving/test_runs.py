"""Tests of runs that are kept on disk, and of what is written about them."""

import dataclasses
import json
import math
import types

import numpy as np
import pandas as pd
import pytest
import signatures
import tiny_serving

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
    "predicted": "2 s",
    "spent": "2.5 s",
    "spent / predicted": "125 %",
    "the last reason": "a drift",
  }
  assert (retrain["times"], retrain["spent / predicted"]) == (1, "–")
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


@pytest.mark.parametrize(
  "error", [KeyError, TypeError, OSError, ValueError, RecursionError]
)
def test_any_error_of_a_damaged_log_is_a_usage_error(
  error, tmp_path, monkeypatch
):
  def fail(text):
    raise error("no such thing")

  log.save(logged(7), tmp_path / "a")
  monkeypatch.setattr(log.json, "loads", fail)
  with pytest.raises(ValueError, match="a.json or .npz is damaged .*no such"):
    log.load(tmp_path / "a")


def test_entries_are_equal_whatever_they_took():
  entry = log.Entry("label", 0, 3, 1.25, True, {}, {}, took=1.0)
  assert entry == dataclasses.replace(entry, took=2.0)
  assert entry != dataclasses.replace(entry, stop=4)
  assert not entry.drifted
  assert signatures.defaults(log.Log.score) == {"warmup": 4, "policy": "stale"}


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


def test_a_row_by_hand():
  num = 120  # windows of 20 frames, of which the first four do not count
  right = np.ones(num, bool)
  right[[*range(84, 90), *range(95, 100), *range(116, 120)]] = False
  served = np.ones(num, bool)
  served[101:107] = False
  entries = (
    log.Entry("label", 0, 9, 1.0, True, {"drift": True}, {"labelled": 1}),
    log.Entry(
      *("label", 9, 20, 1.0, True, {"drift": False}),
      {"labelled": 4, "right_labels": 3},
    ),
    log.Entry("retrain", 20, 90, 1.0, True, {"drift": 0}, {"trained": 4}),
    log.Entry("wait", 90, 120, 1.0, True, {}, {}),
  )
  made = log.Log(
    np.where(right, 0, 1).astype(np.int32),
    np.zeros(num, np.int32),
    served,
    np.zeros(num, np.int32),
    entries,
    {"seed": 3, "milliseconds": {"p50 ms": 1.5}},
  )
  found = runs.row(runs.Run(SCRIPT, "a", 3, made))
  assert found == {
    "scenario": "S1",
    "system": "a",
    "seed": 3,
    "score": pytest.approx(100 * math.sqrt(9 / 20 * 16 / 20)),
    "strict": pytest.approx(100 * math.sqrt(9 / 20 * 10 / 20)),
    "dropped": pytest.approx(5.0),
    "mean": pytest.approx(87.5),
    "range": pytest.approx(60.0),  # segments of 10 frames: 4 to 10 right
    "retrainings": 1,
    "decisions": 3,
    "drifts": 1,
    "right labels": pytest.approx(75.0),
    "working": pytest.approx(75.0),
    "p50 ms": 1.5,
  }


def test_streams_last_as_long_as_published_unless_told():
  script = runs.StreamScript("S1")
  assert script[1:] == (30, 60, 28) and script.window == 3600
  assert runs.StreamScript("S1", 2, 5, 12).window == 20
  assert runs.WARMUP == 4
  assert signatures.defaults(runs.build) == {"live": False}
  assert signatures.defaults(runs.run) == {"oracle": False, "live": False}
  seconds = times.Times(0.01, 0.05, 0.02, 0.05)
  assert not runs.build("oracle", seconds).causal  # in virtual time


def test_the_table_keeps_the_order_of_systems_and_of_scenarios():
  other = SCRIPT._replace(name="ES1")
  made = [run("b", 5), run("a", 8)]
  made += [each._replace(stream_script=other) for each in made]
  frame = pd.DataFrame(map(runs.row, made))
  frame.loc[2:, "score"] = [72.0, 20.0]
  table = runs.table(frame)
  assert list(table.columns) == ["S1", "ES1", "all"]
  assert list(table.index) == ["b", "a"]
  assert table.loc["b"].tolist() == ["50.0", "72.0", "60.0"]
  assert table.loc["a"].tolist() == ["80.0", "20.0", "40.0"]


class Assets:
  """Hands out a student, a stream and a teacher, and keeps what was asked."""

  student = "student"

  def __init__(self, num=120):
    self.num, self.asked = num, []

  def weights(self, seed):
    return f"weights {seed}"

  def labeller(self, seed):
    return f"teacher {seed}"

  def stream(self, **asked):
    self.asked.append(asked)
    return tiny_serving.frames_of(self.num)

  def changes(self, **asked):
    self.asked.append(asked)
    return (7,)


SECONDS = times.Times(infer=0.01, train=0.05, valid=0.02, label=0.05)


@pytest.mark.parametrize("oracle", [False, True])
def test_a_run_in_virtual_time_is_asked_for_and_kept(
  oracle, tmp_path, monkeypatch
):
  calls = []

  def virtually(*parts, **options):
    calls.append((parts, options))
    return logged(7)

  monkeypatch.setattr(runs.virtual, "run", virtually)
  on, path = Assets(), tmp_path / "deep" / "down" / "seed_5"
  arguments = on, SCRIPT, "frozen", SECONDS, 5, path
  made = runs.run(*arguments, oracle=oracle, about={"mode": "full"})
  ((system, student, weights, frames), options), *more = calls
  assert not more and system.name == "frozen" and len(frames) == 120
  assert (student, weights) == ("student", "weights 5")
  assert options == {
    "infer": 0.01,
    "labeller": None if oracle else "teacher 5",
    "seed": 5,
    "about": {"scenario": "S1", "mode": "full"},
  }
  script = {"name": "S1", "fps": 2, "segment_seconds": 5, "segments": 12}
  assert on.asked == [{"seed": 5, **script}]
  assert made[:3] == (SCRIPT, "frozen", 5)
  assert runs.run(*arguments).log.predictions.tolist() == (
    made.log.predictions.tolist()
  )
  assert len(calls) == 1


@pytest.mark.parametrize("num, timed", [(300, 300), (511, 511), (1000, 334)])
def test_a_live_run_times_kernels_first_and_tells_milliseconds(
  num, timed, tmp_path, monkeypatch
):
  def measured(student, weights, images, labels, labeller):
    assert (student, weights, labeller) == ("student", "weights 0", "teacher 0")
    assert len(images) == len(labels) == timed
    assert images[1, 0, 2, 0] == (1 if num < 512 else 3)
    return times.Times(infer=0.25, train=0.5, valid=0.125, label=0.75)

  def lived(system, student, weights, frames, **options):
    assert options == {
      "labeller": "teacher 0",
      "checked": True,
      "progress": None,
      "seed": 0,
      "about": {"scenario": "S1"},
    }
    quantiles = {
      None: types.SimpleNamespace(p50=0.001, p99=0.002),
      "retrain": types.SimpleNamespace(p50=0.0, p99=math.nan),
    }
    return types.SimpleNamespace(
      log=logged(7),
      summary=lambda kind=None: quantiles[kind],
      spans=[types.SimpleNamespace(late=late) for late in (0.25, 0.5)],
    )

  monkeypatch.setattr(runs.measured_times, "times", measured)
  monkeypatch.setattr(runs.live_lib, "run", lived)
  made = runs.run(
    Assets(num), SCRIPT, "frozen", SECONDS, 0, tmp_path / "a", live=True
  )
  assert made.log.about == {
    "seed": 0,
    "milliseconds": {
      "p50 ms": 1.0,
      "p99 ms": 2.0,
      "p99 ms, retraining": None,
      "update ms": 500.0,
      "label ms": 750.0,
      "phases late, ms": 750.0,
    },
  }


def test_what_is_written_about_runs(tmp_path, monkeypatch):
  drawn = []

  def picture(logs, fps, **options):
    drawn.append((list(logs), fps, options))
    return types.SimpleNamespace(
      savefig=lambda path, dpi: path.write_bytes(b"%d dots" % dpi)
    )

  monkeypatch.setattr(runs.pictures, "picture", picture)
  other = SCRIPT._replace(name="ES1", fps=1, segment_seconds=10)
  decided = log.Entry("label", 0, 3, 1.25, True, {}, {}, "it began", (), 1.5)

  def told(script, system, right, seed):
    made = runs.Run(script, system, seed, logged(right, seed))
    phases = (*made.log.phases, decided)
    about = {"milliseconds": {"p50 ms": 1.26}}
    kept = dataclasses.replace(made.log, phases=phases, about=about)
    return made._replace(log=kept)

  made = [
    told(script, system, right, seed)
    for seed in (4, 1)
    for script in (SCRIPT, other)
    for system, right in (("b", 5), ("a", 8))
  ]
  on = Assets()
  target, frame = runs.write(on, made, tmp_path, {"mode": "full"})
  assert target == tmp_path / "report.html" and len(frame) == 8
  common = {"changes": (7,), "measure": "accuracy"}
  title = "dotted lines are changes, triangles detected drifts"
  assert drawn == [
    (["b", "a"], 2, {"span": 5, "title": f"S1: {title}", **common}),
    (["b", "a"], 1, {"span": 5, "title": f"ES1: {title}", **common}),
  ]
  assert [each["seed"] for each in on.asked] == [4, 4]
  assert (tmp_path / "S1.png").read_bytes() == b"120 dots"
  kept = pd.read_csv(tmp_path / "runs.csv")
  assert kept.columns[0] == "scenario" and kept["score"][0] == 50
  assert pd.read_csv(tmp_path / "table.csv")["system"].tolist() == ["b", "a"]
  page = target.read_text(encoding="utf-8")
  assert page.count("<td>it began</td>") == 4  # of the first seed
  assert "Seed 4." in page and "agreement" not in page
  shown = page[page.index("<h2>Figures") : page.index("<h2>Decisions")]
  assert "seed</th>" not in shown and "nan" not in shown
  cells = [cell.partition("<")[0] for cell in shown.split("<td>")[1:]]
  assert [cell for cell in cells if cell in ("a", "b")] == ["b", "a", "b", "a"]
  assert cells.count("1.3") == 4 and "1.26" not in cells


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(log.Log)


def test_no_array_of_objects_is_written(tmp_path):
  odd = dataclasses.replace(logged(7), truth=np.array([None]))
  with pytest.raises(ValueError, match="allow_pickle=False"):
    log.save(odd, tmp_path / "a")
  assert not (tmp_path / "a.json").exists()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(runs.StreamScript) == {
    "fps": 30,
    "segment_seconds": 60,
    "segments": 28,
  }
