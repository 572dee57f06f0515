"""When an experience ends: on demand, by size, by time, or by drift."""

import math
import re
from typing import NamedTuple, Protocol

import numpy as np

from jcl.control.drift import detection
from jcl.options.errors import UsageError

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_WINDOW = 100  # examples on either side of a test for drift
_NEVER = 2**62


class Ending(Protocol):
  """Tells how many examples an experience may still take.

  `demanded` says whether learning ends the open experience by itself, `timed`
  whether it may end without another example, `told` when it ends, in words.
  """

  demanded: bool
  timed: bool
  told: str

  def room(self, held: int, now: float) -> int:
    """Returns the examples that fit before the experience ends.

    Below 0 it ended so many examples ago.

    Args:
      held: labelled examples of the open experience.
      now: seconds since any fixed moment, of a clock that never steps back.
    """
    ...

  def noted(self, right: np.ndarray | None) -> bool:
    """Notes answers to new examples; tells whether the experience ends.

    Args:
      right: [N] bool, whether the latest model named each example's class;
        None where there is no model.
    """
    ...


class OnDemand:
  """Ends where the caller says so, and where learning begins."""

  demanded, timed = True, False
  told = "when learning begins"

  def room(self, held: int, now: float) -> int:
    del held, now
    return _NEVER

  def noted(self, right: np.ndarray | None) -> bool:
    del right
    return False


class BySize(OnDemand):
  """Ends after a number of examples."""

  demanded = False

  def __init__(self, size: int) -> None:
    self._size = size
    self.told = f"after {size} examples"

  def room(self, held: int, now: float) -> int:
    del now
    return self._size - held


class ByTime(OnDemand):
  """Ends so many seconds after its first example.

  Where nothing more arrives, learning beside the caller notices it.
  """

  demanded, timed = False, True

  def __init__(self, seconds: float) -> None:
    self._seconds, self._since = seconds, math.inf
    self.told = f"{seconds:g} s after its first example"

  def room(self, held: int, now: float) -> int:
    if not held or now < self._since:
      self._since = now
    return 0 if held and now - self._since >= self._seconds else _NEVER


class _Count(NamedTuple):
  right: int = 0
  all: int = 0


class ByDrift(OnDemand):
  """Ends where the latest model answers worse than it did at first.

  The first 100 answers of a model are compared with its latest 100, by a test
  that gives a false alarm in one of a hundred, see `drift.detection.robust`.
  """

  demanded = False
  told = "when answers become worse"

  def __init__(self) -> None:
    self._first, self._latest = _Count(), _Count()

  def noted(self, right: np.ndarray | None) -> bool:
    if right is None:
      return False
    for each in right.tolist():
      if self._first.all < _WINDOW:
        self._first = _Count(self._first.right + each, self._first.all + 1)
        continue
      self._latest = _Count(self._latest.right + each, self._latest.all + 1)
      if self._latest.all == _WINDOW:
        drifts = detection.robust(*self._latest, *self._first)
        self._latest = _Count()
        if drifts:
          self._first = _Count()
          return True
    return False


def read(given: str | int) -> Ending:
  """Returns the rule of a text or number.

  Args:
    given: "call" where the caller says so and where learning begins; a number
      of examples; a time such as "60s", "10min" or "1h"; or "drift".

  Raises:
    UsageError: for anything else.

  >>> type(read("90s")).__name__, type(read(500)).__name__
  ('ByTime', 'BySize')
  """
  text = str(given).strip()
  if text == "call":
    return OnDemand()
  if text == "drift":
    return ByDrift()
  found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", text)
  if found and float(found[1]) > 0:
    return ByTime(float(found[1]) * _UNITS[found[2]])
  if text.isdecimal() and int(text) > 0 and not isinstance(given, bool):
    return BySize(int(text))
  raise UsageError(
    f"experience={given!r}: give a number of examples such as 500, a time such "
    'as "60s", "10min" or "1h", "drift", or "call" to end it by hand'
  )
