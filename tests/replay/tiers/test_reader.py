"""Reading beside the training: bounded, never waited for, on time."""

import threading

import numpy as np
import pytest

from jcl.replay.store import records
from jcl.replay.tiers import reader as reader_lib

ROW = np.dtype([("id", np.int64)])
PATIENCE = 30  # seconds, for a busy machine


def rows(ids):
  made = np.zeros(len(ids), ROW)
  made["id"] = ids
  return made


def exchange(due, *ids):
  ids = np.array(ids, np.int64)
  return reader_lib.Exchange(due, ids + 100, ids)


class Slow:
  """Reads when it is allowed to, and says that it has begun."""

  def __init__(self):
    self.begun, self.go = threading.Event(), threading.Event()
    self.done = threading.Semaphore(0)

  def __call__(self, ids):
    self.begun.set()
    assert self.go.wait(PATIENCE)
    self.done.release()
    return rows(ids)


@pytest.fixture
def slow():
  """A reader of six that is stuck in its first reading."""
  read = Slow()
  reader = reader_lib.Reader(read, 6)
  reader.submit(exchange(0, 0, 1))
  assert read.begun.wait(PATIENCE)
  yield read, reader
  read.go.set()
  reader.close()


def collected(reader, step):
  """Collects until nothing is on its way any more."""
  found = []
  for _, future in tuple(reader._waiting):
    future.exception(PATIENCE)
  for pair in reader.collect(step):
    found.append(pair)
  return found


def test_a_slow_reader_is_not_waited_for_and_the_oldest_make_room(slow):
  read, reader = slow
  for first in range(2, 22, 2):  # each returns, as the reader does not
    reader.submit(exchange(0, first, first + 1))
    assert sum(len(e.ids) for e in reader.pending) <= reader.capacity
    assert reader.collect(10**6) == []
  # The first is being read; of the others the latest are left.
  assert [e.ids.tolist() for e in reader.pending] == [
    [0, 1],
    [18, 19],
    [20, 21],
  ]
  assert (reader.counts.requested, reader.counts.dropped) == (22, 16)
  assert reader.counts.late == 16
  read.go.set()
  found = collected(reader, 0)
  assert [r["id"].tolist() for _, r in found] == [[0, 1], [18, 19], [20, 21]]
  assert reader.counts.applied == 6
  assert reader.counts.bytes == 6 * ROW.itemsize


def test_what_does_not_fit_is_dropped_at_once(slow):
  _, reader = slow
  reader.submit(exchange(0, *range(10, 17)))
  assert reader.counts.dropped == reader.counts.late == 3
  assert [len(e.ids) for e in reader.pending] == [2, 4]


def test_want_of_room_is_no_lag():
  reader = reader_lib.Reader(rows, 3)
  reader.submit(exchange(9, 0, 1))
  reader.submit(exchange(9, 2, 3))
  assert (reader.counts.dropped, reader.counts.late) == (1, 0)
  assert [e.ids.tolist() for e in reader.pending] == [[0, 1], [2]]
  assert len(collected(reader, 9)) == 2
  reader.close()


def test_less_room_drops_the_oldest(slow):
  read, reader = slow
  reader.submit(exchange(0, 2, 3))
  reader.resize(2)
  assert [e.ids.tolist() for e in reader.pending] == [[2, 3]]
  reader.resize(0)
  assert not reader.pending and reader.counts.dropped == 4
  reader.submit(exchange(0, 4))
  assert not reader.pending and reader.counts.dropped == 5
  read.go.set()


def test_the_end_of_an_experience_counts_what_was_on_its_way(slow):
  read, reader = slow
  reader.submit(exchange(0, 2, 3, 4))
  read.go.set()
  reader.end()
  assert not reader.pending and reader.counts.ended == 5
  assert reader.collect(10**6) == [] and reader.counts.applied == 0


def test_what_is_read_waits_for_its_step():
  reader = reader_lib.Reader(rows, 8)
  for due in (5, 3):
    reader.submit(exchange(due, due))
  assert collected(reader, 2) == []
  assert [e.due for e, _ in collected(reader, 4)] == [3]
  assert [e.due for e, _ in collected(reader, 5)] == [5]
  reader.close()


def test_damaged_examples_are_left_out_counted_and_told(caplog):
  def read(ids):
    if 7 in ids:
      raise records.DamageError("one example is damaged: 7", [7])
    return rows(ids)

  reader = reader_lib.Reader(read, 8)
  reader.submit(exchange(0, 6, 7, 8))
  [(found, read_rows)] = collected(reader, 0)
  assert found.out.tolist() == [106, 108] and found.ids.tolist() == [6, 8]
  assert read_rows["id"].tolist() == [6, 8]
  assert (reader.counts.failed, reader.counts.applied) == (1, 2)
  assert "damaged: 7" in caplog.text
  reader.close()


def test_any_other_failure_ends_the_run():
  def read(ids):
    raise records.StoreError("the disk is gone")

  reader = reader_lib.Reader(read, 8)
  reader.submit(exchange(0, 1))
  with pytest.raises(records.StoreError, match="gone"):
    collected(reader, 0)
  reader.close()


def test_exchanges_come_back_from_text():
  given = [exchange(3, 1, 2), exchange(4)]
  found = reader_lib.from_lists(reader_lib.as_lists(given))
  assert reader_lib.as_lists(found) == reader_lib.as_lists(given)
  assert found[0].ids.dtype == np.int64


def test_counts_subtract():
  before, after = reader_lib.Counts(1, 1), reader_lib.Counts(5, 2, 3)
  assert after - before == reader_lib.Counts(4, 1, 3)


def test_one_example_too_many_makes_room(slow):
  _, reader = slow
  reader.submit(exchange(0, 2, 3, 4))
  reader.submit(exchange(0, 5))
  assert len(reader.pending) == 3 and not reader.counts.dropped
  reader.submit(exchange(0, 6))
  assert [e.ids.tolist() for e in reader.pending] == [[0, 1], [5], [6]]
  assert reader.counts.dropped == reader.counts.late == 3


def test_reading_is_behind_from_the_step_on_at_which_it_is_due():
  read = Slow()
  reader = reader_lib.Reader(read, 2)
  reader.submit(exchange(1, 0, 1))
  assert read.begun.wait(PATIENCE)
  for step, late in ((0, 0), (1, 1)):
    assert reader.collect(step) == []
    reader.submit(exchange(9, 2))
    assert (reader.counts.dropped, reader.counts.late) == (step + 1, late)
  read.go.set()
  reader.close()


def test_an_exchange_read_again_is_not_counted_again():
  reader = reader_lib.Reader(rows, 3)
  reader.submit(exchange(0, 1, 2), again=True)
  assert reader.counts.requested == 0 and len(reader.pending) == 1
  reader.close()
