"""What a feed tells of the device's memory, and of shares of an update."""

import types

import numpy as np
import tiny_network

from jcl import base
from jcl.replay import feed
from jcl.replay.tiers import feed as tier_feed


def made(kind=feed.Feed, *first, trains_on="current", slots=0):
  stream = types.SimpleNamespace(num_classes=5)
  method = types.SimpleNamespace(trains_on=trains_on)
  learner = types.SimpleNamespace(
    replay_share=0.25, method=method, memory_slots=slots
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
