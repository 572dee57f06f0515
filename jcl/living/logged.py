"""Arrivals that a log on disk keeps."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

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
    experiences = self.log.experiences
    classes = [labels_lib.key(each) for each in self.log.classes]
    since = experiences[experience - 1].corrections if experience else 0
    given = self.log.corrections(since)
    for _, i, label in zip(
      range(since, experiences[experience].corrections),
      given.ids.tolist(),
      given.labels,
      strict=False,
    ):
      place = self.log.place(i)
      key = labels_lib.key(label)
      if place is not None and key in classes:
        yield Correction(*place, classes.index(key))

  def add(self, batch: given.Batch) -> np.ndarray:
    """Takes examples, and returns their ids [N] once they are on disk."""
    return self.log.add(batch)

  def label(self, ids: np.ndarray, labels: Sequence[Any]) -> None:
    """Gives examples [N] their labels [N], or others than they had."""
    self.log.label(ids, labels)

  def end(self) -> int:
    """Ends the open experience and returns its number."""
    return self.log.end()

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
