from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl.replay.store import index as index_lib


def columns(labels, runs=0, offsets=None):
  labels = np.asarray(labels)
  n = len(labels)
  return {
    "offset": np.arange(8, 8 + 8 * n, 8) if offsets is None else offsets,
    "layout": np.zeros(n, int),
    "label": labels,
    "run": np.broadcast_to(runs, n),
    "task": np.full(n, -3),
  }


@settings(max_examples=50)
@given(
  batches=st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), max_size=9),
    max_size=6,
  ),
  gaps=st.integers(0, 3),
  data=st.data(),
)
def test_ids_and_counts_equal_a_search(batches, gaps, data):
  index, kept = index_lib.Index(), []
  with pytest.MonkeyPatch.context() as patched:
    patched.setattr(index_lib, "_CHUNK", 4)  # so that pieces meet
    for batch in batches:
      ids = index.count + gaps + np.arange(len(batch))
      labels = np.array([label for label, _ in batch], int)
      runs = np.array([run for _, run in batch], int)
      index.extend(ids, columns(labels, runs))
      kept += zip(ids.tolist(), labels.tolist(), runs.tolist(), strict=True)
      if kept and data.draw(st.booleans()):
        index.lose(np.array([kept.pop()[0]]))
      for label in range(6):
        for run in (None, 0, 1):
          wanted = [
            i for i, at, of in kept if at == label and run in (None, of)
          ]
          assert index.ids_of(label, run).tolist() == wanted
          assert index.counts(6, run)[label] == len(wanted)
    lost = set(range(index.count)) - {i for i, _, _ in kept}
    assert set(index.lost().tolist()) == lost


def test_it_takes_at_most_40_bytes_a_record():
  index, n = index_lib.Index(), 300_000
  index.reserve(n)
  index.extend(np.arange(n), columns(np.arange(n) % 10))
  assert index.ids_of(3).tolist() == list(range(3, n, 10))
  assert index.bytes == 24 * n


def test_room_grows_by_half():
  index = index_lib.Index()
  assert index.bytes == 0
  index.extend(np.arange(1), columns([0]))
  assert index.bytes == 20 * 1024
  index.extend(np.arange(1, 1024), columns(np.zeros(1023)))
  assert index.bytes == 20 * 1024
  index.lose_until(1025)
  assert index.bytes == 20 * 1536 and index.lost().tolist() == [1024]
  index.lose_until(1000)  # behind that already
  assert index.count == 1025
  index.reserve(5000)
  index.reserve(4000)
  assert index.bytes == 20 * 5000
  assert index.columns["task"][:1025].tolist() == [-3] * 1024 + [0]


def test_a_short_rest_is_searched_and_a_long_one_grouped(monkeypatch):
  monkeypatch.setattr(index_lib, "_CHUNK", 4)
  index = index_lib.Index()
  index.extend(np.arange(24), columns(np.zeros(24)))
  assert len(index.ids_of(0)) == 24
  groups = index._groups
  index.extend(np.arange(24, 30), columns(np.zeros(6)))
  assert index.ids_of(0).tolist() == list(range(30))
  assert index._groups is groups  # a quarter more
  index.extend(np.arange(30, 31), columns(np.zeros(1)))
  assert index.ids_of(0).tolist() == list(range(31))
  assert index._groups.count == 31


@pytest.mark.parametrize("large", [2**16 - 1, 2**16, 70_000])
def test_numbers_of_classes_beyond_sixteen_bits(large):
  index = index_lib.Index()
  index.extend(np.arange(4), columns([large, 0, large % 2**16, large]))
  wanted = [0, 2, 3] if large < 2**16 else [0, 3]
  assert index.ids_of(large).tolist() == wanted
  assert index.ids_of(large + 1).tolist() == []
  assert index.counts(large + 1)[large] == len(wanted)


def part_of(index, first_id=0, tables=None):
  return index_lib.Part(
    "s", 2, first_id, index.count - first_id, 800, tables or {"classes": ["é"]}
  )


@pytest.mark.parametrize("count", [0, 1, 50])
def test_what_is_saved_is_loaded_behind_what_is_there(tmp_path, count):
  first, second = index_lib.Index(), index_lib.Index()
  for index in (first, second):
    index.extend(np.arange(5), columns(np.arange(5)))
  first.extend(5 + np.arange(count), columns(np.arange(count)))
  part = part_of(first, 5)
  index_lib.save(tmp_path, part, first)
  assert index_lib.numbers(tmp_path) == [2]
  assert index_lib.peek(tmp_path, 2) == part
  assert index_lib.load(tmp_path, part, second)
  assert second.count == 5 + count
  for name in index_lib.COLUMNS:
    np.testing.assert_array_equal(
      second.columns[name][: second.count], first.columns[name][: first.count]
    )
  assert not index_lib.load(tmp_path, part, second) or not count  # not twice


def test_a_damaged_file_is_not_loaded(tmp_path):
  index = index_lib.Index()
  index.extend(np.arange(20), columns(np.arange(20)))
  part = part_of(index)
  index_lib.save(tmp_path, part, index)
  path = index_lib.path_of(tmp_path, 2)
  content = path.read_bytes()
  for at in range(0, len(content), 5):
    changed = bytearray(content)
    changed[at] ^= 4
    path.write_bytes(changed)
    try:
      loaded = index_lib.peek(tmp_path, 2) == part and index_lib.load(
        tmp_path, part, index_lib.Index()
      )
    except index_lib.segments.records.StoreError as error:
      assert "format" in str(error)  # the version's own bytes
      loaded = False
    assert not loaded
  path.write_bytes(content + b"x")
  assert not index_lib.load(tmp_path, part, index_lib.Index())
  path.unlink()
  assert index_lib.peek(tmp_path, 2) is None
  assert not index_lib.load(tmp_path, part, index_lib.Index())


def test_a_file_of_another_length_is_no_index(tmp_path):
  index = index_lib.Index()
  index.extend(np.arange(20), columns(np.arange(20)))
  part = part_of(index, 5)
  index_lib.save(tmp_path, part, index)
  assert index_lib.peek(tmp_path, 2) == part
  assert not index_lib.load(tmp_path, part, index_lib.Index())  # begins at 5
  path = index_lib.path_of(tmp_path, 2)
  content = path.read_bytes()
  for changed in (content + b"x", content[:-1]):
    path.write_bytes(changed)
    assert index_lib.peek(tmp_path, 2) is None
