"""Labels corrected in what a learner keeps of earlier experiences."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jcl import base, keys
from jcl.living import arrivals as arrivals_lib
from jcl.run import loop
from jcl.streams import batching
from jcl.streams import stream as stream_lib
from jcl.train import chunks, hooks


class Replaced(NamedTuple):
  """An example whose label changes."""

  id: int  # that `observe` gave it
  at: int  # its place among all examples of the stream
  was: int  # the class that it was learned as
  y: int  # its class from now on


class Labels:
  """Labels of learned examples, as corrections leave them.

  Args:
    arrivals: which have the corrections.
  """

  def __init__(self, arrivals: arrivals_lib.Arrivals) -> None:
    self._arrivals = arrivals
    self._corrected: dict[int, int] = {}  # labels in force, by id
    self._next = 0  # experience

  def corrected(
    self, job: loop.Job, state: base.LearnerState
  ) -> base.LearnerState:
    """Returns the state with corrected labels of the examples that it keeps.

    The memory on the device has them from now on. Sums of which nothing is
    forgotten lose what an example added to one class and gain it for the other:
    beyond rounding, they are those of the right labels from the start.

    Args:
      job: of the learner, whose last experience is about to begin; none before
        the last one that was asked for.
      state: ahead of it.
    """
    found = self._replaced(job.stream)
    if not found:
      return state
    if state.replay:
      items = state.replay.items
      y, ids = np.array(items.y), np.asarray(items.ids)
      for each in found:
        y[ids == each.at] = each.y
      items = items._replace(y=job.learner.put(y))
      state = state._replace(replay=state.replay._replace(items=items))
    if job.learner.method.objective.signed:
      held = [each for each in found if self._arrivals.has(each.id)]
      state = _resummed(job, state, _Twice(held, self._arrivals))
    return state

  def _replaced(self, stream: stream_lib.Stream) -> list[Replaced]:
    """Returns what changes, and counts it as changed."""
    found: list[Replaced] = []
    for index in range(self._next, len(stream.experiences)):
      found = []
      for given in self._arrivals.corrections(index):
        ended = self._arrivals.ended(given.experience)
        i = int(ended.ids[given.row])
        was = self._corrected.get(i, int(ended.y[given.row]))
        at = int(stream.starts[given.experience]) + given.row
        found.append(Replaced(i, at, was, given.y))
      self._corrected |= {each.id: each.y for each in found}
    self._next = len(stream.experiences)
    return found


class _Twice:
  """Examples that leave the sums with one label and enter with another."""

  def __init__(
    self, found: Sequence[Replaced], arrivals: arrivals_lib.Arrivals
  ) -> None:
    ids = np.array([each.id for each in found] * 2, np.int64)
    labels = [each.was for each in found] + [each.y for each in found]
    self._data = arrivals_lib.dataset(arrivals, ids, np.array(labels, np.int32))

  def __len__(self) -> int:
    return len(self._data)

  def batch(self, rows: np.ndarray) -> base.Batch:
    found = batching.gather(self._data, 0, rows)
    leaves = rows < len(self) // 2
    return found._replace(weight=np.where(leaves, -1, 1) * found.weight)


def _resummed(
  job: loop.Job, state: base.LearnerState, source: _Twice
) -> base.LearnerState:
  index = len(job.stream.experiences) - 1
  key = keys.key(job.seed, keys.Purpose.ACCUMULATE, index)
  scope = loop.scope_of(job, index)
  order = np.arange(len(source), dtype=np.int32)
  for chunk in chunks.of_order(job.learner, source, order):
    state = hooks.accumulate(job.learner, key, state, chunk, scope)
  return state
