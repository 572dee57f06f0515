"""The object with a folder: what it takes in, learns, tells and refuses."""

import json
import threading
import time

import jax
import jax.export
import living_data
import numpy as np
import pytest
import safetensors

import jcl
from jcl.living import ending, reader
from jcl.living.log import journal
from jcl.networks import catalogue
from jcl.options.errors import UsageError
from jcl.replay.store import records
from jcl.report import summary
from jcl.run import shortening, workdir

NETWORK = "mlp:width=12,depth=1"
TRAINING = {"batch_size": 8, "learning_rate": 0.05}


@pytest.fixture
def made(tmp_path):
  """Opens learners, the same folder again and again; closes all of them."""
  opened = []

  def live(folder="device", **options):
    place = None if folder is None else tmp_path / folder
    if folder is None or not (place / "settings.json").exists():
      options = {"network": NETWORK, **TRAINING, **options}
    opened.append(jcl.live(place, **options))
    return opened[-1]

  yield live
  for each in opened:
    each.close()


def parts():
  x, y = living_data.examples()
  for first in (0, 2, 4):
    rows = (y == first) | (y == first + 1)
    yield x[rows], [f"kind {each}" for each in y[rows]]


def test_a_device_learns_names_and_goes_on_where_it_was(made, tmp_path):
  learner = made(recipe="slda")
  (x, y), second, third = parts()
  ids = learner.observe(x, y)
  assert ids.tolist() == list(range(len(x))) and len(learner) == len(x)
  assert learner.learn() == "learned"
  assert learner.classes_.tolist() == ["kind 0", "kind 1"]
  assert learner.evaluate(x, y) > 0.9
  learner.observe(*second)
  learner.learn()
  scores = learner.predict_scores(x)
  learner.close()
  again = made()
  assert np.array_equal(again.predict_scores(x), scores)
  again.observe(*third)
  again.learn()
  everything = [each for _, names in parts() for each in names]
  x = np.concatenate([x for x, _ in parts()])
  assert again.evaluate(x, everything) > 0.9
  assert again.status()["experiences"] == again.status()["learned"] == 3
  page = again.report()
  assert page == tmp_path / "device" / "report.html"
  told = page.read_text(encoding="utf-8")
  assert "3 experiences with 6 classes in all" in told
  assert "Without test sets, accuracy is that of each batch" in told
  for absent in ("class-incremental", "Accuracy matrix", "Forgetting"):
    assert absent not in told
  pictures = {path.name for path in (page.parent / "pictures").iterdir()}
  assert "accuracy_online.png" in pictures
  assert not {"accuracy_matrix.png", "accuracy_over_time.png"} & pictures


def test_labels_may_be_anything_that_json_holds(made):
  learner = made(None, recipe="ncm")
  x, _ = living_data.examples()
  names = [1, "1", True, ("door", 2), 2.5, "x"]
  given = [each for each in names for _ in range(living_data.PER_CLASS)]
  learner.observe(x, given)
  learner.learn()
  assert learner.classes_.dtype == object
  assert [type(each) for each in learner.classes_] == list(map(type, names))
  assert learner.evaluate(x, given) > 0.9


def test_labels_may_come_later_and_be_corrected(made):
  learner = made(recipe="er:buffer=500")
  (x, y), *_ = parts()
  ids = learner.observe(x)
  assert learner.status()["unlabelled"] == len(x)
  with pytest.raises(UsageError, match="no labelled example"):
    learner.end_experience()
  learner.label(ids, y)
  learner.label(ids[0], "kind 9")
  learner.learn()
  assert set(learner.classes_) == {"kind 0", "kind 1", "kind 9"}
  learner.label(ids[1], "kind 9")  # learned: the memory takes it up
  (more, names), *_ = list(parts())[1:]
  learner.observe(more, names)
  learner.learn()
  items = learner.learning.state.replay.items
  held = dict(zip(np.asarray(items.ids), np.asarray(items.y), strict=True))
  classes = learner.classes_.tolist()
  assert classes[held[1]] == "kind 9" and classes[held[2]] == y[2]


@pytest.mark.parametrize(
  ("rule", "sizes"),
  [("30", [30, 30, 30, 30]), ("1h", []), ("drift", []), ("call", [144])],
)
def test_experiences_end_by_rule(made, rule, sizes):
  learner = made(None, recipe="ncm", experience=rule)
  x, y = living_data.examples()
  learner.observe(x[:1], y[:1])
  learner.observe(x[1:], y[1:])
  learner.learn()
  counts = [
    len(learner.arrivals.ended(i).y) for i in range(learner.arrivals.count)
  ]
  assert counts == sizes


