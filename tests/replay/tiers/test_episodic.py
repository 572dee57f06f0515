"""Slots of the memory against a dict of what it must hold."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl.replay.tiers import episodic, ram

TYPE = ram.row_type((3,), np.uint8, {})
LOST = 13  # an id that cannot be read


def read(ids):
  ids = np.asarray(ids)[np.asarray(ids) != LOST]
  rows = np.zeros(len(ids), TYPE)
  rows["id"], rows["y"] = ids, ids % 4
  rows["x"] = (ids % 251)[:, None]
  return rows


def by_class(ids):
  found = {}
  for i in ids:
    found.setdefault(i % 4, []).append(i)
  return found


def check(memory, ids):
  """Checks that the memory holds these ids, each with its row."""
  rows = memory.rows.take(np.arange(len(memory)))
  assert sorted(rows["id"].tolist()) == sorted(ids)
  assert (rows == read(rows["id"])).all()
  assert all(rows["id"][slot] == i for i, slot in memory.slots.items())
  assert len(memory.slots) == len(rows)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  """Has rows read in several blocks, of which the last is not full."""
  monkeypatch.setattr(episodic, "_BLOCK", 4)


unique = st.lists(st.integers(0, 60), unique=True, max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(unique, unique), max_size=5))
def test_any_order_of_calls_leaves_what_it_must(steps):
  memory = episodic.Episodic(TYPE)
  held = set()
  for wanted, coming in steps:
    residents = by_class(wanted)
    memory.become(residents, len(wanted), read)
    held = set(wanted) - {LOST}
    check(memory, held)
    order = {
      label: [i for i in ids if i != LOST] for label, ids in residents.items()
    }
    assert memory.residents() == {k: v for k, v in sorted(order.items()) if v}
    rows = read(coming)
    out = np.array((wanted + [99] * 30)[: len(rows)], np.int64)
    expected = 0
    for old, new in zip(out.tolist(), rows["id"].tolist(), strict=True):
      expected += old in held and new not in held
    before = set(held)
    for old, new in zip(out.tolist(), rows["id"].tolist(), strict=True):
      if old in before and new not in before:
        held = held - {old} | {new}
    assert memory.exchange(out, rows) == expected
    check(memory, held)
  memory.close()


def test_what_comes_takes_the_turn_of_what_left():
  memory = episodic.Episodic(TYPE)
  memory.become({0: [0, 4, 8]}, 3, read)
  memory.exchange(np.array([4]), read(np.array([12])))
  assert memory.residents() == {0: [0, 12, 8]}
  with pytest.raises(ValueError, match="shorter|longer"):  # one for two
    memory.exchange(np.array([0, 8]), read(np.array([16])))
  memory.close()


def test_a_saved_memory_comes_back_slot_by_slot():
  memory, again = episodic.Episodic(TYPE), episodic.Episodic(TYPE)
  memory.become(by_class(range(9)), 11, read)
  memory.become(by_class([8, 2, 3, 20]), 5, read)
  again.restore(memory.state(), read, 100)
  assert again.state() == memory.state()
  assert again.residents() == memory.residents()
  check(again, [8, 2, 3, 20])
  again.restore(memory.state(), read, 2)  # the host allows less by now
  check(again, memory.ids()[:2].tolist())
  assert again.rows.capacity == 2
  memory.close()
  again.close()


def test_an_example_that_is_lost_since_is_left_out():
  memory = episodic.Episodic(TYPE)
  memory.restore({"ids": [1, LOST, 5], "rank": [2, 0, 1], "size": 3}, read, 3)
  check(memory, [1, 5])
  assert memory.residents() == {1: [5, 1]}
  memory.close()
