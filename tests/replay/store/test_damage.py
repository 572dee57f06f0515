"""What is torn, flipped, cut, missing or foreign is never served."""

import os
import shutil
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl.replay.store import check, names, records, segments
from jcl.replay.store import index as index_lib
from jcl.replay.store.store import Store

COUNT = 12


def images(ids):
  rng = np.random.default_rng(7)
  noise = rng.integers(0, 256, (200, 20), np.uint8)
  return noise[np.asarray(ids)]


def name_of(i):
  return f"class {i % 3}"


def fill(folder, count=COUNT, batch=4, **options):
  """Makes a store whose records depend on their ids alone."""
  with Store.open(folder, **options) as store:
    while (first := store.contents.index.count) < count:
      ids = np.arange(first, first + min(batch, count - first))
      store.append(images(ids), [name_of(i) for i in ids], task=ids)


def readable(store):
  """Ids that the store serves; fails where one is wrong."""
  lost_names = any("damaged" in note for note in store.notes)
  served = []
  for i in range(store.contents.index.count):
    try:
      found = store.read([i])
    except records.DamageError as error:
      assert error.ids == (i,)
      continue
    np.testing.assert_array_equal(found.x, images([i]))
    name = store.classes[found.labels[0]]
    assert name == name_of(i) or (lost_names and name.startswith(names.LOST))
    assert found.tasks[0] == i
    served.append(i)
  return served


def starts(folder):
  with Store.open(folder, mode="r") as store:
    [segment] = store.contents.segments
    return store.contents.index.columns["offset"][:COUNT].tolist(), segment.end


def damage(folder, example):
  """Flips a bit of an example of the first segment."""
  offsets, _ = starts(folder)
  path = segments.path_of(folder, 0)
  content = bytearray(path.read_bytes())
  content[offsets[example] + 40] ^= 1
  path.write_bytes(content)


def test_a_tail_torn_at_any_byte_is_cut(tmp_path):
  fill(tmp_path / "whole")
  index_lib.path_of(tmp_path / "whole", 0).unlink()  # as a crash leaves it
  offsets, end = starts(tmp_path / "whole")
  stride = end - offsets[-1]
  path = segments.path_of(tmp_path / "torn", 0)
  shutil.copytree(tmp_path / "whole", tmp_path / "torn")
  content = path.read_bytes()
  for size in range(offsets[6], end, 3):
    path.write_bytes(content[:size])
    whole = [i for i in range(COUNT) if offsets[i] + stride <= size]
    with Store.open(tmp_path / "torn", mode="r") as store:
      assert readable(store) == whole and not store.notes
    assert path.stat().st_size == size  # a reader cuts nothing
    with Store.open(tmp_path / "torn") as store:
      assert not store.notes
      assert path.stat().st_size == store.contents.segments[0].end <= size
      assert store.append(images([len(whole)]), ["x"]) == [len(whole)]
    index_lib.path_of(tmp_path / "torn", 0).unlink()


@pytest.mark.parametrize("garbage", [b"\0" * 500, b"jclR" * 100, b"?"])
def test_garbage_behind_the_last_record_is_cut(tmp_path, garbage):
  fill(tmp_path)
  with open(segments.path_of(tmp_path, 0), "ab") as file:
    file.write(garbage)
  with Store.open(tmp_path) as store:
    assert readable(store) == list(range(COUNT)) and not store.notes
  fill(tmp_path, COUNT + 4)
  with Store.open(tmp_path, mode="r", rebuild=True) as store:
    assert readable(store) == list(range(COUNT + 4)) and not store.notes


