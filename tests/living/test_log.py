"""The log of a live learner: what it acknowledges is there."""

import json
import threading
import time

import numpy as np
import pytest

from jcl.living.log import commits, log, volumes
from jcl.living.log.log import Log, StoreFull
from jcl.options.errors import UsageError
from jcl.replay.store import records


def examples(count, start=0, features=4):
  """Float32 rows [count, features] that tell their number."""
  first = np.arange(start, start + count, dtype=np.float32)
  return first[:, None] + np.arange(features, dtype=np.float32) / 16


def state(opened):
  """What a log tells of itself, to be compared."""
  ended = [
    (each.ids.tolist(), each.labels.tolist(), each.count, each.num_classes)
    for each in opened.experiences
  ]
  corrected = opened.corrections()
  return {
    "len": len(opened),
    "open": opened.open_count,
    "unlabelled": opened.unlabelled_count,
    "classes": opened.classes,
    "ended": ended,
    "learned": opened.learned,
    "corrected": (corrected.ids.tolist(), corrected.labels, corrected.until),
    "form": opened.form,
  }


def same_when_opened_again(folder, opened):
  """Asserts that a reader, and the next writer, find the same."""
  before = state(opened)
  with Log.open(folder, readonly=True) as reader:
    assert state(reader) == before and reader.notes == ()
  opened.close()
  with Log.open(folder) as again:
    assert state(again) == before and again.notes == ()
  return before


def test_examples_come_back_by_id(tmp_path):
  with Log.open(tmp_path / "log") as opened:
    first = opened.observe(examples(3), ["a", None, "b"])
    second = opened.observe(examples(2, start=3), [None, 1])
    assert first.dtype == second.dtype == np.int64
    assert [*first, *second] == [0, 1, 2, 3, 4]
    assert (len(opened), opened.open_count, opened.unlabelled_count) == (
      5,
      3,
      2,
    )
    np.testing.assert_array_equal(
      opened.read([4, 0, 0, 2]), examples(5)[[4, 0, 0, 2]]
    )
    assert opened.read([]).shape == (0, 4)
    assert opened.classes == () and len(opened.experiences) == 0
    same_when_opened_again(tmp_path / "log", opened)


@pytest.mark.parametrize(
  "given, kept",
  [
    (np.full((1, 2, 2), 7, np.uint8), np.uint8),
    (np.full((1, 3), 0.5, np.float16), np.float32),
    (np.full((1, 3), 0.1, np.float64), np.float32),
    (np.full((1, 3), -3, np.int64), np.float32),
    (np.ones((1, 3), bool), np.float32),
    ([[1, 2]], np.float32),
  ],
)
def test_types_are_kept_or_become_float32(tmp_path, given, kept):
  with Log.open(tmp_path) as opened:
    read = opened.read(opened.observe(given, ["a"]))
    assert read.dtype == kept
    np.testing.assert_array_equal(read, np.asarray(given).astype(kept))
    assert opened.form.shape == np.asarray(given).shape[1:]


def test_experiences_take_what_is_labelled_in_order_of_arrival(tmp_path):
  with Log.open(tmp_path) as opened:
    opened.observe(examples(5), ["b", None, "a", None, "b"])
    assert opened.end() == 0
    opened.observe(examples(2, start=5), ["c", "a"])
    opened.label([1, 5], ["d", "b"])
    assert opened.end() == 1
    first, second = opened.experiences
    assert first.ids.tolist() == [0, 2, 4] and first.labels.tolist() == [
      0,
      1,
      0,
    ]
    assert second.ids.tolist() == [1, 5, 6]
    assert second.labels.tolist() == [2, 0, 1]
    assert opened.classes == ("b", "a", "d")
    assert [each.num_classes for each in opened.experiences] == [2, 3]
    assert (opened.open_count, opened.unlabelled_count) == (0, 1)
    assert opened.experiences[-1].index == 1
    assert [each.index for each in opened.experiences[:]] == [0, 1]
    same_when_opened_again(tmp_path, opened)


