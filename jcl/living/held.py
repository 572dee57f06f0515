"""Arrivals in memory, for learners without a folder: nothing is kept."""

from collections.abc import Iterable, Sequence
import threading
from typing import Any

import numpy as np

from jcl.living import arrivals as arrivals_lib
from jcl.living.arrivals import Correction, Ended
from jcl.living.log import given, inputs
from jcl.living.log import labels as labels_lib
from jcl.options.errors import UsageError


class Held:
  """Arrivals that last as long as the process; see `arrivals.Arrivals`.

  Any thread may call its methods.
  """

  def __init__(self) -> None:
    self._lock = threading.RLock()
    self._x: dict[int, np.ndarray] = {}
    self._keys: dict[int, str] = {}
    self._waiting: list[int] = []  # labelled, and in no experience yet
    self._ended: list[np.ndarray] = []  # ids, by experience
    self._y: list[np.ndarray] = []  # and classes, as they were when it ended
    self._place: dict[int, tuple[int, int]] = {}  # experience and row, by id
    self._classes: dict[str, int] = {}
    self._known: list[int] = []  # classes, after each experience
    # Experience and row of each correction, and the key of its label.
    self._corrected: list[tuple[tuple[int, int], str]] = []
    self._corrections: list[int] = []  # how many, after each experience
    self._dropped = self._next = 0
    self._form: inputs.Form | None = None

  def __len__(self) -> int:
    return self._next

  @property
  def count(self) -> int:
    return len(self._ended)

  @property
  def open_count(self) -> int:
    """Labelled examples of the experience that has not ended."""
    return len(self._waiting)

  @property
  def unlabelled_count(self) -> int:
    """Examples without a label."""
    return sum(key == labels_lib.NONE for key in self._keys.values())

  @property
  def classes(self) -> Sequence[Any]:
    return tuple(map(labels_lib.label, self._classes))

  @property
  def example(self) -> np.ndarray | None:
    """An example like all others, None before the first one."""
    form = self._form
    return None if form is None else np.zeros(form.shape, form.dtype)

  @property
  def notes(self) -> Sequence[str]:
    """Damage that was found: none."""
    return ()

  def known(self, experience: int) -> int:
    return self._known[experience]

  def size(self, experience: int) -> int:
    return len(self._ended[experience])

  def ended(self, experience: int) -> Ended:
    ids = self._ended[experience]
    return Ended(ids, self._y[experience])

  def corrections(self, experience: int) -> Iterable[Correction]:
    if not experience:
      return
    with self._lock:
      before, now = self._known[experience - 1 : experience + 1]
      since, until = self._corrections[experience - 1 : experience + 1]
      found = arrivals_lib.due(
        self._corrected[:until], since, list(self._classes)[:now], before
      )
      for place, y in found:
        yield Correction(*place, y)

  def add(self, batch: given.Batch) -> np.ndarray:
    """Takes examples, and returns their ids [N].

    Raises:
      UsageError: for inputs of another form than the first ones.
    """
    with self._lock:
      form = inputs.form_of(batch.x)
      inputs.agree(form, self._form)
      self._form = form
      x = np.array(batch.x)  # which the caller may use for what comes next
      ids = np.arange(self._next, self._next + len(x), dtype=np.int64)
      for i, row, key in zip(ids.tolist(), x, batch.keys, strict=True):
        self._x[i], self._keys[i] = row, key
        if key != labels_lib.NONE:
          self._waiting.append(i)
      self._next += len(x)
      return ids

  def label(self, ids: np.ndarray, labels: Sequence[Any]) -> None:
    """Gives examples [N] their labels [N], or others than they had."""
    with self._lock:
      keys = list(map(labels_lib.key, labels))
      for i in ids.tolist():
        if i not in self._keys:
          raise UsageError(
            f"id {i} is of no example here: give ids of observe()"
          )
      for i, key in zip(ids.tolist(), keys, strict=True):
        before, self._keys[i] = self._keys[i], key
        if before == labels_lib.NONE:
          self._waiting.append(i)
        elif i in self._place:
          self._corrected.append((self._place[i], key))
      self._waiting.sort()

  def end(self, count: int | None = None, wait: bool = True) -> int:
    """Ends the open experience, of `count` examples, and returns its number."""
    del wait  # for no disk
    with self._lock:
      if not self._waiting:
        raise UsageError(
          "no labelled example arrived since the last experience"
        )
      ended = self._waiting[:count]
      y = [self._number(self._keys[i]) for i in ended]
      for row, i in enumerate(ended):
        self._place[i] = self.count, row
      self._y.append(np.array(y, np.int32))
      self._ended.append(np.array(ended, np.int64))
      self._known.append(len(self._classes))
      self._corrections.append(len(self._corrected))
      self._waiting = self._waiting[len(ended) :]
      return self.count - 1

  def _number(self, key: str) -> int:
    return self._classes.setdefault(key, len(self._classes))

  def has(self, number: int) -> bool:
    return number in self._x

  def read(self, ids: np.ndarray) -> np.ndarray:
    with self._lock:
      return np.stack([self._x[i] for i in ids.tolist()])

  def flush(self) -> None:
    """Does nothing: no disk is waited for."""

  @property
  def is_filling(self) -> bool:
    return True

  def drop(self, learned: int) -> None:
    with self._lock:
      for experience in range(self._dropped, learned):
        for i in self._ended[experience].tolist():
          for kept in (self._x, self._keys, self._place):
            kept.pop(i, None)
      self._dropped = max(self._dropped, learned)

  def close(self) -> None:
    """Lets everything go."""
    self._x.clear()
