"""Models of runs solved from statistics: merged, or made to forget examples."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
import numpy as np

from jcl import base
from jcl.objectives import keeping, statistics
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.run import session
from jcl.run.inference import model
from jcl.train import augment as augmentation
from jcl.train import evaluate as evaluation


def merge(*results: session.Result) -> model.Model:
  """Returns the model that one run would have learned from all examples.

  Runs of several devices learn together so without sending an example: what
  each sends is its statistics, `result.state.objective.sums`.

  Args:
    *results: of runs by the same recipe, one of those that are solved from
      sums, with the same network, seed, classes and normalisation of inputs.

  Raises:
    UsageError: for runs whose statistics do not add up.

  >>> import jcl
  >>> x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
  >>> y = np.where(np.abs(x[:, 0]) < 0.5, "inner", "outer")
  >>> network = jcl.build_network("mlp", (1,), 2, width=8, depth=1)
  >>> def learn(part):
  ...   source = jcl.arrays(x[part], y[part], x_test=x, y_test=y)
  ...   stream = jcl.class_incremental(source, tasks=1, normalize="none")
  ...   return jcl.learn(stream, network, jcl.recipes.slda())
  >>> model = merge(learn(slice(0, None, 2)), learn(slice(1, None, 2)))
  >>> model.predict(np.float32([[0.1], [0.9]])).tolist()
  ['inner', 'outer']
  """
  if not results:
    raise UsageError("merge() of no results: give those of one run or more")
  return combined([(each.model, _sums(each)) for each in results])[0]


def combined(
  parts: Sequence[tuple[model.Model, statistics.Statistics]],
) -> tuple[model.Model, statistics.Statistics]:
  """Returns the model of all examples, and their statistics.

  Args:
    parts: models, each with the statistics that it was solved from.

  Raises:
    UsageError: for parts that do not add up.
  """
  first, total = parts[0]
  for other, sums in parts[1:]:
    _check_alike(first, other)
    total = statistics.merge(total, sums)
  return _solved(first, total), total


def forget(
  result: session.Result, x: np.ndarray, y: Sequence[Any]
) -> model.Model:
  """Returns the model that the run would have learned without some examples.

  Files of the run keep what they hold.

  Args:
    result: of a run by a recipe that is solved from sums, without decay.
    x: [N, ...] raw inputs of the examples, as they were learned.
    y: [N] their classes, by name.

  Raises:
    UsageError: for classes that are not known, or more examples of a class than
      were learned.
  """
  made, names = result.model, list(result.class_names)
  labels = [str(each) for each in np.ravel(np.asarray(y)).tolist()]
  unknown = sorted(set(labels) - set(names))
  if unknown:
    raise UsageError(
      f"y={errors.some(unknown)}: give classes of {errors.some(names)}"
    )
  sums = _sums(result)
  network, mean, std, dtype = made.inputs
  if network.features is None or len(labels) != len(x):
    raise UsageError(f"{len(labels)} classes of {len(x)} inputs: give one each")
  apply = jax.jit(
    evaluation.apply_fn(network, augmentation.Preprocess(mean, std)),
    static_argnames="taps",
  )
  out = apply(made.params, made.stats, np.asarray(x, dtype), taps=("features",))
  rows = np.array([names.index(label) for label in labels], np.int32)
  return _solved(made, statistics.remove(sums, out.taps["features"], rows))


def _sums(result: session.Result) -> statistics.Statistics:
  """Returns the statistics that a run has kept."""
  kept = result.state.objective
  sums = kept.sums if isinstance(kept, keeping.Kept) else None
  if not isinstance(sums, statistics.Statistics):
    raise UsageError(
      "the run keeps no sums over its examples: give a result of ncm, slda, "
      "ridge, ranpac or randumb"
    )
  return sums


def _check_alike(first: model.Model, other: model.Model) -> None:
  """Raises UsageError where models do not make the same of inputs."""
  if first.class_names != other.class_names:
    raise UsageError(
      f"classes {errors.some(list(first.class_names))} and "
      f"{errors.some(list(other.class_names))}: merge runs on the same classes"
    )
  if first.predictor.name != other.predictor.name:
    raise UsageError(
      f"predictors {first.predictor.name} and {other.predictor.name}: merge "
      "runs by the same recipe"
    )
  head = first.inputs.network.units[-1]
  arrays = [
    jax.tree.leaves(({**each.params, head: ()}, each.stats, *each.inputs[1:3]))
    for each in (first, other)
  ]
  if len(arrays[0]) != len(arrays[1]) or not all(
    np.array_equal(*pair) for pair in zip(*arrays, strict=True)
  ):
    raise UsageError(
      "the trunk, the normalisation of inputs or the random expansion differs: "
      "merge runs with the same weights, data statistics, --seed and gamma"
    )


def _solved(made: model.Model, sums: statistics.Statistics) -> model.Model:
  """Returns a model with its predictor solved from other statistics."""
  solve = made.predictor.solve
  assert solve is not None
  linear, _ = solve(jax.tree.map(np.asarray, sums))
  fitted: base.Array = jax.device_put(linear)
  return dataclasses.replace(made, fitted=fitted, seen=np.array(linear.known))
