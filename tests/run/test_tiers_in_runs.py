"""Runs over a memory hierarchy: what they hold, limits, damage, streams."""

import contextlib
import math
import types

import numpy as np
import pytest
import tiny_hierarchy
import tiny_network

from jcl import base, recipes
from jcl.replay import feed as feeds
from jcl.replay.store import records
from jcl.replay.tiers import feed as tier_feed
from jcl.replay.tiers import limits
from jcl.run import loop, session
from jcl.streams import scenarios

OPTIONS = session.Options(steps_per_dispatch=1, progress=False)
ROW = 4 * 4 + 4 + 8 + 4  # bytes: pixels, class, id, experience
PAGES = 2 * 4096


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
  tiny_hierarchy.read_at_once(monkeypatch)
  monkeypatch.setattr(loop, "_WAIT", 0.0)


def assemble(text="carm:em=200,sb=150", stream=None, epochs=3, per_class=120):
  return session.assemble(
    stream or tiny_network.stream(tasks=2, per_class=per_class),
    tiny_network.build(),
    recipes.build(text),
    base.Training(epochs=epochs, batch_size=30, learning_rate=0.1),
    options=OPTIONS,
  )


def check(tiers, stream) -> None:
  """Checks every row of memory and buffer against the stream's examples."""
  x = np.concatenate([np.asarray(e.data.x) for e in stream.experiences])
  y = np.concatenate([np.asarray(e.data.y) for e in stream.experiences])
  for held in (tiers.em.rows, tiers.sb):
    rows = held.take(np.arange(held.count))
    assert (rows["x"] == x[rows["id"]]).all()
    assert (rows["y"] == y[rows["id"]]).all()
    assert len(set(rows["id"].tolist())) == len(rows)


def play(job, folder, limit=None, react=None):
  """Runs to the end, checking rows after each event; returns the tiers."""
  with session.fed(job, folder, limit) as running:
    state, place = loop.start(running)
    for event in loop.run(running, state, place):
      check(running.feed.tiers, running.stream)
      if limit is not None and event.kind in ("steps", "begin"):
        assert running.feed.tiers.nbytes <= limit()
      if react is not None:
        react(event, running.feed.tiers)
    return running.feed.tiers, place


def decisions(place):
  """All decisions of a run so far, in order."""
  ended = [d for r in place.records for d in r.memory["decisions"]]
  return ended if not place.begun else ended + place.decisions


def kinds(place):
  return [decision["kind"] for decision in decisions(place)]


@pytest.mark.parametrize(
  "text", ["carm:em=40,sb=60", "er:minibatch=5+carm:em=40,sb=60"]
)
def test_all_rows_are_right_while_examples_are_exchanged(text, tmp_path):
  job, shown = assemble(text), []

  def react(event, tiers):
    shown.append(tiers.reader.counts.applied)

  tiers, place = play(job, tmp_path, react=react)
  assert shown[-1] > 10
  assert place.records[-1].memory["per_class"] == [10] * 4
  assert sum(place.records[-1].memory["exchanges"].values()) > 0


def test_what_the_host_allows_is_followed_at_once(tmp_path):
  limit = limits.Settable(PAGES + 500 * ROW)
  sizes, before = {}, limit()
  with session.fed(assemble(epochs=6), tmp_path, limit) as running:
    tiers = running.feed.tiers
    state, place = loop.start(running)
    for event in loop.run(running, state, place):
      check(tiers, running.stream)
      assert tiers.nbytes <= limit() == before
      if event.kind != "steps" or place.experience == 0:
        continue
      sizes[place.epoch, place.batch] = tiers.sizes
      if (place.epoch, place.batch) == (1, 2):
        limit.set(PAGES + 150 * ROW)
      if (place.epoch, place.batch) == (3, 1):
        limit.set(math.inf)
      before = limit()  # followed when the next dispatch is over
  shrunk, grown = (
    d for d in decisions(place) if d["kind"] in ("shrunk", "grown")
  )
  assert shrunk["epoch"] == 1 and 4 <= shrunk["em"]
  assert shrunk["em"] + shrunk["sb"] <= 150
  assert grown["epoch"] == 4 and (grown["em"], grown["sb"]) == (200, 150)
  # Nothing grew before the epoch's end.
  assert sizes[3, 2] == (shrunk["em"], shrunk["sb"])
  assert sizes[4, 0] == (200, 150)


