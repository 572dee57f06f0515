"""Memory, buffer and archive together: identity, balance, limits, going on."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures
import tiny_hierarchy as tiny

from jcl import base
from jcl.replay.tiers import episodic, limits, stream_buffer
from jcl.replay.tiers import tiers as tiers_lib

# Three experiences of which the last one brings back two classes.
EXPERIENCES = ([0, 1] * 30, [2, 3] * 30, [1, 2] * 30)
LABELS = [label for labels in EXPERIENCES for label in labels]


def experience(index):
  first = sum(map(len, EXPERIENCES[:index]))
  return tiny.data(EXPERIENCES[index], first)


def begin(tiers, index, em=20, sb=30):
  tiers.store(index, experience(index))
  tiers.arrange(em, sb, experience(index))


def replay(tiers, steps, seed=0, batch=8):
  """Asks for exchanges of random parts of the memory, and applies them."""
  generator = np.random.default_rng(seed)
  for step in range(steps):
    ids = generator.permutation(tiers.em.ids())[:batch]
    tiers.trained(step, 0.0, 0, ids, np.zeros(len(ids)))
    tiers.apply(step)
    tiny.check(tiers, LABELS)


def per_class(tiers):
  return tiers.summary()["per_class"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
  tiny.read_at_once(monkeypatch)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  """Has examples copied in several blocks, of which the last is not full."""
  for module in (episodic, stream_buffer, tiers_lib):
    monkeypatch.setattr(module, "_BLOCK", 7)


def test_the_stages_of_three_experiences(tmp_path):
  with tiny.made(tmp_path, base.Hierarchy(20, 30), lag=2) as tiers:
    for index in range(3):
      begin(tiers, index)
      assert tiers.sb.count == 30
      assert tiers.span == (0, 20, 20)[index]
      tiny.check(tiers, LABELS)
      replay(tiers, 300, seed=index)
      tiers.end(experience(index), 20)
      assert tiers.sb.count == 0
      assert per_class(tiers) == [[10, 10, 0, 0], [5] * 4, [5] * 4][index]
      tiny.check(tiers, LABELS)
    counts = tiers.reader.counts
    assert counts.applied > 2000 and counts.failed == counts.dropped == 0


@settings(max_examples=25)
@given(
  steps=st.lists(
    st.one_of(
      st.tuples(st.just("resize"), st.integers(4, 60), st.integers(0, 60)),
      st.tuples(st.just("grow"), st.integers(4, 60), st.integers(0, 60)),
      st.tuples(st.just("replay"), st.integers(1, 9), st.integers(1, 16)),
    ),
    max_size=8,
  ),
  held_out=st.booleans(),
  remainder=st.sampled_from(["spread", "drop"]),
)
def test_rows_are_their_examples_whatever_happens(
  tmp_path_factory, steps, held_out, remainder
):
  trials = base.Trials(held_out=5) if held_out else None
  hierarchy = base.Hierarchy(20, 30, trials=trials, remainder=remainder)
  folder = tmp_path_factory.mktemp("store")
  with tiny.made(folder, hierarchy, lag=1) as tiers:
    begin(tiers, 0)
    tiers.end(experience(0), 20)
    begin(tiers, 1)
    for kind, first, second in steps:
      if kind == "replay":
        replay(tiers, first, batch=second)
      else:
        data = experience(1) if kind == "grow" else None
        tiers.arrange(first, second, data)
      tiny.check(tiers, LABELS)
      counts = per_class(tiers)
      assert max(counts[:2]) - min(counts[:2]) <= 1
      assert sum(counts) <= tiers.em.rows.capacity
    tiers.end(experience(1), 21)
    tiny.check(tiers, LABELS)
    counts = per_class(tiers)
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == (21 if remainder == "spread" else 20)


def test_examples_set_aside_never_train(tmp_path):
  hierarchy = base.Hierarchy(20, 60, trials=base.Trials(held_out=3))
  with tiny.made(tmp_path, hierarchy, lag=1) as tiers:
    for index, sb in enumerate((60, 0, 60)):  # also where no buffer is
      begin(tiers, index, sb=sb)
      assert tiers.sb.count == (54 if index == 0 else sb and 60)
      replay(tiers, 30)
      tiers.end(experience(index), 40)
      tiny.check(tiers, LABELS)
    assert all(len(ids) == 3 for ids in tiers.archive.held_out.values())


@pytest.mark.parametrize("swap", [0.0, 1.0])
def test_saved_tiers_come_back_and_go_on_alike(tmp_path, swap):
  hierarchy = base.Hierarchy(20, 30, swap=swap, trials=base.Trials(held_out=3))

  def second_half(tiers):
    replay(tiers, 10, seed=5)
    tiers.end(experience(1), 20)
    begin(tiers, 2)
    replay(tiers, 10, seed=6)
    tiers.end(experience(2), 20)
    return tiers.state()

  with tiny.made(tmp_path, hierarchy, lag=3) as tiers:
    begin(tiers, 0)
    tiers.end(experience(0), 20)
    begin(tiers, 1)
    replay(tiers, 7)
    state = tiers.state()
    assert len(state["exchanges"]["pending"]) == (3 if swap else 0)
    expected = second_half(tiers)  # so that the store has what is to come
  with tiny.made(tmp_path, hierarchy, lag=3) as tiers:
    tiers.restore(state, experience(1))
    assert tiers.state() == state
    tiny.check(tiers, LABELS)
    assert second_half(tiers) == expected
    assert len(tiers.archive.rows(np.arange(len(LABELS)))) == len(LABELS)


def test_tiers_saved_between_experiences_come_back(tmp_path):
  with tiny.made(tmp_path, base.Hierarchy(20, 30)) as tiers:
    begin(tiers, 0)
    tiers.end(experience(0), 20)
    state = tiers.state()
    begin(tiers, 1)
    expected = tiers.state()
  with tiny.made(tmp_path, base.Hierarchy(20, 30)) as tiers:
    tiers.restore(state, experience(0))
    assert tiers.state() == state and len(tiers.archive.pool(2)) == 0
    begin(tiers, 1)
    assert tiers.state() == expected


def test_a_host_that_allows_less_by_now_gets_less(tmp_path):
  with tiny.made(tmp_path, base.Hierarchy(20, 30)) as tiers:
    begin(tiers, 0)
    tiers.end(experience(0), 20)
    begin(tiers, 1)
    state, row = tiers.state(), tiers.row_bytes
  limit = limits.fixed(2 * 4096 + 30 * row)
  with tiny.made(tmp_path, base.Hierarchy(20, 30), limit=limit) as tiers:
    tiers.restore(state, experience(1))
    assert tiers.nbytes <= limit()
    tiny.check(tiers, LABELS)


def test_bytes_stay_within_the_limit_through_every_stage(tmp_path):
  row = 8 + 4 + 8 + 4
  limit = limits.Settable(2 * 4096 + 100 * row)
  with tiny.made(
    tmp_path, base.Hierarchy(20, 30), limit=limit, staged=50
  ) as tiers:
    assert tiers.row_bytes == row
    begin(tiers, 0)
    tiers.end(experience(0), 20)
    begin(tiers, 1)
    assert tiers.nbytes <= limit()
    limit.set(2 * 4096 + 20 * row)
    tiers.fit_staging()
    room = int(tiers.room)
    tiers.arrange(room // 2, room - room // 2)
    assert tiers.nbytes <= limit()
    limit.set(0)
    tiers.fit_staging()
    tiers.arrange(0, 0)
    assert tiers.nbytes == 0 and tiers.room == 0
    limit.set(math.inf)
    tiers.fit_staging()
    assert tiers.reader.capacity == 50 and tiers.room == math.inf


def test_sizes_may_be_given_in_bytes(tmp_path):
  with tiny.made(tmp_path, base.Hierarchy("1KB", "1KiB")) as tiers:
    row = tiers.row_bytes
    assert tiers.in_examples("1KB") == 1000 // row
    assert tiers.in_examples(7) == 7


def test_an_order_decides_who_stays(tmp_path):
  seen = []

  def order(labels, blocks):
    x = np.concatenate(list(blocks))
    seen.append((labels, tiny.numbers(x)))
    return np.argsort(tiny.numbers(x))[::-1]  # low numbers stay longest

  hierarchy = base.Hierarchy(6, 30, keep="herding")
  with tiny.made(tmp_path, hierarchy) as tiers:
    begin(tiers, 0, em=6)
    buffer = np.sort(tiers.sb.field("id"))
    tiers.end(experience(0), 6, order=order)
    labels, numbers = seen[0]
    assert (np.array(LABELS)[numbers] == labels).all()
    best = [i for label in (0, 1) for i in buffer[buffer % 2 == label][:3]]
    assert sorted(tiers.em.ids()) == sorted(best)
    begin(tiers, 1, em=6, sb=0)  # without a buffer, of all that came
    tiers.end(experience(1), 6, order=order)
    assert len(seen[1][1]) == 60
    tiny.check(tiers, LABELS)


def test_a_memory_alone_is_balanced_over_all_that_was_seen(tmp_path):
  hierarchy = base.Hierarchy(20, 0, trains="memory", keep="greedy")
  with tiny.made(tmp_path, hierarchy, lag=1) as tiers:
    for index in range(3):
      tiers.store(index, experience(index))
      tiers.arrange(min(20, len(tiers.em)), 0)
      tiers.absorb(experience(index), 20)
      tiers.begin_epoch()
      assert per_class(tiers) == ([10, 10, 0, 0] if not index else [5] * 4)
      replay(tiers, 40)
      tiers.end(experience(index), 20)
      assert tiers.span == 0 and len(tiers.em) == 20


def test_the_memory_as_one_batch(tmp_path):
  with tiny.made(tmp_path, base.Hierarchy(20, 30)) as tiers:
    assert tiers.memory().weight.tolist() == [0]
    begin(tiers, 0)
    tiers.end(experience(0), 20)
    batch = tiers.memory()
    assert batch.weight.sum() == 20
    assert tiny.numbers(batch.x).tolist() == batch.ids.tolist()


@pytest.mark.parametrize(
  ("trains", "expected"),
  [
    # Of 12 earlier and 20 fresh examples, by a memory of 20 and a buffer of 30.
    ("both", [12 + 20, 5 + 20, 5 + 7]),
    ("memory", [20, 5, 5]),
    ("stream", [20, 20, 7]),
    ("store", [32, 32, 32]),
  ],
)
def test_what_an_epoch_will_go_through(tmp_path, trains, expected):
  with tiny.made(tmp_path, base.Hierarchy(20, 30, trains=trains)) as tiers:
    found = []
    for sizes in ((0, 0), (5, 30), (5, 7)):  # none yet: the sizes given
      found.append(tiers.expected_rows(12, 20, sizes))
    assert found == expected
    assert (
      tiers.expected_rows(12, 20, (50, 0))
      == {"both": 12, "memory": 32, "stream": 0, "store": 32}[trains]
    )


def test_nothing_has_come_yet(tmp_path):
  assert signatures.defaults(tiers_lib.Tiers.__init__) == {
    "seed": 0,
    "lag": 8,
    "staged": 256,
  }
  with tiny.made(tmp_path, base.Hierarchy(20, 30)) as tiers:
    state = tiers.state()
    assert (state["experience"], state["first"]) == (-1, 0)
    assert (state["span"], state["buffered"], state["sizes"]) == (0, 0, [0, 0])
    assert not state["begun"]
    tiers._ids = np.array([5])
    assert tiers.state()["begun"]


@pytest.mark.parametrize(
  "limit, staged, room",
  [
    (math.inf, 50, math.inf),
    (2 * 4096 + 100 * 24, 50, 50),
    (9600, 50, 8),  # an eighth of it holds 50 examples of 24 bytes
    (9599, 49, 9),
    (100, 0, 0),
  ],
)
def test_pending_reads_take_an_eighth_at_most(tmp_path, limit, staged, room):
  hierarchy = base.Hierarchy(20, 30)
  bound = limits.fixed(limit)
  with tiny.made(tmp_path, hierarchy, limit=bound, staged=50) as tiers:
    assert (tiers.reader.capacity, tiers.room) == (staged, room)


@pytest.mark.parametrize(
  "trains, span, buffered, given",
  [
    ("both", 20, 30, (20, 30)),
    ("stream", 0, 30, (20, 30)),
    ("memory", 20, 0, (20, 0)),
  ],
)
def test_which_tiers_an_epoch_goes_through(
  tmp_path, trains, span, buffered, given
):
  with tiny.made(tmp_path, base.Hierarchy(20, 30, trains=trains)) as tiers:
    assert tiers.given == given
    begin(tiers, 0, sb=given[1])
    assert len(tiers.em) == (20 if trains == "memory" else 0)
    tiers.end(experience(0), 20)
    begin(tiers, 1, sb=given[1])
    assert (tiers.span, tiers.buffered) == (span, buffered)
    assert not tiers.begin_epoch()
    for em in (10, 20):
      tiers.arrange(em, given[1])
      assert tiers.begin_epoch() == (trains != "stream")
    assert tiers.source(0, 0).own == (trains == "stream")
    assert tiers.state()["first"] == 0 and tiers.state()["begun"]
    tiers.end(experience(1), 20)
    assert not tiers.state()["begun"]
    assert (tiers.span, tiers.buffered) == (0, 0)


def test_where_examples_came_from(tmp_path):
  with tiny.made(tmp_path, base.Hierarchy(20, 30)) as tiers:
    for index in range(2):
      begin(tiers, index)
      tiers.end(experience(index), 20)
    assert {k: len(v) for k, v in tiers.earlier().items()} == {
      label: 30 for label in range(4)
    }
    begin(tiers, 2)
    fresh = {k: v.tolist() for k, v in tiers.fresh().items()}
    assert fresh == {1: [*range(120, 180, 2)], 2: [*range(121, 180, 2)]}
    earlier = {k: v.tolist() for k, v in tiers.earlier().items()}
    assert earlier[1] == [*range(1, 60, 2)] and len(earlier) == 4
    assert tiers._incoming(1).tolist() == earlier[1] + fresh[1]
    tiers.archive.extra_names = ("logits",)  # which fresh examples lack
    assert tiers._incoming(1).tolist() == earlier[1]
    tiers._ids = tiers._ids[:0]
    assert tiers._incoming(1).tolist() == earlier[1] + fresh[1]


def test_what_a_step_has_replayed_is_asked_for(tmp_path, monkeypatch):
  with tiny.made(tmp_path, base.Hierarchy(20, 30)) as tiers:
    begin(tiers, 0)
    tiers.end(experience(0), 20)
    begin(tiers, 1)
    one, other = tiers.em.ids()[[3, 8]].tolist()
    told = []
    monkeypatch.setattr(tiers.exchanges, "ask", lambda *args: told.append(args))
    tiers._first = 1  # one more than the ids of batches say
    ids = np.array([one - 1, -1, 70, other - 1], np.int32)
    tiers.trained(7, 0.5, 2, ids, np.array([0.25, 0.5, 0.75], np.float32))
    tiers.trained(8, 0.5, 2, np.array([70, -1], np.int32), np.zeros(2))
    [(step, part, epoch, replayed, labels, hard, residents)] = told
    assert (step, part, epoch) == (7, 0.5, 2)
    assert replayed.tolist() == [one, other]
    assert labels.tolist() == [LABELS[one], LABELS[other]]
    assert hard.tolist() == [0.25, 0] and residents is tiers.em.slots


@pytest.mark.parametrize(
  "policy, patience, aside",
  [("largest", 0, 0), ("utility", 0, 3), ("largest", 1, 3)],
)
def test_who_judges_sets_examples_aside(tmp_path, policy, patience, aside):
  trials = base.Trials(policy, patience=patience, held_out=3)
  hierarchy = base.Hierarchy(20, 30, trials=trials)
  with tiny.made(tmp_path, hierarchy) as tiers:
    begin(tiers, 0)
    assert len(tiers.archive.aside) == 2 * aside
