"""Accuracy on held-out data, class- and task-incremental in one pass."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.train import step as step_lib


class Scores(NamedTuple):
  """Accuracies in [0, 1]; NaN where there is no example."""

  accuracy: tuple[float, ...]  # [T] the class among all in play
  accuracy_task: tuple[float, ...]  # [T] among those of the true task
  accuracy_class: tuple[float, ...]  # [C] class-incremental, by class


def build_evaluate(
  network: base.Network,
  predictor: base.Predictor,
  preprocess: step_lib.Preprocess,
) -> Callable[..., tuple[jax.Array, jax.Array]]:
  """Returns `evaluate(params, stats, fitted, x, y, head, task_mask)`.

  It gives two [B] bool arrays: right among the outputs in `head` [C], and
  right among those in `task_mask` [C].
  """
  apply = apply_fn(network, preprocess)

  def evaluate(params, stats, fitted, x, y, head, task_mask):
    scores = predictor.scores(apply, params, stats, x, fitted)
    low = jnp.finfo(scores.dtype).min

    def right(allowed):
      return jnp.argmax(jnp.where(allowed, scores, low), axis=-1) == y

    return right(head), right(task_mask)

  return evaluate


def build_judge(
  network: base.Network, preprocess: step_lib.Preprocess
) -> Callable[..., tuple[jax.Array, jax.Array]]:
  """Returns `judge(params, stats, x, y, head)`.

  It gives, of every example, whether the largest of the outputs in `head` [C]
  is the right one, [B] bool, and the logarithm of the probability that their
  softmax gives to the right one, [B] float32.
  """
  apply = apply_fn(network, preprocess)

  def judge(params, stats, x, y, head):
    outputs = jnp.asarray(apply(params, stats, x).logits, jnp.float32)
    outputs = jnp.where(head, outputs, jnp.finfo(outputs.dtype).min)
    logs = jax.nn.log_softmax(outputs)
    of_right = jnp.take_along_axis(logs, y[:, None], axis=-1)[:, 0]
    return jnp.argmax(outputs, axis=-1) == y, of_right

  return judge


def apply_fn(network: base.Network, preprocess: step_lib.Preprocess):
  """Returns `apply(params, stats, x, taps=())` in evaluation mode.

  The tap "features" stands for the unit that `network.features` names.
  """
  forward = step_lib.Forward(network, preprocess)

  def apply(params, stats, x, taps=()):
    names = {
      tap: str(network.features) if tap == "features" else tap for tap in taps
    }
    out = forward(params, stats, x, None, tuple(names.values()))
    taps = {tap: out.taps[name] for tap, name in names.items()}
    return out._replace(taps=taps)

  return apply


def in_batches(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
  """Yields rows of batches of one size, for one program, and how many count.

  Those behind them, in the last batch, repeat its first ones.
  """
  for start in range(0, count, size):
    rows = np.arange(start, min(start + size, count))
    yield np.resize(rows, size), len(rows)


def over_test_sets(
  evaluate_fn: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple],
  test_sets: Sequence[base.Dataset],
  task_classes: Sequence[tuple[int, ...]],
  num_classes: int,
  batch_size: int,
) -> Scores:
  """Runs `evaluate_fn(x, y, task_mask)` over all test sets in fixed batches.

  Batches have `batch_size` rows throughout, the last one padded, so that one
  compiled program serves every set.
  """
  by_set, by_set_task = [], []
  hits, counts = np.zeros(num_classes), np.zeros(num_classes)
  for data, classes in zip(test_sets, task_classes, strict=True):
    allowed = np.zeros(num_classes, bool)
    allowed[list(classes)] = True
    results = []
    for rows, used in in_batches(len(data), batch_size):
      right = evaluate_fn(
        np.asarray(data.x[rows]), data.y[rows].astype(np.int32), allowed
      )
      results.append([np.asarray(r)[:used] for r in right])
    if not results:
      by_set.append(float("nan"))
      by_set_task.append(float("nan"))
      continue
    right_class = np.concatenate([r[0] for r in results])
    right_task = np.concatenate([r[1] for r in results])
    by_set.append(float(right_class.mean()))
    by_set_task.append(float(right_task.mean()))
    hits += np.bincount(data.y, right_class, num_classes)
    counts += np.bincount(data.y, minlength=num_classes)
  with np.errstate(invalid="ignore"):
    by_class = tuple((hits / counts).tolist())
  return Scores(tuple(by_set), tuple(by_set_task), by_class)
