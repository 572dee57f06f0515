import errno
import os
from pathlib import Path
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
import signatures

from jcl.replay.store import check, records, segments, writer
from jcl.replay.store.store import Store


def images(count, start=0, shape=(2, 3, 1)):
  rng = np.random.default_rng(start)
  return rng.integers(0, 256, (count, *shape), np.uint8)


@pytest.fixture
def folder(tmp_path):
  return tmp_path / "store"


def test_what_was_added_is_read_in_any_order_and_again(folder):
  x, logits = images(5), np.arange(10, dtype=np.float32).reshape(5, 2)
  with Store.open(folder, run="first") as store:
    ids = store.append(
      x, ["cat", "dog", "cat", "eel", "dog"], task=3, extras={"logits": logits}
    )
    assert ids.tolist() == [0, 1, 2, 3, 4] and ids.dtype == np.int64
    before = store.read([4, 0, 4])
  with Store.open(folder, mode="r") as store:
    after = store.read(np.array([4, 0, 4]))
    assert (store.classes, store.runs) == (("cat", "dog", "eel"), ("first",))
    assert len(store) == 5 and not store.notes
  for found in (before, after):
    np.testing.assert_array_equal(found.x, x[[4, 0, 4]])
    np.testing.assert_array_equal(found.extras["logits"], logits[[4, 0, 4]])
    assert found.labels.tolist() == [1, 0, 1]
    assert found.tasks.tolist() == [3, 3, 3]
    assert found.runs.tolist() == [0, 0, 0]
    assert found.ids.tolist() == [4, 0, 4]


def test_classes_and_runs_go_by_name_whatever_the_order(folder):
  with Store.open(folder, run="a") as store:
    store.append(images(3), ["cat", "dog", "cat"])
  with Store.open(folder, run="b") as store:
    store.append(images(3), ["dog", "eel", "cat"], task=np.array([0, 1, 2]))
    store.append(images(1), ["cat"], run="a")
    assert store.count_by_class() == {"cat": 4, "dog": 2, "eel": 1}
    assert store.count_by_class("b") == {"cat": 1, "dog": 1, "eel": 1}
    assert store.ids_of("cat").tolist() == [0, 2, 5, 6]
    assert store.ids_of("cat", "a").tolist() == [0, 2, 6]
    assert store.labels_of([3, 4]).tolist() == [1, 2]
    assert store.read([3, 4, 5]).tasks.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="'fox' is none of the classes 'cat'"):
      store.ids_of("fox")
    with pytest.raises(ValueError, match="'c' is none of the runs"):
      store.ids_of("cat", "c")


def test_integers_are_names_too(folder):
  with Store.open(folder) as store:
    store.append(images(2), np.array([7, 3]))
    store.append(images(1), ["7"])
    assert store.ids_of(7).tolist() == store.ids_of("7").tolist() == [0, 2]


def test_shapes_and_types_may_differ_from_batch_to_batch(folder):
  small, large = images(2), images(1, shape=(5, 4, 3)).astype(np.float32)
  with Store.open(folder) as store:
    store.append(small, ["a", "b"])
    store.append(large, ["a"])
  with Store.open(folder) as store:
    ids = store.ids_of("a")
    with pytest.raises(ValueError, match="2 different shapes"):
      store.read(ids)
    groups = store.layouts_of(ids)
    found = [store.read(ids[groups == g]).x for g in np.unique(groups)]
  np.testing.assert_array_equal(found[0], small[:1])
  np.testing.assert_array_equal(found[1], large)
  assert found[1].dtype == np.float32


@pytest.mark.parametrize("dtype", ["?", "u1", ">i2", "f2", "<f4", "f8", "c8"])
def test_types_keep_their_values(folder, dtype):
  x = np.arange(12).reshape(4, 3).astype(dtype)
  with Store.open(folder) as store:
    store.append(x, ["a"] * 4)
    found = store.read(np.arange(4)).x
  np.testing.assert_array_equal(found, x)
  assert found.dtype == x.dtype.newbyteorder("<")


def test_segments_follow_one_another(folder):
  x = images(100, shape=(100,))
  with Store.open(folder, segment_bytes=4096) as store:
    for start in range(0, 100, 50):  # each larger than a segment
      part = slice(start, start + 50)
      store.append(x[part], [f"{i % 3}" for i in range(start, start + 50)])
    assert len(store.contents.segments) > 3
    order = np.random.default_rng(0).permutation(100)
    np.testing.assert_array_equal(store.read(order).x, x[order])
  with Store.open(folder, segment_bytes=4096) as store:
    np.testing.assert_array_equal(store.read(order).x, x[order])
    assert store.ids_of("1").tolist() == list(range(1, 100, 3))
    assert store.append(x[:1], ["3"]).tolist() == [100]
  sizes = [path.stat().st_size for path in folder.glob("*.segment")]
  assert max(sizes) <= 4096


