"""Arrivals that a log on disk keeps."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jcl.living import arrivals as arrivals_lib
from jcl.living.arrivals import Correction, Ended
from jcl.living.log import given
from jcl.living.log import labels as labels_lib
from jcl.living.log import log as log_lib


class Logged:
  """Examples of a log on disk, for learning; see `arrivals.Arrivals`.

  Args:
    log: that is open.
  """

  def __init__(self, log: log_lib.Log) -> None:
    self.log = log

  def __len__(self) -> int:
    return len(self.log)

  @property
  def count(self) -> int:
    return len(self.log.experiences)

  @property
  def open_count(self) -> int:
    """Labelled examples of the experience that has not ended."""
    return self.log.open_count

  @property
  def unlabelled_count(self) -> int:
    """Examples without a label."""
    return self.log.unlabelled_count

  @property
  def classes(self) -> Sequence[Any]:
    return self.log.classes

  @property
  def example(self) -> np.ndarray | None:
    form = self.log.form
    return None if form is None else np.zeros(form.shape, form.dtype)

  @property
  def notes(self) -> Sequence[str]:
    """Damage that was found when the log was opened."""
    return self.log.notes

  def known(self, experience: int) -> int:
    return self.log.experiences[experience].num_classes

  def size(self, experience: int) -> int:
    return self.log.experiences[experience].count

  def ended(self, experience: int) -> Ended:
    found = self.log.experiences[experience]
    return Ended(found.ids, found.labels)

  def corrections(self, experience: int) -> Iterable[Correction]:
    if not experience:
      return
    now, last = (self.log.experiences[experience - i] for i in (0, 1))
    fresh = now.num_classes > last.num_classes  # for which some may have waited
    found = self.log.corrections(0 if fresh else last.corrections)
    first = found.until - len(found.ids)
    pairs = zip(found.ids.tolist(), found.labels, strict=True)
    given = [(i, labels_lib.key(label)) for i, label in pairs]
    for i, y in arrivals_lib.due(
      given[: max(now.corrections - first, 0)],
      last.corrections - first,
      [labels_lib.key(each) for each in self.log.classes[: now.num_classes]],
      last.num_classes,
    ):
      place = self.log.place(i)
      if place is not None:
        yield Correction(*place, y)

  def add(self, batch: given.Batch) -> np.ndarray:
    """Takes examples, and returns their ids [N] once they are on disk."""
    return self.log.add(batch)

  def label(self, ids: np.ndarray, labels: Sequence[Any]) -> None:
    """Gives examples [N] their labels [N], or others than they had."""
    self.log.label(ids, labels)

  def end(self, count: int | None = None, wait: bool = True) -> int:
    """Ends the open experience, of `count` examples, and returns its number.

    Args:
      count: None: all that are labelled.
      wait: until the end is on disk; else `flush` waits for that.
    """
    return self.log.end(count, wait)

  def flush(self) -> None:
    self.log.flush()

  def has(self, number: int) -> bool:
    return self.log.place(number) is not None

  def read(self, ids: np.ndarray) -> np.ndarray:
    return self.log.read(ids)

  @property
  def is_filling(self) -> bool:
    return self.log.is_filling

  def drop(self, learned: int) -> None:
    if learned > self.log.learned:
      self.log.drop(learned, self._unneeded(learned))

  def _unneeded(self, learned: int) -> int:
    """Returns the leading corrections of examples that have left."""
    given = self.log.corrections()
    count = given.until - len(given.ids)
    for i in given.ids[: self.log.experiences[learned - 1].corrections - count]:
      if self.log.place(int(i)) is not None:
        break
      count += 1
    return count

  def close(self) -> None:
    """Releases the log."""
    self.log.close()
