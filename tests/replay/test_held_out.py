"""One memory in two parts: what is drawn, and what never is."""

import collections

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import numpy as np
import pytest
import signatures
import small_stream

from jcl import base
from jcl.replay import balanced, held_out, memory, reservoir

CAPACITY, SHARE, BATCH = 12, 0.25, 20
_REPLAY = held_out.held_out(balanced.ring, CAPACITY, 5, SHARE)
_IS_HELD_OUT = held_out.by_number(SHARE)
_ADD, _SAMPLE = jax.jit(_REPLAY.add), jax.jit(_REPLAY.sample)


def _run(labels, seed=0):
  """Offers `labels`, in batches of `BATCH` whose last one is padded."""
  state = _REPLAY.init(small_stream.EXAMPLE)
  for first in range(0, len(labels), BATCH):
    part = np.asarray(labels[first : first + BATCH])
    missing = (0, BATCH - len(part))
    batch = small_stream.batch(
      np.pad(part, missing),
      first=first,
      weight=np.pad(np.ones(len(part)), missing),
    )
    key = jax.random.fold_in(jax.random.key(seed), first)
    state = _ADD(key, state, batch)
  return state


def _parts(state):
  """The slots that are drawn from, and the others."""
  return (
    jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], state.items)
    for rows in (slice(0, 9), slice(9, None))
  )


@settings(max_examples=50)
@given(
  share=st.floats(0.02, 0.9),
  first=st.integers(0, 2**31 - 1001),
  count=st.integers(1, 1000),
)
def test_any_run_of_examples_has_its_share(share, first, count):
  ids = np.arange(first, first + 1000, dtype=np.int32)  # of one shape
  num_held = int(np.asarray(held_out.by_number(share)(ids))[:count].sum())
  assert abs(num_held - share * count) <= 4


def test_the_rule_by_whole_numbers():
  ids = np.array([*range(40), *range(2**31 - 40, 2**31)], np.int64)
  for share in (0.1, 0.25):
    expected = [
      i * 2654435769 % 2**32 < int(share * 2**32) for i in ids.tolist()
    ]
    found = held_out.by_number(share)(ids.astype(np.int32))
    assert found.tolist() == expected


@pytest.mark.parametrize(
  ("slots", "share", "drawn"), [(12, 0.01, 11), (2, 0.5, 1), (12, 0.3, 8)]
)
def test_how_many_slots_are_drawn_from(slots, share, drawn):
  replay = held_out.held_out(reservoir.reservoir, slots, 5, share)
  state = replay.init(small_stream.EXAMPLE)
  batch = small_stream.batch(np.zeros(200))
  state = replay.add(jax.random.key(0), state, batch)
  held = np.asarray(held_out.by_number(share)(state.items.ids))
  assert held.tolist() == [False] * drawn + [True] * (slots - drawn)


def test_one_of_ten_in_every_row_of_examples():
  held = np.flatnonzero(held_out.by_number(0.1)(np.arange(5000)))
  assert abs(len(held) - 500) <= 1
  assert set(np.diff(held)) <= {5, 8, 13}  # Fibonacci numbers


@settings(max_examples=25)
@given(
  labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
  seed=st.integers(0, 100),
)
def test_each_example_stays_on_its_side(labels, seed):
  state = _run(labels, seed)
  drawn, kept = _parts(state)
  assert not _IS_HELD_OUT(drawn.ids)[drawn.weight > 0].any()
  assert _IS_HELD_OUT(kept.ids)[kept.weight > 0].all()
  assert state.seen == len(labels)
  for part in (drawn, kept):
    for number in small_stream.held(part):
      assert part.y[part.ids == number].tolist() == [labels[number]]
  shown = _SAMPLE(jax.random.key(seed), state, small_stream.scope())
  filled = np.asarray(shown.weight) > 0
  assert filled.sum() == min(5, (drawn.weight > 0).sum())
  assert set(np.asarray(shown.ids)[filled]) <= set(small_stream.held(drawn))