@pytest.mark.parametrize("keep_index", [True, False])
def test_a_flipped_bit_anywhere_costs_its_record_only(tmp_path, keep_index):
  fill(tmp_path / "whole")
  offsets, end = starts(tmp_path / "whole")
  stride = end - offsets[-1]
  content = segments.path_of(tmp_path / "whole", 0).read_bytes()

  @settings(max_examples=60, derandomize=True)
  @given(st.integers(0, len(content) * 8 - 1))
  def flip(bit):
    folder = tmp_path / "flipped"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(tmp_path / "whole", folder)
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    segments.path_of(folder, 0).write_bytes(changed)
    lost = [i for i, at in enumerate(offsets) if at <= bit // 8 < at + stride]
    if not keep_index:
      index_lib.path_of(folder, 0).unlink()
    in_header = bit // 8 < segments.PREFIX.size + 8
    try:
      store = Store.open(folder, mode="r")
    except records.StoreError:
      # Nothing else says which store it is where its only header is damaged.
      assert bit // 8 < offsets[0] and (not keep_index or in_header)
      return
    with store:
      served = readable(store)
      if bit // 8 < offsets[0] and not keep_index:
        # The definitions of the first batch, or the header: nothing wrong.
        assert store.notes
      else:
        last = not keep_index and lost == [COUNT - 1]
        assert served == [i for i in range(COUNT - last) if i not in lost]
      if keep_index:
        assert check.verify(store).damaged.tolist() == lost

  flip()


def test_numbers_whose_names_are_lost_are_not_given_again(tmp_path):
  fill(tmp_path)
  offsets, _ = starts(tmp_path)
  path = segments.path_of(tmp_path, 0)
  content = bytearray(path.read_bytes())
  content[offsets[0] - 20] ^= 1  # in the definitions of the first batch
  path.write_bytes(content)
  index_lib.path_of(tmp_path, 0).unlink()
  with Store.open(tmp_path) as store:
    assert len(store) == COUNT and store.notes
    assert store.classes == ("lost:0", "lost:1", "lost:2")
    with pytest.raises(records.DamageError, match="definition is lost") as told:
      store.read([3, 4])
    assert told.value.ids == (3, 4)
    new = store.append(images([1]), ["another"])
    assert store.labels_of(new) == [3]
    assert store.ids_of("another").tolist() == new.tolist()


def test_damage_is_told_left_out_and_mended(tmp_path):
  fill(tmp_path)
  offsets, _ = starts(tmp_path)
  path = segments.path_of(tmp_path, 0)
  content = bytearray(path.read_bytes())
  content[offsets[5] + 40] ^= 255
  path.write_bytes(content)
  with Store.open(tmp_path) as store:
    with pytest.raises(records.DamageError, match="damaged: 5") as caught:
      store.read([4, 5, 6])
    assert caught.value.ids == (5,)
    assert 5 in store.ids_of("class 2")  # nothing has read it when opened
  with Store.open(tmp_path, rebuild=True) as store:
    assert "1 examples are lost" in store.notes
    assert store.ids_of("class 2").tolist() == [2, 8, 11]
    assert store.count_by_class()["class 2"] == 3 and len(store) == COUNT - 1
    with pytest.raises(records.DamageError, match="lost: 5"):
      store.read([5])
    assert readable(store) == [i for i in range(COUNT) if i != 5]
    # Nothing is written behind damage, and no id is given twice.
    assert store.append(images([COUNT]), [name_of(COUNT)]) == [COUNT]
    assert len(store.contents.segments) == 2
  with Store.open(tmp_path) as store:
    assert store.notes == ("1 examples are lost",)
    assert len(store) == COUNT
  content[offsets[5] + 40] ^= 255  # as from a backup
  path.write_bytes(content)
  with Store.open(tmp_path) as store:
    assert check.verify(store).regained.tolist() == [5]
  with Store.open(tmp_path, rebuild=True) as store:
    assert len(store) == COUNT + 1 and not store.notes


@pytest.mark.parametrize("rebuild", [True, False])
def test_a_tail_that_was_acknowledged_is_missed(tmp_path, rebuild):
  fill(tmp_path)
  offsets, _ = starts(tmp_path)
  with open(segments.path_of(tmp_path, 0), "r+b") as file:
    file.truncate(offsets[9] + 10)
  with Store.open(tmp_path, rebuild=rebuild) as store:
    assert any("bytes are missing" in note for note in store.notes)
    assert readable(store) == list(range(9))
    assert store.append(images([12]), [name_of(12)], task=12) == [12]
  with Store.open(tmp_path) as store:
    assert readable(store) == [*range(9), 12]


def several(folder):
  fill(folder, 150, batch=10, segment_bytes=4096)
  with Store.open(folder, segment_bytes=4096, mode="r") as store:
    bounds = [segment.first_id for segment in store.contents.segments]
    assert len(bounds) == 3
    return [*bounds, 150]


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("keep_index", [True, False])
def test_a_missing_segment_costs_its_records_only(tmp_path, which, keep_index):
  bounds = several(tmp_path)
  kept = [i for i in range(150) if not bounds[which] <= i < bounds[which + 1]]
  path = segments.path_of(tmp_path, which)
  content = path.read_bytes()
  path.unlink()
  if not keep_index:
    for number in range(3):
      index_lib.path_of(tmp_path, number).unlink()
  with Store.open(tmp_path) as store:
    assert readable(store) == kept
    given = store.append(images([0]), ["later"])
    # Only where nothing is left of the last segment are its ids unknown.
    forgotten = which == 2 and not keep_index
    assert given == [bounds[2] if forgotten else 150]
  if forgotten:
    return
  path.write_bytes(content)
  with Store.open(tmp_path, rebuild=True) as store:
    assert len(store) == 151 and not store.notes


def test_index_files_account_for_all_and_spare_the_scan(tmp_path, monkeypatch):
  bounds = several(tmp_path)
  for number in range(3):
    part = index_lib.peek(tmp_path, number)
    assert part.number == number
    assert (part.first_id, part.count) == (
      bounds[number],
      bounds[number + 1] - bounds[number],
    )
    size = segments.path_of(tmp_path, number).stat().st_size
    assert part.covered == size
  with monkeypatch.context() as patched:
    patched.setattr(segments, "scan", None)
    with Store.open(tmp_path, segment_bytes=4096) as store:
      assert readable(store) == list(range(150)) and not store.notes
      held = store.contents.segments
      assert [s.next_id for s in held] == bounds[1:]
      assert all(s.sound and s.covered == s.end for s in held)


def test_index_files_that_are_missing_are_written_but_for_the_open_one(
  tmp_path,
):
  several(tmp_path)
  paths = [index_lib.path_of(tmp_path, number) for number in range(3)]
  contents = [path.read_bytes() for path in paths]
  for path in paths:
    path.unlink()
  with Store.open(tmp_path, segment_bytes=4096):
    assert [path.exists() for path in paths] == [True, True, False]
  assert [path.read_bytes() for path in paths] == contents


@pytest.mark.parametrize("foreign", ["store", "number"])
def test_an_index_file_of_something_else_is_no_use(tmp_path, foreign):
  several(tmp_path / "mine")
  several(tmp_path / "other")
  source = tmp_path / ("other" if foreign == "store" else "mine")
  shutil.copy(
    index_lib.path_of(source, 1 if foreign == "store" else 0),
    index_lib.path_of(tmp_path / "mine", 1),
  )
  with Store.open(tmp_path / "mine", segment_bytes=4096) as store:
    assert readable(store) == list(range(150)) and not store.notes


def test_what_is_damaged_is_told_in_bytes_and_kept(tmp_path):
  fill(tmp_path)
  offsets, end = starts(tmp_path)
  stride = end - offsets[-1]
  path = segments.path_of(tmp_path, 0)
  content = bytearray(path.read_bytes())
  for i in (4, 5, 8, COUNT - 1):
    content[offsets[i] + 40] ^= 255
  path.write_bytes(content)
  with Store.open(tmp_path, rebuild=True) as store:
    # Each batch of four begins with a definition, but only the first needs it.
    assert store.notes == (
      f"{path.name}: {3 * stride} bytes are damaged",
      f"{path.name}: its last {stride} bytes are damaged",
      "4 examples are lost",
    )
    assert store.lost().tolist() == [4, 5, 8, COUNT - 1]
    assert not store.contents.segments[0].sound
    assert store.contents.segments[0].end == offsets[-1]
  assert path.read_bytes() == content


def test_what_lies_behind_a_segment_that_is_not_the_last_is_damage(tmp_path):
  several(tmp_path)
  path = segments.path_of(tmp_path, 0)
  with open(path, "ab") as file:
    file.write(b"?" * 9)
  size = path.stat().st_size
  with Store.open(tmp_path, segment_bytes=4096) as store:
    assert store.notes == (f"{path.name}: its last 9 bytes are damaged",)
    assert readable(store) == list(range(150))
  assert path.stat().st_size == size


@pytest.mark.parametrize("extra", [0, 1, -1])
def test_a_tail_cut_at_the_end_of_a_record(tmp_path, extra):
  fill(tmp_path)
  offsets, end = starts(tmp_path)
  path = segments.path_of(tmp_path, 0)
  with open(path, "r+b") as file:
    file.truncate(offsets[9] + extra)
  missing = end - offsets[9] - extra
  with Store.open(tmp_path, mode="r") as store:
    first = 8 if extra < 0 else 9
    assert store.lost().tolist() == list(range(first, COUNT))
    assert (
      store.notes[0] == f"{path.name}: its last {missing} bytes are missing"
    )


def test_ids_stay_where_a_header_and_all_before_it_are_gone(tmp_path):
  bounds = several(tmp_path)
  segments.path_of(tmp_path, 0).unlink()
  index_lib.path_of(tmp_path, 0).unlink()
  path = segments.path_of(tmp_path, 1)
  content = bytearray(path.read_bytes())
  content[segments.PREFIX.size + 2] ^= 1
  path.write_bytes(content)
  with Store.open(tmp_path, segment_bytes=4096) as store:
    assert f"{path.name}: its header is damaged" in store.notes
    assert readable(store) == list(range(bounds[1], 150))


def test_a_record_that_is_there_twice_counts_once(tmp_path):
  fill(tmp_path)
  offsets, end = starts(tmp_path)
  path = segments.path_of(tmp_path, 0)
  content = path.read_bytes()
  seed = segments.seed_of(index_lib.peek(tmp_path, 0).store)
  path.write_bytes(content + content[offsets[-1] :])
  with open(path, "rb") as file:
    found = segments.scan(file.fileno(), offsets[0], seed, 0)
    assert found.heads["id"].tolist() == list(range(COUNT))
    assert found.offsets.tolist() == offsets
    assert (found.end, found.damaged) == (end, [])
    later = segments.scan(file.fileno(), offsets[0], seed, 5)
    assert later.heads["id"].tolist() == list(range(5, COUNT))


@pytest.mark.parametrize("window", [8, 48, 2**22])
def test_a_scan_finds_the_same_whatever_it_reads_at_a_time(
  tmp_path, monkeypatch, window
):
  fill(tmp_path)
  offsets, _ = starts(tmp_path)
  seed = segments.seed_of(index_lib.peek(tmp_path, 0).store)
  path = segments.path_of(tmp_path, 0)
  content = bytearray(path.read_bytes())
  content[offsets[2] + 1] ^= 1
  content[offsets[5] : offsets[5] + 36] = b"..jclR" * 6
  content[offsets[8] + 40] ^= 1
  path.write_bytes(content)
  monkeypatch.setattr(segments, "_WINDOW", window)
  with open(path, "rb") as file:
    header = segments.read_header(file.fileno())
    found = segments.scan(file.fileno(), header.end, seed, 0)
  kept = [i for i in range(COUNT) if i not in (2, 5, 8)]
  assert found.heads["id"].tolist() == kept
  assert found.offsets.tolist() == [offsets[i] for i in kept]
  assert found.damaged == [(offsets[i], offsets[i + 1]) for i in (2, 5, 8)]


def test_reading_tells_good_from_damaged_examples(tmp_path):
  fill(tmp_path)
  damage(tmp_path, 3)
  with Store.open(tmp_path) as store:
    store.contents.index.lose(np.array([6]))  # told of before damage is
    ids = np.array([6, 3, 1, 3, 2])
    found, good = records.intact(store.read, ids)
    assert good.tolist() == [False, False, True, False, True]
    assert found.ids.tolist() == [1, 2]

  def fail(ids):
    raise records.DamageError("elsewhere", [99])

  with pytest.raises(records.DamageError, match="elsewhere"):
    records.intact(fail, np.array([1]))


def test_records_side_by_side_are_read_at_once_or_one_by_one(
  tmp_path, monkeypatch
):
  fill(tmp_path)
  damage(tmp_path, 2)
  calls = []

  def counted(name, fails):
    call = getattr(os, name)

    def counting(fd, *rest):
      calls.append(name)
      if fails:
        raise OSError(5, "cannot be read")
      return call(fd, *rest)

    return counting

  with Store.open(tmp_path, mode="r") as store:
    for fails, wanted in (
      (False, ["preadv"]),
      (True, ["preadv"] + 4 * ["pread"]),
    ):
      with monkeypatch.context() as patched:
        patched.setattr(os, "pread", counted("pread", False))
        patched.setattr(os, "preadv", counted("preadv", fails))
        with pytest.raises(records.DamageError) as caught:
          store.read(np.arange(4))
      assert caught.value.ids == (2,) and calls == wanted
      calls.clear()
    assert np.array_equal(store.read([0, 1]).x, images([0, 1]))


def test_segments_of_another_store_are_left_out(tmp_path):
  bounds = several(tmp_path / "mine")
  with Store.open(tmp_path / "other", segment_bytes=4096) as other:
    other.append(255 - images(range(150)), ["class 0"] * 150)
  shutil.copy(
    segments.path_of(tmp_path / "other", 1),
    segments.path_of(tmp_path / "mine", 1),
  )
  with Store.open(tmp_path / "mine") as store:
    assert any("another store" in note for note in store.notes)
    served = readable(store)
    assert served == [i for i in range(150) if not bounds[1] <= i < bounds[2]]


def test_records_of_another_store_are_damage(tmp_path):
  """Even where they lie in a segment whose header is this store's."""
  fill(tmp_path / "mine")
  fill(tmp_path / "other")
  offsets, _ = starts(tmp_path / "mine")
  mine = segments.path_of(tmp_path / "mine", 0)
  content = segments.path_of(tmp_path / "other", 0).read_bytes()
  mixed = mine.read_bytes()[: offsets[6]] + content[offsets[6] :]
  mine.write_bytes(mixed)
  with Store.open(tmp_path / "mine", mode="r") as store:
    assert readable(store) == list(range(6))


def test_a_record_within_an_example_is_no_record(tmp_path):
  with Store.open(tmp_path) as store:
    store.append(np.zeros((2, 20), np.uint8), ["a", "a"])
    segment = store.contents.segments[0]
    at, behind = store.contents.index.columns["offset"][:2].tolist()
    inner = segment.path.read_bytes()[at:behind]
    whole = np.frombuffer(inner * 3, np.uint8)
    store.append(whole[None], ["b"])
    start = int(store.contents.index.columns["offset"][2])
  with open(segments.path_of(tmp_path, 0), "r+b") as file:
    file.seek(start)
    file.write(b"\0")
  index_lib.path_of(tmp_path, 0).unlink()
  with Store.open(tmp_path) as store:
    assert store.ids_of("a").tolist() == [0, 1] and not len(store.ids_of("b"))
    assert (store.read([0, 1]).x == 0).all()
    assert store.contents.segments[0].end <= start
    assert store.append(np.ones((1, 20), np.uint8), ["c"]) == [2]


def test_a_segment_under_another_number_is_left_out(tmp_path):
  several(tmp_path)
  shutil.copy(segments.path_of(tmp_path, 0), segments.path_of(tmp_path, 3))
  with Store.open(tmp_path) as store:
    assert any("repeats another" in note for note in store.notes)
    assert readable(store) == list(range(150))


def test_copies_that_went_different_ways_are_not_mixed(tmp_path):
  fill(tmp_path / "one", 100, segment_bytes=4096)
  shutil.copytree(tmp_path / "one", tmp_path / "two")
  for copy, name in (("one", "left"), ("two", "right")):
    with Store.open(tmp_path / copy, segment_bytes=4096) as store:
      store.append(images([0] * 80), [name] * 80)
      last = store.contents.segments[-1].number
  shutil.copy(
    segments.path_of(tmp_path / "two", last),
    segments.path_of(tmp_path / "one", last),
  )
  index_lib.path_of(tmp_path / "one", last).unlink()
  with pytest.raises(records.StoreError, match="went different ways"):
    Store.open(tmp_path / "one")


@pytest.mark.parametrize("how", ["absent", "cut", "flipped", "empty", "stale"])
def test_the_index_is_made_anew_wherever_it_is_no_use(tmp_path, how):
  fill(tmp_path, 8)
  path = index_lib.path_of(tmp_path, 0)
  stale = path.read_bytes()
  fill(tmp_path, COUNT)
  content = path.read_bytes()
  if how == "absent":
    path.unlink()
  else:
    flipped = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    changed = {"cut": content[:-7], "flipped": flipped, "empty": b""}
    path.write_bytes({**changed, "stale": stale}[how])
  with Store.open(tmp_path) as store:
    assert readable(store) == list(range(COUNT)) and not store.notes
    assert store.ids_of("class 1").tolist() == [1, 4, 7, 10]
  assert path.read_bytes() == content  # and saved when it is closed


@pytest.mark.parametrize(
  "value",
  [
    {"classes": ["a", "b"]},
    {"classes": [3, ["a"]], "runs": []},
    {},
  ],
)
def test_tables_that_names_learn(value):
  assert names.are_tables(value)
  names.Names().learn(value)


@pytest.mark.parametrize(
  "value",
  [
    [],
    {"colours": ["a"]},
    {"classes": "ab"},
    {"classes": ["a", 3]},
    {"classes": [-1, ["a"]]},
    {"classes": [2**40, ["a"]]},
    {"classes": [1, "ab"]},
    {"classes": [True, ["a"]]},
  ],
)
def test_tables_that_are_none(value):
  assert not names.are_tables(value)


@pytest.mark.parametrize(
  "text",
  [
    "",
    "[]",
    "[" * 5000,
    '{"x": ["|u1", [2]]}',
    '{"x": ["|u1", [-2]], "extras": []}',
    '{"x": ["|u1", [99999999999]], "extras": []}',
    '{"x": ["|O", [2]], "extras": [1]}',
    '{"x": ["nothing", [2]], "extras": []}',
  ],
)
def test_layouts_that_are_none(text):
  with pytest.raises(ValueError):
    records.Layout.from_json(text)


@pytest.mark.parametrize(
  "changes",
  [
    {"first_id": 2**40},
    {"first_id": -1},
    {"first_id": "0"},
    {"store": "\ud800"},
    {"tables": {"classes": [2**40, ["a"]]}},
    {"more": 1},
  ],
)
def test_headers_that_say_what_cannot_be_are_damaged(tmp_path, changes):
  fill(tmp_path)
  path = segments.path_of(tmp_path, 0)
  with open(path, "rb") as file:
    about, end = segments.unframed(segments.MAGIC, file.fileno())
  rest = path.read_bytes()[end:]
  path.write_bytes(segments.framed(segments.MAGIC, {**about, **changes}) + rest)
  with open(path, "rb") as file:
    assert segments.read_header(file.fileno()) is None
  with Store.open(tmp_path, mode="r") as store:
    assert "header is damaged" in store.notes[0]
    readable(store)


@pytest.mark.parametrize(
  "changes",
  [{"count": 2**40}, {"first_id": 7}, {"first_id": 900}, {"a": 1}]
  + [{"store": "\ud800"}],
)
@pytest.mark.parametrize("number", [0, 1])
def test_index_files_that_say_what_cannot_be_are_made_anew(
  tmp_path, changes, number
):
  fill(tmp_path, 150, batch=10, segment_bytes=4096)
  path = index_lib.path_of(tmp_path, number)
  with open(path, "rb") as file:
    about, end = segments.unframed(index_lib.MAGIC, file.fileno())
  rest = path.read_bytes()[end:]
  head = segments.framed(index_lib.MAGIC, {**about, **changes})
  path.write_bytes(head + rest)
  with Store.open(tmp_path, mode="r") as store:
    assert readable(store) == list(range(150))


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000, b"[1]", b"3"])
def test_text_that_is_no_description_is_none(tmp_path, text):
  assert segments._table(text) is None
  path = tmp_path / "a"
  prefix = segments.PREFIX.pack(
    segments.MAGIC, segments.VERSION, zlib.crc32(text), len(text)
  )
  path.write_bytes(prefix + text)
  with open(path, "rb") as file:
    assert segments.unframed(segments.MAGIC, file.fileno()) is None


