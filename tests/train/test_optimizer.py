import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import signatures

from jcl import base
from jcl.train import optimizer as optimizers

PARAMS = {"w": jnp.array([2.0, -3.0])}
GRADS = {"w": jnp.array([0.5, -4.0])}


def steps(count=1, **changes):
  changes = {"learning_rate": 0.1, **changes}
  training = dataclasses.replace(optimizers.DEFAULTS, **changes)
  optimizer = optimizers.build(training)
  params, state = PARAMS, optimizer.init(PARAMS)
  for _ in range(count):
    updates, state = optimizer.update(GRADS, state, params)
    params = optax.apply_updates(params, updates)
  return np.asarray(params["w"])


def test_plain_descent_by_hand():
  np.testing.assert_allclose(steps(), [2 - 0.05, -3 + 0.4])
  np.testing.assert_allclose(
    steps(2, momentum=0.5), [2 - 0.05 - 0.075, -3 + 0.4 + 0.6], rtol=1e-6
  )
  np.testing.assert_allclose(steps(clip=1.0), [2 - 0.05, -3 + 0.1])


def test_decay_is_coupled_but_for_adamw():
  np.testing.assert_allclose(
    steps(weight_decay=0.1), [2 - 0.1 * 0.7, -3 + 0.1 * 4.3], rtol=1e-6
  )
  # The first step of Adam is the gradient's sign, decay inside it or not.
  adam = {"learning_rate": 0.01, "weight_decay": 0.1}
  np.testing.assert_allclose(
    steps(optimizer="adam", **adam), [1.99, -2.99], rtol=1e-5
  )
  np.testing.assert_allclose(
    steps(optimizer="adamw", **adam),
    [2 - 0.01 * (1 + 0.2), -3 + 0.01 * (1 + 0.3)],
    rtol=1e-5,
  )


def test_defaults_fill_what_is_open():
  filled = optimizers.complete(base.Training(epochs=3))
  assert filled.epochs == 3 and filled.optimizer == "sgd"
  assert None not in dataclasses.astuple(filled)
  adam = optimizers.complete(base.Training(optimizer="adam"))
  assert adam.learning_rate == 1e-3
  own = base.Training(optimizer="adam", learning_rate=0.5)
  assert optimizers.complete(own).learning_rate == 0.5


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
    ({"learning_rate": float("nan")}, "learning_rate=nan"),
    ({"momentum": 1.0}, r"momentum=1.0 must lie in \[0, 1\)"),
    ({"weight_decay": -1.0}, "weight_decay=-1.0"),
    ({"clip": -1.0}, "clip=-1.0"),
    ({"optimizer": "lamb"}, "'lamb' is not known.*adamw"),
  ],
)
def test_mistakes_are_told(changes, message):
  training = dataclasses.replace(optimizers.DEFAULTS, **changes)
  with pytest.raises(ValueError, match=message):
    optimizers.build(training)


def test_what_is_assumed_is_allowed():
  assert optimizers.DEFAULTS == base.Training(
    learning_rate=0.03,
    batch_size=10,
    epochs=1,
    optimizer="sgd",
    momentum=0.0,
    weight_decay=0.0,
    clip=0.0,
    schedule="constant",
    head="seen",
    norms="batch",
    variance="biased",
  )
  # No momentum and no bound, so that there is nothing to remember.
  state = optimizers.build(optimizers.DEFAULTS).init(PARAMS)
  assert not jax.tree.leaves(state)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_schedule_counts_the_rate_once(optimizer):
  training = dataclasses.replace(
    optimizers.DEFAULTS, learning_rate=0.1, optimizer=optimizer
  )
  classes = np.ones(2, bool)
  scope = base.Scope(np.int32(0), *(classes,) * 3, np.int32(10), np.int32(4))
  found = []
  for schedule in ("constant", "linear"):
    rule = optimizers.build(dataclasses.replace(training, schedule=schedule))
    updates, _ = rule.update(
      GRADS, rule.init(PARAMS), PARAMS, step=np.int32(12), scope=scope
    )
    found.append(np.asarray(updates["w"]))
  np.testing.assert_allclose(found[1], found[0] / 2, rtol=1e-6)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(optimizers.build) == {"restart": False}
