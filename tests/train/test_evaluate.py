import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_network

from jcl import base
from jcl.objectives import predictors
from jcl.train import augment as augmentation
from jcl.train import evaluate


def dataset(y, num_classes=4):
  y = np.asarray(y, np.int32)
  names = tuple(map(str, range(num_classes)))
  return base.Dataset("set", y[:, None].astype(np.float32), y, names)


def test_accuracies_by_set_by_task_and_by_class():
  sizes = []

  def evaluate_fn(x, y, allowed):
    sizes.append(len(x))
    assert (x[:, 0] == y).all()
    return y != 1, allowed[y]  # errs on class 1 only; the task saves it

  sets = [dataset([0, 1, 1]), dataset([2] * 5)]
  scores = evaluate.over_test_sets(
    evaluate_fn, evaluate.TestSets(sets, [(0, 1), (3,)], 4, 2)
  )
  assert scores.accuracy == (pytest.approx(1 / 3), 1.0)
  assert scores.accuracy_task == (1.0, 0.0)
  assert scores.accuracy_class[:3] == (1.0, 0.0, 1.0)
  assert math.isnan(scores.accuracy_class[3])  # no test example
  assert sizes == [2] * 5  # one shape throughout, the last rows padded


def test_an_empty_test_set_is_nan():
  scores = evaluate.over_test_sets(
    lambda x, y, allowed: (y == y, y == y),
    evaluate.TestSets([dataset([]), dataset([1])], [(0,), (1,)], 4, 3),
  )
  assert math.isnan(scores.accuracy[0]) and scores.accuracy[1] == 1.0


def test_many_small_test_sets_share_batches():
  generator = np.random.default_rng(0)
  labels = [generator.integers(0, 4, i % 4) for i in range(60)]
  tasks = [(i % 4, 3) for i in range(60)]
  sizes = []

  def evaluate_fn(x, y, allowed):
    sizes.append(len(x))
    assert (x[:, 0] == y).all()
    return y % 2 == 0, np.broadcast_to(allowed, (len(y), 4))[range(len(y)), y]

  def scores(most):
    sizes.clear()
    sets = evaluate.TestSets(list(map(dataset, labels)), tasks, 4, most)
    assert sets.num_examples == 90
    return evaluate.over_test_sets(evaluate_fn, sets)

  together = scores(40)
  assert sizes == [40, 40, 40]  # 90 examples, the last batch padded
  apart = scores(1)
  assert sizes == [1] * 90
  np.testing.assert_equal(tuple(together), tuple(apart))
  for found, y, task in zip(together.accuracy_task, labels, tasks, strict=True):
    np.testing.assert_equal(
      found, np.isin(y, task).mean() if len(y) else np.nan
    )


def test_a_few_test_sets_keep_batches_of_their_own():
  for count, most in ((15, 72), (60, 2)):
    sets = evaluate.TestSets(
      [dataset([0, 1])] * count, [(0, 1)] * count, 4, most
    )
    shapes = [allowed.shape for _, _, allowed, _ in sets.batches()]
    assert shapes == [(4,)] * count


def test_only_allowed_outputs_compete():
  network = tiny_network.build()
  wanted = np.array([[3.0, 9.0, 5.0, 1.0]], np.float32)
  predictor = base.Predictor(
    fit=lambda *args: None, scores=lambda *args: jnp.asarray(wanted)
  )
  preprocess = augmentation.Preprocess(np.float32(0), np.float32(1))
  function = evaluate.build_evaluate(network, predictor, preprocess)

  def right(y, head, task):
    masks = [np.isin(np.arange(4), part) for part in (head, task)]
    x = np.zeros((1, 4), np.float32)
    found = function({}, {}, None, x, np.array([y]), *masks)
    return tuple(bool(part[0]) for part in found)

  assert right(1, head=[0, 1, 2, 3], task=[0, 1]) == (True, True)
  assert right(2, head=[0, 1, 2, 3], task=[2, 3]) == (False, True)
  assert right(2, head=[0, 2], task=[2, 3]) == (True, True)
  assert right(3, head=[3], task=[0, 3]) == (True, False)


def test_evaluation_normalises_and_leaves_statistics_alone():
  network = tiny_network.build()
  params, stats = network.init(jax.random.key(0))
  preprocess = augmentation.Preprocess(np.float32(10), np.float32(2))
  apply = evaluate.apply_fn(network, preprocess)
  x = tiny_network.batch().x
  out = apply(params, stats, x * 2 + 10, taps=("features",))
  plain = network.apply(params, stats, x, taps=("second",))
  np.testing.assert_allclose(out.logits, plain.logits, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(
    out.taps["features"], plain.taps["second"], rtol=1e-4, atol=1e-6
  )
  assert tiny_network.same_bits(out.stats, stats)
  scores = predictors.logits().scores(apply, params, stats, x * 2 + 10, None)
  np.testing.assert_array_equal(scores, out.logits)


def test_a_judge_tells_right_answers_and_what_was_given_to_the_right_one():
  network = tiny_network.build()
  params, stats = network.init(jax.random.key(2))
  preprocess = augmentation.Preprocess(np.float32(1), np.float32(2))
  judge = evaluate.build_judge(network, preprocess)
  x, y = tiny_network.batch(5).x, np.array([0, 2, 1, 1, 0], np.int32)
  head = np.array([True, True, True, False])
  right, logs = judge(params, stats, 2 * x + 1, y, head)
  logits = np.asarray(network.apply(params, stats, x).logits)[:, :3]
  shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  np.testing.assert_array_equal(right, logits.argmax(axis=1) == y)
  np.testing.assert_allclose(np.exp(logs), shares[np.arange(5), y], rtol=1e-4)
  assert 0 < np.asarray(right).sum() < 5 and logs.dtype == np.float32


def test_rows_of_batches_of_one_size():
  found = [(rows.tolist(), used) for rows, used in evaluate.in_batches(5, 3)]
  assert found == [([0, 1, 2], 3), ([3, 4, 3], 2)]
  assert list(evaluate.in_batches(0, 3)) == []
  assert [used for _, used in evaluate.in_batches(6, 3)] == [3, 3]


def test_test_sets_are_known_by_the_very_objects():
  sets, tasks = [dataset([0, 1])], [(0, 1)]
  made = evaluate.TestSets(sets, tasks, 4, 2)
  assert made.are(sets, tasks)
  assert not made.are(list(sets), tasks) and not made.are(sets, list(tasks))