def test_an_empty_experience_is_not_ended(tmp_path):
  with Log.open(tmp_path) as opened:
    with pytest.raises(UsageError, match="no labelled example"):
      opened.end()
    opened.observe(examples(1), [None])
    with pytest.raises(UsageError, match="the 1 without a label"):
      opened.end()
    assert len(opened.experiences) == 0
    same_when_opened_again(tmp_path, opened)


def test_an_experience_may_take_the_first_examples_alone(tmp_path):
  with Log.open(tmp_path) as opened:
    opened.observe(examples(6), ["a", None, "b", "a", None, "c"])
    assert opened.end(2) == 0
    assert opened.experiences[0].ids.tolist() == [0, 2]
    assert opened.classes == ("a", "b") and opened.open_count == 2
    opened.label([1], ["d"])  # behind its end: for the next one
    assert opened.end(2) == 1
    assert opened.experiences[1].ids.tolist() == [1, 3]
    assert opened.end(9) == 2  # all, where there are fewer
    assert opened.experiences[2].ids.tolist() == [5]
    same_when_opened_again(tmp_path, opened)


def test_labels_are_corrected(tmp_path):
  with Log.open(tmp_path) as opened:
    opened.observe(examples(3), ["a", "b", None])
    opened.label([0, 0], ["c", "d"])  # the last one counts
    opened.end()
    assert opened.classes == ("d", "b")
    opened.label([1, 2], ["e", "e"])
    opened.label([1], ["b"])
    first = opened.corrections()
    assert first.ids.tolist() == [1, 1] and first.labels == ("e", "b")
    opened.label([0], ["b"])
    later = opened.corrections(first.until)
    assert later.ids.tolist() == [0] and later.labels == ("b",)
    assert opened.experiences[0].labels.tolist() == [0, 1]
    assert opened.open_count == 1
    opened.drop(1, corrections=first.until)
    assert opened.corrections(0).ids.tolist() == [0]
    assert opened.corrections(first.until).ids.tolist() == [0]
    assert not len(opened.corrections(later.until).ids)
    same_when_opened_again(tmp_path, opened)


@pytest.mark.parametrize(
  "x, labels, match",
  [
    (np.zeros((0, 4)), [], r"shape \(0, 4\): give at least one"),
    (np.zeros((1, 0)), ["a"], "at least one example with one value"),
    (np.zeros(4), ["a"] * 4, r"first axis counts examples"),
    (np.zeros((2, 4)), ["a"], "2 examples and labels has 1"),
    (np.zeros((1, 4)), "a", "give a list"),
    (np.zeros((1, 4)), None, "give a list"),
    (np.zeros((1, 4)), [b"a"], r"labels\[0\] is b'a'"),
    (np.array([["a"]]), ["a"], "dtype str"),
    ([[1], [1, 2]], ["a", "b"], "unequal length"),
    (np.zeros((1, 4), complex), ["a"], "complex"),
    (np.ma.masked_equal([[0, 1]], 1), ["a"], "masked values"),
    (np.zeros((1, 5)), ["a"], r"\(5,\) float32.* \(4,\) float32"),
    (np.zeros((1, 4), np.uint8), ["a"], r"\(4,\) uint8.* \(4,\) float32"),
  ],
)
def test_what_does_not_fit_is_refused_whole(tmp_path, x, labels, match):
  with Log.open(tmp_path) as opened:
    opened.observe(examples(1), ["a"])
    before, size = state(opened), opened.bytes
    with pytest.raises(UsageError, match=match):
      opened.observe(x, labels)
    assert state(opened) == before and opened.bytes == size
    assert opened.observe(examples(1, start=1), ["b"]).tolist() == [1]
    same_when_opened_again(tmp_path, opened)


