"""The driver: who owns which frames, and what nobody may know too early."""

from fractions import Fraction
import inspect

import numpy as np
import pytest
import signatures
import tiny_serving

from jcl.control.drift import (
  allocation,
  phased,
  phases,
  systems,
  times,
  windows,
)
from jcl.serving import books, log, measured_times, pictures, virtual

TIMES = tiny_serving.RESNET18


def run(system, num=3000, *, student=None, weights=0.8, fps=30, **options):
  if isinstance(system, str):
    system = systems.build(system, TIMES)
  return virtual.run(
    system,
    student or tiny_serving.Student(),
    weights,
    options.pop("frames", None) or tiny_serving.frames_of(num, fps),
    infer=options.pop("infer", TIMES.infer),
    **options,
  )


def system_of(*given, causal=True):
  def run_phases(view):
    del view
    for phase in given:  # noqa: UP028  an iterator cannot be sent anything
      yield phase

  return phases.System("made up", run_phases, causal)


def labels_of(ids, seconds=1.0):
  return phases.Phase("label", seconds, phases.Label(lambda view: ids))


def retrains(train, seconds=1.0, valid=()):
  work = phases.Retrain(np.array(train), np.array(valid, int))
  return phases.Phase("retrain", seconds, work)


def test_the_published_timeline():
  found = run("dacapo:drift=never", 50_400)
  spans = [(each.kind, each.first, each.stop) for each in found.phases]
  assert spans[:3] == [
    ("first_label", 0, 451),
    ("retrain", 451, 1095),
    ("label", 1095, 1208),
  ]
  expected = allocation.timeline(TIMES.kernels)
  assert spans == [(e.kind, e.frames.start, e.frames.stop) for e in expected]
  stops = [stop for _, _, stop in spans]
  assert [first for _, first, _ in spans] == [0, *stops[:-1]]
  assert stops[-1] == 50_400
  assert not found.phases[-1].complete and found.phases[-1].result == {}
  assert (found.predictions >= 0).all()
  assert len(found.retrainings) in (66, 67)


def test_a_phase_is_served_by_the_weights_at_its_start():
  student = tiny_serving.Student(gain=0.1)
  system = system_of(labels_of([0, 1], 1), retrains([0, 1], 2))
  found = run(system, 150, student=student, weights=0.5)
  # Frames 30 to 89 are the retraining's own.
  assert found.versions.tolist() == [0] * 90 + [1] * 60
  accuracy = found.correct().reshape(-1, 30).mean(axis=1)
  assert accuracy[-1] > accuracy[0]
  # What a phase was to take, and what it took: whole frames, 30 a second.
  assert [each.seconds for each in found.phases] == [1.0, 2.0, 2.0]
  assert [each.took for each in found.phases] == [1.0, 2.0, 2.0]
  assert "last weights" in found.phases[-1].reason
  assert [each.kind for each in found.phases] == ["label", "retrain", "wait"]


@pytest.mark.parametrize(
  "given",
  [
    [retrains([0])],  # never labelled
    [labels_of([5, 6]), retrains([5, 7])],  # one of them was not
    [labels_of([5]), retrains([5], valid=[6])],
    [labels_of([40])],  # not there yet
    [labels_of([-1])],
    [
      phases.Phase("look", 1),
      phases.Phase(
        "profile", 1, phases.Trials(((np.array([1]), np.array([2])),), 1)
      ),
    ],
  ],
)
def test_what_uses_the_future_is_caught(given):
  with pytest.raises(books.CausalityError):
    run(system_of(*given))


@pytest.mark.parametrize("name", ["pixels", "predictions", "confidence"])
def test_a_system_cannot_look_at_frames_to_come(name):
  def look(view):
    yield phases.Phase("wait", 1)
    getattr(view, name)(np.arange(view.seen))
    getattr(view, name)(np.array([view.seen]))

  with pytest.raises(books.CausalityError, match="frames 30 to 30"):
    run(phases.System("curious", look))


