"""Runs over a memory hierarchy: what they hold, limits, damage, streams."""

import contextlib
import math
import types

import numpy as np
import pytest
import tiny_hierarchy
import tiny_network

from jcl import base, recipes
from jcl.replay.store import records
from jcl.replay.tiers import limits
from jcl.run import loop, session, tiering
from jcl.streams import scenarios

OPTIONS = session.Options(steps_per_dispatch=1, progress=False)
ROW = 4 * 4 + 4 + 8 + 4  # bytes: pixels, class, id, experience
PAGES = 2 * 4096
WAIT = tiering._WAIT  # before tests change it


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
  tiny_hierarchy.read_at_once(monkeypatch)
  monkeypatch.setattr(tiering, "_WAIT", 0.0)


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


def play(setting, folder, limit=None, react=None):
  """Runs to the end, checking rows after each event; returns the tiers."""
  with tiering.opened(setting, folder, limit) as running:
    state, place = loop.start(running)
    for event in loop.run(running, state, place):
      check(running.tiers, running.stream)
      if limit is not None and event.kind in ("steps", "begin"):
        assert running.tiers.nbytes <= limit()
      if react is not None:
        react(event, running.tiers)
    return running.tiers, place


def kinds(tiers):
  return [decision["kind"] for decision in tiers.decisions]


@pytest.mark.parametrize(
  "text", ["carm:em=40,sb=60", "er:minibatch=5+carm:em=40,sb=60"]
)
def test_all_rows_are_right_while_examples_are_exchanged(text, tmp_path):
  setting, shown = assemble(text), []

  def react(event, tiers):
    shown.append(tiers.swapper.counts.applied)

  tiers, place = play(setting, tmp_path, react=react)
  assert shown[-1] > 10
  assert place.records[-1].memory["per_class"] == [10] * 4
  assert sum(place.records[-1].memory["exchanges"].values()) > 0


def test_what_the_host_allows_is_followed_at_once(tmp_path):
  limit = limits.Settable(PAGES + 500 * ROW)
  sizes, before = {}, limit()
  with tiering.opened(assemble(epochs=6), tmp_path, limit) as running:
    tiers = running.tiers
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
    d for d in tiers.decisions if d["kind"] in ("shrunk", "grown")
  )
  assert shrunk["epoch"] == 1 and 4 <= shrunk["em"]
  assert shrunk["em"] + shrunk["sb"] <= 150
  assert grown["epoch"] == 4 and (grown["em"], grown["sb"]) == (200, 150)
  # Nothing grew before the epoch's end.
  assert sizes[3, 2] == (shrunk["em"], shrunk["sb"])
  assert sizes[4, 0] == (200, 150)


def test_training_pauses_without_room_for_every_class(tmp_path):
  limit = limits.Settable(math.inf)
  setting = assemble()
  events = []
  with tiering.opened(setting, tmp_path, limit) as running:
    tiers = running.tiers
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
  found = kinds(tiers)
  assert found.count("paused") == found.count("resumed") == 2
  assert place.experience == 2
  assert place.records[-1].memory["per_class"] == [50] * 4


@pytest.mark.parametrize("text", ["carm:em=20,sb=30", "gdumb+carm:em=20"])
def test_an_experience_may_begin_while_training_pauses(text, tmp_path):
  limit, setting = limits.Settable(math.inf), assemble(text)
  with tiering.opened(setting, tmp_path, limit) as running:
    state, place = loop.start(running)
    for event in loop.run(running, state, place):
      if event.kind == "experience" and place.experience == 1:
        limit.set(0)
      if event.kind == "paused":
        limit.set(math.inf)
    assert kinds(running.tiers).count("paused") == 1
    assert place.records[1].steps > 0
    assert place.records[1].memory["per_class"] == [5] * 4


