"""The replay of methods without a memory."""

from typing import Any, NoReturn

from jcl import base
from jcl.options.errors import UsageError


def none() -> base.Replay:
  """Returns a replay that stores nothing; its state is ()."""

  def init(example: base.Batch) -> Any:
    del example
    return ()

  def add(key: base.Key, state: Any, batch: base.Batch) -> Any:
    del key, batch
    return state

  def sample(key: base.Key, state: Any, scope: base.Scope) -> NoReturn:
    raise UsageError(
      "the objective replays examples and the memory keeps none: use a memory "
      "such as reservoir.reservoir(capacity, num_samples)"
    )

  return base.Replay(0, 0, init, add, sample, when="never")
