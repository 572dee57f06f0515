"""Group lasso: its penalty, its coefficient, and channels driven to zero."""

import inspect

import jax
import jax.numpy as jnp
import linear_case
import numpy as np
import pytest
import signatures

from jcl.objectives import group_lasso, regularisers, supervised

NOW = linear_case.batch([2, 3, 2])
SCOPE = linear_case.scope()
PARAMS = linear_case.params()
STATS = linear_case.STATS
KERNEL = np.asarray(PARAMS["body"]["kernel"], np.float64)
OUTPUTS = ((("body", "kernel"), 1),)


def _norms(kernel, axis):
  return np.sqrt((kernel**2).sum(axis=axis)).sum()


def test_penalty_by_hand():
  kernel = jnp.array([[3.0, 0.0], [4.0, 0.0]])
  params = {"a": {"kernel": kernel, "bias": jnp.ones(2)}}
  path = ("a", "kernel")
  assert group_lasso.penalty(params, [(path, 1)]) == 5
  assert group_lasso.penalty(params, [(path, 0)]) == 7
  assert group_lasso.penalty(params) == 12


def test_slices_of_convolutions_and_normalisers():
  params = {
    "conv": {"kernel": jnp.ones((3, 3, 2, 4))},
    "depthwise": {"kernel": jnp.ones((3, 3, 1, 4))},
    "norm": {"scale": jnp.ones(4), "bias": jnp.ones(4)},
  }
  params["vector"] = {"kernel": jnp.ones(7)}  # of no channels
  expected = 4 * np.sqrt(18) + 2 * np.sqrt(36) + 4 * 3
  np.testing.assert_allclose(group_lasso.penalty(params), expected, rtol=1e-6)


def test_gradient_is_the_direction_and_zero_at_zero():
  kernel = jnp.array([[3.0, 0.0], [4.0, 0.0]])
  grads = jax.grad(
    lambda kernel: group_lasso.penalty(
      {"a": {"kernel": kernel}}, [(("a", "kernel"), 1)]
    )
  )(kernel)
  np.testing.assert_allclose(grads, [[0.6, 0], [0.8, 0]], rtol=1e-6)


@pytest.mark.parametrize("slices", [None, OUTPUTS])
@pytest.mark.parametrize("ratio", [0.2, 0.5])
def test_ratio_at_the_start(slices, ratio):
  objective = group_lasso.group_lasso(slices, ratio)
  state = objective.begin(objective.init(PARAMS, STATS), PARAMS, STATS, SCOPE)
  total = _norms(KERNEL, 0) + (_norms(KERNEL, 1) if slices is None else 0)
  penalty = float(state.coefficient) * total
  # Four classes are in play.
  np.testing.assert_allclose(penalty / (penalty + np.log(4)), ratio, rtol=1e-5)
  value, aux = linear_case.call(objective, PARAMS, NOW, (), SCOPE, state)
  new = linear_case.nll(linear_case.logits(PARAMS, NOW.x), NOW.y, range(4))
  np.testing.assert_allclose(aux.info["penalty"], penalty, rtol=1e-5)
  np.testing.assert_allclose(value, new + penalty, rtol=1e-5)
  assert aux.stats["calls"] == 1


def test_coefficient_is_chosen_once():
  objective = group_lasso.group_lasso(OUTPUTS)
  begin = jax.jit(objective.begin)
  first = begin(objective.init(PARAMS, STATS), PARAMS, STATS, SCOPE)
  smaller = jax.tree.map(lambda leaf: 0.1 * leaf, PARAMS)
  assert begin(first, smaller, STATS, SCOPE) == first
  fresh = begin(objective.init(PARAMS, STATS), smaller, STATS, SCOPE)
  np.testing.assert_allclose(
    fresh.coefficient, 10 * first.coefficient, rtol=1e-5
  )


def test_given_coefficient_and_given_loss():
  objective = group_lasso.group_lasso(OUTPUTS, strength=0.25)
  state = objective.begin(objective.init(PARAMS, STATS), PARAMS, STATS, SCOPE)
  assert state.coefficient == 0.25
  objective = group_lasso.group_lasso(OUTPUTS, ratio=0.5, first_loss=3.0)
  state = objective.begin(objective.init(PARAMS, STATS), PARAMS, STATS, SCOPE)
  np.testing.assert_allclose(
    state.coefficient * _norms(KERNEL, 0), 3.0, rtol=1e-5
  )


