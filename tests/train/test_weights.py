"""Weights rewritten between updates, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_network

from jcl import base
from jcl.train import weights

NETWORK = tiny_network.build()


def array(*values):
  return jnp.asarray(values, jnp.float32)


def test_the_weights_that_score_least_move_back():
  now, score = array(1, 2, 3, 4, 5), array(5, 4, 3, 2, 1)
  found = weights.trim(now, jnp.zeros(5), score, 0.2, 0.5)
  assert found.tolist() == [1, 1, 1.5, 2, 2.5]
  alike = [
    weights.trim(now, jnp.zeros(5), jnp.ones(5), 0.2, 0.5, ties).tolist()
    for ties in (False, True)
  ]
  assert alike == [[1, 1, 1.5, 2, 2.5], [1, 2, 3, 4, 5]]
  whole = weights.trim(now / 3, jnp.zeros(5), score, 1.0, 0.5)
  assert tiny_network.same_bits(whole, now / 3)
  # One stays at least, and all where before and after are the same.
  assert weights.trim(now, jnp.zeros(5), score, 0.01, 0.0).tolist()[0] == 1
  assert tiny_network.same_bits(
    weights.trim(now / 3, now / 3, score, 0.2, 0.5), now / 3
  )


@pytest.mark.parametrize(
  ("grads", "signed", "expected"),
  [
    ((1, -1), False, 1.0),
    ((1, -1), True, 0.0526),
    ((1, 1), False, 1.0),
    ((1, 1), True, 1.0),
  ],
)
def test_moments_of_gradients(grads, signed, expected):
  state = {
    "first": {"w": array(0)},
    "second": {"w": array(0)},
    "updates": jnp.float32(0),
  }
  for grad in grads:
    state = weights.tracked(state, {"w": array(grad)}, signed)
  found = float(weights.scores(state)["w"][0])
  assert found == pytest.approx(expected, abs=5e-5)


def played(rewrite, values, experience=0):
  """Visits weights of these values; returns what came of each visit."""
  params = {"w": array(values[0]).astype(jnp.bfloat16)}
  state, found = rewrite.begin(rewrite.init(params), params), []
  for number, value in enumerate(values):
    params = {"w": array(value).astype(jnp.bfloat16)}
    if stage := rewrite.stage(experience, number):
      state, params = rewrite.visit(
        stage, NETWORK, state, params, tiny_network.scope()
      )
    found.append(params["w"])
  return found, state


def test_the_mean_of_visits():
  found, state = played(weights.average(3, 0.0), (1, 2, 4))
  assert [float(each[0]) for each in found[:2]] == [1, 2]
  assert state["mean"]["w"].dtype == jnp.float32
  np.testing.assert_allclose(state["mean"]["w"], 7 / 3, rtol=1e-6)
  assert found[-1].dtype == jnp.bfloat16
  np.testing.assert_allclose(np.float32(found[-1]), 7 / 3, rtol=1e-2)
  other, again = played(weights.average(3, 0.0), (4, 1, 2))
  del other
  np.testing.assert_allclose(state["mean"]["w"], again["mean"]["w"], rtol=1e-6)
  # The first two of five are ahead of the start.
  _, late = played(weights.average(5, 0.6), (100, 100, 1, 2, 4))
  np.testing.assert_allclose(late["mean"]["w"], 7 / 3, rtol=1e-6)


def test_stages_of_an_experience():
  found = weights.reset_and_average(5, 0.4, 0.2, 0.5)
  stages = [found.stage(1, number) for number in range(5)]
  assert stages == ["", "reset", "average", "average", "last"]
  assert [found.stage(0, number) for number in range(5)] == [""] * 5
  with pytest.raises(
    ValueError, match="visits=5, of which 1 would be averaged"
  ):
    weights.average(5, 0.95)


def test_the_reset_comes_once_and_is_the_first_of_the_mean():
  rewrite = weights.reset_and_average(2, 0.5, 0.25, 0.5)
  before, now = array(0, 0, 0, 0), array(1, 2, 3, 4)
  state = rewrite.begin((), {"w": before})
  traced = base.Traced({"w": array(0, 0, 2, 0)}, {}, {})
  state = rewrite.track(state, traced)
  scope = tiny_network.scope()
  state, params = rewrite.visit("reset", NETWORK, state, {"w": now}, scope)
  assert params["w"].tolist() == [0.5, 1, 3, 2]
  state, params = rewrite.visit("last", NETWORK, state, {"w": now}, scope)
  assert params["w"].tolist() == [0.75, 1.5, 3, 3]


def test_rows_of_new_classes_get_the_norm_of_old_ones():
  kernel = np.zeros((8, 4), np.float32)
  kernel[:2] = np.array([[2, 0, 4, 0], [0, 2, 0, 4]]) / np.float32(1)
  params = {"head/kernel": jnp.asarray(kernel), "head/bias": array(1, 2, 3, 4)}
  scope = tiny_network.scope()._replace(
    current=np.array([False, False, True, True])
  )
  rewrite = weights.aligned()
  _, found = rewrite.visit(weights.ALIGN, NETWORK, (), params, scope)
  assert found["head/kernel"][:2].tolist() == [[2, 0, 2, 0], [0, 2, 0, 2]]
  assert found["head/bias"].tolist() == [1, 2, 1.5, 2]
  first = scope._replace(seen=scope.current)
  _, same = rewrite.visit(weights.ALIGN, NETWORK, (), params, first)
  assert tiny_network.same_bits(same, params)


def test_heads_that_have_no_rows_are_told():
  odd = jax.tree.map(lambda each: each, NETWORK.tensors[:-2])
  with pytest.raises(ValueError, match="no kernel with a row for each class"):
    weights.head(
      base.Network(*("n", NETWORK.units, odd), *(None,) * 2, (4,), 4, None)
    )
  assert weights.head(NETWORK) == ("head/kernel", "head/bias")
