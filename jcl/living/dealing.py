"""Examples dealt out to experiences, which end by a rule."""

from collections.abc import Mapping, Sequence
import threading
import time
from typing import Any, TypeAlias

import numpy as np

from jcl.living import answers as answers_lib
from jcl.living import ending as ending_lib
from jcl.living import held, logged
from jcl.living.log import given as given_lib
from jcl.living.log import inputs, labels
from jcl.options import errors
from jcl.options.errors import UsageError

Kept: TypeAlias = held.Held | logged.Logged


class Dealing:
  """Takes examples into the open experience, and ends it where it is time.

  Any thread may call its methods.

  Args:
    arrivals: which keep the examples.
    ending: when experiences end.
  """

  def __init__(self, arrivals: Kept, ending: ending_lib.Ending) -> None:
    self._arrivals, self._ending = arrivals, ending
    self.lock = threading.RLock()  # of arrivals and their experiences

  def add(
    self, batch: given_lib.Batch, latest: answers_lib.Answers | None
  ) -> np.ndarray:
    """Takes examples into as many experiences as the rule makes of them.

    Args:
      batch: examples and keys of their labels.
      latest: answers of the model that predicts now, if there is one.

    Returns:
      Ids [N] int64.
    """
    if self._ending.demanded:  # threads share a flush of the disk
      return self._arrivals.add(batch)
    with self.lock:
      right = self._right(batch, latest)
      self._end_due()
      ids = self._arrivals.add(batch)
      if self._ending.noted(right):
        self._end()
      self._end_due()
      return ids

  def label(self, ids: np.ndarray, given: Sequence[Any]) -> None:
    """Gives examples [N] their labels [N], or others than they had.

    Raises:
      UsageError: for ids of no example, and for what is no label.
    """
    with self.lock:
      found = keys(given, len(ids))
      if labels.NONE in found:
        raise UsageError("label=None takes no label away: give another one")
      self._room()  # an experience of some seconds may begin here
      self._arrivals.label(ids, given)

  def end(self) -> int:
    """Ends the open experience and returns its number."""
    with self.lock:
      return self._arrivals.end()

  def end_for_learning(self, demanded: bool) -> None:
    """Ends the open experience ahead of learning, where it is time.

    An end that is demanded may be on disk no sooner than the arrivals' `flush`
    returns: learning waits for that ahead of all that it keeps.

    Args:
      demanded: whether it is time whatever the rule says.
    """
    with self.lock:
      if demanded:
        self._end(wait=False)
      else:
        self._end_due()  # some seconds may have passed

  def _room(self) -> int:
    """Returns how many more labelled examples the open experience takes.

    Below 0 it has more than it takes.
    """
    return self._ending.room(self._arrivals.open_count, time.monotonic())

  def _end(self, wait: bool = True) -> None:
    if self._arrivals.open_count:
      self._arrivals.end(wait=wait)

  def _end_due(self) -> None:
    """Ends experiences while the rule says so, and each where it says so.

    Examples that arrived together are kept as one, whatever they are split
    into, and a process that is killed in between goes on here.
    """
    while (room := self._room()) <= 0 and self._arrivals.open_count:
      self._arrivals.end(self._arrivals.open_count + room)

  def _right(
    self, batch: given_lib.Batch, latest: answers_lib.Answers | None
  ) -> np.ndarray | None:
    """Returns whether the latest model names each labelled example right."""
    if latest is None or not isinstance(self._ending, ending_lib.ByDrift):
      return None
    found = map(labels.key, latest.predict(batch.x))
    pairs = zip(found, batch.keys, strict=True)
    return np.array([a == b for a, b in pairs if b != labels.NONE], bool)


def batch(x: Any, given: Any) -> given_lib.Batch:
  """Returns examples as a learner was given them, checked.

  Args:
    x: [N, ...] raw inputs.
    given: [N] labels, None where not known; None: none is.

  Raises:
    UsageError: for inputs or labels that cannot be kept.
  """
  x = inputs.check(x)
  return given_lib.Batch(x, keys(given, len(x)))


def keys(given: Any, count: int) -> Sequence[str]:
  """Returns the keys of labels [N], `labels.NONE` where there is none.

  Args:
    given: [N] labels, an array or a list; None: no example has one.
    count: N.

  Raises:
    UsageError: for another number of labels, and for one that is none.
  """
  if given is None:
    return [labels.NONE] * count
  if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__len__"):
    raise UsageError(
      f"label={errors.short(given)} is one label: give one for each of "
      f"{errors.count(count, 'example')}, as a list"
    )
  found = given if isinstance(given, np.ndarray) else list(given)
  if len(found) != count:
    raise UsageError(
      f"{errors.count(len(found), 'label')} for "
      f"{errors.count(count, 'example')}: give one each"
    )
  return given_lib.keys(found, "label")