def test_time_ends_an_experience():
  rule = ending.read("2s")
  assert rule.room(0, 0.0) > 1e9
  assert rule.room(1, 1.0) > 1e9
  assert rule.room(5, 2.0) == 0
  assert rule.room(0, 9.0) > 1e9 and rule.room(1, 10.0) > 1e9


def test_drift_ends_an_experience():
  rule = ending.ByDrift()
  assert not rule.noted(None)
  assert not rule.noted(np.ones(100, bool))
  assert not rule.noted(np.ones(100, bool))
  assert not rule.noted(np.zeros(99, bool))
  assert rule.noted(np.zeros(1, bool))
  assert not rule.noted(np.zeros(100, bool))  # how the next model begins


@pytest.mark.parametrize("given", ["0", "-5", "5 days", "", "often", True])
def test_other_rules_are_refused(given):
  with pytest.raises(UsageError, match="give a number of examples"):
    ending.read(given)


def test_learning_goes_on_beside_predictions(made):
  learner = made(recipe="er:buffer=50", experience=24, epochs=3)
  learner.start()
  seen = []
  for x, y in parts():
    learner.observe(x, y)
    until = time.monotonic() + 60
    while learner.status()["learned"] < learner.arrivals.count:
      assert time.monotonic() < until
      if learner.status()["learned"]:
        seen.append(learner.predict(x[:3]))
      time.sleep(0.01)
  learner.stop()
  assert len(learner.classes_) == 6 and learner.status()["learned"] == 6
  assert all(len(each) == 3 for each in seen)
  assert "jcl learning" not in {each.name for each in threading.enumerate()}


def test_an_experience_of_seconds_ends_where_nothing_more_arrives(made):
  learner = made(None, recipe="ncm", experience="0.3s")
  (x, y), *_ = parts()
  ids = learner.observe(x)
  learner.start()
  time.sleep(0.5)
  learner.label(ids, y)  # begins it
  assert learner.status()["open"] == len(x)
  until = time.monotonic() + 60
  while not learner.status()["learned"]:
    assert time.monotonic() < until
    time.sleep(0.01)
  assert learner.status()["open"] == 0


def test_an_error_beside_is_told_by_the_next_call(made, monkeypatch):
  learner = made(None, recipe="ncm")
  (x, y), *_ = parts()

  def broken(stop):
    raise RuntimeError("out of order")

  monkeypatch.setattr(learner.learning, "advance", broken)
  learner.start()
  with pytest.raises(RuntimeError, match="out of order"):
    for _ in range(6000):
      learner.observe(x, y)
      time.sleep(0.01)
  learner.observe(x, y)  # told once


def test_a_budget_pauses_and_more_of_it_goes_on(made):
  tight = jcl.Budget(flops=1.0, per="day")
  learner = made(recipe="er:buffer=50", budget=tight)
  first, second, _ = parts()
  learner.observe(*first)
  assert learner.learn() == "learned"  # one dispatch, which spends all
  learner.observe(*second)
  assert learner.learn() == learner.learn() == "paused"
  assert len(learner.classes_) == 2
  learner.close()
  ample = made(budget=jcl.Budget(flops=1e15, per="day"))
  assert ample.learn() == "learned" and len(ample.classes_) == 4


def test_a_head_must_fit_the_memory_allowed(made):
  budget = jcl.Budget(ram="64KiB")
  learner = made(None, recipe="ncm", capacity=2000, budget=budget)
  (x, y), *_ = parts()
  learner.observe(x, y)
  with pytest.raises(UsageError, match="room for 2000 classes needs"):
    learner.learn()
  small = made(None, recipe="ncm", budget=budget)
  small.observe(x, y)
  assert small.learn() == "learned"


def test_a_reader_sees_the_latest_model(made, tmp_path):
  learner = made(recipe="ncm")
  with pytest.raises(UsageError, match="nothing is learned yet"):
    reader.Reader(tmp_path / "device").predict(np.zeros((1, 5), np.float32))
  first, second, _ = parts()
  learner.observe(*first)
  learner.learn()
  beside = reader.Reader(tmp_path / "device")
  assert beside.classes_.tolist() == learner.classes_.tolist()
  learner.observe(*second)
  learner.learn()
  learner.learning.latest.flush()
  assert beside.classes_.tolist() == learner.classes_.tolist()
  scores = learner.predict_scores(second[0])
  assert np.array_equal(beside.predict_scores(second[0]), scores)
  assert np.array_equal(
    beside.predict_proba(second[0]).argmax(-1), scores.argmax(-1)
  )