@pytest.mark.parametrize(
  "value, dtype, match",
  [
    (np.nan, np.float32, r"x\[3, 5\] is nan: "),
    (-np.inf, np.float16, r"x\[3, 5\] is -inf: "),
    (1e300, np.float64, r"x\[3, 5\] is inf as float32 \(1e\+300\): "),
  ],
)
def test_the_place_of_what_is_not_finite_is_named(
  tmp_path, monkeypatch, value, dtype, match
):
  x = np.zeros((6, 8), dtype)
  x[3, 5] = x[5, 0] = value
  with Log.open(tmp_path) as opened:
    for values in (2**20, 8, 1):
      monkeypatch.setattr("jcl.living.log.inputs._VALUES", values)
      with pytest.raises(UsageError, match=match):
        opened.observe(x, ["a"] * 6)
    assert len(opened) == 0 and opened.form is None
    opened.observe(np.zeros((1, 3, 3), np.uint8), ["a"])  # settles the form


@pytest.mark.parametrize("ids", [[3], [-1], [0, 3]])
def test_unknown_ids_are_refused(tmp_path, ids):
  with Log.open(tmp_path) as opened:
    opened.observe(examples(3), ["a", "b", None])
    before = state(opened)
    with pytest.raises(UsageError, match="no example has the id"):
      opened.label(ids, ["c"] * len(ids))
    with pytest.raises(UsageError, match="no example has the id"):
      opened.read(ids)
    assert state(opened) == before


@pytest.mark.parametrize(
  "ids, labels, match",
  [
    ([0], [None], r"labels\[0\] is None"),
    ([0, 1], ["a"], "2 ids and 1 label:"),
    ([[0]], ["a"], r"shape \(1, 1\)"),
    ([0.5], ["a"], "float64"),
    ([0], [object()], r"labels\[0\] is <object"),
  ],
)
def test_bad_labels_are_refused(tmp_path, ids, labels, match):
  with Log.open(tmp_path) as opened:
    opened.observe(examples(2), ["a", None])
    before = state(opened)
    with pytest.raises(UsageError, match=match):
      opened.label(ids, labels)
    assert state(opened) == before
    opened.label([], [])


def test_drop_knows_what_has_ended(tmp_path):
  with Log.open(tmp_path) as opened:
    opened.observe(examples(1), ["a"])
    with pytest.raises(UsageError, match="learned=1, but 0 experiences"):
      opened.drop(1)
    with pytest.raises(UsageError, match="corrections=1, but there are 0"):
      opened.drop(0, corrections=1)
    opened.end()
    opened.drop(np.int64(1))
    opened.drop(0)  # what may leave is never taken back
    assert opened.learned == 1
    same_when_opened_again(tmp_path, opened)


def test_one_writer_many_readers(tmp_path):
  with Log.open(tmp_path) as opened:
    opened.observe(examples(2), ["a", "b"])
    with pytest.raises(records.StoreError, match="in use by another writer"):
      Log.open(tmp_path)
    with Log.open(tmp_path, readonly=True) as reader:
      opened.observe(examples(2, start=2), ["a", "b"])
      assert len(reader) == 2  # as it was
      np.testing.assert_array_equal(reader.read([1]), examples(1, start=1))
      for call in (
        lambda: reader.observe(examples(1), ["a"]),
        lambda: reader.label([0], ["a"]),
        reader.end,
        lambda: reader.drop(0),
      ):
        with pytest.raises(records.StoreError, match="open for reading"):
          call()
  for call in (
    lambda: opened.observe(examples(1), ["a"]),
    lambda: opened.read([0]),
    opened.end,
  ):
    with pytest.raises(records.StoreError, match="is closed"):
      call()
  opened.close()
  with pytest.raises(records.StoreError, match="holds no log"):
    Log.open(tmp_path / "other", readonly=True)
  assert not (tmp_path / "other").exists()


