"""Picture of what was bought over time: a row of charts for each recipe."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jcl.report import bought, drawing, summary, table

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

_MOST = 8  # recipes drawn; tables have all of them
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
  columns = [
    each for each in _COLUMNS if any(_known(g, each) for _, g in groups)
  ]
  if len(columns) == 1:
    figure, axes = drawing.panels([g.label for _, g in groups], 2.9, 2.1)
    grid = [[axis] for axis in axes]
  else:
    figure = drawing.new_figure(drawing.WIDTH, 0.5 + 2.5 * len(groups))
    grid = figure.subplots(len(groups), len(columns), squeeze=False).tolist()
  used: dict[str, Any] = {}
  for row, (index, group) in zip(grid, groups, strict=True):
    if len(columns) > 1:
      row[0].set_title(group.label, loc="left", fontsize=9)
    for axis, column in zip(row, columns, strict=True):
      if not _known(group, column):
        axis.remove()
        continue
      used |= _COLUMNS[column](axis, group, drawing.colour(index))
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


def _means(group: table.Group, name: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns means and half-widths [T] of a figure of `bought.Purchase`."""
  rows = [
    np.array([getattr(each, name) for each in bought.of(run)], float)
    for run in group.runs
  ]
  return drawing.intervals(drawing.stack(rows))


def _known(group: table.Group, column: str) -> bool:
  """Tells whether a chart would show anything of a recipe."""
  return bool(np.isfinite(_means(group, column)[0]).any())


def _spending(axis: "Axes", group: table.Group, colour: str) -> dict[str, Any]:
  """Draws what was spent, and what it is to be compared with."""
  from matplotlib import ticker

  unit = bought.unit_of(group.runs[0])
  mean, half_width = _means(group, "spent")
  x = np.arange(1, len(mean) + 1)
  axis.bar(x, mean, color=colour, width=0.7, alpha=0.8)
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
  axis.set_ylim(bottom=0)
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
# Charts of a row, by the figure without which they are left out.
_COLUMNS: dict[str, Callable[["Axes", table.Group, str], dict[str, Any]]] = {
  "spent": _spending,
  "price": _prices,
  "forecast": _forecasts,
}
