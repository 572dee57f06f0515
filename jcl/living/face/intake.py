"""One door for all examples, whoever brings them: requests or a folder."""

from collections import deque
from collections.abc import Callable, Sequence
import threading
from typing import Any

import numpy as np

from jcl.living import live as live_lib
from jcl.living.face import memory as memory_lib


class Intake:
  """Hands examples to a learner, one batch after the other. For any thread.

  Where learning beside has failed, the learner tells it to whoever asks next.
  Here nobody is refused for that: it is kept in `failures`.

  Args:
    learner: that takes them.
    memory: of what a watched folder brought.
  """

  def __init__(self, learner: live_lib.Live, memory: memory_lib.Memory) -> None:
    self.memory, self.failures = memory, deque[BaseException]()
    self._learner, self._lock = learner, threading.Lock()

  def observe(self, x: Any, labels: Sequence[Any] | None) -> np.ndarray:
    """Takes examples in; see `Live.observe`."""
    with self._lock:
      self._prepare()
      return self._learner.observe(x, labels)

  def label(self, ids: Any, labels: Sequence[Any]) -> None:
    """Gives examples their labels; see `Live.label`."""
    with self._lock:
      self._prepare()
      self._learner.label(ids, labels)

  def end(self) -> int:
    """Ends the open experience; see `Live.end_experience`."""
    with self._lock:
      self._prepare()
      return self._learner.end_experience()

  def take(
    self,
    x: np.ndarray,
    labels: Sequence[str | None],
    begin: Callable[[int], None],
  ) -> None:
    """Takes in what a folder brought, each example once whatever happens.

    Args:
      x: [N, ...] inputs.
      labels: [N], None where there is none.
      begin: says to the memory which examples they are, the number of the first
        being given.

    Raises:
      UsageError: as `Live.observe` does, and StoreError; the memory knows how
        many of them were taken.
    """
    with self._lock:
      self._prepare()
      begin(len(self._learner))
      try:
        self._learner.observe(x, list(labels))
      finally:
        self.memory.settle(len(self._learner))

  def say(self, say: Callable[[], None]) -> None:
    """Has the memory note something that is no example."""
    with self._lock:
      self._prepare()
      say()

  def _prepare(self) -> None:
    """Notes how the last batch ended, and how learning failed."""
    failed = self._learner.failure()
    if failed is not None:
      self.failures.append(failed)
    self.memory.settle(len(self._learner))
