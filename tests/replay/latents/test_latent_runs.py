"""What latents compose with: recipes, tiers, selections, steps in pieces."""

import jax
import numpy as np
import tiny_network

from jcl import base, recipes
from jcl.networks import mlp
from jcl.replay.latents import stream as latents
from jcl.run import session

NETWORK = mlp.mlp((4,), 4, width=8, depth=2)
STREAM = tiny_network.stream()
KEY = jax.random.fold_in(jax.random.key(0), 0)


def learn(codec, recipe, budget=None, **options):
  made = latents.prepare(
    *(STREAM, NETWORK, "dense_1", codec), key=KEY, budget=budget, rows=6
  )
  carried = session.Options(progress=False, **options)
  job = session.assemble(
    *(made.stream, made.network, recipes.build(recipe)),
    base.Training(epochs=1, batch_size=6, learning_rate=0.05),
    options=carried,
  )
  return session.run(job, None, carried), made


def test_tiers_hold_codes():
  done, made = learn("uint8", "derpp:minibatch=4+carm:em=8,sb=24")
  held = done.records[-1].memory
  assert held["examples"] >= 8
  assert made.cache.report().training.misses == 48
  assert np.isfinite(done.records[-1].loss)


def test_a_memory_holds_codes_within_its_bytes():
  done, made = learn("pq:4", "er:buffer=500B,minibatch=3", budget="200B")
  items, size = done.state.replay.items, made.cache.codec.bytes_per_example
  assert items.x.dtype == np.uint8 and items.x.nbytes == len(items.y) * size
  slot = size + 16  # label, experience, identity, weight
  assert len(items.y) == 500 // slot
  assert done.records[-1].memory["bytes"] == len(items.y) * slot <= 500
  codes = np.asarray(made.stream.experiences[0].data.x)
  first = np.asarray(items.task) == 0
  held = np.asarray(items.x)[first], np.asarray(items.ids)[first]
  np.testing.assert_array_equal(held[0], codes[held[1]])
  report = made.cache.report()
  assert report.held == 200 // size and report.bytes_held <= 200


def test_tensors_of_the_tail_are_chosen_and_train_in_pieces():
  done, made = learn(
    "raw", "er:buffer=8+elastic:rho=0.98,profile=analytic", executor="pieces"
  )
  assert done.records[-1].trained[1] == len(made.network.tensors) == 4
  assert done.records[-1].choices