def test_a_later_version_is_refused_by_name(tmp_path):
  Log.open(tmp_path).close()
  meta = tmp_path / "log.json"
  about = json.loads(meta.read_text())
  meta.write_text(json.dumps({**about, "format": about["format"] + 1}))
  for readonly in (True, False):
    with pytest.raises(records.StoreError, match="format 2 and this jcl reads"):
      Log.open(tmp_path, readonly=readonly)
  meta.write_text("{")  # damaged: nothing says that it is another one
  Log.open(tmp_path).close()
  assert json.loads(meta.read_text()) == about


@pytest.mark.parametrize(
  "options, match",
  [
    ({"limit_bytes": 5}, "limit_bytes=5: write"),
    ({"volume_bytes": 5}, "volume_bytes=5: write"),
    ({"volume_bytes": 2**31}, "volume_bytes"),
  ],
)
def test_sizes_are_checked(tmp_path, options, match):
  with pytest.raises(UsageError, match=match):
    Log.open(tmp_path / "log", **options)
  assert not (tmp_path / "log").exists()


def test_a_clock_that_steps_back_changes_nothing(tmp_path, monkeypatch):
  with Log.open(tmp_path) as opened:
    for index, now in enumerate((1e9, 5.0, -3.0)):
      monkeypatch.setattr("jcl.living.log.log.time.time", lambda now=now: now)
      opened.observe(examples(1, start=index), [index])
      assert opened.end() == index
    assert [each.time for each in opened.experiences] == [1e9, 5.0, -3.0]
    same_when_opened_again(tmp_path, opened)


def test_volumes_follow_each_other(tmp_path):
  with Log.open(tmp_path, volume_bytes=4096) as opened:
    for start in range(0, 300, 10):
      opened.observe(examples(10, start), [f"c{start % 7}"] * 10)
    assert len(list((tmp_path / "examples").iterdir())) > 4
    ids = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(opened.read(ids), examples(300)[ids])
    opened.end()
    labels = [opened.classes[i] for i in opened.experiences[0].labels]
    assert labels == [f"c{i // 10 * 10 % 7}" for i in range(300)]
    same_when_opened_again(tmp_path, opened)
  with Log.open(tmp_path, volume_bytes=4096) as opened:
    assert opened.observe(examples(1), ["a"]).tolist() == [300]


def test_a_batch_is_in_one_piece_however_large(tmp_path):
  with Log.open(tmp_path, volume_bytes=4096) as opened:
    opened.observe(examples(2000), ["a"] * 2000)
    opened.observe(examples(1, start=2000), ["a"])
    folders = sorted(path.name for path in (tmp_path / "examples").iterdir())
    assert [int(name) for name in folders] == [0, 2000]


def test_too_large_a_batch_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(volumes, "_BATCH", 5)
  with Log.open(tmp_path) as opened:
    with pytest.raises(UsageError, match="6 examples at once .* give 5 or"):
      opened.observe(examples(6), ["a"] * 6)
    for start in range(0, 15, 5):
      opened.observe(examples(5, start), ["a"] * 5)
    np.testing.assert_array_equal(opened.read(np.arange(15)), examples(15))


def test_names_of_other_files_are_left_alone(tmp_path):
  (tmp_path / "notes.txt").write_text("mine")
  with Log.open(tmp_path) as opened:
    opened.observe(examples(1), ["a"])
  assert (tmp_path / "notes.txt").read_text() == "mine"


def filled(folder, limit=2**18, **options):
  """A log with a limit, of experiences of 100 examples of 256 bytes each."""
  return Log.open(folder, limit_bytes=limit, **options)


def test_learned_examples_leave_oldest_first(tmp_path):
  with filled(tmp_path) as opened:
    for index in range(40):
      start = 100 * index
      opened.observe(examples(100, start, 64), [index % 5] * 100)
      assert opened.end() == index
      opened.drop(index + 1)
      size = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
      assert size <= 2**18 and opened.bytes <= 2**18
    assert len(opened) == 4000 and opened.classes == (0, 1, 2, 3, 4)
    held = [each for each in opened.experiences if len(each.ids)]
    assert 3 < len(held) < 10 and held[-1].index == 39
    assert [each.count for each in opened.experiences] == [100] * 40
    ids = np.concatenate([each.ids for each in held])
    np.testing.assert_array_equal(ids, np.arange(ids[0], 4000))
    np.testing.assert_array_equal(
      opened.read(ids), examples(4000, features=64)[ids]
    )
    with pytest.raises(UsageError, match=r"1 example had to leave .*: 0; "):
      opened.read([0, 3999])
    opened.label([0], ["late"])
    assert opened.corrections().ids.tolist() == [0]
    same_when_opened_again(tmp_path, opened)


