"""Targets of iCaRL's binary cross-entropy."""

import linear_case
import numpy as np

from jcl.objectives import icarl

NOW = linear_case.batch([2, 3, 2])
OLD = linear_case.batch([0, 1], seed=5, weight=[1, 0])
PARAMS = linear_case.params()
OTHER = linear_case.params(4)


def _call(scope):
  objective = icarl.icarl()
  state = objective.init(PARAMS, linear_case.STATS)
  state = objective.begin(state, OTHER, linear_case.STATS, scope)
  value, aux = linear_case.call(objective, PARAMS, NOW, (OLD,), scope, state)
  assert aux.logits.shape == (3, 5) and aux.stats["calls"] == 1
  return value


def _expected(targets, kept):
  p = linear_case.sigmoid(linear_case.logits(PARAMS, _inputs()))
  terms = -targets * np.log(p) - (1 - targets) * np.log(1 - p)
  return terms[:, kept].mean()


def _inputs():
  return np.concatenate([NOW.x, OLD.x[:1]])


LABELS = np.eye(5)[[2, 3, 2, 0]]


def test_the_old_network_teaches_old_classes():
  targets = LABELS.copy()
  old = linear_case.sigmoid(linear_case.logits(OTHER, _inputs()))
  targets[:, :2] = old[:, :2]
  np.testing.assert_allclose(
    _call(linear_case.scope()), _expected(targets, range(4)), rtol=1e-5
  )


def test_labels_teach_the_first_experience():
  scope = linear_case.scope(task=0, current=(2, 3), seen=(0, 2, 3))
  np.testing.assert_allclose(
    _call(scope), _expected(LABELS, [0, 2, 3]), rtol=1e-5
  )


def test_one_draw():
  assert icarl.icarl().num_draws == 1
