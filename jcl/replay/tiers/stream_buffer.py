"""Stream buffer: examples of the present experience that lie in RAM."""

from collections.abc import Iterator, Sequence

import numpy as np

from jcl import base
from jcl.replay.tiers import archive as archive_lib
from jcl.replay.tiers import quotas, ram

_BLOCK = 256  # examples that are copied together


class StreamBuffer(ram.Ram):
  """Rows of examples of one experience, in the order in which they came.

  Args:
    archive: of all examples, whose `row_type` the rows have.
  """

  def __init__(self, archive: archive_lib.Archive) -> None:
    super().__init__(archive.row_type, 0, "stream-buffer")
    self._archive = archive

  def fill(
    self,
    data: base.Dataset,
    ids: np.ndarray,
    experience: int,
    size: int,
    generator: np.random.Generator,
  ) -> None:
    """Takes a random part of every class, in the shares that they came in.

    The buffer is empty before. Examples that only judge are left out.

    Args:
      data: of the experience, N examples.
      ids: [N] int64 of the examples in the archive.
      experience: index of the experience.
      size: examples to take, where there are as many.
      generator: of the random choice.
    """
    aside = self._archive.held_out
    labels = np.asarray(data.y)
    parts = {}
    for label in np.unique(labels).tolist():
      mine = np.flatnonzero(labels == label)
      if label in aside:
        mine = mine[~np.isin(ids[mine], aside[label])]
      parts[label] = mine
    counts = quotas.trim_counts({k: len(v) for k, v in parts.items()}, size)
    chosen = np.sort(
      np.concatenate(
        [generator.permutation(parts[k])[:n] for k, n in counts.items()]
      )
    )
    self.resize(len(chosen))
    for start in range(0, len(chosen), _BLOCK):
      part = chosen[start : start + _BLOCK]
      rows = np.zeros(len(part), self.dtype)
      rows["x"], rows["y"] = data.x[part], labels[part]
      rows["id"], rows["task"] = ids[part], experience
      self.append(rows)

  def inputs(self) -> Iterator[np.ndarray]:
    """Yields inputs [n, ...] of all rows in order, a few at a time."""
    for start in range(0, self.count, _BLOCK):
      slots = np.arange(start, min(start + _BLOCK, self.count))
      yield self.take(slots)["x"]

  def clear(self) -> None:
    """Gives all memory back; the buffer can be filled again."""
    self.keep(np.zeros(0, np.int64))
    self.resize(0)

  def restore(self, ids: Sequence[int]) -> None:
    """Reads the examples of these ids from the archive, and holds no others."""
    wanted = np.array(ids, np.int64)
    self.keep(np.zeros(0, np.int64))
    self.resize(len(wanted))
    for start in range(0, len(wanted), _BLOCK):
      self.append(self._archive.intact(wanted[start : start + _BLOCK]))