def test_labels_that_come_while_training_has_begun_are_too_late():
  kept = books.Books(
    tiny_serving.Student(),
    0.5,
    tiny_serving.frames_of(100),
    None,
    np.ones(100, bool),
  )
  kept.serve(range(50))
  kept.perform(phases.Label(lambda view: np.arange(10)), 0)
  work = phases.Retrain(np.arange(10), np.arange(0))
  with pytest.raises(books.CausalityError, match="from frame 49"):
    kept.perform(work, 49)
  kept.perform(work, 50)
  kept.serve(range(50, 60))
  kept.check()
  kept.versions[-1] = books.Version(born=50, began=49, newest=50)
  with pytest.raises(books.CausalityError, match="frame 50"):
    kept.check()
  kept.versions[-1] = books.Version(born=70, began=70, newest=0)
  with pytest.raises(books.CausalityError):
    kept.check()
  with pytest.raises(books.CausalityError, match="there from frame 70"):
    kept.serve(range(60, 61))


def test_frames_that_are_not_served_repeat_what_was():
  found = run("frozen", 300, infer=1.5 / 30, weights=0.5)
  assert found.drop_ratio == pytest.approx(0.5)
  np.testing.assert_array_equal(found.served, np.arange(300) % 2 == 0)
  np.testing.assert_array_equal(found.predictions[::2], found.predictions[1::2])
  strict, stale = found.correct("strict"), found.correct()
  assert not strict[1::2].any() and stale[1::2].any()


def test_the_label_source_is_what_trains():
  found = run("dacapo", labeller=lambda images: np.zeros(len(images), int))
  share = (tiny_serving.frames_of(3000).labels == 0).mean()
  assert found.label_accuracy == pytest.approx(share, abs=0.05)
  assert found.about["labels"] == "teacher"
  assert run("dacapo").label_accuracy == 1
  assert np.isnan(run("frozen").label_accuracy)


def test_runs_repeat_themselves():
  runs = []
  for _ in range(2):
    student = tiny_serving.Student(gain=0.01)
    found = run("dacapo:drift=robust,labels=27", student=student, seed=3)
    runs.append((found, student.calls))
  (first, calls), (second, again) = runs
  np.testing.assert_array_equal(first.correct(), second.correct())
  assert first.phases == second.phases and calls == again
  assert len({seed for _, _, seed in calls}) == len(calls)


def test_a_log_says_what_it_is_of_and_survives_the_disk(tmp_path):
  told = []
  found = run(
    "dacapo:labels=27",
    about={"mode": "full"},
    progress=lambda *done: told.append(done),
  )
  assert told[-1] == (3000, 3000) and len(told) == len(found.phases)
  log.save(found, tmp_path / "run")
  again = log.load(tmp_path / "run")
  for name in ("predictions", "truth", "served", "versions"):
    np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
  assert again.phases == found.phases and again.about == found.about
  assert [e.took for e in again.phases] == [e.took for e in found.phases]
  assert again.about == {
    "system": "dacapo:labels=27",
    "causal": True,
    "seed": 0,
    "fps": 30,
    "infer_seconds": TIMES.infer,
    "labels": "oracle",
    "clock": "virtual",
    "mode": "full",
  }
  assert again.score(300, 2) == found.score(300, 2)
  (tmp_path / "run.json").write_text('{"phases": []}')
  with pytest.raises(ValueError, match="damaged"):
    log.load(tmp_path / "run")
  with pytest.raises(FileNotFoundError):
    log.load(tmp_path / "other")


def test_bad_input():
  stuck = system_of(*[phases.Phase("nothing", 0)] * 200)
  with pytest.raises(ValueError, match="101 phases in a row.*give them second"):
    run(stuck)
  idle = [phases.Phase("nothing", 0)] * 100
  found = run(system_of(*idle, phases.Phase("some", 1), *idle), 60)
  assert len(found.phases) == 202  # begun anew behind each frame
  frames = np.zeros((3, 1, 1, 1), np.uint8)
  with pytest.raises(ValueError, match="one label per frame|one label per"):
    books.LabelledFrames(frames, np.zeros(2, int))
  with pytest.raises(ValueError, match="fps=0"):
    books.LabelledFrames(frames, np.zeros(3, int), 0)


