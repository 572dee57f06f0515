"""Picture of what was bought over time: a row of charts for each recipe."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jcl.report import bought, drawing, summary, table

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

_MOST = 8  # recipes drawn; tables have all of them
_ROW = 3  # charts
_GREY = "0.25"
_LOOKS: dict[str, dict[str, Any]] = {
  "allowed": {"marker": "_", "markersize": 12, "markeredgewidth": 2},
  "equal share": {"linestyle": ":", "linewidth": 1.5},
  "predicted": {"marker": "D", "markersize": 5, "markerfacecolor": "white"},
  "forecast": {"marker": "o", "markersize": 7, "markerfacecolor": "white"},
  "came of it": {"marker": "x", "markersize": 6},
}


def picture(runs: Sequence[summary.Run]) -> "Figure":
  """Draws spending, price and forecast of each experience, by recipe.

  Recipes whose runs decide nothing anew are left out.

  Raises:
    ValueError: where all recipes are.
  """
  groups = [
    pair
    for pair in enumerate(table.group(runs))
    if any(map(bought.shown, pair[1].runs))
  ][:_MOST]
  if not groups:
    raise ValueError("no run decided anything that a picture would show")
  places = _places([_charts(group) for _, group in groups])
  rows = 1 + max(row for chart in places for row, _ in chart)
  columns = 1 + max(column for chart in places for _, column in chart)
  width = drawing.WIDTH if columns > 1 else 0.6 * drawing.WIDTH
  figure = drawing.new_figure(width, 0.5 + 2.5 * rows)
  grid = figure.add_gridspec(rows, columns)
  used: dict[str, Any] = {}
  for (index, group), mine in zip(groups, places, strict=True):
    for name, place in zip(_charts(group), mine, strict=True):
      axis = figure.add_subplot(grid[place])
      if name == _FIRST:
        label = drawing.wrapped(group.label, 40)
        axis.set_title(label, loc="left", fontsize=9)
      used |= _CHARTS[name](axis, group, drawing.colour(index))
      axis.set_xlabel("experience")
      drawing.tidy(axis, "y")
      drawing.integers(axis.xaxis)
  if used:
    figure.legend(
      handles=list(used.values()),
      labels=list(used),
      loc="outside lower center",
      ncols=6,
      fontsize=8,
      frameon=False,
    )
  return figure


def _places(charts: Sequence[Sequence[str]]) -> list[list[tuple[int, int]]]:
  """Returns row and column of each recipe's charts, three to a row at most.

  A recipe with several charts has a row of its own.
  """
  found, row, column = [], 0, 0
  for mine in charts:
    if column and (len(mine) > 1 or column == _ROW):
      row, column = row + 1, 0
    found.append([(row, column + i) for i in range(len(mine))])
    column += _ROW if len(mine) > 1 else 1
  return found


def _means(group: table.Group, name: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns means and half-widths [T] of a figure of `bought.Purchase`."""
  rows = [
    np.array([getattr(each, name) for each in bought.of(run)], float)
    for run in group.runs
  ]
  return drawing.intervals(drawing.stack(rows))


def _charts(group: table.Group) -> list[str]:
  """Returns the charts that show something of a recipe."""
  return [
    name
    for name in _CHARTS
    if name == _FIRST or np.isfinite(_means(group, name)[0]).any()
  ]


def _spending(axis: "Axes", group: table.Group, colour: str) -> dict[str, Any]:
  """Draws what was spent, and what it is to be compared with."""
  from matplotlib import ticker

  unit = bought.unit_of(group.runs[0])
  mean, half_width = _means(group, "spent")
  x = np.arange(1, len(mean) + 1)
  axis.bar(x, mean, color=colour, width=0.7, alpha=0.6)
  if len(group.runs) > 1:
    axis.errorbar(x, mean, yerr=half_width, fmt="none", ecolor="0.4", capsize=2)
  axis.yaxis.set_major_formatter(ticker.EngFormatter(sep=""))
  axis.yaxis.set_major_locator(ticker.MaxNLocator(4))
  axis.set_ylabel(_SPENT[unit].format(source=table.joules_source(group.runs)))
  return {
    label: handle
    for label, name in (
      ("allowed", "allowed"),
      ("equal share", "share"),
      ("predicted", "predicted"),
    )
    for handle in _points(axis, group, name, label)
  }


def _prices(axis: "Axes", group: table.Group, colour: str) -> dict[str, Any]:
  """Draws what an equal share has to gain, experience by experience."""
  mean, _ = _means(group, "price")
  x = np.arange(1, len(mean) + 1)
  axis.plot(
    x, mean, color=colour, marker="o", markersize=4, drawstyle="steps-mid"
  )
  axis.set(ylabel="price (points)", xlim=(0.4, len(mean) + 0.6))
  axis.set_ylim(0, 1.15 * max(float(np.nanmax(mean)), 1e-9))
  return {}


def _forecasts(axis: "Axes", group: table.Group, colour: str) -> dict[str, Any]:
  """Draws forecast shares of right answers, and what came of them."""
  (forecast, _), (reached, _) = (
    _means(group, name) for name in ("forecast", "reached")
  )
  x = np.arange(1, len(forecast) + 1)
  axis.vlines(x, forecast, reached, color=colour, linewidth=1.5)
  axis.set(ylabel="right (%)", xlim=(0.4, len(forecast) + 0.6))
  return {
    label: handle
    for label, name in (("forecast", "forecast"), ("came of it", "reached"))
    for handle in _points(axis, group, name, label)
  }


def _points(
  axis: "Axes", group: table.Group, name: str, label: str
) -> list[Any]:
  """Draws a figure as marks, if it is known; returns what a legend shows."""
  mean, _ = _means(group, name)
  if not np.isfinite(mean).any():
    return []
  x = np.arange(1, len(mean) + 1)
  looks = {"linestyle": "none", "color": _GREY, "zorder": 3, **_LOOKS[label]}
  return axis.plot(x, mean, label=label, **looks)


_SPENT = {
  "joules": "joules ({source})",
  "flops": "operations (FLOP)",
  "seconds": "seconds",
  "bytes": "bytes moved",
}
_FIRST = "spent"
# By the figure that a chart is about.
_CHARTS: dict[str, Callable[["Axes", table.Group, str], dict[str, Any]]] = {
  _FIRST: _spending,
  "price": _prices,
  "forecast": _forecasts,
}
