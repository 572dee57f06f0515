"""Examples that leave an experience once they are learned for good."""

from typing import Any

import numpy as np

from jcl import base, keys
from jcl.options.errors import UsageError
from jcl.replay import feed, forgetting


def check(method: base.Method) -> None:
  """Raises ValueError for a method whose training set is not its stream's."""
  if method.removal is None:
    return
  forgetting.removals(1, **vars(method.removal))
  if method.trains_on != "current" or method.hierarchy is not None:
    raise UsageError(
      "examples are removed from what an experience brings: leave removal out "
      "of methods that train on a memory, on all examples or on storage"
    )


class Removal(feed.Feed):
  """Shows what an experience brings, less the examples that are due to leave.

  Wang et al., "SparCL: Sparse Continual Learning on the Edge", NeurIPS 2022,
  https://arxiv.org/abs/2209.09476: of an experience's examples, those that were
  forgotten least often leave ahead of some epochs.
  """

  def __init__(self, *args: Any) -> None:
    super().__init__(*args)
    self.removed: list[int] = []  # rows of the experience, for good
    self._errors: forgetting.Forgetting | None = None

  def open(self, allocation: base.Allocation) -> None:
    del allocation
    experience = self.stream.experiences[self.index]
    self.removed = []
    self._errors = forgetting.Forgetting(len(experience.data))

  def knows(self, epoch: int, now: int) -> bool:
    return epoch == now

  def order(self, epoch: int) -> np.ndarray:
    """Returns an epoch's order without what has left, the newly due included.

    Calling it decides which examples leave ahead of the epoch.
    """
    order = super().order(epoch)
    removal = self.learner.method.removal
    if removal is None or self._errors is None:
      return order
    due = forgetting.removals(len(order), **vars(removal))
    wanted = sum(count for at, count in due.items() if at <= epoch)
    missing = wanted - len(self.removed)
    if missing > 0:
      generator = keys.rng(self.seed, keys.Purpose.REMOVAL, self.index, epoch)
      left = np.setdiff1d(order, self.removed)
      gone = self._errors.drop(missing, left, generator)
      self.removed = sorted([*self.removed, *gone.tolist()])
    return order[~np.isin(order, self.removed)]

  def learned(self, sent: feed.Sent, difficulty: np.ndarray) -> None:
    """Notes which examples were answered right: difficulty below one half."""
    if self._errors is None:
      return
    first = self.stream.first_id(self.index)
    for row, hard in zip(sent.ids, difficulty, strict=False):
      row = row[: len(hard)]
      ids = np.where(row < 0, -1, row - first)
      self._errors.observe(ids, hard < 0.5)

  def state(self) -> dict[str, Any]:
    errors = None if self._errors is None else self._errors.state()
    return {**super().state(), "removed": self.removed, "errors": errors}

  def restore(self, state: dict[str, Any]) -> None:
    super().restore(state)
    self.removed, self._errors = list(state["removed"]), None
    if state["errors"] is not None:
      self._errors = forgetting.Forgetting(len(state["errors"]["events"]))
      self._errors.restore(state["errors"])
