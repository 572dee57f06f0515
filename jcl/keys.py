"""Random keys, each for one purpose."""

import enum

import jax


class Purpose(enum.IntEnum):
  """Purposes of random keys of a run; their numbers are part of its results."""

  INIT = 0  # weights that the run begins with
  STEPS = 1  # draws and augmentation of updates
  RESTART = 2  # weights of an experience that begins anew
  PROBE = 3  # of a selector
  MEMORY = 4  # a memory that is offered an experience's examples
  ACCUMULATE = 5  # an experience's examples, shown once more
  HOOKS = 6  # batches that an objective sees ahead of updates and behind them
  TRIAL = 11  # updates of trials


def key(seed: int, *path: int) -> jax.Array:
  """Returns the key of a purpose.

  Args:
    seed: of the run.
    *path: a `Purpose`, then numbers such as experience and epoch.
  """
  found = jax.random.key(seed)
  for part in path:
    found = jax.random.fold_in(found, int(part))
  return found