def test_both_parts_are_balanced():
  drawn, kept = _parts(_run(np.repeat([0, 1, 2], 20)))
  count = collections.Counter
  assert count(drawn.y.tolist()) == {0: 3, 1: 3, 2: 3}
  assert count(kept.y.tolist()) == {0: 1, 1: 1, 2: 1}
  assert (drawn.weight == 1).all() and (kept.weight == 1).all()


def test_all_that_may_be_drawn_is():
  state = _run(np.repeat([0, 1, 2], 20))
  shown: set[int] = set()
  for seed in range(50):
    rows = _SAMPLE(jax.random.key(seed), state, small_stream.scope())
    shown |= set(np.asarray(rows.ids).tolist())
  drawn, _ = _parts(state)
  assert shown == set(drawn.ids.tolist())


def test_it_takes_any_policy_and_a_size_in_bytes():
  size = memory.num_bytes(memory.empty(1, small_stream.EXAMPLE))
  replay = held_out.held_out(reservoir.reservoir, f"{40 * size}B", 3)
  state = replay.init(small_stream.EXAMPLE)
  assert state.items.y.shape == (40,)
  batch = small_stream.batch(np.zeros(300))
  state = jax.jit(replay.add)(jax.random.key(0), state, batch)
  held = np.asarray(held_out.by_number(0.1)(state.items.ids))
  assert held.tolist() == [False] * 36 + [True] * 4
  assert [int(part.seen) for part in state.policy] == [270, 30]
  assert replay.when == "after" and replay.num_samples == 3


@pytest.mark.parametrize("share", [-0.1, 0, 1, 1.5, float("nan")])
def test_bad_shares(share):
  for build in (
    lambda: held_out.by_number(share),
    lambda: held_out.held_out(balanced.ring, 10, 2, share),
  ):
    with pytest.raises(ValueError, match=f"held_out is {share}.*such as 0.1"):
      build()


def test_too_few_slots():
  with pytest.raises(ValueError, match="keeps nothing"):
    held_out.held_out(balanced.ring, 0, 2)
  for slots, share in ((1, 0.1), (3, 0.9)):
    replay = held_out.held_out(balanced.ring, slots, 2, share)
    with pytest.raises(ValueError, match=f"{slots} slots.*more slots"):
      replay.init(small_stream.EXAMPLE)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(held_out.held_out) == {"share": 0.1}


def test_what_is_held_out_stands_behind_a_memory_of_any_kind():
  rule = held_out.by_number(0.25)
  inner = reservoir.reservoir(6, 4)
  both = held_out.aside(inner, balanced.ring(4, 0), rule)
  example = base.Batch(
    np.zeros(2, np.float32),
    *(np.zeros((), np.int32),) * 3,
    np.zeros((), np.float32),
    {"logits": np.zeros(3, np.float32)},
  )
  state = both.init(example)
  batch = base.Batch(
    np.arange(80, dtype=np.float32).reshape(40, 2),
    np.arange(40, dtype=np.int32) % 2,
    np.zeros(40, np.int32),
    np.arange(40, dtype=np.int32),
    np.ones(40, np.float32),
    {"logits": np.ones((40, 3), np.float32)},
  )
  for _ in range(2):  # offered again, an example held out is not stored twice
    state = both.add(jax.random.key(0), state, batch)
  ids = np.asarray(state.items.ids)
  held = np.asarray(rule(batch.ids))
  assert not held[ids[:6]].any() and held[ids[6:]].all()
  assert len(set(ids[6:].tolist())) == 4
  assert (state.items.extras["logits"][6:] == 1).all()
  drawn = both.sample(jax.random.key(1), state, small_stream.scope())
  assert drawn.y.shape == (4,) and not held[np.asarray(drawn.ids)].any()
  assert both.when == "step" and both.num_samples == 4
