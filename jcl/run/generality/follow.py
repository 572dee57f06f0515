"""Follower of a run: measures how stable and plastic its units are."""

from collections.abc import Callable, Iterator, Sequence
import json
from pathlib import Path
from typing import Any, NamedTuple
import zlib

import jax
import numpy as np

from jcl import base
from jcl.metrics import generality, similarity
from jcl.options.errors import UsageError
from jcl.report import lines
from jcl.run.cursor import Cursor, Event, Job
from jcl.run.generality import features
from jcl.streams import stream as stream_lib

FILES = ("generality.npz",)  # of a run's folder, which hold a follower
SIZE = 256  # examples of a probe set


class Probes(NamedTuple):
  """Probe sets: fixed examples of every experience, read when needed."""

  rows: tuple[np.ndarray, ...]  # [T] of [n] int64, sorted rows of the data
  read: Callable[[int], np.ndarray]  # experience -> raw inputs [n, ...]

  @property
  def largest(self) -> int:
    """Examples of the largest set."""
    return max(map(len, self.rows))


def held_out(
  stream: stream_lib.Stream, *, size: int = SIZE, seed: int = 0
) -> Probes:
  """Draws probe sets of test examples.

  The draw is without replacement from the experience's own test set, decided by
  seed and experience alone; labels are not read. A decision by these sets has
  seen the test data: for decisions about the same stream take `arrived`.

  Args:
    stream: of the run.
    size: examples of each experience; all where there are fewer.
    seed: of the draw.

  Raises:
    ValueError: where an experience has fewer than four test examples.
  """
  with stream.held_out.open() as test_sets:
    rows = _draw("held-out", [len(data) for data in test_sets], size, seed)

  def read(index: int) -> np.ndarray:
    with stream.held_out.open() as test_sets:
      return np.asarray(test_sets[index].x[rows[index]])

  return Probes(rows, read)


def arrived(
  stream: stream_lib.Stream, *, size: int = SIZE, seed: int = 0
) -> Probes:
  """Draws probe sets of training examples, for devices that have no others.

  The draw is as in `held_out`. Units fit training examples more closely than
  unseen ones, so their features of these sets move further.

  Args:
    stream: of the run.
    size: examples of each experience; all where there are fewer.
    seed: of the draw.

  Raises:
    ValueError: where an experience has fewer than four examples.
  """
  data = [experience.data for experience in stream.experiences]
  rows = _draw("training", [len(each) for each in data], size, seed)
  return Probes(rows, lambda index: np.asarray(data[index].x[rows[index]]))


def _draw(
  kind: str, sizes: Sequence[int], size: int, seed: int
) -> tuple[np.ndarray, ...]:
  least = similarity.LEAST_ROWS
  if size < least:
    raise UsageError(f"size={size}: a probe set needs {least} or more")
  rows = []
  for index, count in enumerate(sizes):
    if count < least:
      raise UsageError(
        f"experience {index} has {count} {kind} examples, and a probe set "
        f"needs {least}: use fewer experiences"
      )
    generator = np.random.default_rng((seed, index))
    drawn = generator.choice(count, min(size, count), replace=False)
    rows.append(np.sort(drawn))
  return tuple(rows)


