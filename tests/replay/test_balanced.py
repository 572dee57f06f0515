"""Class-balanced memories, against their rules written as plain loops."""

import collections

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import numpy as np
import pytest
import signatures
import small_stream

from jcl.replay import balanced, herding, memory, reservoir

CAPACITY, BATCH = 7, 8
_RING = balanced.ring(CAPACITY, 2)
_GREEDY = balanced.greedy(CAPACITY, 2)
_ADD = {replay: jax.jit(replay.add) for replay in (_RING, _GREEDY)}


def _run(replay, labels, seed=0, weight=None):
  """Offers `labels` in batches of `BATCH`, the last one padded."""
  labels = np.asarray(labels, np.int32)
  weight = np.ones(len(labels)) if weight is None else np.asarray(weight)
  state = replay.init(small_stream.EXAMPLE)
  for i, first in enumerate(range(0, len(labels), BATCH)):
    part = labels[first : first + BATCH]
    padding = BATCH - len(part)
    batch = small_stream.batch(
      np.pad(part, (0, padding)),
      first=first,
      weight=np.pad(weight[first : first + BATCH], (0, padding)),
    )
    state = _ADD[replay](
      jax.random.fold_in(jax.random.key(seed), i), state, batch
    )
  return state


def _counts(state):
  filled = np.asarray(state.items.weight) > 0
  return collections.Counter(np.asarray(state.items.y)[filled].tolist())


def _ring_by_hand(labels):
  """Oldest first per class; ties of the largest go to the oldest example."""
  held: list[tuple[int, int]] = []  # (number, label), oldest first
  for number, label in enumerate(labels):
    count = collections.Counter(other for _, other in held)
    num_classes = len(set(count) | {label})
    if count[label] * num_classes >= CAPACITY:
      leaves = next(item for item in held if item[1] == label)
    elif len(held) == CAPACITY:
      most = max(count.values())
      leaves = next(item for item in held if count[item[1]] == most)
    else:
      leaves = None
    if leaves:
      held.remove(leaves)
    held.append((number, label))
  return [number for number, _ in held]


_labels = st.lists(st.integers(0, 4), min_size=1, max_size=40)


@settings(max_examples=40)
@given(_labels)
def test_ring_follows_its_rule(labels):
  state = _run(_RING, labels)
  assert sorted(small_stream.held(state.items)) == _ring_by_hand(labels)
  assert state.seen == len(labels)


@settings(max_examples=30)
@given(_labels)
def test_ring_keeps_the_most_recent_of_each_class(labels):
  state = _run(_RING, labels)
  held = small_stream.held(state.items)
  for label, count in _counts(state).items():
    numbers = np.flatnonzero(np.asarray(labels) == label)
    mine = sorted(n for n in held if labels[n] == label)
    assert mine == numbers[-count:].tolist()


@pytest.mark.parametrize("replay", [_RING, _GREEDY], ids=["ring", "greedy"])
@settings(max_examples=30)
@given(labels=_labels, seed=st.integers(0, 1000))
def test_no_class_is_lost_and_census_is_right(replay, labels, seed):
  state = _run(replay, labels, seed)
  counts = _counts(state)
  assert set(counts) == set(labels)
  filled = np.asarray(state.items.weight) > 0
  held = small_stream.held(state.items)
  y = np.asarray(state.items.y)[filled].tolist()
  assert [labels[number] for number in held] == y
  census = state.policy
  assert np.asarray(census.order)[filled].tolist() == held
  assert np.asarray(census.size)[filled].tolist() == [counts[c] for c in y]
  assert census.num_held == len(counts)


@pytest.mark.parametrize("replay", [_RING, _GREEDY], ids=["ring", "greedy"])
@pytest.mark.parametrize("order", ["by class", "mixed"])
def test_classes_with_enough_examples_are_balanced(replay, order):
  labels = np.repeat(np.arange(4), 20)
  if order == "mixed":
    labels = np.random.default_rng(0).permutation(labels)
  counts = _counts(_run(replay, labels)).values()
  assert sum(counts) == CAPACITY
  assert max(counts) - min(counts) <= 1


def test_greedy_drops_a_class_over_its_quota():
  # Seven slots, two classes: 0 holds four, and its fifth example is dropped
  # though slots are free.
  state = _run(_GREEDY, [1, 0, 0, 0, 0, 0, 0])
  assert sorted(small_stream.held(state.items)) == [0, 1, 2, 3, 4]


def test_greedy_evicts_at_random():
  kept = [
    small_stream.held(_run(_GREEDY, [0] * 7 + [1], seed).items)
    for seed in range(60)
  ]
  gone = [next(n for n in range(7) if n not in held) for held in kept]
  assert all(7 in held for held in kept)
  assert set(gone) == set(range(7))


def test_more_classes_than_slots():
  state = _run(_RING, np.arange(12))
  assert sorted(small_stream.held(state.items)) == list(range(5, 12))
  assert state.policy.num_held == CAPACITY


def test_padding_is_not_offered():
  labels = [0, 1, 0, 2, 1, 2, 0, 0, 1, 1]
  padded = np.insert(labels, 3, 3)
  weight = np.insert(np.ones(10), 3, 0)
  state = _run(_RING, padded, weight=weight)
  assert 3 not in _counts(state) and state.seen == 10
  assert _counts(state) == _counts(_run(_RING, labels))


@pytest.mark.parametrize(
  "make", [balanced.ring, balanced.greedy, herding.herding, reservoir.reservoir]
)
def test_the_current_experience_is_drawn_unless_told_otherwise(make):
  scope = small_stream.scope(task=0)
  for options, count in (({}, 2), ({"current": False}, 0)):
    replay = make(4, 3, **options)
    assert (replay.capacity, replay.num_samples) == (4, 3)
    state = replay.init(small_stream.EXAMPLE)
    items = memory.write(
      state.items, small_stream.batch([1, 2]), np.array([0, 1])
    )
    state = state._replace(items=items)
    rows = replay.sample(jax.random.key(0), state, scope)
    assert np.asarray(rows.weight).sum() == count


def test_which_slot_makes_room():
  room = np.array([False, True, True, False, True])
  order = np.array([0, 7, 3, 1, 9], np.int32)
  assert balanced._oldest(room, order, None) == 2
  # Rounding may lift the chance to 1.
  chances = (0.0, 0.33, 0.34, 0.66, 0.67, 1.0)
  found = [
    int(balanced._at_random(room, order, np.float32(c))) for c in chances
  ]
  assert found == [1, 1, 2, 2, 4, 4]


def test_one_slot_and_no_draws_are_allowed():
  for make in (balanced.ring, herding.herding, reservoir.reservoir):
    assert make(1, 0).init(small_stream.EXAMPLE).items.y.shape == (1,)


def test_when_they_are_offered():
  assert _RING.when == "step" and _GREEDY.when == "before"


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(balanced.ring) == {"current": True}
  assert signatures.defaults(balanced.greedy) == {"current": True}
