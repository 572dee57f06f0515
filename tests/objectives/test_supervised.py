"""Cross-entropy with and without replay."""

import inspect

import jax
import linear_case
import numpy as np
import pytest
import signatures

from jcl.objectives import batches, logit_replay, supervised

NOW = linear_case.batch([2, 3, 2])
OLD = linear_case.batch([0, 1], seed=5)
SCOPE = linear_case.scope()
PARAMS = linear_case.params()
LOGITS = linear_case.logits(PARAMS, NOW.x)
OLD_LOGITS = linear_case.logits(PARAMS, OLD.x)


def test_cross_entropy_of_the_stream():
  value, aux = linear_case.call(
    supervised.cross_entropy(), PARAMS, NOW, (), SCOPE
  )
  expected = linear_case.nll(LOGITS, NOW.y, range(4))
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert aux.stats["calls"] == 1


def test_cross_entropy_among_the_current_classes():
  value, aux = linear_case.call(
    supervised.cross_entropy(current=True), PARAMS, NOW, (), SCOPE
  )
  expected = linear_case.nll(LOGITS, NOW.y, (2, 3))
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(aux.logits, LOGITS, rtol=1e-5)


@pytest.mark.parametrize(
  "objective",
  [
    supervised.experience_replay(current=True),
    supervised.experience_replay(one_loss=False, current=True),
    logit_replay.derpp(0.5, 0.3, current=True),
  ],
)
def test_other_classes_compete_in_replay_alone(objective):
  def slope(old):
    return jax.grad(
      lambda tree: linear_case.call(
        objective, tree, NOW, (old,) * objective.num_draws, SCOPE
      )[0]
    )(PARAMS)["head"]["bias"]

  old = linear_case.batch([0, 1, 2], seed=5)
  unseen, replayed = (
    np.asarray(slope(old._replace(weight=np.full(3, weight, np.float32))))
    for weight in (0, 1)
  )
  assert (unseen[[0, 1, 4]] == 0).all() and (unseen[[2, 3]] != 0).all()
  assert (replayed[:4] != 0).all() and replayed[4] == 0


def test_sigmoids_of_the_stream():
  weighted = NOW._replace(weight=np.array([1, 0, 3], np.float32))
  value, aux = linear_case.call(
    supervised.binary_cross_entropy(), PARAMS, weighted, (), SCOPE
  )
  p, target = linear_case.sigmoid(LOGITS), np.eye(5)[NOW.y]
  terms = -target * np.log(p) - (1 - target) * np.log(1 - p)
  rows = terms[:, :4].mean(axis=1)
  np.testing.assert_allclose(value, (rows[0] + 3 * rows[2]) / 4, rtol=1e-5)
  assert aux.stats["calls"] == 1 and aux.logits.shape == (3, 5)
  assert supervised.binary_cross_entropy().num_draws == 0


@pytest.mark.parametrize("hook", ["track", "begin", "accumulate", "finish"])
def test_objectives_with_a_state_cannot_be_inner(hook):
  plain = supervised.experience_replay()
  supervised.without_state(plain)
  for remembers in (
    plain._replace(**{hook: lambda *args: ()}),
    plain._replace(init=lambda params, stats: (0,)),
  ):
    with pytest.raises(ValueError, match="remember nothing"):
      supervised.without_state(remembers)


def test_two_means_have_their_own_keys_and_one_mean_the_keys_own():
  keys = []

  def noted(params, stats, x, key=None, evaluate=False):
    keys.append(jax.random.key_data(key).tolist())
    return linear_case.forward(params, stats, x)

  inputs = linear_case.inputs(PARAMS, NOW, (OLD,), SCOPE, seed=3)
  for one_loss in (False, True):
    supervised.experience_replay(one_loss=one_loss).loss(noted, inputs)
  first, second, whole = keys
  assert first != second and whole == jax.random.key_data(inputs.key).tolist()


def test_one_mean_unless_told_otherwise():
  parameters = inspect.signature(supervised.experience_replay).parameters
  assert parameters["one_loss"].default is True
  assert supervised.experience_replay().num_draws == 1


@pytest.mark.parametrize("one_loss", [True, False])
def test_experience_replay(one_loss):
  objective = supervised.experience_replay(one_loss=one_loss)
  value, aux = linear_case.call(objective, PARAMS, NOW, (OLD,), SCOPE)
  new = linear_case.nll(LOGITS, NOW.y, range(4))
  old = linear_case.nll(OLD_LOGITS, OLD.y, range(4))
  expected = (3 * new + 2 * old) / 5 if one_loss else new + old
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert aux.stats["calls"] == (1 if one_loss else 2)
  np.testing.assert_allclose(aux.logits, LOGITS, rtol=1e-5)
  if not one_loss:
    found = [aux.info[part] for part in ("stream", "replay")]
    np.testing.assert_allclose(found, [new, old], rtol=1e-5)


@pytest.mark.parametrize("one_loss", [True, False])
def test_replay_from_an_empty_memory_is_cross_entropy(one_loss):
  empty = OLD._replace(weight=np.zeros(2, np.float32))
  objective = supervised.experience_replay(one_loss=one_loss)
  value, _ = linear_case.call(objective, PARAMS, NOW, (empty,), SCOPE)
  plain, _ = linear_case.call(
    supervised.cross_entropy(), PARAMS, NOW, (), SCOPE
  )
  np.testing.assert_allclose(value, plain, rtol=1e-6)


def test_padding_rows_show_stream_inputs():
  memory = linear_case.batch([0, 1, 2, 3, 4], weight=[1, 0, 1, 0, 0])
  filled = batches.fill(memory, NOW)
  x = np.asarray(filled.x)
  np.testing.assert_array_equal(x[[0, 2]], memory.x[[0, 2]])
  np.testing.assert_array_equal(x[[1, 3, 4]], NOW.x[[1, 0, 1]])
  np.testing.assert_array_equal(filled.weight, memory.weight)
  whole = batches.join(NOW, memory)
  np.testing.assert_array_equal(whole.y, [2, 3, 2, 0, 1, 2, 3, 4])
  assert whole.extras == {}


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(supervised.cross_entropy) == {"current": False}
  assert signatures.defaults(supervised.experience_replay) == {
    "one_loss": True,
    "current": False,
  }