def test_numbers_that_a_table_may_have():
  most = 2**24 - 1
  assert names.are_tables({"classes": [most, ["a"]]})
  assert not names.are_tables({"classes": [most + 1, ["a"]]})
  assert names.are_tables({"classes": [0, ["a"]]})


def test_layouts_whose_definition_is_lost_have_no_size():
  known = names.Names()
  layout = records.Layout(("|u1", (3,)))
  known.learn({"layouts": [1, [layout.text]]})
  assert known.strides() == [0, layout.dtype.itemsize]
  assert known.layout(1) == layout
  for number in (0, 2):
    with pytest.raises(records.DamageError, match="are lost with the segment"):
      known.layout(number)


def test_as_many_ids_as_segments_of_empty_records_hold():
  most = 2**31 // 40
  assert segments.is_possible(most, 1) and segments.is_possible(0, 0)
  assert not segments.is_possible(most + 1, 1)
  assert segments.is_possible(3 * most, 3) and not segments.is_possible(1, 0)


@pytest.mark.parametrize("most", [0, 2**14])  # bytes that are read by a copy
def test_records_cut_short_while_a_store_is_open(tmp_path, monkeypatch, most):
  monkeypatch.setattr("jcl.replay.store.store._SMALL", most)
  fill(tmp_path)
  with Store.open(tmp_path, mode="r") as store:
    [segment] = store.contents.segments
    os.truncate(segment.path, segment.path.stat().st_size - 8)
    assert readable(store) == list(range(COUNT - 1))
    os.truncate(segment.path, 0)
    for count, more in ((8, ""), (9, ", ...")):
      told = f"{count} examples in .* are .*: 0, 1, 2, 3, 4, 5, 6, 7{more}; `py"
      with pytest.raises(records.DamageError, match=told):
        store.read(np.arange(count))
    told = r"ids \[12, 13, 14, 15, 16\] were never given: there are 12"
    with pytest.raises(ValueError, match=told):
      store.read(np.arange(10, 20))


@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_cannot_be_replaced_stays_as_it_was(
  tmp_path, monkeypatch, gone
):
  path = tmp_path / "a"
  segments.replace(path, [b"ol", b"d"])

  def fail(partial, target):
    assert partial.read_bytes() == b"new" and target == path
    if gone:
      partial.unlink()
    raise OSError("no such thing")

  monkeypatch.setattr(segments.os, "replace", fail)
  with pytest.raises(OSError, match="no such thing"):
    segments.replace(path, [b"new"])
  assert [each.name for each in tmp_path.iterdir()] == ["a"]
  assert path.read_bytes() == b"old"
