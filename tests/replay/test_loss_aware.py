"""A reservoir by losses: who leaves, who stays, and what is noted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_stream
import tiny_network

from jcl import base, recipes
from jcl.objectives import losses
from jcl.replay import loss_aware, reservoir
from jcl.run import loop, session

REPLAY = loss_aware.loss_aware(reservoir.reservoir(10, 4))
# The 99th percentile of chi-square with 59 degrees of freedom.
MOST = 87.2


def test_easy_examples_leave_in_proportion():
  stored = jnp.array([0.2, 0.5, 1.1])
  draw = functools.partial(
    jax.random.categorical, logits=jnp.log(loss_aware.chances(stored))
  )
  keys = jax.random.split(jax.random.key(0), 20_000)
  shares = np.bincount(jax.vmap(draw)(keys), minlength=3) / 20_000
  np.testing.assert_allclose(shares, [0.6, 0.4, 0], atol=0.01)
  even = loss_aware.chances(jnp.full(4, 2.5))
  np.testing.assert_array_equal(even, np.full(4, 0.25))


@functools.cache
def kept(rule, rising):
  """How often each of 60 examples is among 10 kept, of 400 streams."""
  replay = REPLAY if rule == "lars" else reservoir.reservoir(10, 4)
  loss = np.arange(60) / 60 if rising else np.full(60, 0.7)
  extras = {loss_aware.LOSS: loss.astype(np.float32)}
  offered = small_stream.batch(np.arange(60))._replace(extras=extras)
  blank = {loss_aware.LOSS: np.zeros((), np.float32)}
  state = replay.init(small_stream.EXAMPLE._replace(extras=blank))

  def stream(key):
    now = state
    for i in range(3):  # of twenty each
      part = jax.tree.map(lambda leaf, i=i: leaf[i * 20 : i * 20 + 20], offered)
      now = replay.add(jax.random.fold_in(key, i), now, part)
    return now.items.ids, now.seen

  keys = jax.random.split(jax.random.key(3), 400)
  ids, seen = jax.jit(jax.vmap(stream))(keys)
  assert (np.asarray(seen) == 60).all() and (np.asarray(ids) >= 0).all()
  return np.bincount(np.ravel(ids), minlength=60)


@pytest.mark.parametrize(
  ("rule", "rising", "uniform"),
  [("reservoir", False, True), ("lars", False, True), ("lars", True, False)],
)
def test_of_equal_losses_the_sample_is_uniform(rule, rising, uniform):
  counts, expected = kept(rule, rising), 400 * 10 / 60
  # Each stream keeps ten different ones, which takes that much of the spread.
  found = np.sum((counts - expected) ** 2) / expected / (1 - 10 / 60)
  assert (found < MOST) == uniform
  if not uniform:
    assert counts[-1] > counts[0]


def test_rows_without_weight_are_not_offered():
  offered = small_stream.batch([0, 1, 2, 3], weight=[1, 0, 0, 1])
  new = np.array([0.1, 9, 9, 0.2], np.float32)
  slots, seen = loss_aware.place(
    jax.random.key(0), jnp.int32(0), offered, np.zeros(10, np.float32), new
  )
  assert slots.tolist() == [0, 10, 10, 1] and int(seen) == 2


@pytest.mark.parametrize(
  "text", ["er:buffer=6,minibatch=4", "derpp:buffer=6,minibatch=4"]
)
def test_losses_are_those_of_the_last_look(text):
  job = session.assemble(
    tiny_network.stream(),
    tiny_network.build(),
    recipes.build(text + "+lars"),
    base.Training(batch_size=6, learning_rate=0.1),
    options=session.Options(progress=False, steps_per_dispatch=1),
  )
  state, place = loop.start(job)
  looks, before = 0, None
  for event in loop.run(job, state, place):
    if event.kind == "steps" and before is not None:
      train, items, mask = before
      now = event.state.replay.items
      x = job.learner.preprocess.normalise(items.x)
      logits = job.learner.network.apply(train.params, train.stats, x).logits
      shown = np.asarray(losses.surprise(logits, items.y, mask))
      new, old = (np.asarray(each.extras["loss"]) for each in (now, items))
      stays = np.asarray(now.ids) == np.asarray(items.ids)
      changed = stays & (new != old)
      np.testing.assert_allclose(new[changed], shown[changed], rtol=1e-4)
      looks += changed.sum()
    if event.kind in ("begin", "steps"):
      scope = loop.scope_of(job, place.experience)
      before = jax.tree.map(
        np.array, (event.state.train, event.state.replay.items, scope.head)
      )
      before = before if event.state.replay.seen > 0 else None
  assert looks > 8
  assert np.isfinite(np.asarray(event.state.replay.items.extras["loss"])).all()


@pytest.mark.parametrize("text", ["finetune+lars", "icarl+lars", "er_ace+lars"])
def test_recipes_that_tell_no_losses_are_refused(text):
  with pytest.raises(ValueError, match="put it behind er, der or derpp"):
    recipes.build(text)