class Follower:
  """Measures stability and plasticity of every unit while a run goes on.

  `begin` reads the features of an experience's probe set before the experience
  is learned; `end` reads those of this set and of all earlier ones afterwards;
  see `metrics.generality`. The follower keeps one set of features per past
  experience on the host, and experience t costs t + 2 forward passes of a probe
  set, which the ledger files under "probe". As `end` comes after the record of
  its experience, its cost is in the next record.

  With a path, the follower writes its state there after each call, whole or not
  at all, and a new follower goes on from the file.

  Args:
    job: of the run, whose network keeps its shape.
    probes: as many sets as the stream has experiences.
    path: the .npz file; None keeps everything in memory.

  Raises:
    ValueError: for a method that prunes channels or draws new weights, sets
      that do not match the stream, or a file of other units or sets.
  """

  def __init__(
    self, job: Job, probes: Probes, path: Path | None = None
  ) -> None:
    method, count = job.learner.method, len(job.stream.experiences)
    if method.pruning is not None or method.restart:
      how = "draws new weights" if method.restart else "prunes channels"
      raise UsageError(
        f"the recipe {how} on the way, so that units cannot be followed: take "
        "one that keeps its network and weights, such as finetune"
      )
    if len(probes.rows) != count:
      raise UsageError(
        f"{len(probes.rows)} probe sets for {count} experiences: make them of "
        "the same stream"
      )
    self.units = job.learner.network.units[:-1]
    self._learner, self._probes, self._path = job.learner, probes, path
    self._records: list[dict[str, Any]] = []  # by experience
    self._learned: list[generality.Features] = []  # by experience
    # Features ahead of an experience, and which one.
    self._before: tuple[int, generality.Features] = (-1, ())
    if path is not None and path.exists():
      self._restore(path)

  @property
  def records(self) -> tuple[dict[str, Any], ...]:
    """Records of the experiences learned, for JSON; see `generality.record`."""
    return tuple(self._records)

  def require(self, place: Cursor) -> None:
    """Checks that the follower has seen the run up to a cursor.

    Raises:
      ValueError: where the run was resumed without the follower's file.
    """
    index, known = place.experience, len(self._records)
    begun = place.begun and known == index
    if known < index or (begun and self._before[0] != index):
      raise self._missed(index)

  def begin(self, state: base.LearnerState, place: Cursor) -> None:
    """Reads the features before the experience that a cursor stands at.

    Args:
      state: before the experience.
      place: cursor, as events of kind "begin" have it.

    Raises:
      ValueError: where an earlier experience was missed.
    """
    index, known = place.experience, len(self._records)
    if index < known:
      return  # learned before the run was resumed at an earlier cursor
    if index > known:
      raise self._missed(index)
    with self._learner.ledger.timed("probe"):
      self._before = index, self._read(state, index)
    self._save()

  def end(self, state: base.LearnerState, place: Cursor) -> dict[str, Any]:
    """Reads the features after an experience, and compares them.

    Args:
      state: behind the experience.
      place: as events of kind "experience" have it, one experience further.

    Returns:
      The experience's record.

    Raises:
      ValueError: where its beginning or an earlier experience was missed.
    """
    index, known = place.experience - 1, len(self._records)
    if index < known:
      return self._records[index]
    begun, before = self._before
    if index > known or begun != index:
      raise self._missed(index)
    with self._learner.ledger.timed("probe"):
      now = [self._read(state, i) for i in range(index + 1)]
      record = generality.record(self._learned, before, now)
    self._learned.append(now[-1])
    self._records.append(record)
    self._save()
    return record

  def _missed(self, index: int) -> ValueError:
    where = "" if self._path is None else f" or bring back {self._path}"
    return ValueError(
      f"the run stands in experience {index}, but its beginning or past was "
      f"missed: {len(self._records)} were followed to their end. Start the run "
      f"over{where}"
    )

  def _read(self, state: base.LearnerState, index: int) -> generality.Features:
    weights = state.train.params, state.train.stats
    x = self._probes.read(index)
    return features.read(
      self._learner, weights, x, self.units, self._probes.largest
    )

  def _identity(self) -> dict[str, Any]:
    rows = np.concatenate(self._probes.rows).astype("<i8").tobytes()
    sizes = [len(each) for each in self._probes.rows]
    return {"units": list(self.units), "sizes": sizes, "rows": zlib.crc32(rows)}

  def _save(self) -> None:
    if self._path is None or jax.process_index():
      return
    index, before = self._before
    known = {
      "identity": self._identity(),
      "records": self._records,
      "before": index,
    }
    arrays: dict[str, Any] = {"known": np.array(json.dumps(known))}
    arrays |= {f"before_{unit}": a for unit, a in enumerate(before)}
    for i, found in enumerate(self._learned):
      arrays |= {f"learned_{i}_{unit}": a for unit, a in enumerate(found)}
    timed = self._learner.ledger.timed("checkpoint")
    with timed, lines.replacing(self._path) as file:
      np.savez(file, **arrays)

  def _restore(self, path: Path) -> None:
    with np.load(path) as arrays:
      known = json.loads(arrays["known"].item())
      if known["identity"] != self._identity():
        raise UsageError(
          f"{path} was written for other units or probe sets: give the network "
          "and sets that it was made with, or another path"
        )
      units = range(len(self.units))
      self._records = known["records"]
      self._learned = [
        tuple(arrays[f"learned_{i}_{unit}"] for unit in units)
        for i in range(len(self._records))
      ]
      index = known["before"]
      if index >= 0:
        self._before = index, tuple(arrays[f"before_{u}"] for u in units)


def from_events(events: Iterator[Event], follower: Follower) -> Iterator[Event]:
  """Yields a run's events unchanged, after showing them to a follower.

  ```
  for event in follow.from_events(loop.run(job, state, place), follower):
    ...
  ```

  Raises:
    ValueError: where the run was resumed without the follower's file.
  """
  for number, event in enumerate(events):
    if event.kind == "begin":
      follower.begin(event.state, event.place)
    elif event.kind == "experience":
      follower.end(event.state, event.place)
    elif number == 0:
      follower.require(event.place)
    yield event
