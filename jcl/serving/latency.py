"""Latency of answers, share of lost frames, and staleness of weights.

There is no queue: a frame that arrives while the server is busy is lost and
gets no answer of its own. Kim et al., "DaCapo: Accelerating Continuous Learning
in Autonomous Systems for Video Analytics", ISCA 2024,
https://arxiv.org/abs/2403.14353, only admit settings that lose no frame; on a
device that also trains, losses are counted instead.
"""

from collections.abc import Callable
import dataclasses
import json
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jcl.base import alike

QUANTILES = (0.5, 0.95, 0.99)


class Served(NamedTuple):
  """`n` frames that were answered, in order."""

  frames: np.ndarray  # [n] int64, rising
  stamps: np.ndarray  # [n] float64 seconds, when the frame arrived
  begun: np.ndarray  # [n] float64 seconds, when its prediction started
  done: np.ndarray  # [n] float64 seconds, when its prediction was ready
  versions: np.ndarray  # [n] int64, of the weights
  predictions: np.ndarray  # [n] int64 classes
  confidences: np.ndarray  # [n] float64, probabilities of those classes


_INT, _FLOAT = np.int64, np.float64
_TYPES = (_INT, _FLOAT, _FLOAT, _FLOAT, _INT, _INT, _FLOAT)


class Record:
  """Collects answers one by one, in amortised constant time.

  One thread adds answers; any other thread may read the complete ones at any
  time.

  Args:
    room: answers for which memory is allocated at first.
  """

  def __init__(self, room: int = 1024) -> None:
    if room < 1:
      raise ValueError(f"room={room}: give 1 or more")
    self._columns = tuple(np.zeros(room, kind) for kind in _TYPES)
    self._length = 0
    self._settled = 0

  def __len__(self) -> int:
    return self._length

  @property
  def settled(self) -> int:
    """Frames so far that were either answered or lost."""
    return self._settled

  def add(self, *answer: float, settled: int) -> None:
    """Adds the answer to a frame.

    Args:
      *answer: one value for each column of `Served`.
      settled: frames that are answered or lost by now, this one included.

    Raises:
      ValueError: for a frame that was settled before, or is not by now.
    """
    frame, at = answer[0], self._length
    if not self._settled <= frame < settled:
      raise ValueError(
        f"frame {frame} settles {settled} frames, {self._settled} were: add "
        "frames in order"
      )
    if at == len(self._columns[0]):
      self._columns = tuple(np.resize(old, 2 * at) for old in self._columns)
    for column, value in zip(self._columns, answer, strict=True):
      column[at] = value
    # Set last, so that readers see complete rows for all settled frames.
    self._length = at + 1
    self._settled = settled

  def served(self) -> Served:
    """Returns a copy of all answers so far."""
    length = self._length  # read first: the columns are at least as long
    return Served(*(column[:length].copy() for column in self._columns))


def inside(stamps: ArrayLike, spans: ArrayLike) -> np.ndarray:
  """Returns which of the stamps [n] lie in any of the spans, [n] bool.

  Args:
    stamps: [n] seconds.
    spans: [k, 2] seconds, start and end; a span includes its start only.

  >>> inside([0.0, 1.0, 2.0, 3.0], [[1.0, 3.0]]).tolist()
  [False, True, True, False]
  """
  spans = np.asarray(spans, float).reshape(-1, 2)
  stamps = np.asarray(stamps, float)[:, None]
  return np.any((spans[:, 0] <= stamps) & (stamps < spans[:, 1]), axis=1)


def choose(served: Served, chosen: ArrayLike) -> Served:
  """Returns the answers for which `chosen` [n] bool is true."""
  return Served(*(column[np.asarray(chosen, bool)] for column in served))