@pytest.mark.parametrize("trains", ["carm:em=200,sb=150", "gdumb+carm:em=200"])
def test_too_little_memory_at_the_start_is_told(trains, tmp_path):
  limit = limits.fixed(PAGES + ROW)
  with tiering.opened(assemble(trains), tmp_path, limit) as running:
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
  setting = assemble("carm:em=12,sb=60", per_class=60)
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

  tiers, place = play(setting, tmp_path, react=react)
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
  assert tiers.swapper.counts.applied > 0


def test_logits_of_what_is_swapped_in_are_those_stored(tmp_path):
  setting = assemble("derpp:minibatch=5+carm:em=20,sb=150")
  compared = []

  def react(event, tiers):
    if event.kind != "steps" or not len(tiers.em):
      return
    rows = tiers.em.rows.take(np.arange(len(tiers.em)))
    beside = tiers.archive._extras.read(rows["id"])  # added in one order
    assert (beside.x == rows["logits"]).all() and rows["logits"].any()
    compared.extend(rows["id"].tolist())

  play(setting, tmp_path, react=react)
  assert len(set(compared)) > 40


def test_storage_alone_trains_on_all_that_was_seen(tmp_path):
  _, place = play(assemble("storage_only"), tmp_path)
  assert [r.examples for r in place.records] == [3 * 240, 3 * 480]
  assert place.records[-1].memory["examples"] == 0


def test_a_method_without_a_hierarchy_gets_none():
  setting = assemble("er:buffer=10")
  with tiering.opened(setting, None) as running:
    assert running is setting


class Recorder:
  """Stands for tiers: notes what is asked of them."""

  def __init__(self, trains="both", **values):
    self.hierarchy = types.SimpleNamespace(
      trains=trains, plan=None, em=20, keep="ring"
    )
    self.sizes, self.wanted, self.room = (20, 30), (20, 30), 100
    self.nbytes, self.allowed = 50, 50
    self.exchanges = types.SimpleNamespace(
      progress=types.SimpleNamespace(target=0.5), end_epoch=lambda: ""
    )
    self.archive = types.SimpleNamespace(extra_names=())
    self.begins, self.decisions, self.calls = False, [], []
    vars(self).update(values)

  def limit(self):
    return self.allowed

  def fit_staging(self):
    pass

  def in_examples(self, size):
    return size

  def begin_epoch(self):
    return self.begins

  def __getattr__(self, name):
    return lambda *given: self.calls.append((name, *given))


def standing(tiers, /, **place):
  """A setting and a place of two experiences' data, "first" and "second"."""
  experiences = [types.SimpleNamespace(data=d) for d in ("first", "second")]
  setting = types.SimpleNamespace(
    tiers=tiers,
    learner=None,
    stream=types.SimpleNamespace(experiences=experiences),
    ledger=types.SimpleNamespace(timed=lambda _: contextlib.nullcontext()),
  )
  values = {"experience": 1, "epoch": 2, "step": 9, "batch": 0} | place
  return setting, types.SimpleNamespace(**values)


@pytest.fixture
def four_classes(monkeypatch):
  monkeypatch.setattr(tiering.sizing, "classes_seen", lambda *_: 4)
  monkeypatch.setattr(
    tiering.sizing, "fitting", lambda setting, place, room, em, sb: (em, sb)
  )
  monkeypatch.setattr(tiering.judging, "exhausted", lambda *_: False)


@pytest.mark.parametrize(("epochs", "part"), [(4, 0.5), (0, 2.0), (1, 2.0)])
def test_steps_of_a_dispatch_are_told_one_by_one(epochs, part):
  tiers = Recorder()
  setting, place = standing(
    tiers, decision=types.SimpleNamespace(epochs=epochs)
  )
  tiering.after_steps(setting, place, 10, [[1, 2], [3, -1]], ["a", "b"])
  assert tiers.calls == [
    ("trained", 10, part, 2, [1, 2], "a"),
    ("trained", 11, part, 2, [3, -1], "b"),
  ]


def test_what_was_held_is_held_again():
  for index, data in ((-1, "first"), (0, "first"), (1, "second")):
    tiers = Recorder()
    saved = {"experience": index}
    tiering.restore(*standing(tiers, tiers=saved))
    assert tiers.calls == [("restore", saved, data)]
  tiers = Recorder()
  tiering.restore(*standing(tiers, tiers=None))
  tiering.restore(*standing(None, tiers={"experience": 1}))
  assert not tiers.calls


