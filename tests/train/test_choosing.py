"""What a selector is shown, and what becomes of optimiser slots."""

import bare_learner
import jax
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.selection import fixed
from jcl.train import choosing, slots
from jcl.train import optimizer as optimizers

KEY, SCOPE = jax.random.key(4), tiny_network.scope()
ALL, HEAD = tiny_network.EVERYTHING, tiny_network.HEAD
PARAMS, STATS = tiny_network.build().init(jax.random.key(0))


def learner(**selector):
  rules = fixed.head_only()._replace(**selector)
  one = bare_learner.Learner(recipes.finetune()._replace(selector=rules))
  one.rate = lambda step, scope: 0.25
  one.gradient = lambda *given: given
  return one


def start(one, **changes):
  blank = choosing.blank(one, PARAMS)
  one.filed.clear()
  return bare_learner.state(
    one, params=PARAMS, stats=STATS, **{"opt_state": blank, **changes}
  )


def test_a_probe_is_of_the_state_as_it_stands():
  one = learner()
  state = start(one)
  found = choosing.probe(one, state, ["batch"], SCOPE)
  assert found.params is PARAMS and found.batches == ("batch",)
  assert found.learning_rate == 0.25
  asked = found.gradient("params", "batch", "key")
  assert asked == ("key", "params", state, "batch", SCOPE)
  ones = jax.tree.map(np.ones_like, PARAMS)
  moved = found.advance(ones, PARAMS)
  rate = optimizers.DEFAULTS.learning_rate
  np.testing.assert_allclose(
    moved["head"]["bias"], PARAMS["head"]["bias"] - rate, rtol=1e-6
  )
  assert one.filed == [("probe", "slots"), ("probe", "advance")]


def test_slots_that_train_go_before_parked_and_blank_ones(monkeypatch):
  held = []
  monkeypatch.setattr(
    choosing, "_advance", lambda learner, slots, *rest: held.append(slots)
  )
  monkeypatch.setattr(
    choosing, "blank", lambda *_: dict.fromkeys("abc", "blank")
  )
  one = learner()
  parked = slots.Parked(dict.fromkeys("ab", "parked"), (), ())
  state = bare_learner.state(one, opt_state={"a": "own"}, parked=parked)
  choosing.probe(one, state, (), SCOPE).advance(None, None)
  state = bare_learner.state(one, opt_state={"a": "own"})
  choosing.probe(one, state, (), SCOPE).advance(None, None)
  assert held == [
    {"a": "own", "b": "parked", "c": "blank"},
    {"a": "own", "b": "blank", "c": "blank"},
  ]


@pytest.mark.parametrize("num_probes", [0, 1])
def test_a_choice_is_made_of_scores(num_probes):
  def update(key, state, shown):
    return key, state, shown is None

  def choose(scored, network, times, budget):
    assert scored == ("key", (), num_probes == 0)
    assert (network.name, times, budget) == ("tiny", "times", 0.5)
    return HEAD

  one = learner(update=update, choose=choose, num_probes=num_probes)
  state = start(one)
  allowance = choosing.Allowance("times", 0.5)
  after, chosen = choosing.choose(one, "key", state, (), SCOPE, allowance)
  assert chosen == HEAD and after.selector == ("key", (), num_probes == 0)
  assert after.train is state.train
  assert bool(one.filed) == bool(num_probes)


def test_a_choice_has_to_be_of_the_network():
  one = learner(choose=lambda *_: base.Selection((True,)))
  with pytest.raises(ValueError):
    choosing.choose(
      one, KEY, start(one), (), SCOPE, choosing.Allowance(None, 1.0)
    )


def test_slots_move_where_the_selection_changes_or_some_are_parked():
  one = learner(slots="keep")
  parked = slots.park("keep", one.network, one.spec.optimizer, PARAMS)
  state = start(one, parked=parked)
  away = choosing.switch(one, state, ALL, HEAD)
  assert set(away.train.opt_state) == {"head/kernel", "head/bias"}
  assert away.parked.left.tolist() == [3] * 4 + [0] * 2
  still = choosing.switch(one, away, HEAD, HEAD)
  assert still.parked.away.tolist() == [2] * 4 + [0] * 2
  plain = start(one)
  assert choosing.switch(one, plain, ALL, ALL) is plain
  assert set(choosing.switch(one, plain, ALL, HEAD).train.opt_state) == {
    "head/kernel",
    "head/bias",
  }
