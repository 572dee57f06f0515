"""Distillation, and the layer that corrects its bias to new classes."""

import jax
import jax.numpy as jnp
import linear_case
import numpy as np
import pytest
from scipy import optimize
import signatures

from jcl.objectives import batches, bias, supervised

PARAMS, OTHER = linear_case.params(), linear_case.params(4)
STATS, SCOPE = linear_case.STATS, linear_case.scope()
NOW = linear_case.batch([2, 3, 2, 3])
OLD = linear_case.batch([0, 1, 0], seed=5)
OBJECTIVE = bias.bias_correction(lambda ids: ids >= 100, 2.0)
SCALE = jnp.array([1.0, 1.0, 1.5, 0.5, 1.0])
SHIFT = jnp.array([0.0, 0.0, -1.0, 2.0, 0.0])


def _state(scale=SCALE, shift=SHIFT):
  state = OBJECTIVE.init(OTHER, STATS, linear_case.C)
  return state._replace(scale=scale, shift=shift)


def _loss(now=NOW, old=OLD, scope=SCOPE, state=None, tree=PARAMS):
  state = _state() if state is None else state
  return linear_case.call(OBJECTIVE, tree, now, (old,), scope, state)


def _review(memory, scope=SCOPE, state=None):
  state = _state() if state is None else state
  inputs = linear_case.inputs(PARAMS, memory, (), scope, state)
  return OBJECTIVE.review(linear_case.forward, inputs)


def _held_out(batch):
  return batch._replace(ids=batch.ids + 100)


MEMORY = jax.tree.map(
  lambda *parts: np.concatenate(parts),
  _held_out(linear_case.batch([0, 1, 0, 1, 0, 2, 2, 3], seed=7)),
  linear_case.batch([0, 1, 2, 3], seed=8),
)


def _corrected(tree, x):
  return np.asarray(SCALE) * linear_case.logits(tree, x) + np.asarray(SHIFT)


def test_loss_by_hand():
  # Four classes seen, two of them before.
  value, aux = _loss()
  whole = batches.join(NOW, OLD)
  logits = _corrected(PARAMS, whole.x)
  ours, theirs = (
    linear_case.log_softmax(z / 2, (0, 1))[:, :2]
    for z in (logits, _corrected(OTHER, whole.x))
  )
  held = (np.exp(theirs) * (theirs - ours)).sum(axis=1).mean()
  learned = linear_case.nll(logits, whole.y, range(4))
  np.testing.assert_allclose(aux.info["distillation"], held, rtol=1e-4)
  np.testing.assert_allclose(aux.info["cross_entropy"], learned, rtol=1e-5)
  np.testing.assert_allclose(value, 0.5 * held + 0.5 * learned, rtol=1e-5)
  np.testing.assert_allclose(aux.logits, logits[:4], rtol=1e-5)
  assert aux.stats["calls"] == 1


def test_weight_of_distillation_is_the_share_of_earlier_classes():
  scope = linear_case.scope(current=(3,), seen=(0, 1, 2, 3))
  value, aux = _loss(linear_case.batch([3]), scope=scope)
  held, learned = aux.info["distillation"], aux.info["cross_entropy"]
  np.testing.assert_allclose(value, 0.75 * held + 0.25 * learned, rtol=1e-5)


@pytest.mark.parametrize(
  "scope",
  [
    linear_case.scope(task=0, current=range(4), seen=range(4)),
    linear_case.scope(task=3, current=range(4), seen=range(4)),
  ],
  ids=["the first experience", "all classes come back"],
)
def test_without_earlier_classes_it_is_replay(scope):
  state = OBJECTIVE.init(OTHER, STATS, linear_case.C)
  plain, _ = linear_case.call(
    supervised.experience_replay(), PARAMS, NOW, (OLD,), scope
  )
  np.testing.assert_allclose(_loss(scope=scope, state=state)[0], plain)
  assert (_review(MEMORY, scope, state).scale == 1).all()


