"""Arrivals in memory whose labels are final: one experience at a time."""

from collections.abc import Iterable, Sequence
import dataclasses

import numpy as np

from jcl.living.arrivals import Correction, Ended


@dataclasses.dataclass(eq=False)
class Batches:
  """Experiences as they are given, whole; see `arrivals.Arrivals`.

  Nobody corrects a label later, so that little is kept of an experience that
  was learned. Instances pickle.

  Attributes:
    example: an example like all others, None before the first one.
    classes: labels, in the order in which experiences brought them.
  """

  example: np.ndarray | None = None
  classes: list[int] = dataclasses.field(default_factory=list)

  def __post_init__(self) -> None:
    self._starts, self._known = [0], list[int]()
    self._x: dict[int, np.ndarray] = {}
    self._y: dict[int, np.ndarray] = {}

  @property
  def count(self) -> int:
    return len(self._known)

  def add(self, x: np.ndarray, labels: Sequence[int]) -> None:
    """Takes an experience of float32 inputs [N, ...] and whole labels [N]."""
    if self.example is None:
      self.example = np.zeros_like(x[0])
    new, first = np.unique(labels, return_index=True)
    new = new[np.argsort(first)]
    self.classes += [c for c in new.tolist() if c not in self.classes]
    place = {label: i for i, label in enumerate(self.classes)}
    y = [place[label] for label in np.asarray(labels).tolist()]
    self._x[self.count], self._y[self.count] = x, np.array(y, np.int32)
    self._starts.append(self._starts[-1] + len(x))
    self._known.append(len(self.classes))

  def known(self, experience: int) -> int:
    return self._known[experience]

  def size(self, experience: int) -> int:
    return self._starts[experience + 1] - self._starts[experience]

  def ended(self, experience: int) -> Ended:
    start, stop = self._starts[experience : experience + 2]
    return Ended(np.arange(start, stop), self._y[experience])

  def corrections(self, experience: int) -> Iterable[Correction]:
    del experience
    return ()

  def has(self, number: int) -> bool:
    del number
    return False  # nobody asks, as nothing is corrected

  def read(self, ids: np.ndarray) -> np.ndarray:
    which = np.searchsorted(self._starts, ids, side="right") - 1
    found = np.empty((len(ids), *self._x[int(which[0])].shape[1:]), np.float32)
    for experience in np.unique(which).tolist():
      mine = which == experience
      rows = ids[mine] - self._starts[experience]
      found[mine] = self._x[experience][rows]
    return found

  def flush(self) -> None:
    """Does nothing: no disk is waited for."""

  @property
  def is_filling(self) -> bool:
    return True

  def drop(self, learned: int) -> None:
    """Lets inputs below `learned` go, and labels that nobody asks for."""
    for kept, below in ((self._x, learned), (self._y, learned - 2)):
      for experience in [each for each in kept if each < below]:
        del kept[experience]
