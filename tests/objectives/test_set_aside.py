"""Examples held out weigh nothing, and are stored for those who judge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_network

from jcl import base
from jcl.objectives import projection, set_aside, supervised
from jcl.train import augment, step_spec

NETWORK = tiny_network.build()
FORWARD = step_spec.Forward(NETWORK, augment.Preprocess(0.0, 1.0))


def held(ids):
  return jnp.asarray(ids) % 3 == 0


def inputs(batch, memory=()):
  params, stats = NETWORK.init(jax.random.key(0))
  return base.LossInputs(
    params, stats, batch, memory, tiny_network.scope(), (), jax.random.key(1)
  )


@pytest.mark.parametrize("replayed", [False, True])
def test_the_loss_is_that_of_the_others(replayed):
  batch, draw = tiny_network.batch(9), tiny_network.batch(6, seed=1)
  memory = (draw,) if replayed else ()
  inner = supervised.cross_entropy()
  if replayed:
    inner = supervised.experience_replay()
  weight = (np.arange(9) % 3 != 0).astype(np.float32)
  others = batch._replace(weight=weight)
  rest = tuple(each._replace(weight=weight[:6]) for each in memory)
  loss, _ = set_aside.objective(inner, held).loss(
    FORWARD, inputs(batch, memory)
  )
  expected, _ = inner.loss(FORWARD, inputs(others, rest))
  everything, _ = inner.loss(FORWARD, inputs(batch, memory))
  assert loss == expected != everything


def test_a_second_loss_leaves_them_out_too():
  inner = projection.agem()
  found = set_aside.objective(inner, held)
  memory = (tiny_network.batch(6, seed=1),)
  weight = (np.arange(6) % 3 != 0).astype(np.float32)
  rest = (memory[0]._replace(weight=weight),)
  batch = tiny_network.batch(9)
  mine, _ = found.reference(FORWARD, inputs(batch, memory))
  expected, _ = inner.reference(FORWARD, inputs(batch, rest))
  assert mine == expected
  assert set_aside.objective(supervised.cross_entropy(), held).reference is None


def test_storing_them_writes_nothing():
  found = set_aside.kept(held)
  given = inputs(tiny_network.batch(9))
  assert found.settle(FORWARD, given) == ()
  assert found.write(NETWORK, (), given.params) == ((), given.params, 0.0)
  assert found.held is held and found.told is None