def test_times_are_those_of_the_published_pair():
  found = times.published(mode="compat")
  assert found.infer == 0.022648166
  assert found.train == 0.993158584
  assert found.label == 0.034770054
  assert found.source.endswith("3 + 13 rows") and found.serving == 3
  assert found.joules(100, 0.5) == pytest.approx(23.6 * (3 + 13 / 2) / 16)
  with pytest.raises(ValueError, match="rows that serve"):
    times.Times(0.01, 1.0, 0.5, 0.2).joules(1, 1)
  fewer = times.published(mode="compat", more_rows=4)
  assert fewer.infer < found.infer and fewer.train > found.train
  last = times.published(mode="compat", more_rows=12)
  assert last.source.endswith("15 + 1 rows")
  with pytest.raises(ValueError, match="more_rows=13"):
    times.published(more_rows=13)
  with pytest.raises(ValueError, match="choose from resnet18"):
    times.published("resnet50")
  with pytest.raises(ValueError, match="label=0"):
    times.Times(1, 1, 1, 0)
  with pytest.raises(ValueError, match="infer=0"):
    times.Times(0, 1, 1, 1)


def test_a_picture_shows_phases_drifts_and_new_weights(tmp_path):
  logs = {
    text: run(text, 3000, student=tiny_serving.Student(0.01))
    for text in ("dacapo:labels=27,threshold=2", "frozen")
  }
  drifts = sum(
    each.drifted for each in logs["dacapo:labels=27,threshold=2"].phases
  )
  figure = pictures.picture(logs, 30, span=90, changes=[100, 200], title="two")
  top, bottom = figure.axes
  assert len(top.lines) == 2 + 2 and top.get_title() == "two"
  assert len(bottom.lines[0].get_xdata()) == drifts > 0
  # Minutes of 30 frames a second: the first window ends with frame 90.
  assert top.lines[0].get_xdata()[0] == pytest.approx(90 / 1800)
  assert top.get_xlim() == pytest.approx((0, 3000 / 1800))
  figure.savefig(tmp_path / "two.png")
  with pytest.raises(ValueError, match="span=0"):
    pictures.picture(logs, 30, span=0)


@pytest.mark.parametrize("count", [100, 101])
def test_phases_without_a_frame_are_borne_a_hundred_times(count):
  nothing = [phases.Phase("nothing", 0)] * count
  given = (*nothing, phases.Phase("look", 1), *nothing)
  if count == 100:
    assert len(run(system_of(*given), 60).phases) == 202
    return
  with pytest.raises(ValueError, match="in 101 phases in a row"):
    run(system_of(*given), 60)


@pytest.mark.parametrize("epochs", [1, 3])
def test_windows_label_as_much_as_leaves_time_to_train_on_it(epochs):
  seconds = times.Times(infer=0.01, train=0.25, valid=0.1, label=0.05, batch=4)

  def fits(num):
    training = allocation.retraining_seconds(
      seconds.kernels, num, 0, seconds.batch, epochs
    )
    labelling = allocation.labelling_seconds(seconds.kernels, num)
    return training + labelling <= 10

  most = max(num for num in range(101) if fits(num))
  found = windows.static(seconds, 10, 0, epochs, 10)
  assert 0 < most < 100 and found.num_labels == most
  assert (found.seconds, found.fps) == (10, 10)
  assert (found.epochs, found.batch) == (epochs, 4)
  given = windows.static(seconds, 10, 0.125, epochs, 10)
  assert given.rate == 0.125 and given.num_labels == 12


def test_windows_that_are_too_short_and_long_enough_for_all():
  fast = times.Times(infer=0.01, train=1e-3, valid=1e-3, label=1e-3)
  assert windows.static(fast, 10, 0, 1, 10).rate == 1
  slow = times.Times(infer=0.01, train=11.0, valid=1e-3, label=1e-3)
  with pytest.raises(ValueError, match="window=10 is too short"):
    windows.static(slow, 10, 0, 1, 10)
  # One frame just fits: a second to label it and nine to train on it.
  tight = times.Times(infer=0.01, train=9.0, valid=1.0, label=1.0, batch=1)
  assert windows.static(tight, 10, 0, 1, 10).num_labels == 1
  assert windows.lasting(range(5, 20), 30) == Fraction(1, 2)
  windows.at_least_one(labels=1)
  with pytest.raises(ValueError, match="labels=0: give 1 or more"):
    windows.at_least_one(labels=0)


