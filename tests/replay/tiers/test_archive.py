"""A run's examples in a store: once, by name, apart from other runs'."""

import numpy as np
import pytest
import tiny_hierarchy as tiny

from jcl.replay.store import records, store
from jcl.replay.tiers import archive as archive_lib


@pytest.fixture
def stored(tmp_path):
  with store.Store.open(tmp_path / "store") as opened:
    yield opened


@pytest.fixture
def beside(tmp_path):
  with store.Store.open(tmp_path / "extras") as opened:
    yield opened


def build(stored, run="run", names=tiny.NAMES, beside=None):
  extras = {} if beside is None else {"logits": np.zeros(4, np.float32)}
  return archive_lib.Archive(stored, run, names, tiny.example(extras), beside)


def flip(opened, example):
  """Changes a bit of an example's pixels on the disk."""
  opened.flush()
  segment = opened.contents.segments[-1].path
  offset = int(opened.contents.index.columns["offset"][example])
  with open(segment, "r+b") as file:
    file.seek(offset + records.HEADER.size)
    byte = file.read(1)
    file.seek(-1, 1)
    file.write(bytes([byte[0] ^ 1]))


def logits_of(x):
  return {"logits": tiny.numbers(x)[:, None] * np.ones(4, np.float32)}


def test_rows_are_the_examples_of_their_ids(stored):
  archive = build(stored)
  labels = [0, 1, 2, 3, 0, 1]
  ids = archive.add(0, tiny.data(labels))
  more = archive.add(1, tiny.data([2, 2], first=6))
  rows = archive.rows(np.concatenate([ids, more])[[7, 0, 3]])
  assert tiny.numbers(rows["x"]).tolist() == rows["id"].tolist() == [7, 0, 3]
  assert rows["y"].tolist() == [2, 0, 3]
  assert rows["task"].tolist() == [1, 0, 0]
  assert archive.pool(2).tolist() == [2, 6, 7]
  assert archive.rows(np.zeros(0, np.int64)).shape == (0,)


def test_what_an_earlier_process_stored_is_not_stored_again(stored):
  given = tiny.data([0, 1, 0, 1, 2])
  half = tiny.data([0, 1, 0])
  first = build(stored).add(0, half)  # it was killed in the middle
  ids = build(stored).add(0, given)
  assert ids.tolist() == [0, 1, 2, 3, 4] and ids[:3].tolist() == first.tolist()
  assert build(stored).add(0, given).tolist() == ids.tolist()
  assert len(stored) == 5


def test_examples_of_experiences_to_come_are_unknown(stored):
  data = tiny.data([0, 1]), tiny.data([0, 1], first=2)
  killed = build(stored)
  for i in (0, 1):
    killed.add(i, data[i])
  archive = build(stored)
  assert archive.pool(0).tolist() == []
  archive.add(0, data[0])
  archive.hold_out(5, seed=0)
  assert archive.pool(0).tolist() == [0] and archive.pool(1).tolist() == [1]
  archive.add(1, data[1])
  assert archive.pool(0).tolist() == [0, 2]


def test_runs_with_other_class_orders_do_not_mix(stored):
  here = build(stored, "here")
  there = build(stored, "there", names=tiny.NAMES[::-1])
  for experience in range(2):
    first = 4 * experience
    mine = here.add(experience, tiny.data([0, 1, 2, 3], first))
    yours = there.add(
      experience, tiny.data([0, 1, 2, 3], first + 100, tiny.NAMES[::-1])
    )
    for archive, ids, start in ((here, mine, 0), (there, yours, 100)):
      rows = archive.rows(ids)
      assert rows["y"].tolist() == [0, 1, 2, 3]
      assert tiny.numbers(rows["x"])[0] == start + first
  for label in range(4):
    assert not set(here.pool(label).tolist()) & set(there.pool(label).tolist())
    assert (there.rows(there.pool(label))["y"] == label).all()
    assert (tiny.numbers(there.rows(there.pool(label))["x"]) >= 100).all()


def test_a_tenth_at_most_is_set_aside_and_never_in_a_pool(stored):
  archive = build(stored)
  ids = archive.add(0, tiny.data([0] * 40 + [1] * 9))
  archive.hold_out(3, seed=1)
  assert {k: len(v) for k, v in archive.held_out.items()} == {0: 3, 1: 0}
  aside = archive.held_out[0].tolist()
  assert sorted([*aside, *archive.pool(0).tolist()]) == ids[:40].tolist()
  archive.add(1, tiny.data([0] * 40, first=49))
  archive.hold_out(20, seed=1)  # once for a class
  assert archive.held_out[0].tolist() == aside
  assert len(archive.pool(0)) == 77
  again = build(stored)
  again.add(0, tiny.data([0] * 40 + [1] * 9))
  again.hold_out(3, seed=1)
  assert again.held_out[0].tolist() == aside


def test_what_is_stored_beside_an_example_comes_with_it(stored, beside):
  archive = build(stored, beside=beside)
  first = tiny.data([0, 1, 0, 1])
  ids = archive.add(0, first)
  assert (archive.rows(ids)["logits"] == 0).all()  # not known yet
  archive.add_extras(0, first, logits_of)
  later = archive.add(1, tiny.data([2, 3], first=4))
  rows = archive.rows(np.array([3, later[0], 1]))
  assert rows["logits"][:, 0].tolist() == [3, 0, 1]
  archive.add_extras(1, tiny.data([2, 3], first=4), logits_of)
  rows = archive.rows(np.array([5, 0]))
  assert rows["logits"][:, 0].tolist() == [5, 0]
  assert archive.extra_names == ("logits",)


