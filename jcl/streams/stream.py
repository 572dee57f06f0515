"""A stream of experiences and the sealed data that judge what was learned."""

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import functools
from typing import Literal

import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.streams import views

Normalization = Literal["unit", "standard", "none", "signed"]

_ROWS = 1024  # read together for statistics
_CENTRE, _SPREAD, _WHITE = 127.0, 128.0, 255.0  # of "signed", and a white pixel
_RANGES = ((0.0, 1.0), (0.0, _WHITE), (-1.0, 1.0))  # of pixels as floats


class Sealed:
  """Held-out data sets, one per experience, readable only while open.

  ```
  with stream.held_out.open() as test_sets:
    ...
  ```
  Openings may nest; the data are sealed again when the last one ends.
  """

  def __init__(self, datasets: Iterable[base.Dataset]) -> None:
    self._datasets = tuple(datasets)
    self._num_open = 0

  def __len__(self) -> int:
    return len(self._datasets)

  @property
  def datasets(self) -> tuple[base.Dataset, ...]:
    """The data sets; reading them while sealed raises RuntimeError."""
    if not self._num_open:
      raise RuntimeError(
        "held-out data was read while training; read it inside "
        "`with held_out.open() as datasets:`, and only to evaluate"
      )
    return self._datasets

  @contextlib.contextmanager
  def open(self) -> Iterator[tuple[base.Dataset, ...]]:
    """Lets the data sets be read inside the `with` block."""
    self._num_open += 1
    try:
      yield self._datasets
    finally:
      self._num_open -= 1


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
  """Experiences in the order in which a learner meets them.

  Inputs are stored raw; a learner sees `(x - mean) / std`.
  """

  name: str
  scenario: Literal["class", "task", "domain"]  # which accuracy is headline
  class_names: tuple[str, ...]  # [C]
  experiences: tuple[base.Experience, ...]  # [T]
  held_out: Sealed  # [T]
  # [T] classes that task-incremental evaluation chooses among, per test set
  task_classes: tuple[tuple[int, ...], ...]
  mean: np.ndarray  # float32, broadcasts to one example
  std: np.ndarray  # float32, broadcasts to one example, positive
  # Whether the examples of an experience are shown in time order. Sets that
  # span experiences, such as all examples so far or a memory, are shuffled
  # anyway.
  ordered: bool = False
  notes: tuple[str, ...] = ()  # what reading the data left out or converted

  @property
  def num_classes(self) -> int:
    """Number of classes, C."""
    return len(self.class_names)

  @property
  def example_shape(self) -> tuple[int, ...]:
    """Shape of one input, without the batch axis."""
    return tuple(self.experiences[0].data.x.shape[1:])

  @property
  def dtype(self) -> np.dtype:
    """Type of the inputs as stored, uint8 or float32."""
    return np.dtype(self.experiences[0].data.x.dtype)

  def classes_seen(self, experience: int) -> np.ndarray:
    """Returns the classes of this and all earlier experiences, as [C] bool."""
    return self._arrivals <= experience

  @functools.cached_property
  def classes_trained(self) -> np.ndarray:
    """Classes with examples in some experience, as [C] bool."""
    return self.classes_seen(len(self.experiences) - 1)

  def first_id(self, experience: int) -> int:
    """Returns the position of an experience's first example in the stream."""
    return int(self.starts[experience])

  @functools.cached_property
  def starts(self) -> np.ndarray:
    """Positions in the stream at which experiences begin, [T + 1] int64.

    The last one is the number of all examples.
    """
    sizes = [len(experience.data) for experience in self.experiences]
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

  def sources_of(self, ids: np.ndarray) -> list[tuple[int, int]]:
    """Returns each example's experience and row in the source's training set.

    Args:
      ids: [N] positions in the whole stream; numbers outside it are left out.
    """
    ids = np.asarray(ids)
    ids = ids[(ids >= 0) & (ids < self.starts[-1])]
    found = np.searchsorted(self.starts, ids, side="right") - 1
    return [
      (index, int(self.experiences[index].source_index[i]))
      for index, i in zip(found.tolist(), ids - self.starts[found], strict=True)
    ]

  @functools.cached_property
  def examples(self) -> base.Dataset:
    """The examples of all experiences, one behind the other, as one set."""
    return views.join([experience.data for experience in self.experiences])

  @functools.cached_property
  def _arrivals(self) -> np.ndarray:
    """The experience in which each class comes first, [C]; T for none."""
    found = np.full(self.num_classes, len(self.experiences))
    for index in reversed(range(len(self.experiences))):
      found[list(self.experiences[index].classes)] = index
    return found