def test_training_waits_below_one_example_of_each_class(four_classes):
  tiers = Recorder(room=3)
  assert tiering.starved(*standing(tiers))
  assert tiers.calls == [("arrange", 0, 0)] and kinds(tiers) == ["paused"]
  tiers = Recorder(room=3, sizes=(0, 0))
  assert tiering.starved(*standing(tiers))
  assert not tiers.calls and not tiers.decisions  # it waits already
  tiers = Recorder(room=4)
  assert not tiering.starved(*standing(tiers))
  assert not tiers.calls and not tiers.decisions
  tiers = Recorder(room=4, sizes=(0, 0))
  assert not tiering.starved(*standing(tiers))
  assert tiers.calls == [("arrange", 20, 30, "second")]
  assert kinds(tiers) == ["resumed"]
  tiers = Recorder(room=4, sizes=(0, 0), wanted=(0, 0))
  assert not tiering.starved(*standing(tiers)) and not tiers.calls
  assert not tiering.starved(*standing(Recorder("store", room=0)))


@pytest.mark.parametrize(
  ("values", "place", "calls", "found", "returns"),
  [
    ({}, {}, [], [], False),
    ({"begins": True}, {}, [], [], True),
    ({"begins": True}, {"batch": 1}, [], [], False),
    ({"nbytes": 51}, {}, [("arrange", 20, 30)], ["shrunk"], True),
    ({"nbytes": 51}, {"batch": 1}, [("arrange", 20, 30)], ["shrunk"], False),
    ({"nbytes": 51, "room": 3}, {}, [], [], False),
    ({"nbytes": 51, "room": 4}, {}, [("arrange", 20, 30)], ["shrunk"], True),
    (
      {"sizes": (20, 29)},
      {},
      [("arrange", 20, 30, "second")],
      ["grown"],
      True,
    ),
    ({"sizes": (21, 30)}, {}, [], [], False),
    ({"sizes": (20, 29)}, {"batch": 1}, [], [], False),
    (
      {"sizes": (19, 30), "trains": "memory"},
      {},
      [("arrange", 20, 30, None)],
      ["grown"],
      True,
    ),
    ({"trains": "store", "nbytes": 51, "begins": True}, {}, [], [], False),
  ],
)
def test_what_happens_between_dispatches(
  four_classes, values, place, calls, found, returns
):
  tiers = Recorder(**values)
  setting, here = standing(tiers, **place)
  assert tiering.between(setting, None, here, None) is returns
  assert tiers.calls == calls and kinds(tiers) == found


@pytest.mark.parametrize(
  ("plan", "wanted", "sizes", "room", "size"),
  [
    (None, (7, 0), (9, 0), 100, 20),
    (None, (7, 0), (9, 0), 19, 19),
    ("plan", (0, 5), (9, 0), 100, 20),
    ("plan", (7, 0), (9, 0), 100, 9),
    ("plan", (11, 0), (9, 0), math.inf, 11),
    ("plan", (1, 0), (0, 0), 100, 1),
  ],
)
def test_how_much_memory_an_experience_leaves_behind(
  plan, wanted, sizes, room, size
):
  tiers = Recorder(wanted=wanted, sizes=sizes, room=room)
  tiers.hierarchy.plan = plan
  setting, place = standing(tiers)
  tiering.end(setting, None, place)
  assert tiers.calls == [("end", "second", size, None, None)]


def test_of_each_class_the_most_valuable_are_the_last():
  features = np.array(
    [[2.0, 0.0], [9.0, 9.0], [0.0, 5.0], [3.0, 3.0], [9.0, 9.0]]
  )
  labels = np.array([0, 1, 0, 0, 1])
  learner = types.SimpleNamespace(outputs=lambda state, x, kind: features[x])
  blocks = [np.array([0, 1]), np.array([2, 3, 4])]
  found = tiering._herded(learner, None, labels, blocks)
  assert found[:3].tolist() == [2, 0, 3]  # as herding chooses, backwards
  assert sorted(found[3:].tolist()) == [1, 4]


