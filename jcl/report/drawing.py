"""Parts that charts share: colours, panels, lines with bands, legends."""

from collections.abc import Sequence
import functools
import math
from pathlib import Path
import textwrap
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from jcl import metrics
from jcl.report import table

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# Okabe & Ito, "Color Universal Design", 2008, without yellow, which is hard to
# see on white paper.
_COLOURS = (
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#000000",
)
_LINES = ("-", "--", ":", "-.")
_MARKERS = "osD^vPX*"
_HATCHES = ("", "///", "...", "xxx")
WIDTH = 9.0  # inches
_DPI = 150
_LEGEND = 48  # characters in a line of a legend
_NUM_POINTS = 200  # of the x axis that series with different x share

Series = tuple[np.ndarray, np.ndarray]  # x [N] rising, y [N]


def colour(index: int) -> str:
  """Returns the colour of a recipe or account; colours repeat after seven."""
  return _COLOURS[index % len(_COLOURS)]


def marker(index: int) -> str:
  """Returns the marker of a recipe; markers repeat after eight."""
  return _MARKERS[index % len(_MARKERS)]


def hatch(index: int) -> str:
  """Returns the hatching that distinguishes bars of the same colour."""
  return _HATCHES[index // len(_COLOURS) % len(_HATCHES)]


def wrapped(label: str, width: int) -> str:
  """Breaks a label into lines of about `width` characters, but no option."""
  return textwrap.fill(
    label, width, break_long_words=False, break_on_hyphens=False
  )


def resampled(series: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
  """Interpolates the series of a recipe's seeds at a common x.

  Args:
    series: one for each seed.

  Returns:
    x [N], and y [seeds, N] with NaN outside of a series' own range.
  """
  if not series:
    return np.empty(0), np.empty((0, 0))
  first = series[0][0]
  if all(np.array_equal(x, first) for x, _ in series):
    return first, np.array([y for _, y in series])
  low = min(x[0] for x, _ in series)
  high = max(x[-1] for x, _ in series)
  common = np.linspace(low, high, _NUM_POINTS)
  rows = [np.interp(common, x, y, math.nan, math.nan) for x, y in series]
  return common, np.array(rows)


def stack(rows: Sequence[np.ndarray]) -> np.ndarray:
  """Stacks rows of any lengths as one array [rows, longest], padded with NaN.

  >>> stack([np.array([1.0, 2.0]), np.array([3.0])])
  array([[ 1.,  2.],
         [ 3., nan]])
  """
  stacked = np.full((len(rows), max(map(len, rows), default=0)), math.nan)
  for target, row in zip(stacked, rows, strict=True):
    target[: len(row)] = row
  return stacked


def intervals(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns means and 95 % half-widths over seeds, [seeds, N] to [N] each."""
  pairs = [metrics.confidence_interval(column) for column in values.T]
  means, half_widths = np.array(pairs).reshape(-1, 2).T
  return means, half_widths


def line(
  axis: "Axes", x: np.ndarray, values: np.ndarray, index: int, label: str
) -> None:
  """Draws the mean of `values` [seeds, N] over `x` [N], and its 95 % band."""
  mean, half_width = intervals(values)
  few = len(x) <= 25
  axis.plot(
    x,
    mean,
    color=colour(index),
    linestyle=_LINES[index // len(_COLOURS) % len(_LINES)],
    marker=marker(index) if few else None,
    markersize=4,
    linewidth=1.5,
    label=wrapped(label, _LEGEND),
  )
  if len(values) > 1:
    axis.fill_between(
      x,
      mean - half_width,
      mean + half_width,
      color=colour(index),
      alpha=0.15,
      linewidth=0,
    )
  tidy(axis, "both")


def new_figure(width: float, height: float) -> "Figure":
  """Makes an empty figure, sizes in inches, outside pyplot's global state."""
  from matplotlib import figure

  return figure.Figure(figsize=(width, height), layout="constrained")


def save(figure: "Figure", path: Path | BinaryIO) -> None:
  """Writes a figure as a PNG.

  It is drawn once: `Figure.savefig` draws figures with a layout twice, the
  first time for the layout alone, which comes first in each drawing anyway.
  """
  from matplotlib import image
  from matplotlib.backends import backend_agg

  figure.dpi = _DPI
  canvas = backend_agg.FigureCanvasAgg(figure)
  canvas.draw()
  image.imsave(path, canvas.buffer_rgba(), format="png", dpi=_DPI)


def line_figure(labels: Sequence[str]) -> "Figure":
  """Makes a figure for a row of line charts above a legend in two columns."""
  num_lines = sum(wrapped(label, _LEGEND).count("\n") + 1 for label in labels)
  return new_figure(WIDTH, 3.6 + 0.2 * math.ceil(num_lines / 2))


def panels(
  labels: Sequence[str], width: float, height: float, *, sharey: bool = False
) -> tuple["Figure", list["Axes"]]:
  """Makes a figure with one panel per label, three to a row.

  Args:
    labels: titles of the panels.
    width: of a panel, inches.
    height: of a panel without its title, inches.
    sharey: whether all panels have the same y axis.
  """
  columns = min(3, len(labels))
  rows = math.ceil(len(labels) / columns)
  titles = [wrapped(label, 36) for label in labels]
  title_height = 0.15 * max(title.count("\n") for title in titles)
  figure = new_figure(
    0.6 + columns * width + (2.0 if columns == 1 else 0.0),
    rows * (height + title_height),
  )
  grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
  for axis in grid.flat[len(labels) :]:
    axis.remove()
  axes = list(grid.flat[: len(labels)])
  for axis, title in zip(axes, titles, strict=True):
    axis.set_title(title, fontsize=8)
  return figure, axes


def legend(figure: "Figure", axis: "Axes") -> None:
  """Adds the legend of `axis` below the whole figure."""
  handles, labels = axis.get_legend_handles_labels()
  figure.legend(
    handles,
    labels,
    loc="outside lower center",
    ncols=2,
    fontsize=8,
    frameon=False,
  )


def tidy(axis: "Axes", grid: Literal["x", "y", "both"]) -> None:
  """Removes the frame above and at the right, and adds a grid behind."""
  axis.spines[["top", "right"]].set_visible(False)
  axis.grid(axis=grid, color="0.9", linewidth=0.8)
  axis.set_axisbelow(True)


def integers(axis: Any) -> None:
  """Puts the ticks of an x or y axis at whole numbers."""
  from matplotlib import ticker

  axis.set_major_locator(ticker.MaxNLocator(10, integer=True, min_n_ticks=1))


def named(axis: "Axes", x: np.ndarray, names: Sequence[str]) -> None:
  """Labels ticks of the x axis at `x` [N] with names, or with numbers.

  Numbers take the place of more than 20 names, and of each name with a letter
  that the font does not have.
  """
  told = [table.short(name, 14) for name in names]
  if len(told) != len(x) or len(told) > 20 or told == [str(i) for i in x]:
    integers(axis.xaxis)
    return
  known = _letters()
  labels = [
    name if known.issuperset(map(ord, name)) else str(i)
    for i, name in zip(x, told, strict=True)
  ]
  # Without `parse_math`, names with dollar signs would be read as formulas.
  axis.set_xticks(
    x, labels, rotation=60, ha="right", fontsize=7, parse_math=False
  )


@functools.cache
def _letters() -> frozenset[int]:
  """Returns the code points of all characters in the font of the charts."""
  from matplotlib import font_manager

  path = font_manager.findfont(font_manager.FontProperties())
  return frozenset(font_manager.get_font(path).get_charmap())


def say(axis: "Axes", message: str) -> None:
  """Writes into the middle of an empty chart why it is empty."""
  axis.set_xticks([])
  axis.text(
    0.5,
    0.5,
    message,
    transform=axis.transAxes,
    ha="center",
    va="center",
    color="0.4",
    fontsize=9,
  )