def statistics(
  data: base.Dataset, normalize: Normalization | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and standard deviation of inputs, float32 [] or [D].

  Args:
    data: of the first experience, as later data is not known when learning
      begins.
    normalize: "unit" maps uint8 to [0, 1] by the data's scale; "standard"
      gives each channel or feature (the last axis) zero mean and unit variance,
      and leaves constant features unscaled; "none" leaves the values as they
      are; "signed" maps pixels from -127/128 to 1, as (x - 127) / 128 does
      where black is 0 and white 255. Black and white of uint8 are 0 and the
      data's scale; of float32 they are the ends of the first range of 0 to 1,
      0 to 255 and -1 to 1 that has all values, else the least and the greatest
      value. By default "unit" for uint8 and "standard" for float32.

  Raises:
    ValueError: for another `normalize`, or "unit" for floats.
  """
  is_bytes = data.x.dtype == np.uint8
  normalize = normalize or ("unit" if is_bytes else "standard")
  if normalize == "none":
    return np.zeros((), np.float32), np.ones((), np.float32)
  if normalize == "unit":
    if not is_bytes:
      raise UsageError(
        f"{data.name} holds {data.x.dtype}, of which no value stands for one; "
        "write normalize=standard or normalize=none"
      )
    return np.zeros((), np.float32), np.asarray(data.scale, np.float32)
  if normalize == "signed":
    black, white = (0.0, data.scale) if is_bytes else _range(data)
    level = (white - black) / _WHITE
    mean = np.asarray(black + _CENTRE * level, np.float32)
    return mean, np.asarray(_SPREAD * level, np.float32)
  if normalize != "standard":
    raise UsageError(
      f"normalize={normalize!r}: write normalize=unit, normalize=standard, "
      "normalize=signed or normalize=none"
    )
  mean, scale = _standard(
    rows.reshape(-1, rows.shape[-1]).astype(np.float64) for rows in _read(data)
  )
  return mean.astype(np.float32), scale.astype(np.float32)


def _standard(parts: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and standard deviation, which is 1 for constant features.

  Parts are merged as Chan, Golub and LeVeque do ("Algorithms for computing the
  sample variance", 1983), in the very operations of scikit-learn's
  `StandardScaler.partial_fit`: the results are equal to the last bit.

  Args:
    parts: [N, D] float64 each, finite.

  Returns:
    Two [D] float64.
  """
  count, mean, variance = 0, np.zeros(()), np.zeros(())
  for x in parts:
    sums, before = x.sum(axis=0), mean * count
    away = x - sums / len(x)
    correction = away.sum(axis=0)
    away **= 2
    squares = away.sum(axis=0) - correction**2 / len(x)
    if count:
      ratio = count / len(x)
      apart = (before / ratio - sums) ** 2
      squares = variance * count + squares + ratio / (count + len(x)) * apart
    count += len(x)
    mean, variance = (before + sums) / count, squares / count
  eps = np.finfo(np.float64).eps
  constant = variance <= count * eps * variance + (count * mean * eps) ** 2
  return mean, np.where(constant, 1.0, np.sqrt(variance))


def ends(mean: np.ndarray, std: np.ndarray) -> tuple[float, float]:
  """Returns the values of black and white pixels, of figures for "signed".

  >>> ends(np.asarray(127.0), np.asarray(128.0))
  (0.0, 255.0)
  """
  level = float(std) / _SPREAD
  black = round(float(mean) / level - _CENTRE, 3) * level  # of float32
  return black + 0.0, black + _WHITE * level


def _read(data: base.Dataset) -> Iterator[np.ndarray]:
  """Yields the inputs, a part at a time."""
  for start in range(0, len(data), _ROWS):
    yield data.x[np.arange(start, min(start + _ROWS, len(data)))]


def _range(data: base.Dataset) -> tuple[float, float]:
  """Returns the values of black and white in float images."""
  parts = [(float(rows.min()), float(rows.max())) for rows in _read(data)]
  low, high = min(p[0] for p in parts), max(p[1] for p in parts)
  for known in _RANGES:
    if known[0] <= low and high <= known[1]:
      return known
  return low, high if high > low else low + 1.0