def test_what_kernels_take_by_a_clock_of_their_own(monkeypatch):
  clock, seen = [0.0], []

  class Slow:
    batch_size = 4

    def predict(self, weights, images):
      clock[0] += 0.25 * len(images)

    def retrain(self, weights, images, labels):
      seen.append((images[:, 0].tolist(), labels.tolist()))
      clock[0] += 4.0
      return weights

  def label(images):
    clock[0] += 0.5 * len(images)

  monkeypatch.setattr(measured_times.time, "perf_counter", lambda: clock[0])
  images, labels = np.arange(3)[:, None], np.array([5, 6, 7])
  given = Slow(), np.zeros(1), images, labels
  found = measured_times.times(*given, label, rounds=3)
  assert found == times.Times(0.25, 0.5, 1.0, 0.5, 4, "measured")
  assert len(seen) == 4  # once to compile
  assert seen[0] == (
    [i % 3 for i in range(32)],
    [5 + i % 3 for i in range(32)],
  )
  assert measured_times.times(*given, None).label == 1e-9


def test_updates_that_take_a_share_of_the_work():
  shorter = TIMES.training(0.5)
  assert shorter.train == TIMES.train / 2
  assert (shorter.infer, shorter.valid) == (TIMES.infer, TIMES.valid)
  assert times.Times(1, 1, 1, 1).batch == 16
  assert times.Times(1, 1, 1, 1, batch=1).source == "given"
  with pytest.raises(ValueError, match="batch=0"):
    times.Times(1, 1, 1, 1, batch=0)
  with pytest.raises(ValueError, match="more_rows=-1"):
    times.published(more_rows=-1)


def test_what_systems_assume():
  def defaults(build):
    parameters = inspect.signature(build).parameters.values()
    kept = (p for p in parameters if p.default is not inspect.Parameter.empty)
    return {p.name: p.default for p in kept}

  found = defaults(systems.dacapo)
  assert (found["first"], found["epochs"], found["design"]) == (4, 1, 3.0)
  assert found["drift"] == "paper" and found["compat"] is False
  assert defaults(systems.dacapo_spatial) == {
    "window": 120,
    "rate": 0.0,
    "epochs": 2,
    "active": False,
    "compat": False,
  }
  assert defaults(systems.frozen) == {"window": 10}


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(measured_times.times) == {"rounds": 5}
  assert signatures.defaults(virtual.run) == {"seed": 0}
  assert signatures.defaults(times.published) == {
    "student": "resnet18",
    "mode": "full",
    "fps": 30,
    "batch": 16,
    "more_rows": 0,
  }
  assert signatures.defaults(times.of) == {
    "mode": "full",
    "fps": 30,
    "batch": 16,
    "more_rows": 0,
  }
  assert signatures.defaults(phases.Label) == {"recheck": False}
  assert signatures.defaults(phases.Retrain) == {"epochs": 1, "keep": "last"}
  assert signatures.defaults(phases.System) == {"causal": True}


@pytest.mark.parametrize(
  "error", [KeyError, TypeError, OSError, ValueError, RecursionError]
)
def test_whatever_a_damaged_log_raises_is_told(error, tmp_path, monkeypatch):
  def fail(path):
    raise error("no such thing")

  (tmp_path / "a.json").write_text('{"phases": [], "about": {}}')
  monkeypatch.setattr(log.archives, "arrays", fail)
  with pytest.raises(ValueError, match="a.json or .npz is damaged .*no such"):
    log.load(tmp_path / "a")
  with pytest.raises(FileNotFoundError):
    log.load(tmp_path / "b")


def entry(kind, first, stop, note=None, result=None):
  return log.Entry(kind, first, stop, 1.0, True, note or {}, result or {})


def a_log(predictions=(0, 9, 1, 9, 2, 2), phases=()):
  truth = np.array([0, 0, 0, 1, 2, 1], np.int32)
  served = np.array([1, 0, 1, 0, 1, 1], bool)
  predictions = np.array(predictions, np.int32)
  return log.Log(predictions, truth, served, served * 1, tuple(phases), {})


def test_a_log_by_hand():
  made = a_log(
    phases=[
      entry("label", 0, 2, result={"labelled": 4, "right_labels": 3}),
      entry("retrain", 2, 4, {"drift": 0}, {"trained": 4}),
      entry("label", 4, 6, {"drift": 1}, {"labelled": 2, "right_labels": 1}),
    ]
  )
  # A frame that is not served repeats what was served last, or is wrong.
  assert made.correct().tolist() == [1, 1, 0, 1, 1, 0]
  assert made.correct("strict").tolist() == [1, 0, 0, 0, 1, 0]
  assert made.accuracies(2).tolist() == [1, 0.5, 0.5]
  assert made.accuracies(2, "strict").tolist() == [0.5, 0, 0.5]
  assert made.score(2, warmup=2) == 0.5 and made.score(1, 4, "strict") == 0
  assert made.drop_ratio == pytest.approx(1 / 3)
  assert [each.kind for each in made.decisions] == ["retrain", "label"]
  assert [each.drifted for each in made.phases] == [False, False, True]
  assert [each.kind for each in made.retrainings] == ["retrain"]
  assert made.label_accuracy == 4 / 6
  assert np.isnan(a_log().label_accuracy)
  defaults = signatures.defaults(log.Log.score)
  assert defaults == {"warmup": 4, "policy": "stale"}