def test_one_class_counts_as_two():
  objective = group_lasso.group_lasso(OUTPUTS, ratio=0.5)
  scope = linear_case.scope(head=(2,))
  state = objective.begin(objective.init(PARAMS, STATS), PARAMS, STATS, scope)
  np.testing.assert_allclose(
    state.coefficient * _norms(KERNEL, 0), np.log(2), rtol=1e-5
  )


def test_bounds_and_defaults():
  objective = group_lasso.group_lasso(ratio=0, strength=0)
  assert objective.init(PARAMS, STATS).coefficient == 0
  assert group_lasso.group_lasso().init(PARAMS, STATS).coefficient == 0
  for build in (group_lasso.group_lasso, group_lasso.coefficient):
    assert inspect.signature(build).parameters["ratio"].default == 0.2
  for name in ("strength", "first_loss"):
    with pytest.raises(ValueError, match=f"{name} is inf"):
      group_lasso.group_lasso(**{name: np.inf})


def test_nothing_to_penalise():
  zeros = jax.tree.map(jnp.zeros_like, PARAMS)
  total = group_lasso.penalty(zeros)
  assert group_lasso.coefficient(jnp.float32(2), total) == 0


def test_slices_that_the_loss_does_not_need_go_to_zero():
  """Inputs that do not matter lose their weights, those that do keep some."""
  slices = ((("body", "kernel"), 0),)
  objective = group_lasso.group_lasso(slices, strength=0.1)
  generator = np.random.default_rng(0)
  x = generator.normal(size=(256, 3)).astype(np.float32)
  labels = (x[:, 0] > 0).astype(np.int32)
  now = linear_case.batch(labels)._replace(x=x)
  state = objective.init(PARAMS, STATS)
  scope = linear_case.scope(current=(0, 1), seen=(0, 1))

  @jax.jit
  def step(params, rate):
    def loss(params):
      return linear_case.call(objective, params, now, (), scope, state)

    grads, _ = jax.grad(loss, has_aux=True)(params)
    return jax.tree.map(lambda p, g: p - rate * g, params, grads)

  params = PARAMS
  for index in range(400):
    params = step(params, 0.5 if index < 200 else 0.01)
  rows = np.abs(np.asarray(params["body"]["kernel"])).max(axis=1)
  assert rows[0] > 0.5
  assert (rows[1:] < 1e-3).all()


def test_over_replay():
  old = linear_case.batch([0, 1], seed=5)
  replay = supervised.experience_replay()
  objective = group_lasso.group_lasso(strength=0.5, inner=replay)
  assert objective.num_draws == 1
  value, aux = linear_case.call(objective, PARAMS, NOW, (old,), SCOPE)
  plain, _ = linear_case.call(replay, PARAMS, NOW, (old,), SCOPE)
  np.testing.assert_allclose(value, plain + aux.info["penalty"], rtol=1e-6)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"ratio": -0.5}, r"ratio is -0.5: give a number in \[0, 1\)"),
    ({"ratio": 1.0}, r"ratio is 1.0: give a number in \[0, 1\)"),
    ({"strength": -1}, "strength is -1: give a number from 0"),
    ({"first_loss": 0}, "first_loss is 0: give a number above 0"),
    ({"inner": regularisers.lwf()}, "do not nest"),
  ],
)
def test_bad_settings(options, message):
  with pytest.raises(ValueError, match=message):
    group_lasso.group_lasso(**options)


@pytest.mark.parametrize(
  "slices",
  [[(("no", "kernel"), 0)]]
  + [[OUTPUTS[0][:1] + (axis,)] for axis in (2, 3, -1)],
)
def test_slices_of_another_network(slices):
  objective = group_lasso.group_lasso(slices)
  with pytest.raises(ValueError, match="the parameters have no .*kernel"):
    objective.init(PARAMS, STATS)


def test_defaults():
  assert signatures.defaults(group_lasso.group_lasso) == {"ratio": 0.2}
  assert signatures.defaults(group_lasso.coefficient) == {"ratio": 0.2}


def test_a_small_penalty_weighs_its_ratio_too():
  found = group_lasso.coefficient(jnp.float32(2), jnp.float32(0.5), 0.5)
  assert found == 4
  kernel = jnp.array([[0.25, 0.0]])
  params = {"a": {"kernel": kernel}}
  assert group_lasso.penalty(params, [(("a", "kernel"), 1)]) == 0.25