def test_what_is_not_learned_never_leaves(tmp_path):
  with filled(tmp_path, volume_bytes=2**14) as opened:
    opened.observe(examples(100, 0, 64), ["a"] * 100)
    opened.end()
    count = 100
    with pytest.raises(StoreFull, match=r"1 experience and \d+ examples after"):
      for _ in range(40):
        opened.observe(examples(50, count, 64), ["b"] * 50)
        count += 50
    assert len(opened) == count == opened.open_count + 100
    with pytest.raises(StoreFull, match="call learn"):
      opened.observe(examples(50, count, 64), [None] * 50)
    np.testing.assert_array_equal(
      opened.read(np.arange(count)), examples(count, features=64)
    )
    opened.drop(1)
    opened.observe(examples(50, count, 64), ["b"] * 50)  # the first ones left
    assert not len(opened.experiences[0].ids)
    assert opened.open_count == count - 50
    same_when_opened_again(tmp_path, opened)


def test_examples_without_labels_leave_once_all_older_ones_are_learned(
  tmp_path,
):
  with filled(tmp_path) as opened:
    opened.observe(examples(1, 0, 64), ["a"])
    count = 1
    with pytest.raises(StoreFull):
      for _ in range(100):
        opened.observe(examples(50, count, 64), [None] * 50)
        count += 50
    opened.end()
    with pytest.raises(StoreFull):
      opened.observe(examples(50, count, 64), [None] * 50)
    opened.drop(1)
    for _ in range(20):
      opened.observe(examples(50, count, 64), [None] * 50)
      count += 50
    assert len(opened) == count and 0 < opened.unlabelled_count < count - 900
    same_when_opened_again(tmp_path, opened)


def test_a_batch_beyond_the_limit_is_refused(tmp_path):
  with filled(tmp_path, limit=2**16) as opened:
    with pytest.raises(StoreFull, match="holds .* of 65536 bytes"):
      opened.observe(examples(1000, 0, 64), ["a"] * 1000)
    assert len(opened) == 0
    opened.observe(examples(10), ["a"] * 10)
    opened.drop(opened.end() + 1)
    with pytest.raises(StoreFull):
      opened.observe(examples(1000, 0, 4), ["a"] * 1000)
    assert len(opened.experiences[0].ids) == 10  # it would not have sufficed
    same_when_opened_again(tmp_path, opened)


