"""Batches out of memory and stream buffer, and out of the store."""

import types

import numpy as np
import pytest
import signatures
import tiny_hierarchy as tiny

from jcl import base
from jcl.replay.tiers import batches, ram, sources


def filled(tiers, em=4, sb=6):
  """Has a memory of four old examples and a buffer of six new ones."""
  tiers.store(0, tiny.data([0, 1] * 4))
  tiers.arrange(0, 8, tiny.data([0, 1] * 4))
  tiers.end(tiny.data([0, 1] * 4), em)
  data = tiny.data([2, 3] * 4, first=8)
  tiers.store(1, data)
  tiers.arrange(em, sb, data)
  return tiers


def rows(*batches):
  return np.array(batches, np.int32)


def test_an_epoch_holds_memory_and_buffer_once(tmp_path):
  with tiny.made(tmp_path, base.Hierarchy(4, 6)) as tiers:
    source = filled(tiers).source(0, 0)
    assert len(source) == 10
    batch = source.batch(rows([0, 9, 3], [5, -1, -1]))
    em, sb = tiers.em.ids(), tiers.sb.field("id")
    assert batch.ids.tolist() == [[em[0], sb[5], em[3]], [sb[1], -1, -1]]
    assert batch.weight.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert tiny.numbers(batch.x[0]).tolist() == batch.ids[0].tolist()
    assert (tiny.numbers(batch.x[1]) == sb[1]).all()  # pads repeat the first
    assert batch.y[1].tolist() == [batch.y[1, 0]] * 3
    assert batch.task.tolist()[0] == [0, 1, 0]
    everything = source.batch(rows(np.arange(10)))
    assert sorted(everything.ids[0].tolist()) == sorted([*em, *sb])


def test_what_has_left_since_the_epoch_began_is_padding(tmp_path):
  with tiny.made(tmp_path, base.Hierarchy(4, 6)) as tiers:
    source = filled(tiers).source(0, 0)
    tiers.arrange(2, 3)
    assert len(source) == 10
    batch = source.batch(rows(np.arange(10)))
    weights = [1, 1, 0, 0, 1, 1, 1, 0, 0, 0]
    assert batch.weight[0].tolist() == weights
    real = batch.weight[0] > 0
    assert (tiny.numbers(batch.x[0])[real] == batch.ids[0][real]).all()
    tiers.begin_epoch()
    assert len(source) == 5


def test_draws_stand_behind_the_stream_and_repeat(tmp_path):
  hierarchy = base.Hierarchy(4, 6, trains="stream")
  with tiny.made(tmp_path, hierarchy) as tiers:
    source = filled(tiers).source(2, 3)
    assert len(source) == 6
    batch = source.batch(rows([0, 1], [2, 3]))
    assert batch.ids.shape == (2, 2 + 2 * 3)
    em = set(tiers.em.ids().tolist())
    for row in batch.ids:
      assert not em & set(row[:2].tolist())
      for draw in (row[2:5], row[5:]):
        assert len(set(draw.tolist())) == 3 and set(draw.tolist()) <= em
    assert (tiny.numbers(batch.x[1]) == batch.ids[1]).all()
    again = source.batch(rows([2, 3]))
    assert again.ids[0].tolist() == batch.ids[1].tolist()


def test_a_memory_smaller_than_a_draw_is_padded(tmp_path):
  hierarchy = base.Hierarchy(4, 6, trains="stream")
  with tiny.made(tmp_path, hierarchy) as tiers:
    tiers.store(0, tiny.data([0, 1] * 4))
    tiers.arrange(0, 6, tiny.data([0, 1] * 4))
    batch = tiers.source(1, 3).batch(rows([0, 1]))
    assert batch.weight.tolist() == [[1, 1, 0, 0, 0]]


def test_a_store_is_read_in_any_order_and_damage_is_padding(tmp_path):
  hierarchy = base.Hierarchy(0, 0, trains="store")
  with tiny.made(tmp_path, hierarchy) as tiers:
    tiers.store(0, tiny.data([0, 1, 2, 3, 0]))
    source = tiers.source(0, 0)
    assert isinstance(source, sources.Stored) and len(source) == 5
    batch = source.batch(rows([4, -1, 0], [2, 1, 3]))
    assert batch.ids.tolist() == [[4, -1, 0], [2, 1, 3]]
    assert tiny.numbers(batch.x[1]).tolist() == [2, 1, 3]

    def read(ids):
      return tiers.archive.rows(ids[ids != 2])

    lame = sources.Stored(np.arange(5), read, tiers.compose)
    batch = lame.batch(rows([2, 1, 0]))
    assert batch.ids.tolist() == [[-1, 1, 0]]
    assert batch.weight.tolist() == [[0, 1, 1]]


def test_order_is_that_of_arrival_only_where_that_is_said(tmp_path):
  with tiny.made(tmp_path, base.Hierarchy(4, 6)) as tiers:
    filled(tiers)
    parts = tiers.em.rows, tiers.sb, lambda: (4, 6), tiers.compose, 0, (0,)
    assert not sources.Source(*parts).own
    assert sources.Source(*parts, own=True).own
    assert not sources.Stored.own
    # Nothing is drawn unless asked for.
    assert sources.Source(*parts).batch(rows([0, 9])).ids.shape == (1, 2)


def test_sources_draw_nothing_unless_told_to():
  found = signatures.defaults(sources.Source.__init__)
  assert found == {"draws": 0, "size": 0, "own": False}


@pytest.mark.parametrize(
  "trains, few, many",
  [
    ("both", 5 + 7, 12 + 20),
    ("memory", 5, 12 + 20),
    ("stream", 7, 20),
    ("store", 12 + 20, 12 + 20),
  ],
)
def test_rows_of_an_epoch_by_hand(trains, few, many):
  """Of 12 earlier and 20 fresh examples."""
  assert sources.num_rows(trains, 12, 20, em=5, sb=7) == few
  assert sources.num_rows(trains, 12, 20, em=40, sb=40) == many


def test_rows_become_a_batch_whose_ids_count_from_the_first_of_the_run():
  extras = {"task": ((), np.int32), "logits": ((2,), np.float32)}
  kind = ram.row_type((3,), np.uint8, extras)
  archive = types.SimpleNamespace(row_type=kind, extra_names=("logits",))
  given = np.zeros(2, kind)
  given["id"], given["y"], given["task"] = [103, 107], [2, 1], [4, 5]
  given["x"], given["logits"] = [[9], [8]], [[0.5, 1], [2, 3]]
  places = np.array([0, 4])
  found = batches.compose(archive, 100, (2, 3), [(places, given)])
  assert found.ids.tolist() == [[3, -1, -1], [-1, 7, -1]]
  assert found.weight.tolist() == [[1, 0, 0], [0, 1, 0]]
  assert found.y.tolist() == [[2, 2, 2], [0, 1, 0]]
  assert found.x[:, :, 0].tolist() == [[9, 9, 9], [0, 8, 0]]
  assert found.task.tolist() == [[4, 0, 0], [0, 5, 0]]
  assert found.extras["logits"][:, :, 1].tolist() == [[1, 0, 0], [0, 3, 0]]
  whole = batches.flat(archive, 100, given)
  assert whole.ids.tolist() == [3, 7] and whole.weight.tolist() == [1, 1]
  assert whole.extras["logits"].tolist() == [[0.5, 1], [2, 3]]
