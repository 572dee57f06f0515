"""Charts of what runs cost: by account, and the memory of a step by part.

Bars are means over seeds, whiskers 95 % intervals, as in `pictures`.
"""

from collections.abc import Mapping, Sequence
import math
from typing import TYPE_CHECKING

import numpy as np

from jcl import metrics
from jcl.report import drawing, summary, table

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure


def costs(runs: Sequence[summary.Run]) -> "Figure":
  """Draws seconds, joules and bytes of each recipe, stacked by account."""
  from matplotlib import ticker

  groups = table.group(runs)
  spent = [run.summary["costs"] for group in groups for run in group.runs]
  accounts = sorted({account for each in spent for account in each})
  labels = [drawing.wrapped(group.label, 26) for group in groups]
  num_lines = sum(label.count("\n") + 1.8 for label in labels)
  source = drawing.wrapped(table.energy(runs), 110)
  num_lines += source.count("\n") + 1
  figure = drawing.new_figure(drawing.WIDTH, 1.6 + 0.17 * num_lines)
  figure.supxlabel(source, fontsize=8)
  axes = figure.subplots(1, 3, sharey=True)
  places = np.arange(len(groups))
  titles = {
    "seconds": "seconds",
    "joules": f"joules ({table.joules_source(runs)})",
    "bytes": "bytes moved",
  }
  for axis, (unit, title) in zip(axes, titles.items(), strict=True):
    ends = _stacked(axis, places, _mean_costs(groups, accounts, unit))
    axis.errorbar(
      ends,
      places,
      xerr=[_half_width(group, accounts, unit) for group in groups],
      fmt="none",
      ecolor="0.3",
      capsize=2,
    )
    axis.set_xlabel(title)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(4))
    axis.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axis.set_xlim(left=0)
    drawing.tidy(axis, "x")
    if not np.any(ends > 0):
      drawing.say(axis, "none recorded")
  axes[0].set_yticks(places, labels, fontsize=8)
  axes[0].invert_yaxis()
  handles, names = axes[0].get_legend_handles_labels()
  if names:
    figure.legend(
      handles, names, loc="outside upper center", ncols=7, frameon=False
    )
  return figure


def step_memory(runs: Sequence[summary.Run]) -> "Figure":
  """Draws the bytes of train steps, stacked by part, and their peaks."""
  from matplotlib import ticker

  frame = table.step_memory(runs)
  labels = [drawing.wrapped(label, 26) for label in frame.index]
  num_lines = sum(label.count("\n") + 1.8 for label in labels)
  figure = drawing.new_figure(drawing.WIDTH, 1.8 + 0.17 * num_lines)
  axis = figure.subplots()
  if frame.empty:
    drawing.say(axis, "none recorded")
    return figure
  places = np.arange(len(labels))
  parts = table.STEP_PARTS.values()
  _stacked(axis, places, {part: frame[part].to_numpy() for part in parts})
  axis.scatter(
    frame["peak"],
    places,
    marker="|",
    s=300,
    color="0.2",
    label="peak of the compiled step",
    zorder=3,
  )
  axis.set_xlabel("bytes")
  axis.xaxis.set_major_formatter(ticker.EngFormatter("B"))
  axis.set_xlim(left=0)
  drawing.tidy(axis, "x")
  axis.set_yticks(places, labels, fontsize=8)
  axis.invert_yaxis()
  figure.legend(
    *axis.get_legend_handles_labels(),
    loc="outside upper center",
    ncols=4,
    frameon=False,
    fontsize=8,
    markerscale=0.6,
  )
  return figure


def _stacked(
  axis: "Axes", places: np.ndarray, widths: Mapping[str, np.ndarray]
) -> np.ndarray:
  """Draws bars end to end, one part after another.

  Args:
    axis: where they are drawn.
    places: [N] on the y axis.
    widths: [N] by part.

  Returns:
    [N] where the bars end.
  """
  left = np.zeros(len(places))
  for index, (part, width) in enumerate(widths.items()):
    axis.barh(
      places,
      width,
      left=left,
      label=part,
      color=drawing.colour(index),
      hatch=drawing.hatch(index),
      edgecolor="white",
    )
    left = left + width
  return left


def _mean_costs(
  groups: Sequence[table.Group], accounts: Sequence[str], unit: str
) -> dict[str, np.ndarray]:
  """Returns the mean cost of each group [groups], by account."""

  def mean(group: table.Group, account: str) -> float:
    return metrics.macro_average(
      [_spent(run, account, unit) for run in group.runs]
    )

  return {
    account: np.array([mean(group, account) for group in groups])
    for account in accounts
  }


def _half_width(
  group: table.Group, accounts: Sequence[str], unit: str
) -> float:
  """Returns the half-width of the 95 % interval of a group's total cost."""
  totals = [
    sum(_spent(run, account, unit) for account in accounts)
    for run in group.runs
  ]
  return metrics.confidence_interval(totals)[1]


def _spent(run: summary.Run, account: str, unit: str) -> float:
  value = run.summary["costs"].get(account, {unit: 0.0})[unit]
  return math.nan if value is None else float(value)
