"""Hooks of an experience: what they see, and where they are filed."""

import types

import bare_learner
import jax
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.train import chunks, hooks

KEY, SCOPE = jax.random.key(4), tiny_network.scope()
FINETUNE = recipes.finetune()


def learner(sparsity=None, method=FINETUNE, **objective):
  rules = base.Objective(method.objective.loss, **objective)
  one = bare_learner.Learner(method._replace(objective=rules))
  if sparsity is not None:
    forward = one.spec.forward
    one.spec = types.SimpleNamespace(sparsity=sparsity, forward=forward)
  return one


def chunk(count=1):
  batches = [tiny_network.batch(seed=seed) for seed in range(3)]
  stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
  stacked = stacked._replace(ids=stacked.ids + 7)
  return chunks.Chunk(stacked, stacked.ids, count)


@pytest.mark.parametrize("name", ["begin", "finish"])
def test_an_experience_is_opened_and_closed(name):
  def hook(state, params, stats, scope):
    return state, params, stats, scope

  one = learner(**{name: hook})
  state = bare_learner.state(one, params="params", stats="stats")
  after = getattr(hooks, name)(one, state, "scope")
  assert after.objective == ("told", "params", "stats", "scope")
  assert after.train is state.train and one.filed == [("train", name)]
  other = learner()
  assert getattr(hooks, name)(other, state, "scope") is state
  assert other.filed == []


def test_weights_held_at_zero_begin_anew():
  again = types.SimpleNamespace(restart=lambda slots: {**slots, "again": 1})
  one = learner(again)
  after = hooks.begin(one, bare_learner.state(one, opt_state={"a": 0}), SCOPE)
  assert after.train.opt_state == {"a": 0, "again": 1}
  assert (after.train.step, after.objective) == (3, "told")


@pytest.mark.parametrize("given", [None, "given"])
def test_a_memory_is_reviewed(given):
  def review(forward, inputs):
    return inputs

  one = learner(review=review)
  memory = base.ReplayState("kept", np.int32(1), ())
  state = bare_learner.state(one, params="params", stats="stats", replay=memory)
  after = hooks.review(one, "key", state, "scope", given)
  assert after.objective == base.LossInputs(
    "params", "stats", given or "kept", (), "scope", "told", "key"
  )
  assert one.filed == [("probe", "review")] and after.replay is memory


@pytest.mark.parametrize(
  ("solve", "account"), [(None, "probe"), (lambda: None, "train")]
)
def test_batches_are_shown_once_more(solve, account):
  drawn = []

  def accumulate(forward, inputs):
    drawn.append(inputs.key)
    return inputs.state + (int(inputs.batch.ids[0]),)

  method = FINETUNE._replace(predictor=FINETUNE.predictor._replace(solve=solve))
  one = learner(method=method, accumulate=accumulate)
  state = bare_learner.state(one, objective=())
  after = hooks.accumulate(one, KEY, state, chunk(3), SCOPE)
  assert after.objective == (7,)  # a dispatch makes one step here
  expected = jax.random.fold_in(KEY, 7)
  assert jax.random.key_data(drawn[0]).tolist() == (
    jax.random.key_data(expected).tolist()
  )
  spent = one.ledger.totals()[account]
  assert (spent.flops, spent.bytes) == (3 * 5, 3 * 7)
  assert one.filed == [(("accumulate",), (1,))]
  found = hooks.accumulation(one, KEY, state, chunk(2), SCOPE)
  assert found.cost == bare_learner.COST


def test_visits_of_the_memory_are_filed_as_replay():
  one = learner()
  visit = hooks.adding(one)
  assert (visit.account, visit.name) == ("replay", "add")


@pytest.mark.parametrize("when", ["first_batch", "last_batch"])
def test_a_batch_is_shown_to_the_hook_of_its_time(when):
  def hook(forward, inputs):
    return int(inputs.batch.ids[0]), {"seen": 1}

  one = learner(**{when: hook})
  state = bare_learner.state(one)
  wanted = hooks.BatchHook(when, tiny_network.EVERYTHING)
  after = hooks.show_batch(one, wanted, KEY, state, chunk().batches, SCOPE)
  assert after.objective == 7 and after.train.stats == {"seen": 1}
  assert one.filed == [("probe", wanted)]