def test_training_pauses_without_room_for_every_class(tmp_path):
  limit = limits.Settable(math.inf)
  job = assemble()
  events = []
  with session.fed(job, tmp_path, limit) as running:
    tiers = running.feed.tiers
    state, place = loop.start(running)
    for event in loop.run(running, state, place):
      events.append((event.kind, place.step))
      check(tiers, running.stream)
      if event.kind == "paused":
        assert len(tiers.em) == tiers.sb.count == 0
        assert tiers.nbytes <= limit()
        if [k for k, _ in events[-3:]] == ["paused"] * 3:
          limit.set(math.inf)
      elif event.kind == "steps" and place.step in (3, 18):
        limit.set(PAGES + 3 * ROW if place.experience else 10)
  steps = [step for kind, step in events if kind == "steps"]
  assert [k for k, _ in events].count("paused") == 6
  assert len(steps) == len(set(steps)) == place.step  # none twice, none lost
  found = kinds(place)
  assert found.count("paused") == found.count("resumed") == 2
  assert place.experience == 2
  assert place.records[-1].memory["per_class"] == [50] * 4


@pytest.mark.parametrize("text", ["carm:em=20,sb=30", "gdumb+carm:em=20"])
def test_an_experience_may_begin_while_training_pauses(text, tmp_path):
  limit, job = limits.Settable(math.inf), assemble(text)
  with session.fed(job, tmp_path, limit) as running:
    state, place = loop.start(running)
    for event in loop.run(running, state, place):
      if event.kind == "experience" and place.experience == 1:
        limit.set(0)
      if event.kind == "paused":
        limit.set(math.inf)
    assert kinds(place).count("paused") == 1
    assert place.records[1].steps > 0
    assert place.records[1].memory["per_class"] == [5] * 4


@pytest.mark.parametrize("trains", ["carm:em=200,sb=150", "gdumb+carm:em=200"])
def test_too_little_memory_at_the_start_is_told(trains, tmp_path):
  limit = limits.fixed(PAGES + ROW)
  with session.fed(assemble(trains), tmp_path, limit) as running:
    state, place = loop.start(running)
    with pytest.raises(ValueError, match="fewer than the 2 classes seen"):
      list(loop.run(running, state, place))


def test_a_little_memory_is_used_as_well_as_may_be(tmp_path):
  limit = limits.fixed(PAGES + 160 * ROW)
  _, place = play(assemble(), tmp_path, limit)
  first, second = (r.memory["decisions"][0] for r in place.records)
  assert first["em"] == 0 and 100 < first["sb"] < 150  # nothing is old yet
  assert second["em"] + second["sb"] == first["sb"]
  assert second["em"] > second["sb"] > 40


def test_damage_is_left_out_counted_and_told(tmp_path, caplog):
  job = assemble("carm:em=12,sb=60", per_class=60)
  damaged = []

  def react(event, tiers):
    if event.kind == "begin" and event.place.experience == 1:
      columns = tiers.archive._store.contents.index.columns
      path = tiers.archive._store.contents.segments[-1].path
      with open(path, "r+b") as file:
        for i in set(range(120)) - set(tiers.em.slots):
          if i % 2:
            file.seek(int(columns["offset"][i]) + records.HEADER.size)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 1]))
            damaged.append(i)
    assert not set(damaged) & set(tiers.em.slots)

  tiers, place = play(job, tmp_path, react=react)
  counts = place.records[-1].memory["exchanges"]
  assert counts["failed"] > 0 and counts["applied"] > 0
  assert "are damaged" in caplog.text
  assert place.experience == 2
  assert place.records[-1].memory["per_class"] == [3] * 4


@pytest.mark.parametrize(
  "text",
  [
    "carm:em=20,sb=30",
    "derpp:minibatch=5+carm:em=20,sb=30",
    "icarl+carm:em=20",
  ],
)
def test_classes_may_come_again(text, tmp_path):
  stream = scenarios.permuted(tiny_network.source(per_class=15), tasks=3)
  tiers, place = play(assemble(text, stream, epochs=8), tmp_path)
  assert [sum(r.memory["per_class"]) for r in place.records] == [20] * 3
  assert place.records[-1].memory["per_class"] == [5] * 4
  assert tiers.reader.counts.applied > 0


