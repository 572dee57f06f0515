"""Labels and experiences of a log, as memory holds them.

Everything that changes a history is one JSON value: `sayings` makes it, a
journal keeps it, then `apply` takes it. A log that is opened again applies the
same values in the same order. What is observed is in the volumes and comes back
through `add`.
"""

from collections.abc import Iterable, Iterator
import dataclasses
import math
import threading
from typing import Any

import numpy as np

from jcl.living.log import classes as classes_lib
from jcl.living.log import columns as columns_lib
from jcl.living.log import inputs
from jcl.living.log.columns import GONE, NONE
from jcl.living.log.experiences import Corrections, End
from jcl.options import errors

Value = dict[str, Any]


@dataclasses.dataclass
class Counts:
  """Examples that volumes hold, by what is known of them."""

  held: int = 0  # all of these
  labelled: int = 0  # in no experience yet
  unlabelled: int = 0

  def add(self, part: columns_lib.Part, sign: int) -> None:
    """Adds the examples of a part of the columns, or takes them away."""
    experiences, labels = part.experiences, part.labels
    waiting = labels[experiences == NONE]
    labelled = int((waiting != NONE).sum())
    self.held += sign * int((experiences != GONE).sum())
    self.labelled += sign * labelled
    self.unlabelled += sign * (len(waiting) - labelled)


