"""Logs on full and failing disks, and with damaged files."""

import errno
import os
import subprocess
import sys

import log_model
import numpy as np
import pytest

from jcl.living.log import given, snapshots
from jcl.living.log import journal as journal_lib
from jcl.living.log.log import Log
from jcl.replay.store import records, writer


def fill(log, count, label="a"):
  """Observes `count` examples of the model."""
  first = len(log)
  return log.observe(
    log_model.inputs(range(first, first + count)), [label] * count
  )


def holds(log, ids):
  return (log.read(ids) == log_model.inputs(ids)).all()


def segment(folder, first=0):
  return folder / "examples" / f"{first:012d}" / "00000000.segment"


def failing(module, name, error):
  """A patch of a system call that fails once."""
  real, failed = getattr(module, name), []

  def call(*arguments):
    if not failed:
      failed.append(True)
      raise OSError(error, os.strerror(error))
    return real(*arguments)

  return call


@pytest.mark.parametrize("name", ["_write_all", "_sync"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_failed_observe_stores_nothing_and_the_next_one_works(
  tmp_path, monkeypatch, name, error
):
  with Log.open(tmp_path) as log:
    for at in range(2):  # the first examples of all, and later ones
      start = len(log)
      with monkeypatch.context() as patched:
        patched.setattr(writer, name, failing(writer, name, error))
        with pytest.raises(records.StoreError):
          x = log_model.inputs(range(5), features=16 if start else 9)
          log.observe(x, ["b"] * 5)
      assert len(log) == start
      assert fill(log, 3).tolist() == list(range(start, start + 3)), at
    log.end()
    assert log.classes == ("a",) and log.notes == ()
  with Log.open(tmp_path) as log:
    assert len(log) == 6 and log.notes == () and holds(log, range(6))
    assert fill(log, 1).tolist() == [6]


def test_where_the_cut_fails_too_the_next_observe_makes_up_for_it(
  tmp_path, monkeypatch
):
  with Log.open(tmp_path) as log:
    fill(log, 3)
    with monkeypatch.context() as patched:
      patched.setattr(writer, "_sync", failing(writer, "_sync", errno.EIO))

      def never(*_):
        raise OSError(errno.EIO, "broken")

      patched.setattr("jcl.living.log.volumes.os.truncate", never)
      for _ in range(3):
        with pytest.raises(records.StoreError):
          fill(log, 3)
      assert len(log) == 3 and holds(log, range(3))
    assert fill(log, 2).tolist() == [3, 4] and holds(log, range(5))
  with Log.open(tmp_path) as log:
    assert len(log) == 5 and holds(log, range(5)) and log.notes == ()


def test_all_that_waited_for_a_failed_flush_are_told(tmp_path, monkeypatch):
  with Log.open(tmp_path) as log:
    fill(log, 1)
    commits = log._commits
    batch = given.batch(log_model.inputs(range(5)), ["x"] * 5)
    waits = commits._append(batch, 999, lambda: None)
    with monkeypatch.context() as patched:
      patched.setattr(writer, "_sync", failing(writer, "_sync", errno.EIO))
      with pytest.raises(records.StoreError):
        fill(log, 2)
    with pytest.raises(records.StoreError):
      commits._commit(waits)
    assert len(log) == 1 and fill(log, 2).tolist() == [1, 2]
    assert holds(log, range(3))


@pytest.mark.parametrize("name", ["_write", "_sync"])
def test_what_the_journal_cannot_keep_is_not_said(tmp_path, monkeypatch, name):
  with Log.open(tmp_path) as log:
    fill(log, 4)
    log.label([0], ["c"])
    size = (tmp_path / "journal").stat().st_size
    for call in (
      lambda: log.label([0], ["b"]),
      log.end,
      lambda: log.drop(0),
    ):
      with monkeypatch.context() as patched:
        patched.setattr(
          journal_lib, name, failing(journal_lib, name, errno.ENOSPC)
        )
        with pytest.raises(records.StoreError, match="the disk is full"):
          call()
      assert (tmp_path / "journal").stat().st_size == size
    assert log.end() == 0 and log.classes == ("c", "a")
  with Log.open(tmp_path) as log:
    assert log.classes == ("c", "a") and log.notes == ()


def test_an_end_that_is_not_waited_for_is_brought_to_disk_again(
  tmp_path, monkeypatch
):
  with Log.open(tmp_path) as log:
    fill(log, 2)
    real, errors = journal_lib._sync, [errno.EIO] * 3

    def sync(fd):
      if errors:
        # The page that was not written is lost.
        os.pwrite(fd, bytes(10), os.fstat(fd).st_size - 10)
        raise OSError(errors.pop(), "fails")
      real(fd)

    monkeypatch.setattr(journal_lib, "_sync", sync)
    assert log.end(wait=False) == 0
    for call in log.flush, lambda: log.label([0], ["b"]):
      with pytest.raises(records.StoreError):
        call()
    assert not errors and log.corrections().until == 0
    log.flush()
    with Log.open(tmp_path, readonly=True) as other:
      assert len(other.experiences) == 1 and other.notes == ()
    log.label([0], ["b"])
  with Log.open(tmp_path) as log:
    assert len(log.experiences) == log.corrections().until == 1


def test_an_end_needs_no_thread_to_come_to_disk(tmp_path, monkeypatch):
  def none(*_):
    raise RuntimeError("can't start new thread")

  synced, real = [], journal_lib._sync
  with Log.open(tmp_path) as log:
    fill(log, 2)
    monkeypatch.setattr(log._journal._beside, "submit", none)
    monkeypatch.setattr(
      journal_lib, "_sync", lambda fd: (synced.append(fd), real(fd))
    )
    assert log.end(wait=False) == 0 and not synced
    log.flush()
    log.flush()
    assert len(synced) == 1
  with Log.open(tmp_path) as log:
    assert len(log.experiences) == 1 and log.notes == ()


SMALL_FILES = """
import resource, signal, sys
import numpy as np
from jcl.living.log.log import Log
from jcl.replay.store.records import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log, x = Log.open(sys.argv[1]), np.zeros((7, 4096), np.uint8)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
done, failed = 0, 0
for _ in range(10):
  try:
    done += len(log.observe(x + done % 251, ["a"] * 7))
  except StoreError as error:
    failed += "largest size" in str(error)
assert (done, failed) == (21, 7), (done, failed)
assert log.observe(x[:1] + done % 251, ["b"]).tolist() == [21]
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert log.observe(x, ["c"] * 7).tolist() == list(range(22, 29))
log.close()
"""


def test_a_write_that_ends_halfway_leaves_nothing(tmp_path):
  subprocess.run([sys.executable, "-c", SMALL_FILES, str(tmp_path)], check=True)
  with Log.open(tmp_path) as log:
    assert len(log) == 29 and log.notes == ()
    assert log.read(range(22))[:, 0].tolist() == [i // 7 * 7 for i in range(22)]


@pytest.mark.parametrize("cut", [1, 40, 60, 100, 170])
def test_what_is_left_of_a_batch_does_not_count(tmp_path, cut):
  with Log.open(tmp_path) as log:
    fill(log, 4)
    fill(log, 3, "b")
  path = segment(tmp_path)
  for index in path.parent.glob("*.index"):
    index.unlink()
  os.truncate(path, path.stat().st_size - cut)
  for readonly in (True, False):
    with Log.open(tmp_path, readonly=readonly) as log:
      assert (len(log), log.notes) == (4, ()) and holds(log, range(4))
  with Log.open(tmp_path) as log:
    assert fill(log, 5, "b").tolist() == [4, 5, 6, 7, 8]
  with Log.open(tmp_path) as log:
    assert (len(log), log.notes) == (9, ()) and holds(log, range(9))


def test_a_damaged_example_is_lost_alone(tmp_path):
  with Log.open(tmp_path) as log:
    for _ in range(3):
      fill(log, 5)
    log.end()
    fill(log, 2)
  path = segment(tmp_path)
  data = bytearray(path.read_bytes())
  at = data.index(log_model.inputs([6]).tobytes())
  data[at + 9] ^= 1
  path.write_bytes(data)
  others = [i for i in range(17) if i != 6]
  with Log.open(tmp_path) as log:  # by the index, nothing is missing
    with pytest.raises(records.DamageError) as caught:
      log.read(range(17))
    assert caught.value.ids == (6,)
    assert "1 example" in str(caught.value) and holds(log, others)
    found, good = records.intact(log.read, np.arange(17))
    assert good.tolist() == [i != 6 for i in range(17)] and len(found) == 16
  for index in path.parent.glob("*.index"):
    index.unlink()
  with Log.open(tmp_path) as log:
    assert len(log) == 16 and log.notes and holds(log, others)
    assert log.experiences[0].ids.tolist() == [i for i in others if i < 15]
    assert log.experiences[0].count == 15
    with pytest.raises(records.DamageError, match=": 6; leave them out"):
      log.read([5, 6])
    assert log.observe(log_model.inputs([17]), ["a"]).tolist() == [17]
  with Log.open(tmp_path) as log:
    assert holds(log, others)


@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_a_volume_that_is_missing_is_told(tmp_path, which):
  with Log.open(tmp_path, volume_bytes=4096) as log:
    for _ in range(30):
      fill(log, 10)
    log.end()
    log.label([299], ["b"])
  folders = sorted((tmp_path / "examples").iterdir())
  at = {"first": 0, "middle": 2, "last": len(folders) - 1}[which]
  start = int(folders[at].name)
  stop = int(folders[at + 1].name) if at + 1 < len(folders) else 300
  for path in folders[at].iterdir():
    path.unlink()
  folders[at].rmdir()
  with Log.open(tmp_path, volume_bytes=4096) as log:
    assert any(f"{start} to {stop - 1} are missing" in n for n in log.notes)
    assert len(log) == 300 - (stop - start)
    rest = [i for i in range(300) if not start <= i < stop]
    assert log.experiences[0].ids.tolist() == rest and holds(log, rest)
    with pytest.raises(records.DamageError):
      log.read([start])
    new = log.observe(log_model.inputs([300]), ["c"])
    assert new.tolist() == [300] and holds(log, [*rest, 300])
  with Log.open(tmp_path) as log:
    assert holds(log, [*rest, 300]) and log.end() == 1


def lines_of(path):
  return path.read_bytes().splitlines(keepends=True)


def test_half_a_last_line_is_cut_off(tmp_path):
  with Log.open(tmp_path) as log:
    fill(log, 2)
    log.end()
    fill(log, 2)
    log.end()
  path = tmp_path / "journal"
  whole = lines_of(path)
  path.write_bytes(b"".join(whole)[:-5])
  for readonly in (True, False):
    with Log.open(tmp_path, readonly=readonly) as log:
      assert len(log.experiences) == 1 and log.open_count == 2
      assert log.notes == ()
  assert lines_of(path) == whole[:1]
  with Log.open(tmp_path) as log:
    assert log.end() == 1


def test_a_damaged_line_costs_what_it_said_alone(tmp_path):
  with Log.open(tmp_path) as log:
    for label in "abcd":
      fill(log, 2, label)
      log.end()
    log.label([0], ["x"])
    log.label([1], ["y"])
  path = tmp_path / "journal"
  lines = lines_of(path)
  for at in (1, 2, 4):
    damaged = bytearray(lines[at])
    damaged[20] ^= 4
    lines[at] = bytes(damaged)
  path.write_bytes(b"".join(lines))
  with Log.open(tmp_path) as log:
    assert any("3 lines damaged" in note for note in log.notes)
    assert any("ends of 2 experiences are lost" in note for note in log.notes)
    assert [each.ids.tolist() for each in log.experiences] == [
      [0, 1],
      [],
      [2, 3, 4, 5],
      [6, 7],
    ]
    assert log.classes == ("a", "b", "c", "d")
    assert log.corrections().ids.tolist() == [1]
    fill(log, 1)
    assert log.end() == 4


@pytest.mark.parametrize("at", range(5))
def test_a_journal_written_anew_may_lose_any_line(tmp_path, at):
  with Log.open(tmp_path) as log:
    for label in "bca":
      fill(log, 3, label)
      log.end()
    log.label([0], ["x"])
    log.drop(1)
    fill(log, 2, "a")
    log.observe(log_model.inputs(range(11, 13)), [None] * 2)
    log.label([11], ["a"])
    log._journal.replace(snapshots.values(log._history))
  path = tmp_path / "journal"
  lines = lines_of(path)
  assert len(lines) == 4
  if at < 4:
    lines[at] = lines[at][:9] + b"?" + lines[at][10:]
  path.write_bytes(b"".join(lines))
  with Log.open(tmp_path) as log:
    assert any("1 line damaged" in note for note in log.notes) == (at < 4)
    assert len(log) == 13 and holds(log, range(13))
    assert log.classes == ("b", "c", "a")
    assert [each.ids.tolist() for each in log.experiences] == [
      [0, 1, 2],
      [3, 4, 5],
      [6, 7, 8],
    ]
    assert log.learned == (at != 0)
    assert log.corrections().ids.tolist() == ([] if at == 2 else [0])
    assert log.open_count == (2 if at == 3 else 3)
    assert log.unlabelled_count == 4 - log.open_count
    assert fill(log, 1).tolist() == [13]
    assert log.end() == 3


def test_few_files_are_open_however_many_volumes_there_are(tmp_path):
  before = len(os.listdir("/proc/self/fd"))
  with Log.open(tmp_path, volume_bytes=4096) as log:
    for _ in range(60):
      fill(log, 40)
    assert len(list((tmp_path / "examples").iterdir())) >= 30
    assert holds(log, np.random.default_rng(0).permutation(2400))
    assert len(os.listdir("/proc/self/fd")) < before + 20
  assert len(os.listdir("/proc/self/fd")) == before
