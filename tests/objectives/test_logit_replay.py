"""Dark experience replay."""

import types

import linear_case
import numpy as np
import pytest

from jcl.objectives import logit_replay, supervised

NOW = linear_case.batch([2, 3, 2])
ONE = linear_case.batch([0, 1], seed=5, weight=[1, 0])
TWO = linear_case.batch([1, 0, 2], seed=6)
SCOPE = linear_case.scope()
PARAMS = linear_case.params()
NEW = linear_case.nll(linear_case.logits(PARAMS, NOW.x), NOW.y, range(4))


def _drift():
  gap = linear_case.logits(PARAMS, ONE.x) - ONE.extras["logits"]
  return np.square(gap[:1, :4]).mean()


def test_der():
  value, aux = linear_case.call(
    logit_replay.der(0.7), PARAMS, NOW, (ONE,), SCOPE
  )
  np.testing.assert_allclose(value, NEW + 0.7 * _drift(), rtol=1e-5)
  np.testing.assert_array_equal(aux.extras["logits"], aux.logits)
  assert aux.stats["calls"] == 2


def test_one_draw_and_logits_to_store():
  network = types.SimpleNamespace(num_classes=7)
  for objective in (logit_replay.der(0.7), logit_replay.derpp(0.7, 0.4)):
    assert objective.stores(network)["logits"].shape == (7,)
  assert logit_replay.der(0.7).num_draws == 1


def test_derpp_has_a_draw_for_each_term():
  objective = logit_replay.derpp(0.7, 0.4)
  assert objective.num_draws == 2
  value, aux = linear_case.call(objective, PARAMS, NOW, (ONE, TWO), SCOPE)
  old = linear_case.nll(linear_case.logits(PARAMS, TWO.x), TWO.y, range(4))
  np.testing.assert_allclose(value, NEW + 0.7 * _drift() + 0.4 * old, rtol=1e-5)
  np.testing.assert_allclose(aux.info["replay"], old, rtol=1e-5)
  assert aux.stats["calls"] == 3


def test_without_alpha_it_is_cross_entropy():
  value, _ = linear_case.call(logit_replay.der(0), PARAMS, NOW, (ONE,), SCOPE)
  plain, _ = linear_case.call(
    supervised.cross_entropy(), PARAMS, NOW, (), SCOPE
  )
  assert value == plain


def test_without_beta_it_is_der():
  one, _ = linear_case.call(
    logit_replay.derpp(0.7, 0), PARAMS, NOW, (ONE, TWO), SCOPE
  )
  two, _ = linear_case.call(logit_replay.der(0.7), PARAMS, NOW, (ONE,), SCOPE)
  np.testing.assert_allclose(one, two, rtol=1e-6)


def test_negative_factors():
  with pytest.raises(ValueError, match="alpha weighs a loss and is -1"):
    logit_replay.der(-1)
  with pytest.raises(ValueError, match="beta weighs a loss and is -2"):
    logit_replay.derpp(1, -2)