def test_a_segment_takes_a_bounded_number_of_records(folder, monkeypatch):
  monkeypatch.setattr(writer, "SEGMENT_RECORDS", 4)
  with Store.open(folder) as store:
    store.append(images(10), range(10))
    assert [s.first_id for s in store.contents.segments] == [0, 4, 8]
    np.testing.assert_array_equal(store.read(range(10)).x, images(10))


def test_one_writer_at_a_time_and_readers_beside_it(folder):
  with Store.open(folder) as store:
    store.append(images(2), ["a", "b"])
    with pytest.raises(records.StoreError, match="is in use"):
      Store.open(folder)
    with Store.open(folder, mode="r") as reader:
      np.testing.assert_array_equal(reader.read([0, 1]).x, images(2))
      with pytest.raises(records.StoreError, match='mode="a"'):
        reader.append(images(1), ["a"])
  with Store.open(folder) as store:  # the lock is let go
    assert len(store) == 2


def test_a_closed_store_says_so(folder):
  store = Store.open(folder)
  store.append(images(1), ["a"])
  store.close()
  store.close()
  with pytest.raises(records.StoreError, match="closed"):
    store.read([0])
  with pytest.raises(records.StoreError, match="closed"):
    store.append(images(1), ["a"])


def test_what_lies_on_disk_byte_by_byte():
  """Stores that exist must stay readable."""
  assert (
    segments.framed(b"jclstore", {"a": 1})
    == bytes.fromhex("6a636c73746f726501000000037b9e410c000000")
    + b'{"a": 1}    '
  )
  layout = records.Layout(("|u1", (3,)), (("w", "<f4", ()),))
  assert layout.text == '{"extras": [["w", "<f4", []]], "x": ["|u1", [3]]}'
  assert records.Layout.from_json(layout.text) == layout
  assert layout.dtype.itemsize == 48 and layout.length == 12
  columns = {"label": 5, "run": 6, "layout": 7, "task": -8}
  batch = records.encode(
    layout,
    np.array([[1, 2, 3], [4, 5, 6]], np.uint8),
    {"w": np.array([1.0, 2.0], np.float32)},
    columns,
  )
  batch["id"] = [9, 10]
  records.seal(batch, 11)
  first = batch[:1].tobytes()
  words = [0x526C636A, 12, 9, 0, 7, 5, 6, 2**32 - 8]
  content = b"".join(word.to_bytes(4, "little") for word in words)
  content += bytes([1, 2, 3, 0, 0, 0, 0, 0]) + np.float32(1).tobytes()
  assert first[:-4] == content
  for record in (first, batch[1:].tobytes()):
    assert int.from_bytes(record[-4:], "little") == zlib.crc32(record[:-4], 11)
    assert zlib.crc32(record, 11) == records.RESIDUE
  text = b'{"runs": [0, ["a"]]}'
  words = [0x526C636A, len(text), 3, 0, 2**32 - 1, 0, 0, 0]
  content = b"".join(word.to_bytes(4, "little") for word in words) + text
  content = content.ljust(52, b"\0")
  assert records.definition({"runs": (0, ["a"])}, 3, 11) == (
    content + zlib.crc32(content, 11).to_bytes(4, "little")
  )


