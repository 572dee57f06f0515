"""Every experience has as many examples, and those are drawn by number."""

import collections

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import numpy as np
import small_stream

from jcl.replay import sampled

CAPACITY = 7
_MEMORY = sampled.sampled(CAPACITY, 2)
_ADD = jax.jit(_MEMORY.add)


def _run(sizes, rows=5, repeat=1):
  """Offers experiences of so many examples, in batches of some rows."""
  state = _MEMORY.init(small_stream.EXAMPLE)
  first = 0
  for task, size in enumerate(sizes):
    for start in repeat * list(range(0, size, rows)):
      count = min(rows, size - start)
      labels = np.zeros(rows, np.int32)
      state = _ADD(
        jax.random.key(0),
        state,
        small_stream.batch(
          labels,
          first=first + start,
          task=task,
          weight=np.arange(rows) < count,
        ),
      )
    first += size
  return state


def _counts(state):
  filled = np.asarray(state.items.weight) > 0
  return collections.Counter(np.asarray(state.items.task)[filled].tolist())


def test_all_is_kept_while_there_is_room():
  state = _run([3, 2])
  assert sorted(small_stream.held(state.items)) == [0, 1, 2, 3, 4]


def test_experiences_share_the_slots():
  assert _counts(_run([20])) == {0: 7}
  assert sorted(_counts(_run([20, 20])).values()) == [3, 4]
  assert sorted(_counts(_run([20, 20, 20])).values()) == [2, 2, 3]


def test_a_small_experience_leaves_its_slots_to_others():
  assert _counts(_run([20, 1, 20])) == {0: 3, 1: 1, 2: 3}


@settings(max_examples=25)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=9))
def test_shares_differ_by_one_at_most(sizes):
  counts = _counts(_run(sizes))
  assert sum(counts.values()) == min(CAPACITY, sum(sizes))
  held = [counts[task] for task in range(len(sizes))]
  for size, count in zip(sizes, held, strict=True):
    assert count == size or count >= max(held) - 1


@settings(max_examples=25)
@given(st.integers(1, 20), st.integers(1, 20))
def test_batches_and_repetition_make_no_difference(one, other):
  """Within what an experience may keep; slots are in another order."""
  expected = sorted(small_stream.held(_run([one, other], 20).items))
  assert sorted(small_stream.held(_run([one, other], 3, 2).items)) == expected


def test_slots_hold_their_own_examples():
  items = _run([20, 20, 20]).items
  np.testing.assert_array_equal(items.x[:, 0], items.ids)
  np.testing.assert_array_equal(items.task, np.asarray(items.ids) // 20)


def test_every_example_is_as_likely():
  """1,000 experiences of 14, of which 7 stay: a mean of a half each."""
  rows = 14
  kept = np.zeros(rows)
  for first in range(0, 1000 * rows, rows):
    batch = small_stream.batch(np.zeros(rows, np.int32), first=first)
    state = _ADD(jax.random.key(0), _MEMORY.init(small_stream.EXAMPLE), batch)
    kept[np.asarray(state.items.ids) - first] += 1
  error = np.sqrt(1000 * 0.25)
  assert np.abs(kept - 500).max() < 4 * error


def test_padding_and_rows_of_no_weight_are_not_kept():
  batch = small_stream.batch(np.zeros(3, np.int32), weight=[0, 1, 0])
  state = _ADD(jax.random.key(0), _MEMORY.init(small_stream.EXAMPLE), batch)
  assert small_stream.held(state.items) == [1]
  assert int(state.seen) == 1
