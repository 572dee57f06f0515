"""Outputs and scores of a learner's network on examples of any number."""

from collections.abc import Callable, Sequence
import math
import operator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jcl import base
from jcl.objectives import predictors
from jcl.train import evaluate as evaluation

if TYPE_CHECKING:  # it imports this module
  from jcl.train import learner as learner_lib

EVALUATION_BATCH = 500
JUDGED_BATCH = 64


def outputs(
  learner: "learner_lib.Learner",
  state: base.LearnerState,
  x: np.ndarray,
  kind: str,
) -> np.ndarray:
  """Returns what a network makes of inputs [N, ...], in evaluation mode.

  Args:
    state: with the weights.
    x: raw inputs.
    kind: "logits" [N, C], or "features" [N, D], what the head reads.
  """
  build = reading(learner, kind)
  train, found = state.train, []
  for rows, used in evaluation.in_batches(len(x), EVALUATION_BATCH):
    result = learner.run(
      "probe", kind, build, train.params, train.stats, learner.put(x[rows])
    )
    found.append(np.asarray(result)[:used])
  return np.concatenate(found)


def reading(
  learner: "learner_lib.Learner", kind: str
) -> Callable[[base.Params, base.Stats, base.Array], jax.Array]:
  """Returns what `outputs` compiles under the name of the kind."""
  apply = evaluation.apply_fn(learner.network, learner.preprocess)

  def build(params, stats, x):
    taps = () if kind == "logits" else (kind,)
    out = apply(params, stats, x, taps=taps)
    return out.logits if kind == "logits" else out.taps[kind]

  return build


def judge(
  learner: "learner_lib.Learner",
  state: base.LearnerState,
  data: base.Dataset,
  head: base.Array,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns how the outputs of a network fit some examples.

  A method's predictor is left out: what it reads, such as exemplars of the
  current classes, may be complete only when an experience has ended.

  Args:
    state: with the weights.
    data: the examples, N of them.
    head: [C] bool, the outputs that take part.

  Returns:
    Whether the largest output is the right one, [N] bool, and the logarithm
    of the probability that the right one is given, [N] float32.
  """
  build = evaluation.build_judge(learner.network, learner.preprocess)
  train = state.train
  right, logs = [np.zeros(0, bool)], [np.zeros(0, np.float32)]
  for rows, used in evaluation.in_batches(len(data), JUDGED_BATCH):
    given = learner.put((data.x[rows], data.y[rows].astype(np.int32), head))
    results = learner.run(
      "probe", "judge", build, train.params, train.stats, *given
    )
    for found, part in zip((right, logs), results, strict=True):
      found.append(np.asarray(part)[:used])
  return np.concatenate(right), np.concatenate(logs)


def evaluate(
  learner: "learner_lib.Learner",
  state: base.LearnerState,
  test_sets: Sequence[base.Dataset],
  task_classes: Sequence[tuple[int, ...]],
  head: base.Array,
  memory: base.Batch | None = None,
) -> evaluation.Scores:
  """Scores every test set with the current weights, and a memory.

  Args:
    state: with the weights.
    test_sets: data sets to score.
    task_classes: of each set, what task-incremental answers choose among.
    head: [C] bool, the outputs that take part.
    memory: what a predictor may read; None: the memory on the device.
  """
  if not test_sets:
    nothing = (math.nan,) * learner.network.num_classes
    return evaluation.Scores((), (), nothing)
  train, predictor = state.train, learner.method.predictor
  prepared = fitted(learner, state, memory)
  build = evaluation.build_evaluate(
    learner.network, predictor, learner.preprocess
  )

  def evaluate_fn(x, y, allowed):
    return learner.run(
      "evaluate",
      "evaluate",
      build,
      train.params,
      train.stats,
      prepared,
      *learner.put((x, y, head, allowed)),
    )

  laid_out = learner.tested
  if laid_out is None or not laid_out.are(test_sets, task_classes):
    laid_out = learner.tested = evaluation.TestSets(
      test_sets, task_classes, learner.network.num_classes, EVALUATION_BATCH
    )
  return evaluation.over_test_sets(evaluate_fn, laid_out)


def fitted(
  learner: "learner_lib.Learner",
  state: base.LearnerState,
  memory: base.Batch | None = None,
) -> Any:
  """Returns the predictor fitted to weights, memory and objective.

  Args:
    state: with all three.
    memory: what the predictor may read; None: the memory on the device.
  """
  predictor = learner.method.predictor
  if predictor.solve is not None:
    return _solved(learner, predictor.recalls(state.objective))
  if predictor.fit is predictors.unfitted:
    return ()
  apply = evaluation.apply_fn(learner.network, learner.preprocess)
  if memory is None and state.replay:
    memory = state.replay.items
  return learner.run(
    "evaluate",
    "fit",
    lambda p, s, m, *recalled: predictor.fit(apply, p, s, m, *recalled),
    state.train.params,
    state.train.stats,
    memory,
    *predictor.recalls(state.objective),
  )


def _solved(learner: "learner_lib.Learner", recalled: tuple[Any, ...]) -> Any:
  """Returns the predictor solved from statistics, once for each of them.

  Solving is what such a method does in place of updates: it is filed under
  "train", whoever asks first.
  """
  leaves = jax.tree.leaves(recalled)
  if learner.solved is not None:
    earlier, found = learner.solved
    if len(earlier) == len(leaves) and all(map(operator.is_, earlier, leaves)):
      return found
  solve = learner.method.predictor.solve
  assert solve is not None
  with learner.ledger.timed("train"):
    found, flops = solve(*jax.tree.map(np.asarray, recalled))
    found = learner.put(found)
  learner.ledger.charge("train", base.Cost(flops=flops))
  learner.solved = leaves, found
  return found
