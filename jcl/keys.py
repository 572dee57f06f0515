"""Random keys and generators of a run, each for one purpose.

No two purposes share draws, whatever numbers follow them in a path.
"""

import enum

import jax
import numpy as np


class Purpose(enum.IntEnum):
  """Purposes of random draws; their numbers are part of a run's results."""

  INIT = 0  # weights that the run begins with
  STEPS = 1  # draws and augmentation of updates
  RESTART = 2  # weights of an experience that begins anew
  PROBE = 3  # of a selector: keys, and batches
  MEMORY = 4  # a memory that is offered an experience's examples
  ACCUMULATE = 5  # an experience's examples, shown once more
  HOOKS = 6  # batches that an objective sees ahead of updates and behind them
  EXCHANGE = 7  # which examples leave a memory on the host, and which come
  REMOVAL = 8  # which examples stop being shown
  QUOTA = 9  # which examples a memory on the host takes
  HELD_OUT = 10  # which stored examples are set aside as judges
  TRIAL = 11  # updates and examples of trials
  SIZES = 12  # sizes of a memory, where a rule draws them
  BUFFER = 13  # examples of the stream buffer
  ORDER = 14  # the order of an epoch
  DRAW = 15  # examples that a step replays from a memory on the host
  REVIEW = 16  # a memory that an objective sees as a whole
  EXPAND = 17  # directions of a random unit ahead of the head
  SETTLE = 18  # an experience's examples, shown ahead of its updates
  GROW = 19  # weights of a head's new classes
  ROUNDS = 20  # draws of updates on the memory alone
  STATISTICS = 21  # augmentation of a pass that sets running statistics


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


def rng(seed: int, *path: int) -> np.random.Generator:
  """Returns NumPy's generator of a purpose.

  Args:
    seed: of the run.
    *path: a `Purpose`, then numbers such as experience and epoch, below 2**32.

  >>> first, again = rng(0, Purpose.ORDER, 1), rng(0, Purpose.ORDER, 1)
  >>> bool(first.integers(100) == again.integers(100))
  True
  """
  spawn = tuple(int(part) for part in path)
  return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn))
