"""ER-ACE: the outputs that take part in each of its two softmaxes."""

import jax
import linear_case
import numpy as np

from jcl.objectives import asymmetric

NOW = linear_case.batch([2, 2, 4], weight=[1, 1, 0])
OLD = linear_case.batch([0, 1], seed=5)
PARAMS = linear_case.params()
LOGITS = linear_case.logits(PARAMS, NOW.x)
OLD_LOGITS = linear_case.logits(PARAMS, OLD.x)


def _loss(tree, scope, now=NOW):
  return linear_case.call(asymmetric.er_ace(), tree, now, (OLD,), scope)


def test_stream_leaves_out_seen_classes_that_are_absent():
  # Class 3 is current, but not in the batch; 4 only in a row without weight.
  scope = linear_case.scope(seen=(0, 1, 2, 3), head=(0, 1, 2, 3))
  value, aux = _loss(PARAMS, scope)
  old = linear_case.nll(OLD_LOGITS, OLD.y, range(4))
  np.testing.assert_allclose(aux.info["stream"], 0, atol=1e-6)
  np.testing.assert_allclose(value, old, rtol=1e-5)


def test_classes_to_come_take_part_if_the_head_has_them():
  value, aux = _loss(PARAMS, linear_case.scope(head=range(5)))
  new = linear_case.nll(LOGITS[:2], NOW.y[:2], (2, 4))
  old = linear_case.nll(OLD_LOGITS, OLD.y, range(4))
  np.testing.assert_allclose(aux.info["stream"], new, rtol=1e-5)
  np.testing.assert_allclose(value, new + old, rtol=1e-5)


def test_stream_does_not_push_old_classes():
  grads = jax.grad(
    lambda tree: _loss(tree, linear_case.scope(head=range(5)))[1].info["stream"]
  )(PARAMS)["head"]["bias"]
  assert (np.asarray(grads)[[0, 1, 3]] == 0).all()
  assert (np.asarray(grads)[[2, 4]] != 0).all()


def test_first_experience_is_plain_cross_entropy():
  now = linear_case.batch([0, 0])
  value, aux = _loss(PARAMS, linear_case.FIRST, now)
  logits = linear_case.logits(PARAMS, now.x)
  expected = linear_case.nll(logits, now.y, (0, 1))
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert aux.info["replay"] == 0
  assert aux.stats["calls"] == 1
  _, aux = _loss(PARAMS, linear_case.scope())
  assert aux.stats["calls"] == 2


def test_one_draw():
  assert asymmetric.er_ace().num_draws == 1