def test_held_out_examples_are_not_learned():
  def loss(tree, now, old):
    return _loss(now, old, tree=tree)[0]

  fewer = jax.tree.map(lambda leaf: leaf[:2], NOW)
  plain = jax.value_and_grad(loss)(PARAMS, fewer, OLD)
  some = NOW._replace(ids=np.array([0, 1, 100, 101], np.int32))
  more = jax.tree.map(lambda *parts: np.concatenate(parts), OLD, _held_out(NOW))
  mixed = jax.value_and_grad(loss)(PARAMS, some, more)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    plain,
    mixed,
  )
  value, _ = _loss(_held_out(NOW), _held_out(OLD))
  assert value == 0


def test_padding_changes_nothing_and_absent_outputs_have_no_gradient():
  def loss(tree, now, old):
    return _loss(now, old, tree=tree)[0]

  grad_fn = jax.jit(jax.value_and_grad(loss))
  plain = grad_fn(PARAMS, NOW, OLD)
  padded = grad_fn(PARAMS, linear_case.pad(NOW), linear_case.pad(OLD))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    plain,
    padded,
  )
  assert plain[1]["head"]["bias"][4] == 0


def test_begin_takes_a_copy_and_keeps_the_layers():
  begin = jax.jit(OBJECTIVE.begin)
  state = begin(_state(), PARAMS, STATS, SCOPE)
  jax.tree.map(np.testing.assert_array_equal, state.params, PARAMS)
  ours = PARAMS["body"]["kernel"].unsafe_buffer_pointer()
  assert state.params["body"]["kernel"].unsafe_buffer_pointer() != ours
  np.testing.assert_array_equal(state.scale, SCALE)
  np.testing.assert_array_equal(state.shift, SHIFT)


def _surprise(layer, logits, labels, weight, new, mask, decay):
  """The function that `bias.fit` minimises, in float64."""
  z = np.where(new, layer[0] * np.float64(logits) + layer[1], logits)
  logs = linear_case.log_softmax(z, np.flatnonzero(mask))
  rows = np.arange(len(labels))
  value = -(weight * logs[rows, labels]).sum() / weight.sum()
  return value + decay * (layer[0] - 1 - np.log(layer[0]) + layer[1] ** 2 / 2)


def _case(seed, count=40, spread=2.0):
  generator = np.random.default_rng(seed)
  logits = spread * generator.normal(size=(count, 5)).astype(np.float32)
  labels = generator.integers(0, 4, count)
  weight = generator.uniform(0, 2, count).astype(np.float32)
  new = np.array([False, False, True, True, False])
  mask = np.array([True] * 4 + [False])
  return logits, labels, weight, new, mask


_fit = jax.jit(bias.fit)