def test_sizes_on_disk():
  assert [records.stride(n) for n in (0, 4, 5, 12, 13)] == [40, 40, 48, 48, 56]
  for length in range(9):
    framed = segments.framed(b"jclstore", {"a": "x" * length})
    text = 9 + length  # {"a": ""}
    assert len(framed) == -(-(20 + text) // 8) * 8
  large = np.broadcast_to(np.uint8(0), (2, 2**31 - 64))
  assert records.layout_of(large, {}).x == ("|u1", (2**31 - 64,))
  with pytest.raises(ValueError, match=f"takes {2**31 - 63} bytes, more than"):
    records.layout_of(np.broadcast_to(np.uint8(0), (2, 2**31 - 63)), {})
  extra = {"w": np.zeros(2, np.uint8)}
  records.layout_of(large[:, :-9], extra)
  with pytest.raises(ValueError, match=f"takes {2**31 - 71} bytes"):
    records.layout_of(large[:, :-8], extra)


def test_failures_say_what_to_do():
  full = records.failure("open", Path("here"), OSError(errno.ENOSPC, "no"))
  assert str(full) == "cannot open here: the disk is full: free some space"
  odd = records.failure("open", Path("here"), OSError("odd"))
  assert str(odd) == "cannot open here: odd"


def test_long_lists_are_shortened(folder):
  with Store.open(folder) as store:
    store.append(images(8), range(8))
    with pytest.raises(ValueError, match="'6', '7'$"):
      store.ids_of("x")
    store.append(images(1), [8])
    with pytest.raises(ValueError, match=r"'6', \.\.\., '8' \(9 in all\)$"):
      store.ids_of("x")
    with pytest.raises(ValueError, match=r"ids \[9, 10, 11, 12, 13\] were"):
      store.read(range(20))
    store.contents.index.lose(np.arange(9))
    with pytest.raises(records.DamageError, match="8 examples .*: 0, .*, 7; `"):
      store.read(range(8))
    with pytest.raises(records.DamageError, match="9 .*, 7, ...; `") as told:
      store.read(range(9))
    assert told.value.ids == tuple(range(9))


def test_ids_of_a_task_and_the_sizes_that_a_task_may_have(folder):
  most = 2**31 - 1
  with Store.open(folder, run="a") as store:
    store.append(images(4), ["x"] * 4, task=[0, most, 0, -most])
    store.append(images(2), ["x"] * 2, run="b")
    assert store.ids_of_task(0, "a").tolist() == [0, 2]
    assert store.ids_of_task(0, "b").tolist() == [4, 5]
    assert store.ids_of_task(-most, "a").tolist() == [3]
    assert store.read([1]).tasks.tolist() == [most]
    store.contents.index.lose(np.array([2]))
    assert store.ids_of_task(0, "a").tolist() == [0]
    for task in (2**31, -(2**31)):
      with pytest.raises(ValueError, match="32 bits"):
        store.append(images(1), ["x"], task=task)


@pytest.mark.parametrize("size", [2**14 - 56, 2**14 - 48, 2**14])
def test_records_around_the_size_that_is_read_another_way(folder, size):
  x = images(20, shape=(size,))
  with Store.open(folder, segment_bytes=2**17) as store:
    store.append(x, ["a"] * 20)
    found = store.read(range(19, -1, -1))
    np.testing.assert_array_equal(found.x, x[::-1])
    assert len(store.contents.segments) > 2


def test_bounds_of_the_size_of_a_segment(folder):
  # A file descriptor for each gigabyte, and a second or so to scan 64 MiB.
  assert (writer.SEGMENT_BYTES, writer.INDEX_BYTES) == (2**30, 2**26)
  assert writer.SEGMENT_RECORDS == 2**20
  for size in (4095, 2**31 + 1):
    with pytest.raises(ValueError, match=f"segment_bytes={size}: write 4096"):
      Store.open(folder, segment_bytes=size)
  Store.open(folder, segment_bytes=4096).close()
  Store.open(folder, segment_bytes=2**31).close()


def test_an_example_larger_than_a_segment_has_one_of_its_own(folder):
  x = images(2, shape=(5000,))
  with Store.open(folder, segment_bytes=4096) as store:
    store.append(x, ["a", "b"])
    assert [s.first_id for s in store.contents.segments] == [0, 1]
    np.testing.assert_array_equal(store.read([0, 1]).x, x)


def test_a_flush_saves_the_index_of_what_would_take_long_to_scan(
  folder, monkeypatch
):
  path = folder / "00000000.index"
  with Store.open(folder) as store:
    store.append(images(3), ["a"] * 3)
    segment = store.contents.segments[-1]
    monkeypatch.setattr(writer, "INDEX_BYTES", segment.end)
    store.flush()
    assert not path.exists()
    monkeypatch.setattr(writer, "INDEX_BYTES", segment.end - 1)
    store.flush()
    assert path.exists() and segment.covered == segment.end
    path.unlink()
    store.flush()  # nothing is new
    assert not path.exists()


def test_others_add_while_the_disk_is_flushed(folder, monkeypatch):
  real, added = writer._sync, threading.Event()

  def slow(fd):
    assert added.wait(20)
    real(fd)

  with Store.open(folder) as store:
    store.append(np.zeros((1, 2)), ["a"])
    monkeypatch.setattr(writer, "_sync", slow)
    flushing = threading.Thread(target=store.flush)
    flushing.start()
    store.append(np.ones((1, 2)), ["a"])
    added.set()
    flushing.join()
    assert len(store) == 2


def test_any_thread_closes_a_store_and_another_one_opens_it(folder):
  store = Store.open(folder)
  closing = threading.Thread(target=store.close)
  closing.start()
  closing.join()
  Store.open(folder).close()


def test_threads_read_while_another_adds(folder):
  x = images(50, shape=(64,))
  failures = []
  with Store.open(folder, segment_bytes=8192) as store:
    store.append(x, ["a"] * 50)
    done = threading.Event()

    def read(seed):
      rng = np.random.default_rng(seed)
      while not done.is_set():
        ids = rng.integers(0, len(store), 20)
        found = store.read(ids)
        if not np.array_equal(found.x, x[ids % 50]):
          failures.append(ids)
        if len(store.ids_of("a")) > len(store):
          failures.append("ids")

    readers = [threading.Thread(target=read, args=(i,)) for i in range(2)]
    for reader in readers:
      reader.start()
    for _ in range(60):
      store.append(x, ["a"] * 50)
    done.set()
    for reader in readers:
      reader.join()
    assert len(store) == 50 * 61 and not failures
    assert check.verify(store).records == len(store)


@pytest.mark.parametrize(
  "options, message",
  [
    ({"mode": "w"}, "mode='w'"),
    ({"fsync": "never"}, "fsync='never'"),
    ({"fsync": 0}, "fsync=0"),
    ({"fsync": True}, "fsync=True"),
    ({"segment_bytes": 10}, "segment_bytes=10"),
  ],
)
def test_open_refuses_what_it_does_not_know(folder, options, message):
  with pytest.raises(ValueError, match=message):
    Store.open(folder, **options)
  assert not folder.exists()


@pytest.mark.parametrize(
  "x, labels, options, message",
  [
    (images(2), ["a"], {}, "differ"),
    (images(2), "ab", {}, "list of class names"),
    (images(2), [0.5, 1], {}, "list of class names"),
    (images(2), ["a", True], {}, "list of class names"),
    (images(2), ["a", "b"], {"task": [1, 2, 3]}, "differ"),
    (images(2), ["a", "b"], {"task": 0.5}, "give integers"),
    (images(2), ["a", "b"], {"task": 2**40}, "32 bits"),
    (images(2), ["a", "b"], {"extras": {"w": np.ones(3)}}, "differ"),
    (np.array(["x", "y"]), ["a", "b"], {}, "convert it"),
    (np.float32(1), ["a"], {}, "differ"),
  ],
)
def test_append_refuses_what_it_cannot_keep(
  folder, x, labels, options, message
):
  with Store.open(folder) as store:
    with pytest.raises(ValueError, match=message):
      store.append(x, labels, **options)
    assert len(store) == 0 and store.classes == ()
    assert store.append(images(1), ["a"]).tolist() == [0]


@pytest.mark.parametrize(
  "ids, message",
  [
    ([2], "never given"),
    ([-1], "never given"),
    ([], "one or more"),
    ([[0]], "flat"),
    ([0.0], "integers"),
  ],
)
def test_read_refuses_other_ids(folder, ids, message):
  with Store.open(folder) as store:
    store.append(images(2), ["a", "b"])
    with pytest.raises(ValueError, match=message):
      store.read(ids)


def test_an_empty_batch_is_nothing(folder):
  with Store.open(folder) as store:
    assert store.append(images(0), []).tolist() == []
    assert len(store) == 0


def test_fsync_policies_sync_when_they_say(folder, monkeypatch):
  synced = []
  monkeypatch.setattr(writer, "_sync", lambda fd: synced.append(fd))
  clock = [100.0]
  monkeypatch.setattr(writer.time, "monotonic", lambda: clock[0])

  def count(fsync, seconds=0.0):
    with Store.open(folder, fsync=fsync) as store:
      synced.clear()
      store.append(images(1), ["a"])
      clock[0] += seconds
      store.append(images(1), ["a"])
      return len(synced)

  assert count("always") == 2
  assert count("batch", 1000) == 0
  assert count(5.0, 4) == 0
  assert count(5.0, 6) == 1


def test_a_disk_that_fails_to_sync_is_not_trusted_again(folder, monkeypatch):
  with Store.open(folder) as store:
    store.append(images(2), ["a", "b"])

    def fail(fd):
      raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
      patched.setattr(writer, "_sync", fail)
      with pytest.raises(records.StoreError, match="cannot flush"):
        store.flush()
    with pytest.raises(records.StoreError, match="earlier flush failed"):
      store.append(images(1), ["a"])
    np.testing.assert_array_equal(store.read([0, 1]).x, images(2))


FULL = """
import resource, sys
import numpy as np
from jcl.replay.store import records
from jcl.replay.store.store import Store

x = np.arange(20 * 100, dtype=np.uint8).reshape(20, 100)
with Store.open(sys.argv[1]) as store:
  store.append(x, range(20))
  size = store.contents.segments[-1].end
  resource.setrlimit(resource.RLIMIT_FSIZE, (size + 500, -1))
  try:
    store.append(x, range(20, 40))
  except records.StoreError as error:
    print(error)
  assert store.contents.segments[-1].path.stat().st_size == size
  assert store.classes == tuple(map(str, range(20)))
  assert (store.read(range(20)).x == x).all()
  resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
  assert store.append(x[:5], ["later"] * 5).tolist() == list(range(20, 25))
"""


def test_a_disk_that_fills_up_costs_only_the_batch(folder):
  done = subprocess.run(
    [sys.executable, "-c", FULL, str(folder)],
    capture_output=True,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )
  assert done.returncode == 0, done.stderr
  assert "cannot add to" in done.stdout and "first 0 of 20" in done.stdout
  with Store.open(folder) as store:
    assert len(store) == 25 and not store.notes
    assert store.ids_of("later").tolist() == list(range(20, 25))
    assert check.verify(store).records == 25


def test_an_interrupted_write_leaves_nothing_behind(folder, monkeypatch):
  with Store.open(folder) as store:
    store.append(images(2), ["a", "b"])
    real, calls = os.pwrite, []

    def interrupted(fd, content, offset):
      calls.append(offset)
      if len(calls) > 1:  # the definition is written, then half the records
        real(fd, bytes(content)[: len(content) // 2], offset)
        raise KeyboardInterrupt
      return real(fd, content, offset)

    with monkeypatch.context() as patched:
      patched.setattr(os, "pwrite", interrupted)
      with pytest.raises(KeyboardInterrupt):
        store.append(images(8, 1), ["new"] * 8)
    assert len(store) == 2
    store.append(images(1, 2), ["c"])
  with Store.open(folder, rebuild=True) as store:
    assert len(store) == 3 and store.classes == ("a", "b", "c")
    np.testing.assert_array_equal(store.read([2]).x, images(1, 2))


def test_a_folder_of_other_files_is_left_alone(tmp_path):
  (tmp_path / "notes.txt").write_text("mine")
  with pytest.raises(records.StoreError, match="notes.txt"):
    Store.open(tmp_path)
  assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt"]
  with pytest.raises(records.StoreError, match="holds no store"):
    Store.open(tmp_path, mode="r")
  with pytest.raises(records.StoreError, match="holds no store"):
    Store.open(tmp_path / "absent", mode="r")
  assert not (tmp_path / "absent").exists()
  with pytest.raises(records.StoreError, match="a file of that name"):
    Store.open(tmp_path / "notes.txt")


def test_files_that_only_look_like_segments_are_refused(folder):
  folder.mkdir()
  segments.path_of(folder, 0).write_bytes(b"something else entirely" * 10)
  with pytest.raises(records.StoreError, match="can be read"):
    Store.open(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_files_that_cannot_be_written_are_told_of(folder):
  with Store.open(folder) as store:
    store.append(images(1), ["a"])
  segments.path_of(folder, 0).chmod(0o400)
  folder.chmod(0o500)
  try:
    with pytest.raises(records.StoreError, match="permission is denied"):
      Store.open(folder)
    with Store.open(folder, mode="r") as store:
      assert len(store) == 1
  finally:
    folder.chmod(0o700)


def test_a_later_format_is_not_read_as_this_one(folder, monkeypatch):
  with monkeypatch.context() as patched:
    patched.setattr(segments, "VERSION", segments.VERSION + 1)
    Store.open(folder).close()
  with pytest.raises(records.StoreError, match="the version of jcl"):
    Store.open(folder, mode="r")


def test_folders_above_a_store_are_made(tmp_path):
  with Store.open(tmp_path / "a" / "b") as store:
    store.append(np.zeros((1, 2), np.uint8), ["x"])
  with Store.open(tmp_path / "a" / "b", mode="r") as store:
    assert len(store) == 1


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(Store.open) == {
    "mode": "a",
    "fsync": "batch",
    "run": "default",
    "segment_bytes": 1073741824,
    "rebuild": False,
  }
  assert signatures.defaults(Store.append) == {"task": 0}
