"""Regularisation in function space."""

import types

import jax
import linear_case
import numpy as np
import pytest

from jcl.objectives import functional, supervised

NOW = linear_case.batch([2, 3, 2])
OLD = linear_case.batch([0, 1, 2], seed=5, weight=[1, 0, 1])
SCOPE = linear_case.scope()
PARAMS = linear_case.params()
NEW = linear_case.nll(linear_case.logits(PARAMS, NOW.x), NOW.y, range(4))


def _distance(batch, classes=range(4)):
  rows = np.asarray(batch.weight) > 0
  now, then = (
    np.exp(linear_case.log_softmax(logits[rows], classes))
    for logits in (linear_case.logits(PARAMS, batch.x), batch.extras["logits"])
  )
  return np.sqrt(np.square(now - then).sum(axis=1)).mean()


def test_distance_of_predictions_is_added():
  value, aux = linear_case.call(functional.fdr(0.7), PARAMS, NOW, (OLD,), SCOPE)
  np.testing.assert_allclose(value, NEW + 0.7 * _distance(OLD), rtol=1e-5)
  np.testing.assert_allclose(aux.info["moved"], _distance(OLD), rtol=1e-5)
  np.testing.assert_array_equal(aux.extras["logits"], aux.logits)
  assert aux.stats["calls"] == 2


def test_one_draw_and_logits_to_store():
  objective = functional.fdr(0.7)
  assert objective.num_draws == 1
  network = types.SimpleNamespace(num_classes=7)
  assert objective.stores(network)["logits"].shape == (7,)


def test_labels_of_replayed_examples_do_not_matter():
  values = [
    linear_case.call(
      functional.fdr(1.0), PARAMS, NOW, (OLD._replace(y=y),), SCOPE
    )[0]
    for y in (OLD.y, (OLD.y + 1) % 3)
  ]
  assert values[0] == values[1]


def test_a_network_that_has_not_moved_has_a_plain_gradient():
  """The distance is 0 there, and its gradient is no NaN."""
  stored = OLD._replace(
    extras={"logits": linear_case.forward(PARAMS, linear_case.STATS, OLD.x)[0]}
  )

  def gradient(objective, memory):
    return jax.grad(
      lambda tree: linear_case.call(objective, tree, NOW, memory, SCOPE)[0]
    )(PARAMS)

  found = gradient(functional.fdr(0.7), (stored,))
  plain = gradient(supervised.cross_entropy(), ())
  jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_without_alpha_it_is_cross_entropy():
  value, _ = linear_case.call(functional.fdr(0), PARAMS, NOW, (OLD,), SCOPE)
  plain, _ = linear_case.call(
    supervised.cross_entropy(), PARAMS, NOW, (), SCOPE
  )
  assert value == plain


def test_distance_is_bounded_and_negative_factors_are_refused():
  far = OLD._replace(extras={"logits": 1e4 * OLD.extras["logits"]})
  _, aux = linear_case.call(functional.fdr(1), PARAMS, NOW, (far,), SCOPE)
  assert 0 < aux.info["moved"] <= np.sqrt(2)
  with pytest.raises(ValueError, match="alpha weighs a loss and is -1"):
    functional.fdr(-1)
