"""A head that grows: room for twice as many classes, what was learned kept."""

from typing import Any

import jax
import jax.numpy as jnp

from jcl import base, keys
from jcl.options.errors import UsageError
from jcl.train import learner as learner_lib


def seats(first: int, known: int) -> int:
  """Returns the outputs of a head that began with `first` of them.

  >>> seats(16, 16), seats(16, 17), seats(10, 41)
  (16, 32, 80)
  """
  while first < known:
    first *= 2
  return first


def grown(
  learner: learner_lib.Learner,
  seed: int,
  state: base.LearnerState,
  selection: base.Selection,
) -> base.LearnerState:
  """Returns a state with the classes of a larger head.

  Every array that has an axis of classes keeps its values, to the bit, ahead of
  new ones: those of a head drawn anew, of blank optimiser slots, empty sums, or
  zeros where a memory holds something per class of its examples.

  Args:
    learner: of the larger head.
    seed: of the run.
    state: of the smaller head.
    selection: of the tensors that train.

  Raises:
    UsageError: for a method whose state does not keep its structure.
  """
  key = keys.key(seed, keys.Purpose.GROW, learner.network.num_classes)
  fresh = learner.begun(key, selection)
  if _paths(state) != _paths(fresh):
    raise UsageError(
      f"the recipe's state cannot follow a head of "
      f"{learner.network.num_classes} classes: give capacity= for all classes "
      "to come, or another recipe"
    )
  return jax.tree.map(_ahead, state, fresh)


def _ahead(old: Any, new: Any) -> Any:
  """Returns `old`, followed by what a larger `new` has beyond it."""
  if jnp.shape(old) == jnp.shape(new):
    return old
  corner = tuple(slice(0, size) for size in jnp.shape(old))
  return jnp.asarray(new).at[corner].set(old)


def _paths(tree: Any) -> list[str]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return [jax.tree_util.keystr(path) for path, _ in leaves]