@pytest.mark.parametrize("em", [4, 3])
def test_tiers_have_room_for_dispatches_and_for_every_class(
  em, tmp_path, monkeypatch
):
  given = []
  real = tiering.tiers_lib.Tiers

  def noted(*args, **options):
    given.append(options)
    return real(*args, **options)

  monkeypatch.setattr(tiering.tiers_lib, "Tiers", noted)
  setting = assemble(f"er:minibatch=5+carm:em={em},sb=30")
  if em == 3:
    with (
      pytest.raises(ValueError, match="em=3 makes 3 seats .* for 4 classes"),
      tiering.opened(setting, tmp_path),
    ):
      pass
    return
  with tiering.opened(setting, tmp_path) as running:
    assert running.tiers.limit() == math.inf
  [options] = given
  # Updates of 30 and 5 examples, one of them a dispatch.
  assert (options["lag"], options["staged"]) == (4, 8 * 35)


def test_who_waits_looks_twice_a_second(four_classes, monkeypatch):
  slept = []
  monkeypatch.setattr(tiering.time, "sleep", slept.append)
  monkeypatch.setattr(tiering, "_WAIT", WAIT)
  tiering.starved(*standing(Recorder(room=3)))
  tiering.starved(*standing(Recorder(room=4)))
  assert slept == [0.5]


@pytest.mark.parametrize(
  ("trains", "plan", "index", "wanted", "asked"),
  [
    ("both", None, 1, (20, 40), False),
    ("memory", None, 1, (20, 0), False),
    ("both", base.Plan(start=1), 0, (20, 40), False),
    ("both", base.Plan(start=1), 1, (20, 40), True),
    # From the second choice on, what is wanted stays.
    ("both", base.Plan(start=0), 1, (7, 8), True),
    ("both", base.Plan(start=0, policy="half"), 1, (20, 40), True),
    ("store", base.Plan(start=0), 1, (7, 8), False),
  ],
)
def test_what_an_experience_begins_with(
  four_classes, monkeypatch, trains, plan, index, wanted, asked
):
  told = []
  monkeypatch.setattr(
    tiering.sizing,
    "planned",
    lambda *_: told.append(0) or ("chosen", "why", {"predicted": 3.0}),
  )
  tiers = Recorder(
    trains, wanted=(7, 8), em=range(6), earlier=lambda: {0: 1}, table=[1]
  )
  tiers.hierarchy.plan, tiers.hierarchy.sb = plan, 40
  setting, place = standing(tiers, experience=index)
  tiering.begin(setting, None, place, None)
  data = ["first", "second"][index]
  assert tiers.calls[0] == ("store", index, data) and tiers.table == []
  assert tiers.wanted == wanted and bool(told) is asked
  if trains == "store":
    assert len(tiers.calls) == 1 and not tiers.decisions
    return
  assert kinds(tiers) == ["chosen" if asked else "fixed"]
  assert tiers.decisions[0].get("predicted") == (3.0 if asked else None)
  if trains == "memory":
    # No more than is held, before what came is taken in.
    assert tiers.calls[1:] == [("arrange", 6, 0), ("absorb", data, 20)]
    assert tiers.sizes == (20, 0)
  else:
    assert tiers.calls[1:] == [("arrange", *wanted, data)]


def test_an_experience_may_begin_with_nothing_in_memory(four_classes):
  for index, room, kind in ((1, 3, "paused"), (1, 4, "fixed"), (0, 3, "fixed")):
    tiers = Recorder(room=room)
    tiers.hierarchy.sb = 30
    setting, place = standing(tiers, experience=index)
    tiering.begin(setting, None, place, None)
    assert kinds(tiers) == [kind]
    sizes = (0, 0) if kind == "paused" else (20, 30)
    assert tiers.calls[-1][1:3] == sizes