def test_the_latest_model_is_exported(made, tmp_path):
  learner = made(None, recipe="slda", capacity=4)
  with pytest.raises(UsageError, match="nothing is learned yet"):
    learner.export(tmp_path / "none.safetensors")
  (x, y), *_ = parts()
  learner.observe(x, y)
  learner.learn()
  path = learner.export(tmp_path / "model.safetensors")
  with safetensors.safe_open(path, "np") as file:
    about = json.loads(file.metadata()["about"])
    arrays = {name: file.get_tensor(name) for name in file.keys()}
  program = jax.export.deserialize(bytearray(arrays.pop("program")))
  scores = program.call(arrays, x)
  assert about["class_names"][:2] == ["kind 0", "kind 1"]
  np.testing.assert_allclose(
    scores[:, :2], learner.predict_scores(x), rtol=1e-5, atol=1e-5
  )


def test_a_network_of_ones_own_grows_too(made):
  def build(shape, classes):
    return catalogue.build("mlp", shape, classes, width=9)

  learner = made(recipe="er:buffer=20", network=build, capacity=2)
  for x, y in parts():
    learner.observe(x, y)
    learner.learn()
  learner.close()
  with pytest.raises(UsageError, match="network of your own"):
    made()
  assert len(made(network=build).classes_) == 6


def test_bad_input_is_refused_and_changes_nothing(made):
  learner = made(recipe="ncm")
  x, y = living_data.examples()
  learner.observe(x[:5], y[:5])
  for wrong, labels, words in (
    (x[:, :3], y, r"of \(3,\) float32"),
    (np.zeros((0, 5), np.float32), [], "shape"),
    (x[0], y[:1], "counts examples"),
    (np.full((2, 5), np.nan), [1, 2], "nan"),
    (x[:3], [1, 2], "2 labels for 3 examples"),
    (x[:3], "door", "one label"),
    (x[:3], [1, 2, object()], "object"),
    ([["a"] * 5], [1], "numbers"),
  ):
    with pytest.raises(UsageError, match=words):
      learner.observe(wrong, labels)
  with pytest.raises(UsageError, match="id"):
    learner.label([77], ["x"])
  with pytest.raises(UsageError, match="takes no label away"):
    learner.label(0, None)
  assert len(learner) == learner.status()["open"] == 5


def test_a_folder_has_one_writer(made, tmp_path):
  made(recipe="ncm")
  with pytest.raises(
    (records.StoreError, workdir.WorkdirError), match="in use"
  ):
    jcl.live(tmp_path / "device")


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"recipe": "der"}, "was made with recipe='ncm'"),
    ({"seed": 4}, "was made with seed=0"),
    ({"epochs": 7}, "was made with training="),
    ({"capacity": 3}, "was made with capacity=16"),
  ],
)
def test_a_folder_keeps_its_settings(made, options, words):
  made(recipe="ncm").close()
  with pytest.raises(UsageError, match=words):
    made(**options)


def test_recipes_that_have_to_know_the_tasks_are_refused():
  with pytest.raises(UsageError, match="tasks are to be known ahead"):
    jcl.live(None, recipe="pnn")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', "{}"])
def test_damaged_settings_are_told(made, tmp_path, text):
  made(recipe="ncm").close()
  (tmp_path / "device" / "settings.json").write_text(text)
  with pytest.raises(UsageError, match="settings.json"):
    made()


def test_threads_observe_side_by_side(made):
  learner = made(recipe="ncm")
  (x, y), *_ = parts()
  found, errors = [], []

  def watch():
    try:
      for row, name in zip(x, y, strict=True):
        found.append(int(learner.observe(row[None], [name])[0]))
    except Exception as error:
      errors.append(error)

  threads = [threading.Thread(target=watch) for _ in range(4)]
  for each in threads:
    each.start()
  for each in threads:
    each.join()
  assert not errors
  assert sorted(found) == list(range(4 * len(x)))
  learner.learn()
  assert learner.evaluate(x, y) > 0.9


def test_what_was_observed_is_not_the_callers_any_more(made):
  learner = made(None, recipe="ncm")
  x = np.ones((2, 5), np.float32)
  ids = learner.observe(x, ["a", "b"])
  x[:] = 7
  assert np.array_equal(learner.arrivals.read(ids), np.ones((2, 5)))


def test_a_batch_of_several_experiences_is_kept_as_one(made, monkeypatch):
  learner = made(recipe="ncm", experience=24)
  x, y = living_data.examples()

  def fails(count=None):
    raise RuntimeError("as if it were killed here")

  with monkeypatch.context() as patched:
    patched.setattr(learner.arrivals, "end", fails)
    with pytest.raises(RuntimeError, match="killed"):
      learner.observe(x[:60], y[:60])
  learner.close()
  again = made()
  assert len(again) == 60
  again.learn()
  status = again.status()
  assert (status["experiences"], status["open"]) == (2, 12)


