"""A watched folder: whole files, appended lines, and nothing lost or twice."""

from collections import Counter
import os
import shutil

import device_client
import numpy as np
import pytest

import jcl
from jcl.control import amounts
from jcl.living.face import intake as intake_lib
from jcl.living.face import kept, memory, pictures, tables, watching
from jcl.living.log import journal
from jcl.living.logged import Logged
from jcl.options.errors import UsageError
from jcl.replay.store import records


class Watch:
  """A learner that never learns, and a watcher that looks when told to."""

  def __init__(self, folder, photos, *, label=None, experience="call", quiet=0):
    self.learner = jcl.live(folder, experience=experience)
    self.memory = memory.Memory(folder / "watched", len(self.learner))
    self.intake = intake_lib.Intake(self.learner, self.memory)
    self.told = []
    self.watcher = watching.Watcher(
      self.learner,
      self.intake,
      photos,
      pictures.Reading(),
      label,
      lambda name, labels: self.told.append((name, labels)),
      lambda line: None,
      quiet,
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.memory.close()
    self.learner.close()

  def held(self):
    """Returns inputs [N, ...] and labels [N] of all that was observed."""
    log = self.learner.arrivals.log
    if log.open_count:
      self.learner.end_experience()
    labels = {}
    for each in log.experiences:
      names = [log.classes[y] for y in each.labels]
      labels.update(zip(each.ids.tolist(), names, strict=True))
    ids = np.arange(len(self.learner))
    x = log.read(ids) if len(ids) else np.zeros((0, 1))
    return x, [labels.get(i) for i in ids.tolist()]

  def contents(self):
    """Returns how often each input was observed, with its label."""
    x, labels = self.held()
    return Counter(
      (each.tobytes(), y) for each, y in zip(x, labels, strict=True)
    )


@pytest.fixture
def place(tmp_path):
  photos = tmp_path / "photos"
  photos.mkdir()
  return tmp_path / "box", photos


def write(photos, name, seed):
  path = photos / name
  path.parent.mkdir(exist_ok=True)
  path.write_bytes(device_client.png(seed))
  return path


def pixel_bytes(seed):
  return device_client.pixels(device_client.png(seed)).tobytes()


def test_folders_name_classes_and_the_root_has_none(place):
  folder, photos = place
  write(photos, "door/a.png", 1)
  write(photos, "alarm/b.png", 2)
  write(photos, "c.png", 3)
  write(photos, "door/.hidden.png", 4)
  (photos / "door" / "notes.txt").write_text("no image")
  with Watch(folder, photos) as watch:
    watch.watcher.look()
    assert [len(labels) for _, labels in watch.told] == [3]
    assert watch.contents() == {
      (pixel_bytes(1), "door"): 1,
      (pixel_bytes(2), "alarm"): 1,
      (pixel_bytes(3), None): 1,
    }
    watch.watcher.look()
    assert len(watch.learner) == 3
  with Watch(folder, photos) as watch:
    watch.watcher.look()
    assert len(watch.learner) == 3
    assert watch.watcher.status()["files"] == 3


def test_moving_a_file_into_a_folder_labels_it(place):
  folder, photos = place
  write(photos, "a.png", 1)
  write(photos, "b.png", 2)
  with Watch(folder, photos) as watch:
    watch.watcher.look()
    (photos / "door").mkdir()
    (photos / "a.png").rename(photos / "door" / "other.png")
    shutil.copy(photos / "b.png", photos / "door" / "copy.png")
    watch.watcher.look()
    watch.watcher.look()
    # The copy is another example, as its original is still there.
    assert watch.contents() == {
      (pixel_bytes(1), "door"): 1,
      (pixel_bytes(2), None): 1,
      (pixel_bytes(2), "door"): 1,
    }
    (photos / "door").rename(photos / "gate")
    watch.watcher.look()
    assert len(watch.learner) == 3
    log = watch.learner.arrivals.log
    assert log.corrections().labels == ("gate", "gate")


def test_a_kill_while_a_file_is_labelled_does_no_harm(place, monkeypatch):
  folder, photos = place
  write(photos, "a.png", 1)
  with Watch(folder, photos) as watch:
    watch.watcher.look()
    (photos / "door").mkdir()
    (photos / "a.png").rename(photos / "door" / "a.png")
    with monkeypatch.context() as m:
      m.setattr(memory.Memory, "moved", lambda *_: 1 / 0)
      with pytest.raises(ZeroDivisionError):
        watch.watcher.look()
  with Watch(folder, photos) as watch:
    watch.watcher.look()
    assert watch.contents() == {(pixel_bytes(1), "door"): 1}
    assert [*watch.memory.files] == ["door/a.png"]


def test_a_file_is_taken_once_it_is_whole(place, monkeypatch):
  folder, photos = place
  data, now = device_client.png(1, 64), [100.0]
  path = photos / "a.png"
  path.write_bytes(data[:700])
  monkeypatch.setattr("time.monotonic", lambda: now[0])
  with Watch(folder, photos, quiet=1.0) as watch:
    watch.watcher.look()
    now[0] += 0.9
    path.write_bytes(data[:900])
    watch.watcher.look()
    now[0] += 0.9
    watch.watcher.look()
    assert not watch.watcher.problems
    now[0] += 0.2  # it has stayed for a second, and is half a picture
    watch.watcher.look()
    assert "a.png" in watch.watcher.problems and not len(watch.learner)
    path.write_bytes(data)
    watch.watcher.look()
    now[0] += 1.0
    watch.watcher.look()
    assert len(watch.learner) == 1 and not watch.watcher.problems


def test_a_file_that_is_written_over_is_another_example(place):
  folder, photos = place
  path = write(photos, "latest.png", 1)
  with Watch(folder, photos) as watch:
    watch.watcher.look()
    write(photos, "latest.png", 2)
    watch.watcher.look()
    assert len(watch.learner) == 2
    os.utime(path, ns=(1, 1))  # touched: nothing new
    watch.watcher.look()
    assert len(watch.learner) == 2


def test_pictures_of_another_size_are_left_out_with_a_reason(place):
  folder, photos = place
  write(photos, "door/a.png", 1)
  (photos / "door" / "b.png").write_bytes(device_client.png(2, 9))
  with Watch(folder, photos) as watch:
    watch.watcher.look()
    watch.watcher.look()
    assert len(watch.learner) == 1
    (told,) = watch.watcher.problems.values()
    assert "door/b.png is 9 by 9" in told and "--image_size" in told


def test_lines_that_are_appended_are_examples(place):
  folder, photos = place
  table = photos / "t.csv"
  table.write_text("a;b;kind\n1,5;2;door\n2,5;3;")
  with Watch(folder, photos, label="kind") as watch:
    watch.watcher.look()
    assert watch.held()[0].tolist() == [[1.5, 2.0]]
    with table.open("a") as file:
      file.write("alarm\n3;4;\n4;x;door\n5;6;door\n\n1;2\n")
    watch.watcher.look()
    x, labels = watch.held()
    assert x.tolist() == [[1.5, 2], [2.5, 3], [3, 4], [5, 6]]
    assert labels == ["door", "alarm", None, "door"]
    told = " ".join(watch.watcher.problems.values())
    assert "column 'b' holds 'x'" in told and "2 fields, and 3" in told
  with table.open("a") as file:
    file.write("7;8;door\n")
  with Watch(folder, photos, label="kind") as watch:
    watch.watcher.look()
    assert len(watch.learner) == 5
    table.write_text(table.read_text().replace("7;8", "8;8") + "9;9;door\n")
    watch.watcher.look()
    assert len(watch.learner) == 5
    assert "was altered before byte" in watch.watcher.problems["t.csv"]


def test_a_column_that_is_not_there_is_told(place):
  folder, photos = place
  (photos / "t.csv").write_text("a,b,kind\n1,2,door\n3,4,door\n")
  with Watch(folder, photos, label="sort") as watch:
    watch.watcher.look()
    assert "a, b, kind" in watch.watcher.problems["t.csv"]


def test_numbers_of_rows_are_no_input(place):
  folder, photos = place
  (photos / "t.csv").write_text(",a,kind\n0,1.5,x\n1,2.5,y\n")
  with Watch(folder, photos) as watch:
    watch.watcher.look()
    x, labels = watch.held()
    assert x.tolist() == [[1.5], [2.5]] and labels == ["x", "y"]


def test_quotes_may_hold_line_feeds(tmp_path):
  path = tmp_path / "t.csv"
  path.write_bytes(b'a,kind\n1,"do\nor"\n2,x\n3,"y')
  form = tables.recognised(path, "t.csv", None)
  rows = tables.appended(path, "t.csv", memory.Table(form))
  assert [row.label for row in rows] == [None, "do\nor", "x"]


class Snapshots:
  """Copies of a folder, each as a kill at that moment would leave it."""

  def __init__(self, folder, target, monkeypatch):
    self.folder, self.target, self.count = folder, target, 0
    for kind, name in ((journal.Journal, "append"), (Logged, "add")):
      monkeypatch.setattr(kind, name, self.around(getattr(kind, name)))

  def around(self, function):
    def call(*arguments):
      self.take()
      found = function(*arguments)
      self.take()
      return found

    return call

  def take(self):
    shutil.copytree(self.folder, self.target / str(self.count))
    self.count += 1


def test_a_kill_at_any_moment_loses_and_repeats_nothing(
  place, tmp_path, monkeypatch
):
  folder, photos = place
  expected = Counter()
  for seed in range(7):
    write(photos, f"door/{seed}.png", seed)
    expected[(pixel_bytes(seed), "door")] += 1
  with (
    Watch(folder, photos, experience="3") as watch,
    monkeypatch.context() as m,
  ):
    snapshots = Snapshots(folder, tmp_path / "killed", m)
    # Batches end with an experience, within one batch of the folder.
    watch.watcher.look()
    watch.intake.observe(
      device_client.pixels(device_client.png(99))[None], ["request"]
    )
    write(photos, "late.png", 50)
    watch.watcher.look()
  write(photos, "late.png", 50)
  expected[(pixel_bytes(50), None)] += 1
  assert snapshots.count >= 12
  for number in range(snapshots.count):
    with Watch(tmp_path / "killed" / str(number), photos) as watch:
      watch.watcher.look()
      found = watch.contents()
      found.pop((pixel_bytes(99), "request"), None)
      assert found == expected, number
      watch.watcher.look()
      assert watch.contents().total() in (8, 9)


def test_a_kill_at_any_moment_loses_and_repeats_no_line(
  place, tmp_path, monkeypatch
):
  folder, photos = place
  lines = [f"{i},{i + 1},kind {i % 3}\n" for i in range(9)]
  lines[4] = "broken,1,door\n"
  (photos / "t.csv").write_text("a,b,c\n" + "".join(lines))
  with (
    Watch(folder, photos, experience="3") as watch,
    monkeypatch.context() as m,
  ):
    snapshots = Snapshots(folder, tmp_path / "killed", m)
    watch.watcher.look()
  assert snapshots.count >= 12
  for number in range(snapshots.count):
    with Watch(tmp_path / "killed" / str(number), photos) as watch:
      watch.watcher.look()
      x, labels = watch.held()
      assert x[:, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8], number
      assert labels == [f"kind {i % 3}" for i in (0, 1, 2, 3, 5, 6, 7, 8)]


def test_what_could_not_be_taken_is_noted_before_anything_else(
  place, monkeypatch
):
  folder, photos = place
  write(photos, "door/a.png", 1)
  other = device_client.pixels(device_client.png(9))[None]

  def full(*_):
    raise records.StoreError("the disk is full")

  with Watch(folder, photos) as watch:
    with monkeypatch.context() as m:
      m.setattr(Logged, "add", full)
      with pytest.raises(records.StoreError, match="full"):
        watch.watcher.look()
    watch.intake.observe(other, ["request"])
  with Watch(folder, photos) as watch:
    watch.watcher.look()
    assert watch.contents() == {
      (pixel_bytes(9), "request"): 1,
      (pixel_bytes(1), "door"): 1,
    }


def test_nothing_is_taken_while_the_outcome_cannot_be_noted(place, monkeypatch):
  folder, photos = place
  write(photos, "door/a.png", 1)
  other = device_client.pixels(device_client.png(9))[None]
  append = journal.Journal.append

  def full(self, value):
    if self.path.name == "watched" and value["op"] == "taken":
      raise records.StoreError("the disk is full")
    append(self, value)

  def refuse(*_):
    raise records.StoreError("the disk is full")

  with Watch(folder, photos) as watch:
    with monkeypatch.context() as m:
      m.setattr(journal.Journal, "append", full)
      m.setattr(Logged, "add", refuse)
      with pytest.raises(records.StoreError):
        watch.watcher.look()
      m.setattr(Logged, "add", lambda *_: pytest.fail("observed"))
      with pytest.raises(records.StoreError):
        watch.intake.observe(other, ["request"])
    watch.intake.observe(other, ["request"])
    watch.watcher.look()
    assert watch.contents().total() == 2


def test_settings_are_kept_and_checked(tmp_path):
  folder, photos = tmp_path / "box", tmp_path / "photos"
  folder.mkdir()
  photos.mkdir()
  given = kept.Settings(watch=str(photos), image_size=8)
  kept.keep(folder, kept.settled(folder, given))
  found = kept.settled(folder, kept.Settings(color="grey"))
  assert (found.watched, found.image_size, found.color) == (photos, 8, "grey")
  assert kept.settled(folder, kept.Settings(watch="none")).watched is None
  for wrong, words in (
    (tmp_path / "nothing", "there is no such folder"),
    (tmp_path, "lie within each other"),
    (folder, "lie within each other"),
  ):
    with pytest.raises(UsageError, match=words):
      kept.settled(folder, kept.Settings(watch=str(wrong)))
  (folder / "device.json").write_text("{")
  with pytest.raises(UsageError, match="damaged"):
    kept.settled(folder, given)


@pytest.mark.parametrize(
  ("text", "name", "value", "per"),
  [
    ("2kJ/day", "joules", 2000.0, "day"),
    ("0.5 Wh / week", "joules", 1800.0, "week"),
    ("10min/hour", "seconds", 600.0, "hour"),
    ("1.5e3GFLOP", "flops", 1.5e12, "experience"),
    ("2h/total", "seconds", 7200.0, "total"),
  ],
)
def test_budgets_are_read(text, name, value, per):
  found = amounts.read(text)
  assert found.amounts == {name: pytest.approx(value)} and found.per == per


def test_several_amounts_and_none():
  assert amounts.read("2kJ,10min/day").amounts == {
    "joules": 2000.0,
    "seconds": 600.0,
  }
  assert not amounts.read("none").amounts


@pytest.mark.parametrize(
  "text",
  [
    "",
    "2",
    "kJ",
    "2kJ/fortnight",
    "2kJ/",
    "2ks",
    "1J,2J",
    "-1J",
    "2 J J",
    "0J",
  ],
)
def test_other_budgets_are_refused(text):
  with pytest.raises(UsageError, match="budget"):
    amounts.read(text)
