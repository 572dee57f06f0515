"""Weights held at zero while the others learn."""

import jax
import numpy as np
import optax
import pytest
import tiny_network

from jcl import base
from jcl.networks.sparsity import masked
from jcl.selection import mask
from jcl.train import slots

NETWORK = tiny_network.build()


def masks(whole=("bias",), seed=0):
  """Half of every kernel stays, and all of what is `whole`."""
  generator = np.random.default_rng(seed)
  return {
    unit: {
      name: None if name in whole else generator.random(leaf.shape) < 0.5
      for name, leaf in arrays.items()
    }
    for unit, arrays in PARAMS.items()
  }


_generator = np.random.default_rng(1)
PARAMS = jax.tree.map(
  lambda leaf: _generator.uniform(0.5, 1, leaf.shape).astype(np.float32),
  jax.eval_shape(NETWORK.init, jax.random.key(0))[0],
)
MASKS = masks()


def compiled(fn, *args):
  """Calls a function, compiled quickly."""
  options = {"xla_backend_optimization_level": 0}
  return jax.jit(fn).lower(*args).compile(compiler_options=options)(*args)


def dead(params):
  return np.concatenate(
    [
      np.asarray(params[unit]["kernel"])[~MASKS[unit]["kernel"]]
      for unit in NETWORK.units
      if params[unit]["kernel"] is not None
    ]
  )


def learn(optimizer, params, steps=4):
  generator = np.random.default_rng(0)
  grads = [
    jax.tree.map(
      lambda leaf: generator.standard_normal(leaf.shape, np.float32), params
    )
    for _ in range(steps)
  ]

  def steps_fn(params, grads):
    state = optimizer.init(params)
    for each in grads:
      updates, state = optimizer.update(each, state, params)
      params = optax.apply_updates(params, updates)
    return params, state

  return compiled(steps_fn, params, grads)


@pytest.mark.parametrize(
  "optimizer",
  [
    slots.per_tensor(optax.sgd(0.1, momentum=0.9)),
    optax.adamw(0.1, weight_decay=0.5),
  ],
  ids=["sgd", "adamw"],
)
def test_exactly_zero_and_the_rest_as_ever(optimizer):
  held = masked.hold(optimizer, MASKS)
  zeros = compiled(lambda tree: masked.apply(tree, MASKS), PARAMS)
  assert not dead(zeros).any()
  after, state = learn(held, zeros)
  assert not dead(after).any()
  assert jax.tree.structure(state) == jax.tree.structure(
    jax.eval_shape(optimizer.init, PARAMS)
  )
  bias = after["head"]["bias"]
  assert (np.asarray(bias) != 0).all()
  # Rules are element by element, so that the weights alive are undisturbed.
  plain, _ = learn(optimizer, zeros)
  alive = MASKS["second"]["kernel"]
  np.testing.assert_allclose(
    after["second"]["kernel"][alive],
    plain["second"]["kernel"][alive],
    rtol=1e-5,
    atol=1e-7,
  )
  assert (np.asarray(after["second"]["kernel"])[alive] != 0).all()


def test_weights_that_were_not_zero_are_after_one_update():
  after, _ = learn(masked.hold(optax.sgd(0.1), MASKS), PARAMS, steps=1)
  assert not dead(after).any()


def test_any_selection():
  chosen = base.Selection((False, True, True, False, False, True))
  trained, frozen = mask.split(PARAMS, NETWORK, chosen)
  held = masked.hold(slots.per_tensor(optax.adam(0.1)), MASKS)
  after, state = learn(held, trained)
  assert set(state) == {"first/bias", "second/kernel", "head/bias"}
  assert len(dead(after)) and not dead(after).any()
  whole = mask.merge(after, frozen)
  assert jax.tree.structure(whole) == jax.tree.structure(PARAMS)


def test_masks_that_do_not_fit():
  wrong = masks()
  wrong["head"]["kernel"] = np.ones((8, 3), bool)
  with pytest.raises(ValueError, match=r"head/kernel is bool of .*\(8, 4\)"):
    masked.hold(optax.sgd(0.1), wrong).init(PARAMS)
  wrong["head"]["kernel"] = np.ones((8, 4))
  with pytest.raises(ValueError, match="float64"):
    masked.apply(PARAMS, wrong)
  with pytest.raises(ValueError, match="another tree"):
    masked.apply(PARAMS, {"head": MASKS["head"]})
  held = masked.hold(optax.sgd(0.1), MASKS)
  with pytest.raises(ValueError, match="need their values"):
    held.update(PARAMS, optax.EmptyState())


def test_arrays_without_a_mask_and_weights_that_die():
  params = {"a": np.float32([1, 2]), "b": np.float32([3]), "c": None}
  marks = {"a": np.array([True, False]), "b": None, "c": np.array([True])}
  found = masked.apply(params, marks)
  assert found["c"] is None
  np.testing.assert_array_equal(found["a"], [1, 0])
  np.testing.assert_array_equal(found["b"], [3])
  held = masked.hold(optax.sgd(0.5), marks)
  grads = {"a": np.float32([4, 4]), "b": np.float32([4]), "c": None}
  updates, _ = held.update(grads, held.init(params), params)
  np.testing.assert_array_equal(updates["a"], [-2, -2])
  np.testing.assert_array_equal(updates["b"], [-2])
  with pytest.raises(ValueError, match=r"mask of a is bool of shape \(3,\)"):
    masked.apply(params, {**marks, "a": np.ones(3, bool)})