def test_a_long_life_keeps_the_latest_records(made, monkeypatch, tmp_path):
  monkeypatch.setattr(shortening, "KEPT", 2)
  monkeypatch.setattr(shortening.shorten, "__defaults__", (shortening.KEPT,))
  x, y = living_data.examples()
  learner = made(recipe="er:buffer=9", experience=12)
  learner.observe(x[:72], y[:72])
  learner.learn()
  learner.close()
  again = made(experience=12)
  again.observe(x[72:], y[72:])
  again.learn()
  records = again.learning.records
  assert [each.experience for each in records] == [8, 9, 10, 11][
    -len(records) :
  ]
  assert len(records) < 6
  run = tmp_path / "device" / "run"
  assert len((run / "records.jsonl").read_text().splitlines()) == len(records)
  again.report()
  found = summary.read_run(run)
  assert found.summary["experiences"] == 12
  assert found.summary["examples"] == len(x)


def test_examples_leave_once_a_checkpoint_is_on_disk(made):
  learner = made(recipe="ncm", experience=12, store=2**16)
  x, y = living_data.examples()
  learner.observe(np.tile(x, (1, 14)), y)  # more than half of the store
  order = []
  learner.learn(0.0)
  files = learner.learning._files
  wait, drop = files.wait, learner.arrivals.drop
  files.wait = lambda: (order.append("wait"), wait())
  learner.arrivals.drop = lambda n: (order.append(n), drop(n))
  learner.learn()
  assert order == ["wait", 11]
  assert learner.arrivals.log.learned == 11


def test_an_end_is_on_disk_ahead_of_what_comes_of_it(made, monkeypatch):
  learner, disk = made(recipe="er:buffer=20"), threading.Event()
  first, second, _ = parts()
  learner.observe(*first)
  learner.learn()
  learner.observe(*second)
  saved, sync = [], journal._sync
  files = learner.learning._files
  monkeypatch.setattr(journal, "_sync", lambda fd: (disk.wait(60), sync(fd)))
  # From the first event on, a checkpoint is due.
  monkeypatch.setattr(files._checkpoints, "due", lambda: True)
  monkeypatch.setattr(
    files._checkpoints, "save", lambda _: saved.append(disk.is_set())
  )
  learner.start()
  while learner.status()["experiences"] < 2 or not learner.learning._at.begun:
    time.sleep(0.01)
  assert not saved and learner.status()["learned"] == 1
  disk.set()
  while learner.status()["learned"] < 2:
    time.sleep(0.01)
  learner.stop()
  assert saved and all(saved)


def test_corrections_go_with_their_examples(made):
  learner = made(recipe="ncm", experience=12, store=2**16)
  x, y = living_data.examples()
  wide = np.tile(x, (1, 40))
  ids = learner.observe(wide[:24], y[:24])
  learner.label(ids[:3], [1, 1, 1])
  for start in range(24, 600, 24):
    rows = np.arange(start, start + 24) % len(x)
    learner.observe(wide[rows], y[rows])
    learner.learn()
  assert len(learner.arrivals.log.corrections().ids) == 0
  assert learner.arrivals.log.corrections().until == 3


def test_a_reader_compiles_nothing_for_a_newer_model(made, tmp_path):
  learner = made(recipe="er:buffer=20")
  first, second, third = parts()
  learner.observe(*first)
  learner.learn()
  beside = reader.Reader(tmp_path / "device")
  before = beside.latest().model
  learner.observe(*second)
  learner.learn()
  learner.learning.latest.flush()
  after = beside.latest().model
  assert after is not before and after.programs is before.programs
  scores = learner.predict_scores(third[0])
  assert np.array_equal(beside.predict_scores(third[0]), scores)


@pytest.mark.parametrize("kept", [True, False])
def test_a_correction_to_a_class_that_comes_later_waits_for_it(
  made, tmp_path, kept
):
  folder = tmp_path / "device" if kept else None
  learner = made(folder, recipe="er:buffer=500", experience=48, capacity=2)
  first, second, third = parts()
  ids = learner.observe(*first)
  learner.label(ids, ["kind 5"] * len(ids))
  learner.label(ids[:5], ["kind 0"] * 5)  # which counts, as it came later
  learner.observe(*second)
  learner.learn()

  def held():
    items = learner.learning.state.replay.items
    found = dict(zip(np.array(items.ids), np.array(items.y), strict=True))
    return [found[i] for i in ids]

  assert held() == [0] * 24 + [1] * 24
  learner.observe(*third)
  learner.learn()
  assert learner.classes_.tolist() == [f"kind {i}" for i in range(6)]
  assert held() == [0] * 5 + [5] * 43
  assert np.isfinite([each.loss for each in learner.learning.records]).all()
