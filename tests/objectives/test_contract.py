"""The contract that every objective keeps."""

import jax
import linear_case
import numpy as np
import pytest

from jcl.objectives import (
  asymmetric,
  group_lasso,
  icarl,
  logit_replay,
  projection,
  regularisers,
  supervised,
)

OBJECTIVES = {
  "cross_entropy": supervised.cross_entropy(),
  "er": supervised.experience_replay(),
  "er_two_means": supervised.experience_replay(one_loss=False),
  "der": logit_replay.der(0.5),
  "derpp": logit_replay.derpp(0.5, 0.3),
  "er_ace": asymmetric.er_ace(),
  "agem": projection.agem(),
  "ewc": regularisers.ewc_online(2.0),
  "si": regularisers.synaptic_intelligence(2.0),
  "lwf": regularisers.lwf(),
  "er_lwf": regularisers.lwf(inner=supervised.experience_replay()),
  "icarl": icarl.icarl(),
  "group_lasso": group_lasso.group_lasso(),
}
NOW = linear_case.batch([2, 3, 2, 3])
OLD = linear_case.batch([0, 1, 2], seed=5)
SCOPE = linear_case.scope()
PARAMS = linear_case.params()

every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def _memory(objective, old):
  return (old,) * objective.num_draws


def _value_and_grad(name, now, old, scope=SCOPE):
  objective = OBJECTIVES[name]
  # Remembered from other parameters, so that penalties and targets count.
  state = objective.init(linear_case.params(4), linear_case.STATS)
  grad_fn = jax.value_and_grad(
    lambda tree: linear_case.call(
      objective, tree, now, _memory(objective, old), scope, state
    ),
    has_aux=True,
  )
  return grad_fn(PARAMS)


@every_objective
def test_padding_changes_nothing(name):
  plain = _value_and_grad(name, NOW, OLD)
  padded = _value_and_grad(name, linear_case.pad(NOW), linear_case.pad(OLD))
  np.testing.assert_allclose(plain[0][0], padded[0][0], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    plain[1],
    padded[1],
  )


@every_objective
def test_nothing_to_learn_from_gives_zero(name):
  objective = OBJECTIVES[name]
  nothing = NOW._replace(weight=np.zeros(4, np.float32))
  empty = OLD._replace(weight=np.zeros(3, np.float32))
  value, aux = linear_case.call(
    objective, PARAMS, nothing, _memory(objective, empty), SCOPE
  )
  assert value == 0
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(aux))


@every_objective
def test_outputs_that_take_no_part_have_no_gradient(name):
  (_, _), grads = _value_and_grad(name, NOW, OLD)
  assert grads["head"]["bias"][4] == 0
  assert (np.asarray(grads["body"]["kernel"])[:, 4] == 0).all()
  assert (np.asarray(grads["head"]["bias"])[2:4] != 0).all()


@every_objective
def test_jit_changes_nothing(name):
  objective = OBJECTIVES[name]
  memory = _memory(objective, OLD)
  state = objective.init(linear_case.params(4), linear_case.STATS)

  def loss(tree, now, memory, scope, state):
    return linear_case.call(objective, tree, now, memory, scope, state)

  args = (PARAMS, NOW, memory, SCOPE, state)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    loss(*args),
    jax.jit(loss)(*args),
  )


@every_objective
def test_aux_is_about_the_current_batch(name):
  objective = OBJECTIVES[name]
  (_, aux), _ = _value_and_grad(name, NOW, OLD)
  np.testing.assert_allclose(
    aux.logits, linear_case.logits(PARAMS, NOW.x), rtol=1e-5
  )

  class FiveClasses:
    num_classes = 5

  assert set(objective.stores(FiveClasses)) == set(aux.extras)
  for stored, example in objective.stores(FiveClasses).items():
    assert aux.extras[stored].shape == (4, *example.shape)
    assert aux.extras[stored].dtype == example.dtype
  assert all(np.shape(value) == () for value in aux.info.values())


@every_objective
def test_an_unsampled_memory_is_no_memory(name):
  none = jax.tree.map(lambda leaf: leaf[:0], OLD)
  (value, aux), _ = _value_and_grad(name, NOW, none)
  assert np.isfinite(value) and aux.logits.shape == (4, 5)
