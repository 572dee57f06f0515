"""How a learner's steps are built: whole, or in pieces."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.selection import mask
from jcl.train import optimizer as optimizers
from jcl.train import pieces, step_spec, whole

if TYPE_CHECKING:  # it imports this module
  from jcl.train import learner as learner_lib

Executor = whole.Whole | pieces.Pieces


def whole_steps(learner: "learner_lib.Learner") -> whole.Whole:
  """Returns what compiles one program for every selection."""
  return whole.Whole(
    learner.spec,
    learner.steps_per_dispatch,
    learner.compiler,
    lambda selection: shapes(learner, selection, learner.steps_per_dispatch),
    learner.sharding(),
  )


def in_pieces(learner: "learner_lib.Learner") -> pieces.Pieces:
  """Returns what composes steps of parts that serve every selection.

  Raises:
    ValueError: where the learner's parts do not allow it.
  """
  if learner.spec.sparsity is not None:
    raise UsageError(
      "executor=pieces moves arrays one by one and knows nothing of weights "
      "held at zero: give executor=whole"
    )
  if optimizers.is_own(learner.training):
    raise UsageError(
      "executor=pieces runs a rule on every tensor by itself, an optimizer of "
      "one's own on all of them together: give executor=whole"
    )
  if learner.method.replay.update is not None:
    raise UsageError(
      "executor=pieces tells a memory nothing of what it replays, which that "
      "of lars goes by: give executor=whole"
    )
  rewrite = learner.method.rewrite
  if rewrite is not None and rewrite.track is not None:
    raise UsageError(
      "executor=pieces does not follow gradients of weights that are reset: "
      "give executor=whole"
    )
  if learner.mesh.size > 1 or learner.spec.accumulate > 1:
    raise UsageError(
      "executor=pieces trains on one device and in one part: give "
      "executor=whole, or neither accumulate nor several devices"
    )
  everything = mask.everything(learner.network)
  key, state, batches, _, scope = shapes(learner, everything, 1)
  batch = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), batches
  )
  return pieces.Pieces(
    learner.spec, learner.compiler, (key, state, batch, scope)
  )


def shapes(
  learner: "learner_lib.Learner", selection: base.Selection, max_steps: int
) -> tuple[Any, ...]:
  """Returns shapes of (key, state, batches, num_steps, scope)."""
  leading = (max_steps, learner.batch_size + learner.fed_rows)
  blank = learner.example
  if not learner.fed_rows:
    blank = blank._replace(extras={})
  batches = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      (*leading, *leaf.shape), leaf.dtype, sharding=learner.batch_sharding
    ),
    blank,
  )
  classes = np.zeros(learner.network.num_classes, bool)
  zero = np.zeros((), np.int32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  state, scope = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=learner.sharding()
    ),
    (
      learner.template(selection),
      base.Scope(zero, classes, classes, classes),
    ),
  )
  return key, state, batches, zero, scope


def check_batch(spec: step_spec.StepSpec) -> int:
  """Returns the batch size, checked to be one that can be cut."""
  method, accumulate = spec.method, spec.accumulate
  size = spec.training.batch_size
  if size is None or size < 1:
    raise UsageError(f"batch_size={size} must be at least 1")
  if accumulate < 1 or size % accumulate:
    raise UsageError(
      f"accumulate={accumulate} must divide batch_size={size} into equal parts"
    )
  if size < method.objective.least_rows:
    raise UsageError(
      f"the recipe takes {method.objective.least_rows} examples of a batch as "
      f"anchors, but batch_size={size}: give a larger batch or fewer anchors"
    )
  replayed, least = method.replay.num_samples, method.objective.least_replayed
  if replayed < least:
    raise UsageError(
      f"the recipe takes {least} replayed examples as anchors, but an update "
      f"has minibatch={replayed}: give {least} or more, or fewer anchors"
    )
  replayed = replayed if method.objective.num_draws else 0
  if replayed % accumulate:
    raise UsageError(
      f"accumulate={accumulate} must also divide the {replayed} replayed "
      "examples of a step"
    )
  return size
