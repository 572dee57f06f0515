"""A pass ahead of the updates, and parameters that the host writes."""

import bare_learner
import jax
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.train import chunks, consolidation

KEY, SCOPE = jax.random.key(0), tiny_network.scope()


def chunk(seed):
  batches = jax.tree.map(lambda leaf: leaf[None], tiny_network.batch(seed=seed))
  return chunks.Chunk(batches, batches.ids, 1)


def learner(found, **replay):
  method = recipes.finetune()._replace(consolidation=found)
  method = method._replace(replay=method.replay._replace(**replay))
  extras = {"logits": np.ones(4, np.float16)}
  example = tiny_network.batch()._replace(extras=extras)
  return bare_learner.Learner(method, example=example)


def settle(forward, inputs):
  return inputs.state + (int(inputs.batch.y.sum()),)


def write(network, state, params):
  return (*state, network.name), {**params, "written": 1}, 11.0


def test_every_batch_is_seen_and_then_the_host_writes():
  one = learner(base.Consolidation(settle=settle, write=write))
  before = bare_learner.state(one, objective=(), replay="as it is")
  after = consolidation.settle(one, KEY, before, [chunk(0), chunk(1)], SCOPE)
  sums = [int(tiny_network.batch(seed=seed).y.sum()) for seed in (0, 1)]
  assert after.objective == (*sums, "tiny")
  assert after.train.params == {"written": 1} and after.train.step == 3
  assert after.replay == "as it is"
  # Two passes of five operations, and eleven of the host's.
  assert one.ledger.totals()["train"].flops == 2 * 5 + 11
  assert {name for name, _ in one.filed} == {("settle",)}


@pytest.mark.parametrize("given", [{}, {"settle": settle}, {"write": write}])
def test_nothing_is_read_where_nothing_is_written(given):
  one = learner(base.Consolidation(**given))
  state = bare_learner.state(one)
  assert consolidation.settle(one, KEY, state, iter([None]), SCOPE) is state
  assert one.ledger.totals()["train"].flops == 0


def test_what_is_set_aside_is_offered_to_the_memory():
  offered = []

  def add(key, state, batch):
    offered.append(batch)
    return state + 1

  found = base.Consolidation(settle, write, held=lambda ids: ids % 3 == 1)
  one = learner(found, add=add)
  state = bare_learner.state(one, objective=(), replay=4)
  after = consolidation.settle(one, KEY, state, [chunk(0)], SCOPE)
  (batch,) = offered
  assert after.replay == 5
  assert batch.weight.tolist() == [0, 1, 0, 0, 1, 0]
  assert batch.extras["logits"].shape == (6, 4)
  assert batch.extras["logits"].dtype == np.float16
  assert not batch.extras["logits"].any()
  np.testing.assert_array_equal(batch.x, tiny_network.batch(seed=0).x)
