"""Penalties: their states, their values and their gradients."""

import jax
import jax.numpy as jnp
import linear_case
import numpy as np
import pytest
import signatures

from jcl import base
from jcl.objectives import icarl, regularisers, supervised

NOW = linear_case.batch([2, 3, 2])
SCOPE = linear_case.scope()
PARAMS = linear_case.params()
STATS = linear_case.STATS
OTHER = linear_case.params(4)


def _fisher(tree, batch):
  """Mean squared gradients of a linear softmax, example by example."""
  error = (
    np.exp(linear_case.log_softmax(linear_case.logits(tree, batch.x), range(4)))
    - np.eye(5)[batch.y]
  )
  kernel = np.asarray(batch.x, np.float64)[:, :, None] * error[:, None, :]
  return (kernel**2).mean(axis=0), (error**2).mean(axis=0)


def _close(objective, state, tree, *parts, wrap=lambda f: f):
  accumulate = wrap(
    lambda inputs: objective.accumulate(linear_case.forward, inputs)
  )
  for part in parts:
    state = accumulate(linear_case.inputs(tree, part, (), SCOPE, state))
  return objective.finish(state, tree, STATS, SCOPE)


def _squared_gap(one, two):
  return jax.tree.map(
    lambda a, b: np.square(np.float64(a) - np.float64(b)), one, two
  )


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_fisher_is_the_mean_of_squared_example_gradients(wrap):
  objective = regularisers.ewc_online(1.0, decay=0.5)
  one, two = linear_case.batch([2, 3, 2]), linear_case.batch([0, 1], seed=7)
  state = objective.init(OTHER, STATS)
  state = _close(objective, state, PARAMS, linear_case.pad(one), two, wrap=wrap)
  whole = jax.tree.map(lambda *rows: np.concatenate(rows), one, two)
  kernel, bias = _fisher(PARAMS, whole)
  np.testing.assert_allclose(state.fisher["body"]["kernel"], kernel, rtol=1e-4)
  np.testing.assert_allclose(
    state.fisher["head"]["bias"], bias, rtol=1e-4, atol=1e-12
  )
  jax.tree.map(np.testing.assert_array_equal, state.anchor, PARAMS)

  again = _close(objective, state, PARAMS, whole)
  np.testing.assert_allclose(
    again.fisher["body"]["kernel"], 1.5 * kernel, rtol=1e-4
  )


def test_fisher_of_one_example_and_of_none():
  objective = regularisers.ewc_online(1.0, decay=0.25)
  state = objective.init(OTHER, STATS)
  state = objective.finish(state, OTHER, STATS, SCOPE)
  assert all((leaf == 0).all() for leaf in jax.tree.leaves(state.fisher))
  one = linear_case.batch([2])
  state = _close(objective, state, PARAMS, one)
  kernel, _ = _fisher(PARAMS, one)
  np.testing.assert_allclose(state.fisher["body"]["kernel"], kernel, rtol=1e-4)
  half = linear_case.batch([2], weight=[0.5])  # no less than one counts
  again = _close(objective, state, PARAMS, half)
  np.testing.assert_allclose(
    again.fisher["body"]["kernel"], (0.25 + 0.5) * kernel, rtol=1e-4
  )


def test_examples_have_their_own_keys():
  keys = []

  def noted(params, stats, x, key=None, evaluate=False):
    jax.debug.callback(
      lambda data: keys.append(data.tolist()), jax.random.key_data(key)
    )
    return linear_case.forward(params, stats, x)

  objective = regularisers.ewc_online(1.0)
  state = objective.init(PARAMS, STATS)
  inputs = linear_case.inputs(PARAMS, NOW, (), SCOPE, state)
  objective.accumulate(noted, inputs)
  jax.effects_barrier()
  assert len(set(map(tuple, keys))) == 3


def test_the_least_values_of_the_settings_are_allowed():
  regularisers.ewc_online(0, decay=0)
  regularisers.synaptic_intelligence(0)
  regularisers.lwf(0)