def test_logits_of_what_is_swapped_in_are_those_stored(tmp_path):
  job = assemble("derpp:minibatch=5+carm:em=20,sb=150")
  compared = []

  def react(event, tiers):
    if event.kind != "steps" or not len(tiers.em):
      return
    rows = tiers.em.rows.take(np.arange(len(tiers.em)))
    beside = tiers.archive._extras.read(rows["id"])  # added in one order
    assert (beside.x == rows["logits"]).all() and rows["logits"].any()
    compared.extend(rows["id"].tolist())

  play(job, tmp_path, react=react)
  assert len(set(compared)) > 40


def test_storage_alone_trains_on_all_that_was_seen(tmp_path):
  _, place = play(assemble("storage_only"), tmp_path)
  assert [r.examples for r in place.records] == [3 * 240, 3 * 480]
  assert place.records[-1].memory["examples"] == 0


def test_a_method_without_a_hierarchy_gets_none():
  job = assemble("er:buffer=10")
  with session.fed(job, None) as running:
    assert type(running.feed) is feeds.Feed


class Recorder:
  """Stands for tiers: notes what is asked of them."""

  def __init__(self, trains="both", **values):
    self.hierarchy = types.SimpleNamespace(trains=trains, gate="random")
    self.sizes, self.begins, self.calls = (20, 30), False, []
    progress = types.SimpleNamespace(target=0.5)
    self.exchanges = types.SimpleNamespace(progress=progress)
    self.archive = types.SimpleNamespace(extra_names=())
    vars(self).update(values)

  def begin_epoch(self):
    self.calls.append(("begin_epoch",))
    return self.begins

  def __getattr__(self, name):
    return lambda *given: self.calls.append((name, *given))


def fed(tiers, index=1):
  """A feed over tiers, in an experience of two whose data are texts."""
  experiences = [types.SimpleNamespace(data=d) for d in ("first", "second")]
  stream = types.SimpleNamespace(experiences=experiences)
  ledger = types.SimpleNamespace(timed=lambda _: contextlib.nullcontext())
  made = tier_feed.TierFeed(tiers, stream, None, ledger, 0)
  made.index = index
  return made


@pytest.mark.parametrize(("epochs", "part"), [(4, 0.5), (0, 2.0), (1, 2.0)])
@pytest.mark.parametrize("gate", ["random", "hard"])
def test_steps_of_a_dispatch_are_told_one_by_one(epochs, part, gate):
  tiers = Recorder()
  tiers.hierarchy.gate = gate
  feed = fed(tiers)
  feed.open(base.Allocation(epochs, em=1, sb=1, swap=0.25))
  assert tiers.exchanges.progress.target == 0.25
  tiers.calls.clear()
  sent = feeds.Sent(10, 2, np.array([[1, 2], [3, -1]]))
  feed.sent(sent)
  early = [(name, *given[:3]) for name, *given in tiers.calls]
  assert [zeros.tolist() for *_, zeros in tiers.calls] == (
    [[0, 0], [0, 0]] if gate == "random" else []
  )
  feed.learned(sent, np.array(["a", "b"]))
  found = [(name, *given[:3]) for name, *given in tiers.calls]
  assert found == [("trained", 10, part, 2), ("trained", 11, part, 2)]
  assert bool(early) is (gate == "random")
  if gate == "hard":
    assert [str(hard) for *_, hard in tiers.calls] == ["a", "b"]


def test_what_was_held_is_held_again():
  for index, data in ((-1, "first"), (0, "first"), (1, "second")):
    feed = fed(Recorder())
    saved = {"experience": index}
    feed.restore({"index": index, "epochs": 3, "tiers": saved})
    assert feed.tiers.calls == [("restore", saved, data)]
    assert feed.index == index


