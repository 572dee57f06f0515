"""Marks of recipes in a chart, with their names beside them."""

from collections.abc import Sequence
import math
from typing import TYPE_CHECKING, NamedTuple

from jcl.report import drawing, placing

if TYPE_CHECKING:
  from matplotlib.axes import Axes

_MOST = 8  # recipes that have their names beside their marks
_LINES, _CHARACTERS = 3, 24  # of such a name
_SIZE = 8  # of a mark, points
_STAR = 12  # of one that fills less of its square


class Mark(NamedTuple):
  """A recipe in a panel: means over its seeds."""

  number: int  # of the recipe
  label: str
  x: float
  y: float
  x_spread: float  # half-width of the 95 % interval, NaN for one seed
  y_spread: float


def fit(labels: Sequence[str]) -> bool:
  """Tells whether labels are few and short enough to stand beside marks."""
  lines = [drawing.wrapped(each, _CHARACTERS).split("\n") for each in labels]
  return len(labels) <= _MOST and all(
    len(each) <= _LINES and max(map(len, each)) <= 1.5 * _CHARACTERS
    for each in lines
  )


def draw(axis: "Axes", drawn: Sequence[Mark]) -> None:
  """Draws marks with their whiskers, which end at 0 and 1 at most."""
  for mark, size in zip(drawn, _sizes(axis, drawn), strict=True):
    colour, marker = drawing.colour(mark.number), drawing.marker(mark.number)
    right, up = (
      0.0 if math.isnan(each) else each
      for each in (mark.x_spread, mark.y_spread)
    )
    if right or up:
      axis.errorbar(
        mark.x,
        mark.y,
        xerr=[[min(right, mark.x)], [right]],
        yerr=[[min(up, mark.y)], [min(up, 1 - mark.y)]],
        fmt="none",
        ecolor=colour,
        elinewidth=1,
        capsize=2,
        alpha=0.6,
      )
    axis.plot(
      mark.x,
      mark.y,
      color=colour,
      marker=marker,
      markersize=size,
      markeredgecolor="white",
      linestyle="none",
      clip_on=False,
      zorder=4,
      label=drawing.wrapped(mark.label, 48),
    )
  drawing.tidy(axis, "both")


def _sizes(axis: "Axes", drawn: Sequence[Mark]) -> list[float]:
  """Returns the sizes of marks: of those at one place, the earlier are larger.

  So all of them are seen.
  """
  points = [_pixels(axis, mark) for mark in drawn]
  sizes = []
  for number, mark in enumerate(drawn):
    later = points[number + 1 :]
    hidden = sum(math.dist(points[number], each) < 4 for each in later)
    star = drawing.marker(mark.number) == "*"
    sizes.append((_STAR if star else _SIZE) + 5.0 * min(hidden, 3))
  return sizes


def _pixels(axis: "Axes", mark: Mark) -> placing.Point:
  x, y = axis.transData.transform((mark.x, mark.y))
  return float(x), float(y)


def name(axis: "Axes", drawn: Sequence[Mark]) -> None:
  """Writes the names of recipes beside their marks; the layout is settled."""
  points = [_pixels(axis, mark) for mark in drawn]
  texts = [
    axis.annotate(
      drawing.wrapped(mark.label, _CHARACTERS),
      (mark.x, mark.y),
      (0, 0),
      textcoords="offset points",
      ha="center",
      va="center",
      fontsize=8,
      color="0.15",
      annotation_clip=False,
      parse_math=False,
      zorder=5,
      bbox={"facecolor": "white", "linewidth": 0, "alpha": 0.7, "pad": 0.5},
    )
    for mark in drawn
  ]
  dot = axis.figure.dpi / 72  # of a point of type
  gaps = [(0.6 * size + 1) * dot for size in _sizes(axis, drawn)]
  boxes = [text.get_window_extent() for text in texts]
  placed = placing.place(
    points,
    [placing.Size(box.width + dot, box.height + dot) for box in boxes],
    gaps,
    placing.Box(*axis.get_window_extent().extents),
    _occupied(axis, drawn, points, dot),
  )
  for text, box, gap, (x, y), mark in zip(
    texts, placed, gaps, points, drawn, strict=True
  ):
    text.set_in_layout(False)
    text.set_position(
      (
        ((box.left + box.right) / 2 - x) / dot,
        ((box.bottom + box.top) / 2 - y) / dot,
      )
    )
    near = min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)
    if math.dist(near, (x, y)) > 1.5 * gap + 3 * dot:
      axis.annotate(
        "",
        (mark.x, mark.y),
        ((near[0] - x) / dot, (near[1] - y) / dot),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.7},
        annotation_clip=False,
      ).set_in_layout(False)


def _occupied(
  axis: "Axes",
  drawn: Sequence[Mark],
  points: Sequence[placing.Point],
  dot: float,
) -> list[placing.Box]:
  """Returns the rectangles of marks and whiskers, in pixels."""
  thin = dot
  found = []
  for (x, y), size in zip(points, _sizes(axis, drawn), strict=True):
    half = 0.6 * size * dot
    found.append(placing.Box(x - half, y - half, x + half, y + half))
  for mark, (x, y) in zip(drawn, points, strict=True):
    if not math.isnan(mark.y_spread):
      (_, low), (_, high) = (
        axis.transData.transform((mark.x, mark.y + sign * mark.y_spread))
        for sign in (-1, 1)
      )
      found.append(placing.Box(x - thin, low, x + thin, high))
    if not math.isnan(mark.x_spread):
      least = axis.get_xlim()[0]
      (left, _), (right, _) = (
        axis.transData.transform((max(each, least), mark.y))
        for each in (mark.x - mark.x_spread, mark.x + mark.x_spread)
      )
      found.append(placing.Box(left, y - thin, right, y + thin))
  return found
