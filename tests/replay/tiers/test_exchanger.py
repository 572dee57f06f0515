"""What leaves, what comes for it, how much of it, and the back-off."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl import base, keys
from jcl.replay.tiers import exchange_rate, exchanger
from jcl.replay.tiers import reader as reader_lib

POOL = {label: 1000 * label + np.arange(300) for label in range(4)}


class Reader:
  """Applies exchanges to a memory of ids at once, or keeps or drops them."""

  def __init__(self, memory=(), keeps_up=True):
    self.counts, self.pending = reader_lib.Counts(), ()
    self.memory, self.keeps_up = dict.fromkeys(memory, 0), keeps_up

  def submit(self, exchange, again=False):
    if not again:
      self.counts.requested += len(exchange.ids)
    if not self.keeps_up:
      self.counts.dropped += len(exchange.ids)
      self.counts.late += len(exchange.ids)
      return
    self.counts.applied += len(exchange.ids)
    for old, new in zip(
      exchange.out.tolist(), exchange.ids.tolist(), strict=True
    ):
      assert old // 1000 == new // 1000  # within the class
      assert new not in self.memory
      del self.memory[old]
      self.memory[new] = 0

  @property
  def leaving(self):
    return {i for exchange in self.pending for i in exchange.out.tolist()}

  @property
  def coming(self):
    return {i for exchange in self.pending for i in exchange.ids.tolist()}

  def hold(self, exchange, again=False):
    """Stands in for `submit` where nothing is ever read."""
    self.pending = (*self.pending, exchange)


def build(reader, pool=POOL, seed=0, **hierarchy):
  return exchanger.Exchanges(
    base.Hierarchy(100, 100, **hierarchy), reader, pool.__getitem__, seed, 4
  )


def ask(asks, reader, ids, *, step=0, part=0.0, epoch=0, difficulty=None):
  ids = np.array(ids, np.int64)
  difficulty = (
    np.zeros(len(ids)) if difficulty is None else np.array(difficulty)
  )
  asks.ask(step, part, epoch, ids, ids // 1000, difficulty, reader.memory)


def residents(per_class=25):
  return [int(i) for pool in POOL.values() for i in pool[:per_class]]


@pytest.mark.parametrize("target", [0.01, 0.05, 0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("replayed", [1, 3])
def test_the_average_ratio_is_the_target(target, replayed):
  reader = Reader(residents())
  asks, shown, step = build(reader, swap=target), 0, 0
  generator = np.random.default_rng(0)
  for epoch in range(20):
    ids = generator.permutation(list(reader.memory))
    for start in range(0, 99, replayed):
      here = [i for i in ids[start : start + replayed] if i in reader.memory]
      ask(asks, reader, here, step=step, epoch=epoch)
      shown, step = shown + len(here), step + 1
  assert reader.counts.applied / shown == pytest.approx(target, abs=0.01)
  assert len(reader.memory) == 100


@given(
  ratio=st.sampled_from([0.3, 1.0]),
  gate=st.sampled_from(["random", "hard", "late"]),
  balanced=st.booleans(),
  per_class=st.integers(1, 290),
  seed=st.integers(0, 99),
)
def test_what_comes_is_new_and_of_the_same_class(
  ratio, gate, balanced, per_class, seed
):
  reader = Reader(residents(per_class))
  asks = build(reader, seed=seed, swap=ratio, gate=gate, balanced=balanced)
  generator = np.random.default_rng(seed)
  for step in range(4):  # the reader checks each of them
    ids = generator.permutation(list(reader.memory))[:17]
    difficulty = generator.random(len(ids))
    ask(asks, reader, ids, step=step, part=step / 4, difficulty=difficulty)
  classes = [i // 1000 for i in reader.memory]
  assert np.bincount(classes).tolist() == [per_class] * 4


def test_a_class_that_is_all_in_memory_stays():
  reader = Reader(residents(300))
  ask(build(reader), reader, residents(3))
  assert reader.counts.requested == 0


def test_a_class_without_examples_elsewhere_stays():
  reader = Reader([0, 1000, 2000])
  pool = {0: POOL[0][:1], 1: POOL[1][:0], 2: POOL[2]}  # itself, none, 300
  ask(build(reader, pool=pool), reader, [0, 1000, 2000])
  assert reader.counts.applied == 1
  assert 0 in reader.memory and 1000 in reader.memory


@pytest.mark.parametrize("number", [1, 3, 5])
def test_what_a_run_draws_goes_by_seed_and_step(number):
  """Four tries for each example wanted and eight more, class by class."""
  ids = [i for label in (0, 2) for i in range(1000 * label, 1000 * label + 5)]
  ids = [i for i in ids if i % 1000 < number]
  reader = Reader(ids)
  ask(build(reader, seed=3), reader, ids, step=7)
  generator = keys.rng(3, keys.Purpose.EXCHANGE, 7)
  generator.random(len(ids))  # the order in which they would leave
  expected = []
  for label in (0, 2):
    tries = POOL[label][generator.integers(0, 300, 4 * number + 8)]
    new = [i for i in dict.fromkeys(tries.tolist()) if i % 1000 >= number]
    expected += new[:number]
  assert list(reader.memory) == expected


def test_what_random_tries_miss_is_listed():
  # One in 300 is outside of memory, and the tries do not meet it.
  outside, step = POOL[0][150], 0
  generator = keys.rng(0, keys.Purpose.EXCHANGE, step)
  generator.random(1)
  assert 150 not in generator.integers(0, 300, 12)
  reader = Reader([i for i in POOL[0].tolist() if i != outside])
  ask(build(reader), reader, [0], step=step)
  assert outside in reader.memory and 0 not in reader.memory


def test_the_last_ones_outside_are_found():
  reader = Reader(residents(298))
  ask(build(reader), reader, residents(5))
  assert reader.counts.applied == 8
  assert all(299 + 1000 * label in reader.memory for label in range(4))


def test_what_is_on_its_way_is_not_asked_for_again():
  reader = Reader(residents(297))
  reader.submit = reader.hold
  asks = build(reader)
  for step in range(3):
    ask(asks, reader, residents(3), step=step)
  out = [i for e in reader.pending for i in e.out.tolist()]
  ids = [i for e in reader.pending for i in e.ids.tolist()]
  assert len(out) == len(set(out)) == len(ids) == len(set(ids)) == 12
  assert {e.due for e in reader.pending} == {4}


def test_easy_ones_leave_by_the_gate():
  difficulty = [0.9, 0.1, 0.5, 0.2]
  ids = [0, 1, 1000, 1001]

  def left(part=0.0, **options):
    reader = Reader(ids)
    ask(build(reader, **options), reader, ids, part=part, difficulty=difficulty)
    return sorted(set(ids) - set(reader.memory))

  # A target of 10 % is a ratio of a half in every fifth epoch.
  assert left(gate="hard", swap=0.1) == [1, 1001]
  assert left(gate="late", swap=0.1, part=0.5) == [1, 1001]
  assert left(gate="late", swap=0.1) == left(gate="random", swap=0.1)
  assert left(gate="hard", swap=1.0) == ids


def test_a_balanced_choice_takes_the_same_share_of_every_class():
  order = np.array([0, 2, 4, 1, 3, 5])
  labels = np.array([0, 1, 0, 1, 0, 1])
  assert exchange_rate.evenly(order, labels, 2 / 6, 2).tolist() == [0, 1]
  assert sorted(exchange_rate.evenly(order, labels, 3 / 6, 3)) == [0, 1, 2]
  assert sorted(exchange_rate.evenly(order, labels, 9 / 6, 9)) == list(range(6))


def test_swapping_goes_on_where_it_was():
  def script(asks, reader, steps):
    for step in steps:
      ask(asks, reader, list(reader.memory)[:3], step=step)

  whole = Reader(residents())
  asks = build(whole, swap=0.6)
  script(asks, whole, range(4))
  state, memory = asks.state(), dict(whole.memory)
  script(asks, whole, range(4, 8))

  again = Reader(memory)
  resumed = build(again, swap=0.6)
  resumed.restore(state)
  assert resumed.state() == state
  script(resumed, again, range(4, 8))
  assert list(again.memory) == list(whole.memory)
  assert resumed.state() == asks.state()


def test_what_was_on_its_way_is_read_again_and_counted_once():
  reader = Reader(residents())
  asks = build(reader)
  state = asks.state() | {"pending": [[9, [0], [299]]]}
  counts = reader_lib.Counts(requested=1)
  state["counts"] = dataclasses.asdict(counts)
  asks.restore(state)
  assert 299 in reader.memory and reader.counts.requested == 1


def test_a_late_gate_closes_for_the_second_half_alone():
  ids, difficulty = [0, 1, 1000, 1001], [0.9, 0.1, 0.5, 0.2]

  def left(part, gate):
    reader = Reader(ids)
    asks = build(reader, gate=gate, swap=0.1)
    ask(asks, reader, ids, part=part, difficulty=difficulty)
    return sorted(set(ids) - set(reader.memory))

  assert left(0.75, "late") == [1, 1001]
  for part in (0.5, 0.75):
    assert left(part, "random") == left(0.0, "random")
  assert left(0.49, "late") == left(0.0, "random") != [1, 1001]


@pytest.mark.parametrize("balanced", [False, True])
def test_where_all_are_leaving_nobody_is_asked_for(balanced):
  reader = Reader(residents(3))
  reader.submit = reader.hold
  asks = build(reader, balanced=balanced)
  for step in range(2):
    ask(asks, reader, residents(3), step=step)
  [only] = reader.pending
  assert sorted(only.out.tolist()) == residents(3)


def test_what_random_tries_miss_is_drawn_from_those_outside():
  outside = np.array([20, 60, 100, 140, 180, 220, 260, 299])
  step = 0
  while True:  # to a step whose tries meet none of them
    generator = keys.rng(0, keys.Purpose.EXCHANGE, step)
    generator.random(1)
    if not np.isin(generator.integers(0, 300, 12), outside).any():
      break
    step += 1
  reader = Reader(np.setdiff1d(POOL[0], outside).tolist())
  ask(build(reader), reader, [0], step=step)
  [came] = set(reader.memory) & set(outside.tolist())
  assert came == generator.permutation(outside)[0]
