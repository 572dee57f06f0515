"""Projected gradients no longer oppose the reference."""

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import linear_case
import numpy as np
import pytest

from jcl.objectives import projection

AGEM = projection.agem()


def _tree(values):
  values = np.asarray(values, np.float32)
  return {
    "body": {"kernel": values[:2]},
    "head": {"bias": values[2:], "x": None},
  }


def _flat(tree):
  return np.concatenate(jax.tree.leaves(tree)).astype(np.float64)


def test_by_hand():
  # g r = -2 and r r = 4, so half of r is added.
  projected = AGEM.project(_tree([1, -1, 3]), _tree([0, 2, 0]), ())
  np.testing.assert_allclose(_flat(projected), [1, 0, 3])
  assert projected["head"]["x"] is None


def test_agreeing_gradients_stay():
  grads = _tree([1, 1, 3])
  assert _flat(AGEM.project(grads, _tree([0, 2, 0]), ())).tolist() == [1, 1, 3]


_numbers = st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
@settings(max_examples=30)
@given(grads=_numbers, reference=_numbers)
def test_never_against_the_reference(wrap, grads, reference):
  project = wrap(AGEM.project)
  projected = _flat(project(_tree(grads), _tree(reference), ()))
  reference = np.asarray(reference)
  assert projected @ reference >= -1e-3
  assert np.linalg.norm(projected) <= np.linalg.norm(grads) * (1 + 1e-5) + 1e-6


def test_reference_is_the_loss_on_the_memory():
  now, old = linear_case.batch([2, 3]), linear_case.batch([0, 1], seed=5)
  tree, scope = linear_case.params(), linear_case.scope()

  def reference(tree, old):
    inputs = linear_case.inputs(tree, now, (old,), scope)
    return AGEM.reference(linear_case.forward, inputs)

  value, _ = reference(tree, old)
  expected = linear_case.nll(linear_case.logits(tree, old.x), old.y, range(4))
  np.testing.assert_allclose(value, expected, rtol=1e-5)

  empty = old._replace(weight=np.zeros(2, np.float32))
  pull = jax.grad(lambda tree: reference(tree, empty)[0])(tree)
  kept = AGEM.project(tree, pull, (empty,))
  jax.tree.map(np.testing.assert_array_equal, kept, tree)


def test_one_draw():
  assert AGEM.num_draws == 1


def test_a_short_reference_by_hand():
  # g r = -0.5 and r r = 0.25, so twice r is added.
  projected = AGEM.project(_tree([1, -1, 3]), _tree([0, 0.5, 0]), ())
  np.testing.assert_allclose(_flat(projected), [1, 0, 3])