def test_ewc_penalty():
  objective = regularisers.ewc_online(3.0)
  state = objective.init(OTHER, STATS)
  value, aux = linear_case.call(objective, PARAMS, NOW, (), SCOPE, state)
  assert aux.info["penalty"] == 0
  state = _close(objective, state, OTHER, NOW)
  value, aux = linear_case.call(objective, PARAMS, NOW, (), SCOPE, state)
  kernel, bias = _fisher(OTHER, NOW)
  gap = _squared_gap(PARAMS, OTHER)
  penalty = 3 * (
    (kernel * gap["body"]["kernel"]).sum() + (bias * gap["head"]["bias"]).sum()
  )
  new = linear_case.nll(linear_case.logits(PARAMS, NOW.x), NOW.y, range(4))
  np.testing.assert_allclose(aux.info["penalty"], penalty, rtol=1e-4)
  np.testing.assert_allclose(value, new + penalty, rtol=1e-4)


def test_si_on_a_quadratic():
  # L = a theta^2 / 2 by gradient descent: omega tends to the loss taken away.
  objective = regularisers.synaptic_intelligence(2.0, damping=0.5)
  curvature, rate, steps = np.array([1.0, 4.0]), 0.01, 300
  start = {"unit": {"kernel": jnp.array([1.0, 2.0])}}
  state, now = objective.init(start, {}), start
  track = jax.jit(objective.track)
  for _ in range(steps):
    grads = jax.tree.map(lambda p: curvature * p, now)
    after = jax.tree.map(lambda p, g: p - rate * g, now, grads)
    state = track(state, base.Traced(grads, now, after))
    now = after
  end = np.array([1.0, 2.0]) * (1 - rate * curvature) ** steps
  factor = 1 - rate * curvature
  # Sum of rate * (a theta_k)^2 over a geometric sequence theta_k.
  omega = (
    rate
    * curvature**2
    * np.array([1.0, 4.0])
    * (1 - factor ** (2 * steps))
    / (1 - factor**2)
  )
  np.testing.assert_allclose(state.path["unit"]["kernel"], omega, rtol=1e-4)
  taken_away = curvature * (np.array([1.0, 4.0]) - end**2) / 2
  np.testing.assert_allclose(omega, taken_away, rtol=0.03)

  state = objective.finish(state, now, {}, SCOPE)
  importance = omega / (np.square(np.array([1.0, 2.0]) - end) + 0.5)
  np.testing.assert_allclose(
    state.importance["unit"]["kernel"], importance, rtol=1e-4
  )
  np.testing.assert_array_equal(state.path["unit"]["kernel"], [0, 0])
  np.testing.assert_allclose(state.anchor["unit"]["kernel"], end, rtol=1e-4)


def test_si_penalty_and_frozen_tensors():
  objective = regularisers.synaptic_intelligence(2.0, damping=0.5)
  state = objective.init(PARAMS, STATS)
  moved = jax.tree.map(lambda p: p + 1, PARAMS)
  grads = {"body": {"kernel": None}, "head": {"bias": -np.ones(5)}}
  trained = [
    {"body": {"kernel": None}, "head": tree["head"]} for tree in (PARAMS, moved)
  ]
  state = objective.track(state, base.Traced(grads, *trained))
  assert (np.asarray(state.path["body"]["kernel"]) == 0).all()
  np.testing.assert_allclose(state.path["head"]["bias"], np.ones(5), rtol=1e-6)
  now = {"body": PARAMS["body"], "head": moved["head"]}
  state = objective.finish(state, now, STATS, SCOPE)
  np.testing.assert_allclose(
    state.importance["head"]["bias"], np.full(5, 1 / 1.5), rtol=1e-6
  )
  _, aux = linear_case.call(objective, PARAMS, NOW, (), SCOPE, state)
  # Five biases, one away from their anchors.
  np.testing.assert_allclose(aux.info["penalty"], 2 * 5 / 1.5, rtol=1e-5)