@pytest.mark.parametrize(
  ("values", "sizes", "begins", "calls", "returns"),
  [
    ({}, (20, 30), False, [], False),
    ({}, (20, 30), True, ["begin_epoch"], False),
    ({"begins": True}, (20, 30), True, ["begin_epoch"], True),
    ({}, (10, 30), False, [("arrange", 10, 30, None)], True),
    ({}, (0, 0), False, [("arrange", 0, 0, None)], True),
    # What grows is filled from the experience's examples.
    (
      {"sizes": (0, 0)},
      (20, 30),
      False,
      [("arrange", 20, 30, "second"), "begin_epoch"],
      True,
    ),
    (
      {"sizes": (20, 29)},
      (20, 30),
      True,
      [("arrange", 20, 30, "second"), "begin_epoch", "begin_epoch"],
      True,
    ),
    (
      {"sizes": (19, 0), "trains": "memory"},
      (20, 0),
      False,
      [("arrange", 20, 0, None), "begin_epoch"],
      True,
    ),
    ({"trains": "store"}, (1, 2), True, [], False),
  ],
)
def test_how_sizes_are_followed(values, sizes, begins, calls, returns):
  tiers = Recorder(**values)
  em, sb = sizes
  allocation = base.Allocation(3, em=em, sb=sb, swap=0.75)
  assert fed(tiers).apply(allocation, begins) is returns
  assert tiers.calls == [c if isinstance(c, tuple) else (c,) for c in calls]
  assert tiers.exchanges.progress.target == 0.75


@pytest.mark.parametrize("trains", ["both", "stream", "memory", "store"])
@pytest.mark.parametrize("index", [0, 1])
def test_what_an_experience_begins_with(trains, index):
  tiers = Recorder(trains, em=range(6))
  feed = fed(tiers)
  feed.arrive(index)
  data = ["first", "second"][index]
  assert tiers.calls == [("store", index, data), ("fit_staging",)]
  tiers.calls.clear()
  feed.open(base.Allocation(2, em=20, sb=40))
  if trains == "store":
    assert not tiers.calls
  elif trains == "memory":
    # No more than is held, before what came is taken in.
    assert tiers.calls == [
      ("arrange", 6, 0),
      ("absorb", data, 20),
      ("begin_epoch",),
    ]
    assert tiers.sizes == (20, 0)
  else:
    assert tiers.calls == [("arrange", 20, 40, data)]
  tiers.calls.clear()
  tiers.hierarchy.keep = "ring"
  feed.close(None, 7)
  ends = [("end", data, 7, None, None)]
  assert tiers.calls == ([] if trains == "store" else ends)


def test_of_each_class_the_most_valuable_are_the_last(monkeypatch):
  features = np.array(
    [[2.0, 0.0], [9.0, 9.0], [0.0, 5.0], [3.0, 3.0], [9.0, 9.0]]
  )
  labels = np.array([0, 1, 0, 0, 1])
  monkeypatch.setattr(
    tier_feed.scoring, "outputs", lambda learner, state, x, kind: features[x]
  )
  blocks = [np.array([0, 1]), np.array([2, 3, 4])]
  found = tier_feed._herded(None, None, labels, blocks)
  assert found[:3].tolist() == [2, 0, 3]  # as herding chooses, backwards
  assert sorted(found[3:].tolist()) == [1, 4]


@pytest.mark.parametrize("em", [4, 3])
def test_tiers_have_room_for_dispatches_and_for_every_class(
  em, tmp_path, monkeypatch
):
  given = []
  real = tier_feed.tiers_lib.Tiers

  def noted(*args, **options):
    given.append(options)
    return real(*args, **options)

  monkeypatch.setattr(tier_feed.tiers_lib, "Tiers", noted)
  job = assemble(f"er:minibatch=5+carm:em={em},sb=30")
  if em == 3:
    with (
      pytest.raises(ValueError, match="em=3 makes 3 seats .* for 4 classes"),
      session.fed(job, tmp_path),
    ):
      pass
    return
  with session.fed(job, tmp_path) as running:
    assert running.feed.tiers.limit() == math.inf
  [options] = given
  # Updates of 30 and 5 examples, one of them a dispatch.
  assert (options["lag"], options["staged"]) == (4, 8 * 35)


def test_who_waits_looks_twice_a_second(tmp_path, monkeypatch):
  slept = []
  monkeypatch.undo()
  assert loop._WAIT == 0.5
  monkeypatch.setattr(loop.time, "sleep", slept.append)
  limit = limits.Settable(math.inf)
  with session.fed(assemble(), tmp_path, limit) as running:
    state, place = loop.start(running)
    for event in loop.run(running, state, place):
      if event.kind == "steps" and not slept:
        limit.set(10)
      if event.kind == "paused" and len(slept) == 2:
        break
  assert slept == [0.5, 0.5]