@dataclasses.dataclass(frozen=True, eq=False)
class Summary(alike.Alike):
  """Latency in seconds from a frame's arrival to its answer, and staleness.

  Figures are NaN if nothing was served. Staleness belongs to the weights that
  answered, at the frame's arrival, as a mean and a maximum.
  """

  frames: int  # that arrived
  served: int
  p50: float
  p95: float
  p99: float
  worst: float
  behind_seconds: float  # since newer weights existed, 0 for the newest
  behind_seconds_worst: float
  behind_versions: float  # newer weights that existed
  behind_versions_worst: int
  age_seconds: float  # since the newest sample that they were trained on
  age_seconds_worst: float

  @property
  def drop_ratio(self) -> float:
    """Share of the frames that were not served; NaN without frames."""
    return 1 - self.served / self.frames if self.frames else math.nan

  def to_json(self) -> str:
    """Returns one line of JSON, with null for NaN."""
    values = {**dataclasses.asdict(self), "drop_ratio": self.drop_ratio}
    return json.dumps(
      {k: v if math.isfinite(v) else None for k, v in values.items()}
    )


def from_json(text: str) -> Summary:
  """Reads a summary that `Summary.to_json` wrote."""
  values: dict[str, Any] = json.loads(text)
  del values["drop_ratio"]
  for name, value in values.items():
    values[name] = math.nan if value is None else value
  return Summary(**values)


def behind(
  stamps: ArrayLike, versions: ArrayLike, made: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
  """Returns how far behind the newest weights each answer was.

  Args:
    stamps: [n] seconds, when frames arrived.
    versions: [n] numbers of the weights that answered.
    made: [V] seconds, rising, when each version was made.

  Returns:
    seconds: [n] float64, from the time when the next version was made to the
      frame's arrival; 0 if there was none yet.
    versions: [n] int64, newer versions that existed at the frame's arrival.

  >>> seconds, versions = behind([1.0, 4.0], [0, 0], [0.0, 2.0, 3.0])
  >>> seconds.tolist(), versions.tolist()
  ([0.0, 2.0], [0, 2])
  """
  stamps, made = np.asarray(stamps, float), np.asarray(made, float)
  versions = np.asarray(versions, np.int64)
  newest = np.searchsorted(made, stamps, side="right") - 1
  # A frame may be answered by weights that did not exist yet when it arrived;
  # such weights are not behind.
  count = np.maximum(newest - versions, 0)
  following = np.append(made, np.inf)[versions + 1]
  return np.maximum(stamps - following, 0.0), count


def summarise(served: Served, num_frames: int, times: ArrayLike) -> Summary:
  """Summarises latencies, losses and staleness of answers.

  Args:
    served: the answers.
    num_frames: frames that arrived, answered or not.
    times: [V, 2] seconds: when each version of the weights was made, and the
      stamp of the newest sample it was trained on, -inf for none; see
      `weight_swap.Weights.times`.

  Raises:
    ValueError: for fewer frames than answers.
  """
  num = len(served.frames)
  if num_frames < num:
    raise ValueError(
      f"num_frames={num_frames} with {num} answers: give all that arrived"
    )
  times = np.asarray(times, float).reshape(-1, 2)
  late = served.done - served.stamps
  seconds, versions = behind(served.stamps, served.versions, times[:, 0])
  age = served.stamps - times[served.versions, 1]
  age = age[np.isfinite(age)]  # the first weights knew no sample of the stream
  p50, p95, p99 = (_or_nan(np.quantile, late, q) for q in QUANTILES)
  return Summary(
    frames=num_frames,
    served=num,
    p50=p50,
    p95=p95,
    p99=p99,
    worst=_or_nan(np.max, late),
    behind_seconds=_or_nan(np.mean, seconds),
    behind_seconds_worst=_or_nan(np.max, seconds),
    behind_versions=_or_nan(np.mean, versions),
    behind_versions_worst=int(versions.max(initial=0)),
    age_seconds=_or_nan(np.mean, age),
    age_seconds_worst=_or_nan(np.max, age),
  )


def _or_nan(
  statistic: Callable[..., Any], values: np.ndarray, *args: float
) -> float:
  return float(statistic(values, *args)) if len(values) else math.nan