def test_si_gives_no_credit_for_a_higher_loss():
  objective = regularisers.synaptic_intelligence(1.0)
  state = objective.init(PARAMS, STATS)
  uphill = jax.tree.map(jnp.ones_like, PARAMS)
  after = jax.tree.map(lambda p: p + 1, PARAMS)
  state = objective.track(state, base.Traced(uphill, PARAMS, after))
  state = objective.finish(state, after, STATS, SCOPE)
  assert all((leaf == 0).all() for leaf in jax.tree.leaves(state.importance))


def _lwf(scope, objective=None):
  objective = objective or regularisers.lwf(0.5, 2.0)
  state = objective.init(PARAMS, STATS)
  state = objective.begin(state, OTHER, STATS, scope)
  return linear_case.call(objective, PARAMS, NOW, (), scope, state)


def test_lwf_holds_old_classes():
  value, aux = _lwf(SCOPE)
  ours, theirs = (
    linear_case.log_softmax(linear_case.logits(tree, NOW.x) / 2, (0, 1))[:, :2]
    for tree in (PARAMS, OTHER)
  )
  term = (np.exp(theirs) * (theirs - ours)).sum(axis=1).mean()
  new = linear_case.nll(linear_case.logits(PARAMS, NOW.x), NOW.y, range(4))
  np.testing.assert_allclose(aux.info["distillation"], term, rtol=1e-4)
  np.testing.assert_allclose(value, new + 0.5 * term, rtol=1e-5)
  assert aux.stats["calls"] == 1


def test_lwf_is_cross_entropy_in_the_first_experience():
  first = linear_case.scope(task=0, current=range(4), seen=range(4))
  value, aux = _lwf(first)
  plain, _ = linear_case.call(
    supervised.cross_entropy(), PARAMS, NOW, (), first
  )
  assert aux.info["distillation"] == 0 and value == plain


def test_lwf_where_all_classes_come_back():
  again = linear_case.scope(task=1, current=range(4), seen=range(4))
  assert _lwf(again)[1].info["distillation"] > 0


def test_teacher_shares_no_buffer_with_the_parameters():
  objective = regularisers.lwf()
  begin = jax.jit(objective.begin)
  state = begin(objective.init(PARAMS, STATS), PARAMS, STATS, SCOPE)
  ours = PARAMS["body"]["kernel"].unsafe_buffer_pointer()
  assert state.params["body"]["kernel"].unsafe_buffer_pointer() != ours
  jax.tree.map(np.testing.assert_array_equal, state.params, PARAMS)


def test_penalty_over_replay():
  old = linear_case.batch([0, 1], seed=5)
  objective = regularisers.ewc_online(3.0, inner=supervised.experience_replay())
  assert objective.num_draws == 1
  state = _close(objective, objective.init(OTHER, STATS), OTHER, NOW)
  value, aux = linear_case.call(objective, PARAMS, NOW, (old,), SCOPE, state)
  replayed, _ = linear_case.call(
    supervised.experience_replay(), PARAMS, NOW, (old,), SCOPE
  )
  np.testing.assert_allclose(value, replayed + aux.info["penalty"], rtol=1e-6)


@pytest.mark.parametrize(
  "build, message",
  [
    (lambda: regularisers.ewc_online(-1), "strength is -1"),
    (lambda: regularisers.ewc_online(1, decay=-0.1), "decay is -0.1"),
    (lambda: regularisers.ewc_online(1, decay=2), r"decay is 2.*\[0, 1\]"),
    (lambda: regularisers.synaptic_intelligence(1, 0), "damping is 0.*above 0"),
    (lambda: regularisers.lwf(1, 0), "temperature is 0.*above 0"),
    (lambda: regularisers.lwf(inner=icarl.icarl()), "do not nest"),
    (
      lambda: regularisers.lwf(inner=regularisers.synaptic_intelligence(1)),
      "do not nest",
    ),
  ],
)
def test_bad_settings(build, message):
  with pytest.raises(ValueError, match=message):
    build()


def test_defaults():
  assert signatures.defaults(regularisers.ewc_online) == {"decay": 1.0}
  assert signatures.defaults(regularisers.synaptic_intelligence) == {
    "damping": 0.1
  }
  assert signatures.defaults(regularisers.lwf) == {
    "strength": 1.0,
    "temperature": 2.0,
  }
