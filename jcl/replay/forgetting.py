"""Removal of training examples that need not be shown again.

The removal of Wang et al., "SparCL: Sparse Continual Learning on the Edge",
NeurIPS 2022, https://arxiv.org/abs/2209.09476, by the forgetting events of
Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural
Network Learning", ICLR 2019, https://arxiv.org/abs/1812.05159.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jcl.options.errors import UsageError

_NEVER = np.iinfo(np.int64).max


class Forgetting:
  """Counts how often the answer for each example went from right to wrong.

  Args:
    num_examples: examples are named by ids from 0 to `num_examples` - 1.

  Raises:
    ValueError: for fewer than one example.

  >>> events = Forgetting(3)
  >>> events.observe(np.array([0, 1]), np.array([True, True]))
  >>> events.observe(np.array([0, 1]), np.array([False, True]))
  >>> events.counts(np.array([0, 1])).tolist()
  [1, 0]
  """

  def __init__(self, num_examples: int) -> None:
    if num_examples < 1:
      raise ValueError(f"num_examples={num_examples}: give 1 or more")
    self._events = np.zeros(num_examples, np.int64)
    self._right = np.zeros(num_examples, bool)  # when it was shown last
    self._learned = np.zeros(num_examples, bool)  # at any time

  def observe(self, ids: np.ndarray, correct: np.ndarray) -> None:
    """Counts answers, in the order in which they were given.

    Args:
      ids: [B] integers; negative ones are padding.
      correct: [B] bool, right answers before the update.

    Raises:
      ValueError: for an id that is too large, or arrays of different shapes.
    """
    ids, correct = np.asarray(ids), np.asarray(correct, bool)
    if ids.shape != correct.shape or ids.ndim != 1:
      raise ValueError(
        f"ids of shape {ids.shape}, correct of {correct.shape}: give [B] both"
      )
    ids, correct = ids[ids >= 0], correct[ids >= 0]
    self._check(ids)
    # A stable sort keeps the answers for a repeated example in their order.
    order = np.argsort(ids, kind="stable")
    ids, correct = ids[order], correct[order]
    again = np.zeros(len(ids), bool)
    again[1:] = ids[1:] == ids[:-1]
    before = np.where(again, np.roll(correct, 1), self._right[ids])
    np.add.at(self._events, ids, before & ~correct)
    self._learned[ids[correct]] = True
    latest = ~np.roll(again, -1)
    self._right[ids[latest]] = correct[latest]

  def counts(self, ids: np.ndarray) -> np.ndarray:
    """Returns the events of ids [N], [N] int64.

    Examples that were never answered right have the largest number there is.

    Raises:
      ValueError: for an id that is negative or too large.
    """
    ids = np.asarray(ids)
    self._check(ids)
    return np.where(self._learned[ids], self._events[ids], _NEVER)

  def drop(
    self, count: int, candidates: np.ndarray, generator: np.random.Generator
  ) -> np.ndarray:
    """Removes the least forgotten candidates, and sets all counts to zero.

    Many candidates have equal counts; among these the choice is random, since
    ids often follow classes.

    Args:
      count: number of examples to remove.
      candidates: [N] ids without repeats.
      generator: of the random order.

    Returns:
      [count] ids, rising.

    Raises:
      ValueError: for a count below 0 or above the number of candidates.
    """
    candidates = np.asarray(candidates, np.int64)
    if not 0 <= count <= len(candidates):
      raise ValueError(
        f"count={count} of {len(candidates)} candidates: drop 0 to "
        f"{len(candidates)}"
      )
    shuffled = generator.permutation(candidates)
    order = np.argsort(self.counts(shuffled), kind="stable")
    for kept in (self._events, self._right, self._learned):
      kept[:] = 0
    return np.sort(shuffled[order[:count]])

  def _check(self, ids: np.ndarray) -> None:
    for wrong in ids[(ids < 0) | (ids >= len(self._events))]:
      raise ValueError(
        f"id {wrong} is not among 0 to {len(self._events) - 1}: make "
        "Forgetting for all examples of the stream"
      )

  def state(self) -> dict[str, Any]:
    """Returns all counts, ready for JSON."""
    return {
      "events": self._events.tolist(),
      "right": np.flatnonzero(self._right).tolist(),
      "learned": np.flatnonzero(self._learned).tolist(),
    }

  def restore(self, state: Mapping[str, Any]) -> None:
    """Continues from a result of `state`.

    Raises:
      ValueError: for the state of another number of examples.
    """
    if len(state["events"]) != len(self._events):
      raise ValueError(
        f"the state is of {len(state['events'])} examples, not "
        f"{len(self._events)}: restore it where as many are known"
      )
    self._events[:] = state["events"]
    for kept, name in ((self._right, "right"), (self._learned, "learned")):
      kept[:] = False
      kept[state[name]] = True


def removals(
  num_examples: int, share: float = 0.3, every: int = 5, until: int = 20
) -> dict[int, int]:
  """Returns the numbers of a task's examples to remove, by epoch.

  Examples are removed before the epochs `every`, 2 `every` and so on, counted
  from 0, in numbers that differ by at most one.

  Args:
    num_examples: of the task when it begins.
    share: of the examples that are removed in all, in [0, 1).
    every: epochs between removals.
    until: last epoch with a removal.

  Raises:
    ValueError: for a share out of range, or no removal before `until`.

  >>> removals(10_000)
  {5: 750, 10: 750, 15: 750, 20: 750}
  """
  if not 0 <= share < 1:
    raise UsageError(f"share={share}: give a share from 0 and below 1")
  if not 1 <= every <= until:
    raise UsageError(
      f"every={every}, until={until}: give epochs from 1, such as 5 and 20"
    )
  epochs = range(every, until + 1, every)
  ends = np.arange(len(epochs) + 1) * share * num_examples / len(epochs)
  steps = np.diff(np.floor(ends + 0.5).astype(int))
  return {epoch: int(step) for epoch, step in zip(epochs, steps, strict=True)}
