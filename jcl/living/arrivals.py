"""Examples that have arrived, in the form in which learning reads them."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from jcl import base

_Which = TypeVar("_Which", bound=Hashable)


class Ended(NamedTuple):
  """An experience that has ended: its examples, in their order."""

  ids: np.ndarray  # [N] int64
  y: np.ndarray  # [N] int32, positions in `Arrivals.classes`


class Correction(NamedTuple):
  """A label that replaces the one that an example was learned with."""

  experience: int  # that the example belongs to
  row: int  # position in it
  y: int  # position in `Arrivals.classes`


class Arrivals(Protocol):
  """Examples and what was said of them, all that learning reads."""

  @property
  def count(self) -> int:
    """Experiences that have ended."""
    ...

  @property
  def example(self) -> np.ndarray | None:
    """An example like all others, None before the first one."""
    ...

  @property
  def classes(self) -> Sequence[Any]:
    """Labels, in the order in which experiences brought them."""
    ...

  def known(self, experience: int) -> int:
    """Returns the number of classes of this and all earlier experiences."""
    ...

  def size(self, experience: int) -> int:
    """Returns the number of an experience's examples."""
    ...

  def ended(self, experience: int) -> Ended:
    """Returns an experience that has ended and was not dropped."""
    ...

  def corrections(self, experience: int) -> Iterable[Correction]:
    """Returns what is corrected ahead of an experience, of earlier examples."""
    ...

  def has(self, number: int) -> bool:
    """Whether the inputs of an example that was learned can still be read."""
    ...

  def read(self, ids: np.ndarray) -> np.ndarray:
    """Returns raw inputs [N, ...] by id."""
    ...

  def flush(self) -> None:
    """Returns when all that was said of the examples is on disk, if ever."""
    ...

  @property
  def is_filling(self) -> bool:
    """Whether it is time to let examples go."""
    ...

  def drop(self, learned: int) -> None:
    """Lets the examples of experiences below `learned` go."""
    ...


class Rows:
  """Inputs of an experience, read when they are asked for.

  Args:
    arrivals: that have them.
    ids: [N] of the examples.
    example: one of them, for shape and dtype.
    held: bytes of an experience up to which all of it is read at once and kept.
  """

  def __init__(
    self,
    arrivals: Arrivals,
    ids: np.ndarray,
    example: np.ndarray,
    held: int = 2**26,
  ) -> None:
    self.shape = (len(ids), *example.shape)
    self.dtype = example.dtype
    self._arrivals, self._ids = arrivals, ids
    self._keeps = len(ids) * example.nbytes <= held
    self._all: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self._ids)

  def __getitem__(self, index: Any) -> np.ndarray:
    if self._keeps:
      if self._all is None:
        self._all = np.asarray(self._arrivals.read(self._ids))
      return self._all[index]
    chosen = self._ids[index]
    found = np.asarray(self._arrivals.read(np.atleast_1d(chosen)))
    return found if np.ndim(chosen) else found[0]


class Gone:
  """Inputs of an experience that is learned; none of them is read any more."""

  def __init__(self, count: int, example: np.ndarray) -> None:
    self.shape, self.dtype = (count, *example.shape), example.dtype

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, index: Any) -> np.ndarray:
    raise LookupError("examples of an experience that was learned are gone")


def dataset(arrivals: Arrivals, ids: np.ndarray, y: np.ndarray) -> base.Dataset:
  """Returns examples by id [N] with labels [N], read when asked for."""
  assert arrivals.example is not None
  return _dataset(Rows(arrivals, ids, arrivals.example), y)


def arrived(
  arrivals: Arrivals, experience: int, example: np.ndarray
) -> base.Experience:
  """Returns an experience that is to be learned, an example being given."""
  ended = arrivals.ended(experience)
  data = _dataset(Rows(arrivals, ended.ids, example), ended.y)
  classes = tuple(np.unique(ended.y).tolist())
  return base.Experience(experience, classes, data, ended.ids)


def gone(
  arrivals: Arrivals, experience: int, example: np.ndarray
) -> base.Experience:
  """Returns the place of a learned experience, whose examples may be gone.

  Of its classes it has those that it was the first to bring.
  """
  count = arrivals.size(experience)
  before = arrivals.known(experience - 1) if experience else 0
  y = np.broadcast_to(np.int32(0), (count,))  # takes no memory
  return base.Experience(
    experience,
    tuple(range(before, arrivals.known(experience))),
    _dataset(Gone(count, example), y),
    np.broadcast_to(np.int64(-1), (count,)),
  )


def due(
  given: Iterable[tuple[_Which, str]],
  since: int,
  classes: Sequence[str],
  before: int,
) -> Iterator[tuple[_Which, int]]:
  """Yields the examples whose labels change ahead of an experience.

  With each stands the position of its class. Of an example's corrections the
  latest counts. One to a class that nobody knew waits for that class.

  Args:
    given: examples, as they are told apart, and keys of their labels: all
      corrections made before the experience ended, in their order.
    since: how many of them were made before the one before it ended.
    classes: keys of those that the experience knows, by position.
    before: how many of them the one before it knew.

  >>> list(due([(7, "new"), (8, "old"), (9, "none")], 3, ["old", "new"], 1))
  [(7, 1)]
  """
  positions = {key: position for position, key in enumerate(classes)}
  latest: dict[_Which, tuple[int, str]] = {}
  for number, (which, key) in enumerate(given):
    latest[which] = number, key
  for which, (number, key) in latest.items():
    y = positions.get(key)
    if y is not None and (number >= since or y >= before):
      yield which, y


def follow(
  arrivals: Arrivals,
  found: list[base.Experience],
  index: int,
  example: np.ndarray,
  every: bool,
) -> None:
  """Brings a list of experiences up to the one that is learned next.

  Args:
    arrivals: that have them.
    found: experiences so far, which grow; those behind the last are gone.
    index: of the experience that is learned next.
    example: one like all others.
    every: whether examples of all experiences are read again.
  """
  if not every and 1 < index <= len(found):
    found[index - 2] = gone(arrivals, index - 2, example)
  for number in range(len(found), index + 1):
    make = gone if not every and number < index - 1 else arrived
    found.append(make(arrivals, number, example))


def _dataset(x: Rows | Gone, y: np.ndarray) -> base.Dataset:
  return base.Dataset("live", x, y, ())
