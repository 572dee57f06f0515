"""Heads that grow: what was known stays to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcl import base, recipes
from jcl.living import growing
from jcl.networks import catalogue
from jcl.options.errors import UsageError
from jcl.run import session
from jcl.streams import stream as stream_lib


def stream(classes, width=5):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(8, width)).astype(np.float32)
  y = np.arange(8, dtype=np.int32) % 2
  names = tuple(map(str, range(classes)))
  data = base.Dataset("tiny", x, y, names)
  return stream_lib.Stream(
    "tiny",
    "class",
    names,
    (base.Experience(0, (0, 1), data, np.arange(8)),),
    stream_lib.Sealed(()),
    (),
    np.zeros((), np.float32),
    np.ones((), np.float32),
  )


def job(classes, recipe):
  made = stream(classes)
  network = catalogue.build("mlp", made.example_shape, classes, width=4)
  training = base.Training(batch_size=4, optimizer="adam")
  return session.assemble(made, network, recipes.build(recipe), training)


@pytest.mark.parametrize("recipe", ["der:buffer=6", "slda", "ewc"])
def test_arrays_of_classes_keep_their_values_ahead_of_new_ones(recipe):
  small, large = job(2, recipe).learner, job(4, recipe).learner
  state, selection = small.init(jax.random.key(1))
  state = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), state)
  found = growing.grown(large, 0, state, selection)
  fresh, _ = large.init(jax.random.key(1))
  assert jax.tree.structure(found) == jax.tree.structure(fresh)
  changed = 0
  for old, new, like in zip(
    *map(jax.tree.leaves, (state, found, fresh)), strict=True
  ):
    assert new.shape == like.shape and new.dtype == like.dtype
    corner = tuple(slice(0, size) for size in old.shape)
    assert np.array_equal(new[corner], old)
    changed += new.shape != old.shape
  assert changed >= 2


def test_logits_of_known_classes_stay():
  small, large = job(2, "er").learner, job(4, "er").learner
  state, selection = small.init(jax.random.key(1))
  found = growing.grown(large, 0, state, selection)
  x = stream(2).experiences[0].data.x
  before = small.network.apply(state.train.params, state.train.stats, x)
  after = large.network.apply(found.train.params, found.train.stats, x)
  np.testing.assert_allclose(
    after.logits[:, :2], before.logits, rtol=0, atol=1e-6
  )
  head = max(jax.tree.leaves(found.train.params["head"]), key=np.ndim)
  assert float(jnp.abs(head[:, 2:]).min()) > 0  # drawn, not blank


def test_states_of_another_structure_are_refused():
  small, large = job(2, "er").learner, job(4, "der").learner
  state, selection = small.init(jax.random.key(1))
  with pytest.raises(UsageError, match="give capacity= for all classes"):
    growing.grown(large, 0, state, selection)


@pytest.mark.parametrize(
  ("first", "known", "seats"), [(1, 0, 1), (3, 3, 3), (3, 4, 6), (2, 9, 16)]
)
def test_seats_double(first, known, seats):
  assert growing.seats(first, known) == seats
