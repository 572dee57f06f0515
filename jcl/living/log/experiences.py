"""Experiences that have ended, and corrections of their labels."""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from jcl.living.log import columns as columns_lib
from jcl.living.log import labels as labels_lib

if TYPE_CHECKING:
  from jcl.living.log import history as history_lib


@dataclasses.dataclass(frozen=True, slots=True)
class End:
  """Facts of an experience that has ended; columns hold its examples."""

  start: int  # its examples have ids from here
  stop: int  # to before here
  count: int
  num_classes: int  # known once it had ended
  time: float  # seconds of the clock, which may have been set back; or NaN
  corrections: int = 0  # that had been made by then


@dataclasses.dataclass(frozen=True, eq=False)
class Ended:
  """An experience that has ended."""

  index: int
  count: int  # examples when it ended
  num_classes: int  # known once it had ended
  time: float  # seconds since 1970 by the clock of that moment; NaN: lost
  corrections: int  # that had been made by then, of all experiences before
  _history: "history_lib.History" = dataclasses.field(repr=False)

  @property
  def ids(self) -> np.ndarray:
    """[N] int64 ids, ascending, of the examples that the log still holds."""
    with self._history.lock:
      found = [piece.first + where for piece, where in self._pieces()]
    return np.concatenate([np.zeros(0, np.int64), *found])

  @property
  def labels(self) -> np.ndarray:
    """[N] int32 positions in the classes, as labelled when it ended."""
    with self._history.lock:
      found = [piece.labels[where] for piece, where in self._pieces()]
      numbers = np.concatenate([np.zeros(0, np.int32), *found])
      return self._history.classes.positions(numbers)

  def _pieces(self) -> Iterator[tuple[columns_lib.Piece, np.ndarray]]:
    end = self._history.ended[self.index]
    for piece in self._history.columns.between(end.start, end.stop):
      yield piece, np.flatnonzero(piece.experiences == self.index)


class Corrections(NamedTuple):
  """Labels that replace those of examples of ended experiences, in order."""

  ids: np.ndarray  # [N] int64
  labels: tuple[labels_lib.Label, ...]  # [N]; may be of no class yet
  until: int  # number of the next one


class Experiences(Sequence[Ended]):
  """The experiences that have ended, by index."""

  def __init__(self, history: "history_lib.History") -> None:
    self._history = history

  def __len__(self) -> int:
    return len(self._history.ended)

  @overload
  def __getitem__(self, index: int) -> Ended: ...
  @overload
  def __getitem__(self, index: slice) -> list[Ended]: ...

  def __getitem__(self, index: int | slice) -> Ended | list[Ended]:
    where = range(len(self))[index]
    if isinstance(where, int):
      return self._at(where)
    return [self._at(each) for each in where]

  def _at(self, index: int) -> Ended:
    end = self._history.ended[index]
    told = end.count, end.num_classes, end.time, end.corrections
    return Ended(index, *told, self._history)