@pytest.mark.parametrize("decay", [1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("spread", [0.1, 2.0, 50.0])
def test_fit_finds_the_least_surprise(decay, spread):
  for seed in range(5):
    case = _case(seed, spread=spread)
    found = np.array(_fit(*case, decay))
    best = optimize.minimize(
      _surprise,
      [1.0, 0.0],
      (*case, decay),
      method="L-BFGS-B",
      bounds=((1e-6, None), (None, None)),
    )
    assert found[0] > 0
    assert _surprise(found, *case, decay) <= best.fun + 1e-5 * (1 + best.fun)


def test_fit_recovers_a_distortion_of_the_outputs():
  generator = np.random.default_rng(0)
  true = 2 * generator.normal(size=(20_000, 4)).astype(np.float32)
  chosen = np.argmax(true + generator.gumbel(size=true.shape), axis=1)
  new = np.array([False, False, True, True])
  logits = np.where(new, (true + 3) / 0.5, true)  # alpha 0.5, beta -3
  everything = np.ones(4, bool)
  weight = np.ones(len(true), np.float32)
  alpha, beta = _fit(logits, chosen, weight, new, everything, 1e-6)
  np.testing.assert_allclose([alpha, beta], [0.5, -3], rtol=0.05)


def test_fit_ends_where_no_layer_is_best():
  # Nothing is confused, so that a larger alpha is always better.
  logits = 5 * np.eye(4, dtype=np.float32)
  new = np.array([False, False, True, True])
  alpha, beta = _fit(
    logits, np.arange(4), np.ones(4), new, np.ones(4, bool), 0.01
  )
  assert 1 < alpha < 2 and -1 < beta < 1


def test_fit_never_turns_the_new_classes_around():
  # They are taken for one another, so that alpha would best be negative.
  logits = np.eye(4, dtype=np.float32)[[0, 1, 3, 2]] * 4
  new = np.array([False, False, True, True])
  alpha, beta = _fit(
    logits, np.arange(4), np.ones(4), new, np.ones(4, bool), 1e-3
  )
  assert 0 < alpha < 0.1 and np.isfinite(beta)


def test_review_sets_the_layer_of_the_experience():
  state = _review(MEMORY)
  changed = np.isin(np.arange(5), (2, 3))
  np.testing.assert_array_equal(
    np.asarray(state.scale)[~changed], np.asarray(SCALE)[~changed]
  )
  np.testing.assert_array_equal(
    np.asarray(state.shift)[~changed], np.asarray(SHIFT)[~changed]
  )
  # Fitted to the eight held-out rows, each class with the same weight.
  x, y = MEMORY.x[:8], MEMORY.y[:8]
  weight = 1 / np.bincount(y)[y]
  logits = _corrected(PARAMS, x).astype(np.float32)
  alpha, beta = _fit(logits, y, weight, SCOPE.current, SCOPE.head, 0.1 / 8)
  np.testing.assert_allclose(
    np.asarray(state.scale)[changed], alpha * np.array([1.5, 0.5]), rtol=1e-3
  )
  np.testing.assert_allclose(
    np.asarray(state.shift)[changed],
    alpha * np.array([-1.0, 2.0]) + beta,
    rtol=1e-3,
  )


def test_review_weighs_classes_alike():
  # As many rows in both, and of each class the same inputs in equal shares.
  x = MEMORY.x[MEMORY.y]  # one input of a class
  few, many = (
    jax.tree.map(lambda leaf, rows=rows: leaf[list(rows)], MEMORY._replace(x=x))
    for rows in (range(8), [0, 1, 3, 5, 6, 7, 7, 7])
  )
  plain, again = _review(few), _review(many)
  np.testing.assert_allclose(plain.scale, again.scale, rtol=1e-4)
  np.testing.assert_allclose(plain.shift, again.shift, rtol=1e-4)


@pytest.mark.parametrize("present", [(0, 1), (2, 3), ()])
def test_review_needs_examples_of_both_sides(present):
  weight = np.isin(MEMORY.y, present).astype(np.float32)
  state = _review(MEMORY._replace(weight=weight))
  np.testing.assert_array_equal(state.scale, SCALE)
  np.testing.assert_array_equal(state.shift, SHIFT)


def test_one_batch_is_drawn_from_the_memory():
  assert OBJECTIVE.num_draws == 1


def test_many_held_out_examples_are_read_in_parts():
  generator = np.random.default_rng(3)
  memory = _held_out(linear_case.batch(generator.integers(0, 4, 1101)))
  state = jax.jit(_review)(memory)
  weight = 1 / np.bincount(memory.y)[memory.y]
  logits = _corrected(PARAMS, memory.x).astype(np.float32)
  alpha, _ = _fit(
    logits, memory.y, weight, SCOPE.current, SCOPE.head, 0.1 / 1101
  )
  np.testing.assert_allclose(state.scale[2], 1.5 * alpha, rtol=1e-3)


@pytest.mark.parametrize("name", ["temperature", "decay"])
def test_bad_settings(name):
  with pytest.raises(ValueError, match=f"{name} is 0.*above 0"):
    bias.bias_correction(lambda ids: ids > 0, **{name: 0})


def test_defaults():
  assert signatures.defaults(bias.bias_correction) == {
    "temperature": 2.0,
    "decay": 0.1,
  }


def test_review_of_a_class_without_held_out_examples():
  seen = MEMORY._replace(ids=np.where(MEMORY.y == 1, 0, MEMORY.ids + 100))
  state = _review(seen._replace(ids=seen.ids.astype(np.int32)))
  rows = MEMORY.y != 1
  y = MEMORY.y[rows]
  weight = 1 / np.bincount(y)[y]
  logits = _corrected(PARAMS, MEMORY.x[rows]).astype(np.float32)
  alpha, _ = _fit(logits, y, weight, SCOPE.current, SCOPE.head, 0.1 / len(y))
  np.testing.assert_allclose(state.scale[2], 1.5 * alpha, rtol=1e-3)
