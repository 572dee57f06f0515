"""Columns of a log: the label and the experience of every example it holds.

Ids are dealt out in order and never again. A part of them lies in one volume on
disk; when the volume is deleted, its columns go as well.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

NONE = -1  # no label, or in no experience yet
GONE = -2  # damaged, or of an observe that was never acknowledged
# Columns are 16 bits wide until their numbers need more.
_NARROW = np.iinfo(np.int16).max


class Part:
  """Columns of the examples of one volume; 4 bytes an example as a rule."""

  def __init__(self, first: int) -> None:
    self.first = first  # id of its first example
    self.count = 0
    self._labels = np.empty(0, np.int16)
    self._experiences = np.empty(0, np.int16)

  @property
  def stop(self) -> int:
    """First id after its own."""
    return self.first + self.count

  @property
  def labels(self) -> np.ndarray:
    """[count] numbers of labels, or NONE."""
    return self._labels[: self.count]

  @property
  def experiences(self) -> np.ndarray:
    """[count] indices of experiences, NONE or GONE."""
    return self._experiences[: self.count]

  def extend(self, labels: np.ndarray, experiences: np.ndarray) -> None:
    """Adds examples: label numbers [N], experiences [N] of NONE and GONE."""
    stop = self.count + len(labels)
    self._labels = _fit(self._labels, labels)
    if stop > len(self._labels):
      room = max(stop, self.count + self.count // 2, 64)
      self._labels = _grown(self._labels, self.count, room)
      self._experiences = _grown(self._experiences, self.count, room)
    self._labels[self.count : stop] = labels
    self._experiences[self.count : stop] = experiences
    self.count = stop

  def put_labels(self, where: np.ndarray, labels: np.ndarray) -> None:
    """Replaces labels at positions [N]."""
    self._labels = _fit(self._labels, labels)
    self._labels[where] = labels

  def put_experiences(self, where: np.ndarray, indices: np.ndarray) -> None:
    """Replaces experiences at positions [N]."""
    self._experiences = _fit(self._experiences, indices)
    self._experiences[where] = indices

  def trim(self) -> None:
    """Gives back room, once nothing more is added."""
    self._labels = self.labels.copy()
    self._experiences = self.experiences.copy()


class Piece(NamedTuple):
  """A stretch of one part."""

  part: Part
  start: int  # positions in the part
  stop: int

  @property
  def labels(self) -> np.ndarray:
    return self.part.labels[self.start : self.stop]

  @property
  def experiences(self) -> np.ndarray:
    return self.part.experiences[self.start : self.stop]

  @property
  def first(self) -> int:
    """Id of its first example."""
    return self.part.first + self.start

  def put_experience(self, where: np.ndarray, index: int) -> None:
    """Puts what lies at positions [N] of the piece into one experience."""
    self.part.put_experiences(where + self.start, np.full(len(where), index))


class Columns:
  """Parts in the order of their ids."""

  def __init__(self) -> None:
    self.parts: list[Part] = []
    self._firsts = np.zeros(0, np.int64)

  @property
  def stop(self) -> int:
    """First id after all that were given."""
    return self.parts[-1].stop if self.parts else 0

  def begin(self, first: int) -> Part:
    """Begins another part, which is then the last one."""
    if self.parts:
      self.parts[-1].trim()
    part = Part(first)
    self.parts.append(part)
    self._firsts = np.append(self._firsts, first)
    return part

  def remove(self, first: int) -> None:
    """Forgets the part whose first id this is."""
    self.parts = [part for part in self.parts if part.first != first]
    self._firsts = np.array([part.first for part in self.parts], np.int64)

  def between(self, start: int, stop: int) -> Iterator[Piece]:
    """Yields the stretches of ids from `start` to before `stop`."""
    at = max(int(np.searchsorted(self._firsts, start, side="right")) - 1, 0)
    for part in self.parts[at:]:
      if part.first >= stop:
        return
      low = max(start - part.first, 0)
      high = min(stop - part.first, part.count)
      if low < high:
        yield Piece(part, low, high)

  def split(
    self, ids: np.ndarray
  ) -> Iterator[tuple[Part, np.ndarray, np.ndarray]]:
    """Yields part, positions in `ids` and positions in the part.

    Ids that no part holds are left out.
    """
    which = np.searchsorted(self._firsts, ids, side="right") - 1
    for at in np.unique(which[which >= 0]).tolist():
      part = self.parts[at]
      where = np.flatnonzero((which == at) & (ids < part.stop))
      if len(where):
        yield part, where, ids[where] - part.first

  def states(self, ids: np.ndarray) -> np.ndarray:
    """Returns experiences of ids [N]; GONE for those that no part holds."""
    found = np.full(len(ids), GONE, np.int32)
    for part, where, local in self.split(ids):
      found[where] = part.experiences[local]
    return found


def _fit(column: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Returns a column that is wide enough for these values."""
  narrow = column.itemsize == 2 and values.max(initial=0) > _NARROW
  return column.astype(np.int32) if narrow else column


def _grown(column: np.ndarray, count: int, room: int) -> np.ndarray:
  grown = np.empty(room, column.dtype)
  grown[:count] = column[:count]
  return grown