def test_a_picture_by_hand():
  phases = [
    entry("label", 0, 2),
    entry("retrain", 2, 5, {"drift": 1}, {"trained": 4}),
    entry("other", 5, 6),
  ]
  logs = {"one": a_log(phases=phases), "two": a_log()}
  figure = pictures.picture(logs, 2, span=2, changes=[3], title="both")
  top, bottom = figure.axes
  assert figure.get_size_inches().tolist() == [11, pytest.approx(4.8)]
  first, _, change = top.get_lines()
  minute = 1 / 120
  np.testing.assert_allclose(first.get_xdata(), np.arange(2, 7) * minute)
  np.testing.assert_allclose(first.get_ydata(), [100, 50, 50, 100, 50])
  assert first.get_label() == "one"
  assert list(change.get_xdata()) == [3 * minute] * 2
  assert top.get_title() == "both" and top.get_ylim() == (0, 101)
  assert top.get_xlim() == (0, pytest.approx(6 * minute))
  assert top.get_ylabel() == "accuracy over 1 s in %"
  bars, _, lines, _ = [*bottom.collections[:2], *bottom.collections[-2:]][:4]
  spans = [path.get_extents() for path in bars.get_paths()]
  found = [(box.x0, box.x1, box.y0, box.y1) for box in spans]
  expected = [(0, 2), (2, 5), (5, 6)]
  np.testing.assert_allclose(
    found, [(a * minute, b * minute, -0.4, 0.4) for a, b in expected]
  )
  np.testing.assert_allclose(bars.get_facecolor()[2], [0.5, 0.5, 0.5, 1])
  (fresh,) = (
    each
    for each in bottom.collections
    if hasattr(each, "get_segments") and len(each.get_segments())
  )
  np.testing.assert_allclose(
    fresh.get_segments(), [[(5 * minute, -0.4), (5 * minute, 0.4)]]
  )
  drifts = bottom.get_lines()[0]
  assert list(drifts.get_xdata()) == [2 * minute]
  assert list(drifts.get_ydata()) == [0]
  assert [text.get_text() for text in bottom.get_yticklabels()] == [*logs]
  assert bottom.yaxis.get_inverted()
  systems, kinds = (
    [text.get_text() for text in each.get_texts()] for each in figure.legends
  )
  assert systems == ["one", "two"] and kinds == ["label", "retrain"]
  # How it looks.
  assert (first.get_linewidth(), change.get_linewidth()) == (1, 0.8)
  assert drifts.get_markersize() == 4 and fresh.get_linewidth() == [0.6]
  for legend in figure.legends:
    assert legend._ncols == 5
    assert {text.get_fontsize() for text in legend.get_texts()} == {7}
  assert {text.get_fontsize() for text in bottom.get_yticklabels()} == {7}


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_last_of_a_hundred_and_one_phases_without_a_frame_is_told(ahead):
  given = [phases.Phase("look", 1)] * ahead + [phases.Phase("none", 0)] * 101
  with pytest.raises(ValueError, match="in 101 phases in a row, .* 'none'"):
    run(system_of(*given), 60)


def test_a_system_is_told_what_its_phases_took(monkeypatch):
  told = []
  ask = phased.Asked.next

  def asked(self, result, took):
    told.append(took)
    return ask(self, result, took)

  monkeypatch.setattr(phased.Asked, "next", asked)
  run(system_of(phases.Phase("one", 0.99), phases.Phase("two", 2)), 150)
  assert told == [0.0, 1.0, 2.0]  # whole frames


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(
    phases.Label,
    phases.Labelled,
    phases.Retrain,
    phases.Trials,
    phases.Tried,
    phases.Phase,
    phases.System,
  )
