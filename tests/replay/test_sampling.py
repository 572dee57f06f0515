"""Draws are distinct, allowed, uniform, and padded where too few."""

import functools
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
import small_stream

from jcl.replay import memory, sampling

_uniform = jax.jit(sampling.uniform, static_argnums=2)


@settings(max_examples=40)
@given(
  seed=st.integers(0, 2**31 - 1),
  allowed=st.lists(st.booleans(), min_size=12, max_size=12),
  num_samples=st.sampled_from([0, 1, 3, 12, 17]),
)
def test_slots_are_distinct_and_allowed(seed, allowed, num_samples):
  allowed = np.array(allowed)
  key = jax.random.key(seed)
  slots = np.asarray(_uniform(key, allowed, num_samples))
  num_drawn = min(allowed.sum(), num_samples)
  assert slots.shape == (num_samples,) and slots.dtype == np.int32
  drawn = slots[:num_drawn]
  assert len(set(drawn)) == num_drawn
  assert allowed[drawn].all()
  assert (slots[num_drawn:] == 12).all()


@pytest.mark.parametrize("num_samples", [1, 2, 3, 4])
def test_every_subset_is_as_likely(num_samples):
  allowed = np.array([1, 0, 1, 1, 0, 1, 1], bool)
  keys = jax.random.split(jax.random.key(num_samples), 5000)
  draw = functools.partial(
    sampling.uniform, allowed=allowed, num_samples=num_samples
  )
  slots = np.sort(np.asarray(jax.jit(jax.vmap(draw))(keys)), axis=1)
  subsets = list(itertools.combinations(np.flatnonzero(allowed), num_samples))
  counts = [(slots == subset).all(axis=1).sum() for subset in subsets]
  assert sum(counts) == len(keys)
  assert stats.chisquare(counts).pvalue > 1e-4


def test_large_draw_without_replacement():
  slots = np.asarray(_uniform(jax.random.key(3), np.ones(300, bool), 299))
  assert len(set(slots)) == 299 and slots.max() < 300


def _filled(tasks):
  state = memory.start(6, small_stream.EXAMPLE)
  batch = small_stream.batch(np.zeros(len(tasks)))
  batch = batch._replace(task=np.asarray(tasks, np.int32))
  items = memory.write(state.items, batch, jnp.arange(len(tasks)))
  return state._replace(items=items)


def test_current_experience_can_be_left_out():
  state = _filled([0, 1, 0, 1, 2])
  rows = sampling.sample(
    jax.random.key(0),
    state,
    small_stream.scope(task=1),
    num_samples=5,
    current=False,
  )
  assert set(np.asarray(rows.ids)[:3].tolist()) == {0, 2, 4}
  np.testing.assert_array_equal(rows.weight, [1, 1, 1, 0, 0])
  np.testing.assert_array_equal(rows.ids[3:], [-1, -1])


@pytest.mark.parametrize("num_samples", [0, 4])
def test_empty_memory_gives_padding(num_samples):
  sample = jax.jit(
    functools.partial(sampling.sample, num_samples=num_samples, current=True)
  )
  state = memory.start(6, small_stream.EXAMPLE)
  rows = sample(jax.random.key(0), state, small_stream.scope())
  assert rows.x.shape == (num_samples, 2)
  np.testing.assert_array_equal(rows.weight, np.zeros(num_samples))
