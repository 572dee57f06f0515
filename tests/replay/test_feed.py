"""What a feed tells of the device's memory, and of shares of an update."""

import types

import numpy as np
import tiny_network

from jcl import base
from jcl.replay import feed
from jcl.replay.tiers import feed as tier_feed


def made(kind=feed.Feed, *first, trains_on="current", slots=0):
  stream = types.SimpleNamespace(num_classes=5, ordered=False)
  method = types.SimpleNamespace(trains_on=trains_on)
  learner = types.SimpleNamespace(
    replay_share=0.25, method=method, memory_slots=slots, stream_rows=2
  )
  return kind(*first, stream, learner, None, 0)


def test_what_a_memory_on_the_device_holds():
  items = tiny_network.batch(5, weight=(1, 0, 1, 1, 0))._replace(
    y=np.array([3, 0, 3, 1, 0], np.int32)
  )
  state = types.SimpleNamespace(replay=base.ReplayState(items, 9, ()))
  held = made().summary(state)
  assert held["examples"] == 3 and held["per_class"] == [0, 1, 0, 2, 0]
  assert held["bytes"] == 5 * (4 * 4 + 4 * 4)
  nothing = {"examples": 0, "bytes": 0, "per_class": [0] * 5}
  assert made().summary(types.SimpleNamespace(replay=())) == nothing


def test_what_part_of_an_update_is_replayed():
  def share(found):
    assert found["train"] + found["replay"] == 1
    return found["replay"]

  for memory, part in (((), 0), (0, 0), (1, 0.25)):
    seen = (
      memory if memory == () else types.SimpleNamespace(seen=np.int32(memory))
    )
    state = types.SimpleNamespace(replay=seen)
    assert share(made().accounts(state)) == part
  for span, em, rows, part in (
    (0, 0, 40, 0),
    (0, 1, 40, 0.25),
    (10, 1, 40, 0.25),
    (30, 1, 40, 0.75),
    (1, 1, 0, 1),
  ):
    tiers = types.SimpleNamespace(span=span, em=range(em))
    found = made(tier_feed.TierFeed, tiers)
    found._source = range(rows)
    assert share(found.accounts(None)) == part


def test_how_many_rows_an_epoch_will_have():
  for trains_on, rows in (("current", 20), ("seen", 32), ("memory", 9)):
    found = made(trains_on=trains_on, slots=9)
    assert found.expected_rows(12, 20, None) == rows


def test_a_chunk_has_the_batches_that_follow(monkeypatch):
  batches = np.arange(12).reshape(6, 2)
  monkeypatch.setattr(feed.chunks, "rows_of", lambda order, learner: order)
  monkeypatch.setattr(feed.chunks, "read", lambda *args: args[2:])
  found = made()
  found.learner.steps_per_dispatch = 3
  found._source = range(12)
  found.order = lambda epoch: batches + 100 * epoch
  for batch, following, last in (
    (0, [0, 1, 2], False),
    (2, [2, 3, 4], False),
    (3, [3, 4, 5], True),
    (5, [5], True),
  ):
    rows, ends = found.take(1, batch)
    np.testing.assert_array_equal(rows, 100 + batches[following])
    assert ends == last
  # As an epoch is shown again, and ahead of any epoch, no rows are known.
  found._rows = 0, batches[:0]
  found.training_set = lambda state: range(12)
  found.show(None)
  assert found.take(0, 0)[0].tolist() == batches[:3].tolist()
  found._source = range(0)
  assert found.take(1, 0) is None


def test_an_epoch_that_became_shorter_ends(monkeypatch):
  monkeypatch.setattr(feed.chunks, "rows_of", lambda order, learner: order)
  found = made()
  for length, batch, then in (
    (3, 2, (5, 2)),
    (3, 3, (6, 0)),
    (3, 4, (6, 0)),
    (0, 2, (5, 2)),
  ):
    found.order = lambda epoch, length=length: np.zeros((length, 2), int)
    assert found.again(5, batch) == then


def test_a_plain_feed_leaves_everything_to_its_method():
  found = made()
  assert found.held(3) is None and found.memory() is None
  assert not found.apply(base.Allocation(1, em=5), begins=True)
  assert found.knows(3, now=2) and found.state() == {"index": -1}
  found.restore({"index": 2})
  assert found.index == 2


class Rows:
  """A training set of so many rows."""

  own = True

  def __init__(self, count):
    self._count = count

  def __len__(self):
    return self._count


def test_an_epoch_that_is_ordered_anew_may_be_over(monkeypatch):
  monkeypatch.setattr(feed.chunks, "rows_of", lambda order, learner: order)
  found = made()
  for count, batch, expected in (
    (3, 2, (7, 2)),
    (3, 3, (8, 0)),
    (3, 4, (8, 0)),
    (1, 1, (8, 0)),
    (0, 4, (7, 4)),  # nothing is shown any more
  ):
    found.order = lambda epoch, count=count: np.full(count, epoch)
    assert found.again(7, batch) == expected
    epoch, rows = found._rows
    assert (epoch, rows.tolist()) == (7, [7] * count)


def test_the_first_batch_is_that_of_the_whole_order(monkeypatch):
  read = types.SimpleNamespace
  monkeypatch.setattr(
    feed.chunks, "rows_of", lambda order, learner: order.reshape(-1, 2)
  )
  monkeypatch.setattr(feed.chunks, "read", lambda *args: read(batches=args[2]))
  found = made()
  found._source = Rows(6)
  found.arrive(3)
  order = feed.batching.epoch_order(6, 0, 3, 1)
  assert found.first_batch(1).tolist() == [order[:2].tolist()]
  assert found.num_batches == 3
  found.stream.ordered = True
  assert found.order(1).tolist() == list(range(6))
  found.source.own = False  # examples of a memory are in no order
  assert found.order(1).tolist() == order.tolist()


def test_what_holds_unless_a_feed_says_otherwise():
  found = made()
  assert found.state() == {"index": -1} and found.knows(2, now=1)
  assert found.apply(base.Allocation(1), begins=True) is False
  assert found.held(None) is None is found.memory()
  again = made()
  found.arrive(2)
  again.restore(found.state())
  assert again.index == 2