class History:
  """Labels, experiences and corrections of all examples, in memory."""

  def __init__(self) -> None:
    self.lock = threading.RLock()  # for whoever reads several of these
    self.classes = classes_lib.Classes()
    self.columns = columns_lib.Columns()
    self.counts = Counts()
    self.ended: list[End] = []
    self.learned = 0  # leading experiences that the learner needs no more
    self.dropped: list[list[int]] = []  # [start, stop) of ids that have left
    self.dropped_count = 0  # their examples
    self.form: inputs.Form | None = None  # of all examples, once there is one
    self.corrected: list[tuple[int, int]] = []  # id, number of its label
    self.forgotten = 0  # corrections ahead of these, not needed any more
    self.open_from = 0  # no labelled example without experience has a lower id
    self.notes: list[str] = []

  def __len__(self) -> int:
    """Returns the number of examples, those included that have left."""
    return self.counts.held + self.dropped_count

  def add(self, numbers: np.ndarray, gone: np.ndarray | bool = False) -> None:
    """Adds examples to the last part: label numbers [N], which are gone [N]."""
    part = self.columns.parts[-1]
    start, lost = part.count, int(np.sum(gone))
    part.extend(numbers, np.where(gone, GONE, NONE))
    labelled = np.flatnonzero((numbers != NONE) & np.logical_not(gone))
    if len(labelled) and not self.counts.labelled:
      self.open_from = part.first + start + int(labelled[0])
    held = len(numbers) - lost
    self.counts.held += held
    self.counts.labelled += len(labelled)
    self.counts.unlabelled += held - len(labelled)

  def known(self) -> int:
    """Returns the first id after all that anything was said of."""
    stops = [stop for _, stop in self.dropped]
    return max([self.until(), self.columns.stop, *stops])

  def until(self) -> int:
    """Returns the first id after those of the latest experience."""
    return self.ended[-1].stop if self.ended else 0

  def missing(self) -> list[tuple[int, int]]:
    """Returns [from, to) of ids that were given, and that no part holds."""
    held = [[part.first, part.stop] for part in self.columns.parts]
    known, at, found = self.known(), 0, []
    for start, stop in sorted([*held, *self.dropped, [known, known]]):
      if start > at:
        found.append((at, start))
      at = max(at, stop)
    return found

  def droppable(self) -> Iterator[columns_lib.Part]:
    """Yields parts that hold nothing that is still to be learned."""
    starts = [end.start for end in self.ended[self.learned :]]
    starts += [self.open_from] if self.counts.labelled else []
    oldest = min(starts, default=self.columns.stop)
    for part in list(self.columns.parts):
      experiences = part.experiences
      never = (experiences == NONE) & (part.labels == NONE)
      never &= np.arange(part.first, part.stop) < oldest
      learned = (experiences >= 0) & (experiences < self.learned)
      if (learned | never | (experiences == GONE)).all():
        yield part

  def has_left(self, ids: np.ndarray) -> np.ndarray:
    """Returns [N] bool, which of the ids are of examples that were dropped."""
    left = np.zeros(len(ids), bool)
    for start, stop in self.dropped:
      left |= (ids >= start) & (ids < stop)
    return left

  def corrections(self, since: int) -> Corrections:
    """Returns the corrections from number `since` on."""
    fresh = self.corrected[max(since - self.forgotten, 0) :]
    return Corrections(
      np.array([each for each, _ in fresh], np.int64),
      tuple(self.classes.label(number) for _, number in fresh),
      self.forgotten + len(self.corrected),
    )

  def open(self, until: int) -> Iterator[tuple[columns_lib.Piece, np.ndarray]]:
    """Yields what an experience that ends before this id consists of.

    That is stretches of the columns and [N] positions in each.
    """
    for piece in self.columns.between(self.open_from, until):
      where = (piece.experiences == NONE) & (piece.labels != NONE)
      if where.any():
        yield piece, np.flatnonzero(where)

  def stop(self, count: int) -> int:
    """Returns the first id after the first `count` examples of `open`."""
    for piece, where in self.open(self.columns.stop):
      if count <= len(where):
        return piece.first + int(where[count - 1]) + 1
      count -= len(where)
    return self.columns.stop

  def apply(self, value: Value) -> None:
    """Takes a value of `sayings` that is durable."""
    match value["op"]:
      case "label":
        self._label(value)
      case "end":
        self._end(value)
      case "learned":
        self._learned(value)
      case "drop":
        self._drop(value)
      case other:
        self.notes.append(f"an entry of the journal is unknown: {other}")

  def settle(self, form: list[Any] | None) -> None:
    """Takes the form of all examples, as a value has it."""
    if form and self.form is None:
      self.form = inputs.Form(tuple(form[0]), form[1])

  def mend(self, count: int) -> None:
    """Makes up for lost ends of the first `count` experiences."""
    for index in range(len(self.ended), count):
      ids, classes = [], dict[int, None]()
      for piece in self.columns.between(0, self.columns.stop):
        where = np.flatnonzero(piece.experiences == index)
        ids.append(piece.first + where)
        classes.update(dict.fromkeys(self.classes.fresh(piece.labels[where])))
      self.classes.learn(classes)
      found = np.concatenate([np.zeros(0, np.int64), *ids])
      self.ended.append(
        End(
          int(found.min(initial=self.columns.stop)),
          int(found.max(initial=-1)) + 1,
          len(found),
          len(self.classes),
          math.nan,
          self.forgotten + len(self.corrected),
        )
      )

  def _label(self, value: Value) -> None:
    numbers = self.classes.numbers(value["keys"])
    ids = np.array(value["ids"], np.int64)
    given = numbers[np.array(value["which"], np.int64)]
    for part, where, local in self.columns.split(ids):
      is_open = part.experiences[local] == NONE  # not damaged since
      where, local = where[is_open], local[is_open]
      if not len(local):
        continue
      fresh = int((part.labels[np.unique(local)] == NONE).sum())
      part.put_labels(local, given[where])
      low = part.first + int(local.min())
      self.open_from = min(self.open_from, low) if self.counts.labelled else low
      self.counts.labelled += fresh
      self.counts.unlabelled -= fresh
    by = numbers[np.array(value["by"], np.int64)].tolist()
    self.corrected += zip(value["corrected"], by, strict=True)

  def _end(self, value: Value) -> None:
    missing = value["index"] - len(self.ended)
    if missing > 0:
      self.notes.append(
        f"the ends of {errors.count(missing, 'experience')} are lost; the "
        "examples are taken for those of the last one"
      )
      self.mend(value["index"] - 1)
      self._close(value["before"], math.nan, *self.scan(value["before"]))
    classes = self.classes.numbers(value["classes"]).tolist()
    self._close(
      value["until"], value["time"], value["start"], value["count"], classes
    )

  def scan(self, until: int) -> tuple[int, int, list[int]]:
    """Returns what an experience that ends before this id would be.

    That is its lowest id, its examples, and numbers of labels of no class yet.
    """
    start, count, fresh = until, 0, dict[int, None]()
    for piece, where in self.open(until):
      start = min(start, piece.first + int(where[0]))
      count += len(where)
      fresh.update(dict.fromkeys(self.classes.fresh(piece.labels[where])))
    return start, count, list(fresh)

  def _close(
    self, until: int, time: float, start: int, count: int, fresh: Iterable[int]
  ) -> None:
    """Ends an experience of what `scan` returned, before or now."""
    for piece, where in self.open(until):
      piece.put_experience(where, len(self.ended))
      self.counts.labelled -= len(where)
    self.open_from = max(self.open_from, until)
    self.classes.learn(fresh)
    corrections = self.forgotten + len(self.corrected)
    self.ended.append(
      End(start, until, count, len(self.classes), time, corrections)
    )

  def _learned(self, value: Value) -> None:
    self.learned = max(self.learned, value["count"])
    fresh = value["corrections"] - self.forgotten
    if fresh > 0:
      del self.corrected[:fresh]
      self.forgotten = value["corrections"]

  def _drop(self, value: Value) -> None:
    for part in self.columns.parts:
      if part.first == value["first"]:
        self.counts.add(part, -1)
    self.columns.remove(value["first"])
    self.settle(value["form"])
    self.dropped_count += value["count"]
    self.dropped = _merged([*self.dropped, [value["first"], value["stop"]]])


def _merged(ranges: list[list[int]]) -> list[list[int]]:
  """Returns ranges in order, joined where they touch."""
  joined: list[list[int]] = []
  for start, stop in sorted(ranges):
    if joined and start <= joined[-1][1]:
      joined[-1][1] = max(stop, joined[-1][1])
    else:
      joined.append([start, stop])
  return joined
