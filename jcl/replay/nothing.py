"""The memory of methods that have none."""

from jcl import base
from jcl.errors import UsageError


def none() -> base.Replay:
  """Keeps nothing; its state is ()."""

  def init(example):
    del example
    return ()

  def add(key, state, batch):
    del key, batch
    return state

  def sample(key, state, scope):
    raise UsageError(
      "the objective replays examples and the memory keeps none: use a memory "
      "such as reservoir.reservoir(capacity, num_samples)"
    )

  return base.Replay(0, 0, init, add, sample, when="never")
