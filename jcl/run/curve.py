"""Curve of a run: what its updates report, averaged over stretches of them."""

from collections.abc import Iterable, Mapping
import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

from jcl.report import encoding, lines
from jcl.run.cursor import Cursor, Event

FILES = ("curve.jsonl",)
POINTS = 100  # of a run, about: dispatches between two of them are averaged


class Curve:
  """Points of a run in their order, in memory and in a file of JSON lines.

  Args:
    folder: of the run; None keeps the points in memory.
    kept: points that stay, at least, once there are twice as many; None: all.
  """

  def __init__(self, folder: Path | None, kept: int | None = None) -> None:
    self.points: list[dict[str, Any]] = []
    self._kept, self._lost = kept, False  # and whether the file has more
    self._stretch: Stretch | None = None
    self._file = None if folder is None else lines.Lines(folder / FILES[0])

  @property
  def evaluations(self) -> list[dict[str, Any]]:
    """Points of evaluations mid-way."""
    return [point for point in self.points if "accuracy" in point]

  def state(self) -> dict[str, Any]:
    """Returns the stretch that is not a point yet, ready for JSON."""
    assert self._stretch is not None
    return dataclasses.asdict(self._stretch)

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes on with the stretch that `state` returned."""
    self._stretch = Stretch(**state)

  @property
  def is_begun(self) -> bool:
    """Tells whether `begin` or `restore` was called."""
    return self._stretch is not None

  def begin(self, steps: int) -> None:
    """Shares the updates of the whole run, about `steps`, out to points."""
    self._stretch = Stretch(max(1, steps // POINTS))

  def cut(self, at: Cursor) -> None:
    """Drops the points beyond a cursor, which the run will log again."""
    assert self._file is not None
    if self._file.path.exists():
      self.points = [
        point
        for point in _read(self._file.path)
        if point["step"] <= (at.evaluated if "accuracy" in point else at.step)
      ]
    self._file.replace(map(encoding.encode, self.points))

  def evaluated(self, event: Event) -> dict[str, Any]:
    """Adds the point of an evaluation, in memory, and returns it."""
    return self._add(_point(event.place, event.scalars))

  def add(self, event: Event) -> dict[str, Any] | None:
    """Adds a dispatch or the end of an experience to the stretch.

    Returns:
      The point that is full now, added in memory; None where there is none.
    """
    assert self._stretch is not None
    end = event.kind == "experience"
    scalars = self._stretch.add(event.place.step, event.scalars, end=end)
    if not scalars:
      return None
    return self._add(_point(event.place, scalars))

  def _add(self, point: dict[str, Any]) -> dict[str, Any]:
    self.points.append(point)
    if self._kept is not None and len(self.points) > 2 * self._kept:
      del self.points[: -self._kept]
      self._lost = True
    return point

  def write(self, point: Mapping[str, Any]) -> None:
    """Appends the latest point to the file."""
    assert self._file is not None
    if self._lost:
      self._file.replace(map(encoding.encode, self.points))
      self._lost = False
    else:
      self._file.append(encoding.encode(point))

  def sync(self) -> None:
    """Returns when all points that were written are on disk."""
    assert self._file is not None
    self._file.sync()


@dataclasses.dataclass
class Stretch:
  """Sums of what dispatches reported since the last point of a curve.

  A checkpoint saves the fields, so that a resumed run has the same points as
  one that never stopped.
  """

  every: int  # updates of a point
  begun: int = 0  # step at which the stretch begins
  step: int = 0  # step that the stretch has come to
  sums: dict[str, float] = dataclasses.field(default_factory=dict)

  def add(
    self, step: int, scalars: Mapping[str, float], end: bool
  ) -> dict[str, float] | None:
    """Adds a dispatch; returns the next point of the curve, where one is full.

    Args:
      step: of the run, behind the dispatch.
      scalars: that the dispatch reported, by name; "seconds" among them.
      end: whether to close the stretch early.

    Returns:
      Means over the point's updates, but for "seconds", which is their sum, and
      "steps_per_second"; None where the stretch goes on.
    """
    count = step - self.step
    self.step = step
    for name, value in scalars.items():
      weight = 1 if name == "seconds" else count
      self.sums[name] = self.sums.get(name, 0.0) + weight * value
    total = step - self.begun
    if not total or not (end or total >= self.every):
      return None
    point = {
      name: value if name == "seconds" else value / total
      for name, value in self.sums.items()
    }
    point["steps_per_second"] = total / max(point["seconds"], 1e-9)
    self.begun, self.sums = step, {}
    return point


def _point(at: Cursor, scalars: Mapping[str, Any]) -> dict[str, Any]:
  return {"step": at.step, "experience": at.experience, **scalars}


def _read(path: Path) -> Iterable[dict[str, Any]]:
  """Yields the intact points of a curve; a kill may have cut the last short."""
  for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
    with contextlib.suppress(ValueError, RecursionError):
      point = json.loads(line)
      if isinstance(point, dict) and isinstance(point.get("step"), int):
        yield point
