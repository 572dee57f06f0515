"""Places labels beside points of a chart so that none covers another.

Plain geometry in any unit, y upwards: nothing here knows of a drawing library.
"""

from collections.abc import Iterator, Sequence
import math
from typing import NamedTuple

_DIRECTIONS = 16  # tried around a point, from the right on
_RINGS = 40  # distances tried, each half a label's height further


class Box(NamedTuple):
  """A rectangle with sides along the axes."""

  left: float
  bottom: float
  right: float
  top: float

  def overlap(self, other: "Box") -> float:
    """Returns the area that two rectangles share, 0 where they only touch.

    >>> Box(0, 0, 2, 2).overlap(Box(1, 1, 3, 5))
    1
    """
    width = min(self.right, other.right) - max(self.left, other.left)
    height = min(self.top, other.top) - max(self.bottom, other.bottom)
    return max(width, 0) * max(height, 0)

  def within(self, other: "Box") -> bool:
    """Tells whether the rectangle lies in another one."""
    return (
      self.left >= other.left
      and self.bottom >= other.bottom
      and self.right <= other.right
      and self.top <= other.top
    )


class Size(NamedTuple):
  """Width and height of a label."""

  width: float
  height: float


Point = tuple[float, float]  # x, y


def place(
  points: Sequence[Point],
  sizes: Sequence[Size],
  gaps: Sequence[float],
  area: Box,
  occupied: Sequence[Box] = (),
) -> list[Box]:
  """Returns where the labels of points go, in their order.

  A label takes the first free place around its point, the nearest first and
  right of it before left. Where no place is free, it takes the one that covers
  least of what is there.

  Args:
    points: [N] that the labels belong to.
    sizes: [N] of the labels.
    gaps: [N] between a point and its label, at least.
    area: that labels stay in.
    occupied: rectangles that labels keep off, such as the marks of all points.
  """
  taken, found = list(occupied), []
  for point, size, gap in zip(points, sizes, gaps, strict=True):
    best, least = None, math.inf
    for box in _around(point, size, gap):
      if not box.within(area):
        continue
      covered = sum(box.overlap(other) for other in taken)
      if covered < least:
        best, least = box, covered
      if not covered:
        break
    if best is None:  # wider or higher than the area
      best = _beside(point, size, gap, 0.0)
    taken.append(best)
    found.append(best)
  return found


def _around(point: Point, size: Size, gap: float) -> Iterator[Box]:
  """Yields the places around a point, nearest first."""
  turns = sorted(range(_DIRECTIONS), key=lambda n: min(n, _DIRECTIONS - n))
  for ring in range(_RINGS):
    for turn in turns:
      angle = 2 * math.pi * turn / _DIRECTIONS
      yield _beside(point, size, gap + 0.5 * ring * size.height, angle)


def _beside(point: Point, size: Size, distance: float, angle: float) -> Box:
  """Returns the place of a label in some direction from its point.

  Directions are those of a square: towards a corner, the label's own corner is
  the nearest to the point.
  """
  right, up = (
    max(-1.0, min(1.0, math.sqrt(2) * part))
    for part in (math.cos(angle), math.sin(angle))
  )
  x = point[0] + right * (distance + size.width / 2)
  y = point[1] + up * (distance + size.height / 2)
  return Box(
    x - size.width / 2,
    y - size.height / 2,
    x + size.width / 2,
    y + size.height / 2,
  )
