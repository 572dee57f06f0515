"""Accuracy on held-out data, class- and task-incremental in one pass."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.objectives import predictors
from jcl.selection import fixed
from jcl.streams import views
from jcl.train import augment as augmentation
from jcl.train import step_spec

# Test sets share batches only where that saves this factor and this number of
# batches, as rounding may differ with the rows beside an example.
_FEWER, _SAVED = 4, 16


class Scores(NamedTuple):
  """Accuracies in [0, 1]; NaN where there is no example."""

  accuracy: tuple[float, ...]  # [T] the class among all in play
  accuracy_task: tuple[float, ...]  # [T] among those of the true task
  accuracy_class: tuple[float, ...]  # [C] class-incremental, by class


def build_evaluate(
  network: base.Network,
  predictor: base.Predictor,
  preprocess: augmentation.Preprocess,
) -> Callable[..., tuple[jax.Array, jax.Array]]:
  """Returns `evaluate(params, stats, fitted, x, y, head, task_mask)`.

  It gives two [B] bool arrays: right among the outputs in `head` [C], and
  right among those in `task_mask`, [C] or [B, C].
  """
  apply = apply_fn(network, preprocess)

  def evaluate(params, stats, fitted, x, y, head, task_mask):
    scores = predictor.scores(apply, params, stats, x, fitted)
    low = jnp.finfo(scores.dtype).min

    def right(allowed):
      return jnp.argmax(jnp.where(allowed, scores, low), axis=1) == y

    return right(head), right(task_mask)

  return evaluate


def build_judge(
  network: base.Network, preprocess: augmentation.Preprocess
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
    of_right = jnp.take_along_axis(logs, y[:, None], axis=1)[:, 0]
    return jnp.argmax(outputs, axis=1) == y, of_right

  return judge


def apply_fn(network: base.Network, preprocess: augmentation.Preprocess) -> Any:
  """Returns `apply(params, stats, x, taps=())` in evaluation mode.

  The tap "features" stands for the unit that `network.features` names, and
  `predictors.Ahead` for the one ahead of the first that trains.
  """
  forward = step_spec.Forward(network, preprocess)

  def apply(params, stats, x, taps=()):
    names = {tap: _place(network, tap) for tap in taps}
    out = forward(params, stats, x, None, tuple(names.values()))
    taps = {tap: out.taps[name] for tap, name in names.items()}
    return out._replace(taps=taps)

  return apply


def _place(network: base.Network, tap: str | predictors.Ahead) -> str:
  """Returns the name by which a network knows a tap."""
  if isinstance(tap, predictors.Ahead):
    last = len(network.units) - 1
    first = last
    if tap.until is not None:
      first = fixed.first_trained(network, tap.until)
    tap = "features" if first == last else network.units[first - 1]
  return str(network.features) if tap == "features" else tap


def in_batches(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
  """Yields rows of batches of one size, for one program, and how many count.

  Those behind them, in the last batch, repeat its first ones.
  """
  for start in range(0, count, size):
    rows = np.arange(start, min(start + size, count))
    yield np.resize(rows, size), len(rows)


class TestSets:
  """Test sets laid out in batches of one shape, for one program.

  Sets are read one by one, unless that takes many batches more than reading
  them as one: where there are many small ones, they share batches.

  Args:
    datasets: to be scored, T of them.
    task_classes: [T] what task-incremental answers choose among.
    num_classes: C.
    most: largest number of rows of a batch.
  """

  def __init__(
    self,
    datasets: Sequence[base.Dataset],
    task_classes: Sequence[tuple[int, ...]],
    num_classes: int,
    most: int,
  ) -> None:
    self.datasets, self._task_classes = datasets, task_classes
    sizes = [len(data) for data in datasets]
    self._set_of = np.repeat(np.arange(len(sizes)), sizes)
    self._y = np.concatenate([data.y for data in datasets]).astype(np.int32)
    self._allowed = np.zeros((len(sizes), num_classes), bool)
    for row, classes in zip(self._allowed, task_classes, strict=True):
      row[list(classes)] = True
    self._size = max(1, min(most, max(sizes)))
    apart = sum(-(-size // self._size) for size in sizes)
    together = max(1, min(most, len(self._y)))
    count = -(-len(self._y) // together)
    self._joined = None
    if apart > _FEWER * count and apart > count + _SAVED:
      self._size, self._joined = together, views.join(datasets)

  def are(
    self,
    datasets: Sequence[base.Dataset],
    task_classes: Sequence[tuple[int, ...]],
  ) -> bool:
    """Tells whether these are the very objects that are laid out here."""
    return self.datasets is datasets and self._task_classes is task_classes

  @property
  def num_examples(self) -> int:
    """Number of examples of all sets."""
    return len(self._y)

  def batches(self) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields (x [B, ...], y [B], allowed classes, positions [n]), n <= B.

    Allowed classes are bool [C], or [B, C] where a batch holds several sets.
    Positions are those of the first n rows among all examples.
    """
    if self._joined is not None:
      for rows, used in in_batches(len(self._y), self._size):
        allowed = self._allowed[self._set_of[rows]]
        yield self._joined.x[rows], self._y[rows], allowed, rows[:used]
      return
    first = 0
    for data, allowed in zip(self.datasets, self._allowed, strict=True):
      for rows, used in in_batches(len(data), self._size):
        x = np.asarray(data.x[rows])
        yield x, self._y[first + rows], allowed, first + rows[:used]
      first += len(data)

  def scores(self, right: np.ndarray, right_task: np.ndarray) -> Scores:
    """Returns the accuracies of answers, [N] bool: right or not."""
    count, num_classes = self._allowed.shape
    with np.errstate(invalid="ignore"):
      sizes = np.bincount(self._set_of, minlength=count)
      by_set, by_set_task = (
        np.bincount(self._set_of, found, count) / sizes
        for found in (right, right_task)
      )
      hits = np.bincount(self._y, right, num_classes)
      by_class = hits / np.bincount(self._y, minlength=num_classes)
    return Scores(
      tuple(by_set.tolist()),
      tuple(by_set_task.tolist()),
      tuple(by_class.tolist()),
    )


def over_test_sets(
  evaluate_fn: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple],
  test_sets: TestSets,
) -> Scores:
  """Runs `evaluate_fn(x, y, task_mask)` over all test sets in fixed batches.

  `task_mask` is [C], or [B, C] where a batch holds several sets.
  """
  right = np.zeros((2, test_sets.num_examples), bool)
  for x, y, allowed, places in test_sets.batches():
    for found, part in zip(right, evaluate_fn(x, y, allowed), strict=True):
      found[places] = np.asarray(part)[: len(places)]
  return test_sets.scores(*right)
