import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_network

from jcl import base
from jcl.train import optimizer as optimizers
from jcl.train import slots

NETWORK = tiny_network.build()
NAMES = [slots.name(tensor) for tensor in NETWORK.tensors]
ALL, HEAD = tiny_network.EVERYTHING, tiny_network.HEAD
KERNEL = "first/kernel"


def params():
  return NETWORK.init(jax.random.key(0))[0]


@pytest.mark.parametrize(
  "optimizer",
  [optax.sgd(0.1, momentum=0.9), optax.adam(0.01), optax.adamw(0.01)],
)
def test_tensor_by_tensor_is_the_same_as_all_at_once(optimizer):
  weights = params()
  single = slots.per_tensor(optimizer)
  one, other = optimizer.init(weights), single.init(weights)
  first = second = weights
  for seed in range(3):
    keys = jax.random.key(seed)
    grads = jax.tree.map(
      lambda leaf, keys=keys: jax.random.normal(keys, leaf.shape), weights
    )
    updates, one = optimizer.update(grads, one, first)
    first = optax.apply_updates(first, updates)
    updates, other = single.update(grads, other, second)
    second = optax.apply_updates(second, updates)
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)
  assert set(other) == set(NAMES)


def away(policy, choices, training=None):
  """Slots of a tensor back from `choices` choices, five updates each."""
  training = training or base.Training(momentum=0.5)
  optimizer = slots.per_tensor(optimizers.build(optimizers.complete(training)))
  weights = params()
  blank = optimizer.init(weights)
  opt_state = jax.tree.map(lambda leaf: leaf + 8, blank)
  parked = slots.park(policy, NETWORK, optimizer, weights)
  rule = slots.Rule(policy, blank, slots.decays(training))
  step, old = 3, ALL
  for new in (HEAD,) * choices + (ALL,):
    opt_state, parked = slots.switch(
      NETWORK, rule, slots.Turn(old, new, step), opt_state, parked
    )
    step, old = step + 5, new
  structure = jax.tree.structure(optimizer.init(weights))
  assert jax.tree.structure(opt_state) == structure
  assert not parked or not parked.away.any()  # all train again
  return opt_state


def values(state):
  return {float(leaf.ravel()[0]) for leaf in jax.tree.leaves(state)}


def test_policies():
  for choices in (1, 3):
    assert values(away("drop", choices)[KERNEL]) == {0}
    assert values(away("keep", choices)[KERNEL]) == {8}
    faded = away("decay", choices)[KERNEL]
    assert values(faded) == {8 * 0.5 ** (5 * choices)}
  assert values(away("reset", 1)[KERNEL]) == {8}
  assert values(away("reset", 2)[KERNEL]) == {0}
  for policy in ("drop", "keep", "decay", "reset"):
    assert values(away(policy, 2)["head/kernel"]) == {8}


def test_when_a_tensor_left_and_how_many_choices_ago():
  optimizer = slots.per_tensor(optax.sgd(0.1, momentum=0.5))
  blank = optimizer.init(params())
  parked = slots.park("keep", NETWORK, optimizer, params())
  assert not parked.left.any() and not parked.away.any()
  opt_state, old = blank, ALL
  for step, away_for in ((3, 1), (5, 2), (9, 3)):
    opt_state, parked = slots.switch(
      NETWORK,
      slots.Rule("keep", blank, {}),
      slots.Turn(old, HEAD, step),
      opt_state,
      parked,
    )
    old = HEAD
    assert parked.left.tolist() == [3] * 4 + [0] * 2
    assert parked.away.tolist() == [away_for] * 4 + [0] * 2


def test_what_fades_by_how_much():
  assert slots.decays(base.Training(momentum=0.25)) == {
    "trace": 0.25,
    "mu": 0.9,
    "nu": 0.999,
  }
  assert slots.decays(base.Training())["trace"] == 0


def test_decay_is_what_updates_without_gradient_would_do():
  training = base.Training(optimizer="adam", learning_rate=0.1)
  single = optimizers.build(optimizers.complete(training))
  leaf = params()["first"]["kernel"]
  state = jax.tree.map(lambda slot: slot + 8, single.init(leaf))
  for _ in range(10):
    _, state = single.update(jnp.zeros_like(leaf), state, leaf)
  faded = away("decay", 2, training)[KERNEL]
  for a, b in zip(jax.tree.leaves(faded), jax.tree.leaves(state), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize(
  "error", [TypeError, ValueError, KeyError, AttributeError, RuntimeError]
)
def test_an_optimizer_whose_state_cannot_be_told_apart(error):
  def init(params):
    raise error("no such thing")

  whole = slots.together(optax.GradientTransformation(init, None))
  with pytest.raises(
    ValueError, match="told apart .*no such thing.*: give one"
  ):
    whole.update(params(), {}, params())


def test_a_buffer_has_one_owner():
  training = base.Training(momentum=0.5)
  optimizer = slots.per_tensor(optimizers.build(optimizers.complete(training)))
  weights = params()
  blank = optimizer.init(weights)
  parked = slots.park("keep", NETWORK, optimizer, weights)
  state, held = slots.switch(
    NETWORK,
    slots.Rule("keep", blank, {}),
    slots.Turn(ALL, HEAD, 1),
    blank,
    parked,
  )
  state, held = slots.switch(
    NETWORK,
    slots.Rule("keep", optimizer.init(weights), {}),
    slots.Turn(HEAD, ALL, 2),
    state,
    held,
  )
  leaves = jax.tree.leaves((state, held))
  assert len({id(leaf) for leaf in leaves}) == len(leaves)
