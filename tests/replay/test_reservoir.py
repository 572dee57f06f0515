"""The reservoir is algorithm R, whatever the batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures
import small_stream

from jcl.replay import reservoir


def _run(key, replay, batches):
  state = replay.init(small_stream.EXAMPLE)
  for i, batch in enumerate(batches):
    state = replay.add(jax.random.fold_in(key, i), state, batch)
  return state


def test_batch_equals_offering_one_by_one():
  key, capacity, weight = jax.random.key(1), 3, np.array([1, 0] * 10)
  seen = jnp.int32(2)
  slots, after = reservoir.place(key, seen, weight, capacity)
  number, expected = 2, []
  totals = np.maximum(2 + np.cumsum(weight), 1)
  draws = np.asarray(jax.random.randint(key, (20,), 0, totals))
  for row in range(20):
    slot = capacity
    if weight[row]:
      slot = number if number < capacity else min(draws[row], capacity)
      number += 1
    expected.append(slot)
  np.testing.assert_array_equal(slots, expected)
  assert after == number == 12
  assert set(expected) == {0, 1, 2, 3}


def test_first_examples_fill_the_slots_in_order():
  replay = reservoir.reservoir(4, 2)
  state = _run(
    jax.random.key(0),
    replay,
    [small_stream.batch([0, 1, 2], weight=[1, 0, 1])],
  )
  assert small_stream.held(state.items) == [0, 2]
  assert state.seen == 2


@pytest.mark.parametrize("batch_size", [1, 4, 20])
def test_every_example_is_kept_with_probability_m_over_n(batch_size):
  num_keys, capacity, count = 3000, 5, 20
  replay = reservoir.reservoir(capacity, 1)
  keys = jax.random.split(jax.random.key(batch_size), num_keys)
  state = jax.tree.map(
    lambda leaf: jnp.broadcast_to(leaf, (num_keys, *jnp.shape(leaf))),
    replay.init(small_stream.EXAMPLE),
  )

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None, 0, None))
  def add(key, i, state, batch):
    return replay.add(jax.random.fold_in(key, i), state, batch)

  for i, first in enumerate(range(0, count, batch_size)):
    batch = small_stream.batch(np.zeros(batch_size), first=first)
    state = add(keys, i, state, batch)
  ids = np.asarray(state.items.ids)
  assert (np.diff(np.sort(ids, axis=1)) > 0).all()
  share = capacity / count
  bound = 4.5 * np.sqrt(num_keys * share * (1 - share))
  counts = np.bincount(ids.ravel(), minlength=count)
  assert np.abs(counts - num_keys * share).max() < bound


def test_sample_reads_what_was_stored():
  replay = reservoir.reservoir("180B", 3)
  key = jax.random.key(0)
  state = _run(key, replay, [small_stream.batch([5, 6])])
  assert state.items.weight.shape == (10,)
  rows = jax.jit(replay.sample)(key, state, small_stream.scope())
  assert sorted(np.asarray(rows.y).tolist()) == [0, 5, 6]
  assert replay.when == "step"


@pytest.mark.parametrize("capacity", [0, -1, "0B"])
def test_bad_capacity(capacity):
  with pytest.raises(ValueError, match="at least one slot"):
    reservoir.reservoir(capacity, 1)


def test_bad_num_samples():
  with pytest.raises(ValueError, match="num_samples is -1"):
    reservoir.reservoir(1, -1)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(reservoir.reservoir) == {"current": True}