def test_a_deletion_that_was_interrupted_is_finished(tmp_path, monkeypatch):
  class Killed(Exception):
    pass

  def stop(*_, **__):
    raise Killed

  def fill(opened, start):
    for index in range(start, 40):
      opened.observe(examples(100, 100 * index, 64), ["a"] * 100)
      opened.drop(opened.end() + 1)

  volumes = "jcl.living.log.volumes"
  for place in (f"{volumes}.os.rename", f"{volumes}.shutil.rmtree"):
    folder = tmp_path / place
    opened = filled(folder)
    with monkeypatch.context() as patched:
      patched.setattr(place, stop)
      with pytest.raises(Killed):
        fill(opened, 0)
    before = state(opened)
    assert len(opened) < 4000
    opened.close()
    with filled(folder) as again:
      assert state(again) == before and again.notes == ()
      names = [path.name for path in (folder / "examples").iterdir()]
      assert all(name.isdecimal() for name in names)
      fill(again, len(again) // 100)


def test_the_journal_is_bounded(tmp_path, monkeypatch):
  monkeypatch.setattr(log, "_JOURNAL_BYTES", 4000)
  with Log.open(tmp_path) as opened:
    opened.observe(examples(50), [None] * 50)
    sizes = []
    for index in range(300):
      opened.label([index % 50], [f"c{index % 3}"])
      sizes.append((tmp_path / "journal").stat().st_size)
    assert max(sizes) < 4200 and min(sizes[100:]) < 1500
    opened.end()
    opened.observe(examples(2, start=50), ["new", None])
    opened.label([51, 3], ["c1", "wrong"])
    for _ in range(100):
      opened.drop(1)
    opened.end()
    before = same_when_opened_again(tmp_path, opened)
    assert before["classes"] == tuple(f"c{(250 + i) % 3}" for i in range(3)) + (
      "new",
    )
    assert before["corrected"] == ([3], ("wrong",), 1)


def test_threads_share_a_flush(tmp_path, monkeypatch):
  flushes = []
  real = volumes.Volumes.flush
  with Log.open(tmp_path) as opened:

    def flush(self, mark):
      """The first flush lasts until all threads have added theirs."""
      deadline = time.monotonic() + 20
      while not flushes and self.stop < 16 and time.monotonic() < deadline:
        time.sleep(0.001)
      flushes.append(self.stop)
      real(self, mark)

    monkeypatch.setattr(volumes.Volumes, "flush", flush)
    workers = [
      threading.Thread(target=opened.observe, args=(examples(2), [i, None]))
      for i in range(8)
    ]
    for worker in workers:
      worker.start()
    for worker in workers:
      worker.join()
    assert len(flushes) <= 2 and len(opened) == 16
    same_when_opened_again(tmp_path, opened)


def test_threads_get_their_own_ids(tmp_path):
  ids = {}
  with Log.open(tmp_path, volume_bytes=8192) as opened:

    def observe(worker):
      for index in range(10):
        number = 1000 * worker + index
        ids[number] = opened.observe(examples(2, 10 * number), [worker, None])
        assert len(opened) >= 2

    workers = [threading.Thread(target=observe, args=(i,)) for i in range(8)]
    for worker in workers:
      worker.start()
    for worker in workers:
      worker.join()
    assert sorted(np.concatenate([*ids.values()])) == list(range(160))
    opened.end()
    [ended] = opened.experiences
    labels = dict(zip(ended.ids.tolist(), ended.labels.tolist(), strict=True))
    for number, pair in ids.items():
      np.testing.assert_array_equal(opened.read(pair), examples(2, 10 * number))
      assert opened.classes[labels[int(pair[0])]] == number // 1000
    same_when_opened_again(tmp_path, opened)


def test_a_reader_is_told_what_left_after_it_was_opened(tmp_path):
  with filled(tmp_path) as opened:
    opened.observe(examples(200, 0, 64), ["a"] * 200)
    opened.drop(opened.end() + 1)
    with Log.open(tmp_path, readonly=True) as reader:
      count = 200
      while len(opened.experiences[0].ids):
        opened.observe(examples(100, count, 64), ["b"] * 100)
        count += 100
      with pytest.raises(records.StoreError, match="had to leave .* open it"):
        reader.read([0])


def test_an_interruption_leaves_nothing_that_is_nobodys(tmp_path, monkeypatch):
  """Ctrl-C may come between two instructions."""
  with Log.open(tmp_path) as opened:
    opened.observe(examples(1), ["a"])
    real = commits._Batch

    def interrupted(*_):
      monkeypatch.setattr(commits, "_Batch", real)
      raise KeyboardInterrupt

    monkeypatch.setattr(commits, "_Batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
      opened.observe(examples(5, start=100), ["b"] * 5)
    assert len(opened) == 1
    assert opened.observe(examples(1, start=1), ["c"]).tolist() == [1]
    np.testing.assert_array_equal(opened.read([0, 1]), examples(2))
    same_when_opened_again(tmp_path, opened)