def test_extras_of_which_a_part_is_stored_are_completed(stored, beside):
  data = tiny.data([0, 1, 0, 1])
  archive = build(stored, beside=beside)
  ids = archive.add(0, data)
  archive.add_extras(0, tiny.data([0, 1]), logits_of)  # it was killed here
  again = build(stored, beside=beside)
  again.add(0, data)
  assert (again.rows(ids)["logits"] == 0).all()
  again.add_extras(0, data, logits_of)
  assert again.rows(ids)["logits"][:, 0].tolist() == [0, 1, 2, 3]
  assert len(beside) == 4


@pytest.mark.parametrize("which", ["stored", "beside"])
def test_damage_is_told_by_id_and_left_out(which, stored, beside, caplog):
  archive = build(stored, beside=beside)
  stored.append(np.zeros((3, 2), np.uint8), ["x"] * 3, run="other")
  data = tiny.data([0, 1, 2, 3])
  ids = archive.add(0, data)
  archive.add_extras(0, data, logits_of)
  place = ids[2] if which == "stored" else 2
  flip({"stored": stored, "beside": beside}[which], place)
  with pytest.raises(records.DamageError) as caught:
    archive.rows(ids)
  assert caught.value.ids == (ids[2],)
  assert archive.intact(ids)["id"].tolist() == ids[[0, 1, 3]].tolist()
  assert "damaged" in caplog.text


@pytest.mark.parametrize("which", ["stored", "beside"])
@pytest.mark.parametrize("lost", [[2], [0], [4], [5], [4, 5], [0, 2, 9]])
def test_what_is_lost_moves_nothing(which, lost, tmp_path):
  data = tiny.data([0, 1, 0, 1, 0]), tiny.data([2, 3, 2, 3, 2], first=5)

  def opened(name, **options):
    return store.Store.open(tmp_path / name, **options)

  with opened("stored") as stored, opened("beside") as beside:
    archive = build(stored, beside=beside)
    for i in (0, 1):
      archive.add(i, data[i])
      archive.add_extras(i, data[i], logits_of)
    for place in lost:
      flip({"stored": stored, "beside": beside}[which], place)
  again = {name: {"rebuild": name == which} for name in ("stored", "beside")}
  with (
    opened("stored", **again["stored"]) as stored,
    opened("beside", **again["beside"]) as beside,
  ):
    archive = build(stored, beside=beside)
    for i in (0, 1):
      start = 5 * i
      assert archive.add(i, data[i]).tolist() == list(range(start, start + 5))
      archive.add_extras(i, data[i], logits_of)
    assert len(stored) == 10 - len(lost) * (which == "stored")
    assert len(beside) == 10 - len(lost) * (which == "beside")
    rows = archive.intact(np.arange(10))
    assert rows["id"].tolist() == sorted(set(range(10)) - set(lost))
    assert tiny.numbers(rows["x"]).tolist() == rows["id"].tolist()
    assert rows["logits"][:, 0].tolist() == rows["id"].tolist()


def test_what_was_not_stored_is_told_from_what_is_lost(tmp_path):
  data = tiny.data([0, 1, 0, 1, 0])
  with store.Store.open(tmp_path) as stored:
    build(stored).add(0, tiny.data([0, 1, 0]))  # it was killed here
    flip(stored, 1)
  with store.Store.open(tmp_path, rebuild=True) as stored:
    assert build(stored).add(0, data).tolist() == [0, 1, 2, 3, 4]
    assert len(stored) == 4


def test_extras_need_a_store(stored):
  with pytest.raises(ValueError, match="logits.*give a store"):
    archive_lib.Archive(
      stored, "run", tiny.NAMES, tiny.example({"logits": np.zeros(4)})
    )


@pytest.mark.parametrize(
  ("room", "sizes"), [(0, [1] * 5), (1, [1] * 5), (2, [2, 2, 1]), (9, [5])]
)
def test_examples_are_stored_a_few_at_a_time(stored, monkeypatch, room, sizes):
  archive = build(stored)
  monkeypatch.setattr(
    archive_lib, "_BLOCK", int((room + 0.5) * archive.row_type.itemsize)
  )
  data = tiny.data([0, 1, 2, 3, 0])
  blocks = list(archive._blocks(data, 0))
  assert [len(labels) for _, labels in blocks] == sizes
  shown = np.concatenate([tiny.numbers(x) for x, _ in blocks])
  assert shown.tolist() == [0, 1, 2, 3, 4]
  (rest,) = archive._blocks(data, 4)
  assert rest[1] == ["cat"] and tiny.numbers(rest[0]).tolist() == [4]
  assert archive.add(0, tiny.data([])).shape == (0,)


@pytest.mark.parametrize(
  ("ids", "lost", "most", "expected"),
  [
    ([3, 5], [4], None, [3, 4, 5]),
    ([3, 5], [4, 6, 7], 3, [3, 4, 5]),  # what is between them counts
    ([3, 5], [4, 6, 7], 4, [3, 4, 5, 6]),
    ([3], [1, 2, 4], 3, [2, 3, 4]),  # right behind first, then before
    ([3], [1, 2, 4, 5], 4, [2, 3, 4, 5]),
    ([3], [0, 1, 2], 3, [1, 2, 3]),
    ([3], [2, 4], None, [3]),
    ([3], [1, 5], 2, [3]),  # not beside it
    ([], [1], 5, []),
    ([3], [], 9, [3]),
  ],
)
def test_which_lost_examples_are_an_experiences_own(ids, lost, most, expected):
  ids, lost = np.array(ids, np.int64), np.array(lost, np.int64)
  assert archive_lib._with_lost(ids, lost, most).tolist() == expected
