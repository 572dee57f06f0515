"""Charts of runs: each function takes runs and returns a matplotlib figure.

A recipe keeps its colour, line and marker in every chart. For a recipe with
several seeds, lines and bars are means, bands and whiskers 95 % intervals.
"""

from collections.abc import Callable, Mapping, Sequence
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jcl import metrics
from jcl.report import drawing, summary, table

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

_SCENARIO_TITLES = {
  "class_incremental": "class-incremental",
  "task_incremental": "task-incremental",
}


def save_all(
  runs: Sequence[summary.Run], folder: str | Path
) -> dict[str, Path]:
  """Draws every chart as a PNG in `folder` and returns their paths by name."""
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  paths = {}
  for name, draw_fn in PICTURES.items():
    paths[name] = folder / f"{name}.png"
    draw_fn(runs).savefig(paths[name], dpi=150)
  return paths


def accuracy_per_experience(runs: Sequence[summary.Run]) -> "Figure":
  """Draws mean accuracy on the test sets seen so far, after each experience."""
  groups = table.group(runs)
  figure = drawing.line_figure([group.label for group in groups])
  axes = figure.subplots(1, 2, sharey=True)
  for axis, (scenario, title) in zip(
    axes, _SCENARIO_TITLES.items(), strict=True
  ):
    for index, group in enumerate(groups):
      values = drawing.stack([_on_seen(run, scenario) for run in group.runs])
      drawing.line(
        axis, np.arange(1, values.shape[1] + 1), values, index, group.label
      )
    axis.set(title=title, xlabel="experiences learned", ylim=(0, 1.02))
    drawing.integers(axis.xaxis)
  axes[0].set_ylabel("accuracy on seen test sets")
  drawing.legend(figure, axes[0])
  return figure


def accuracy_over_time(runs: Sequence[summary.Run]) -> "Figure":
  """Draws accuracy over optimiser steps: on seen test sets, and online."""
  figure = _curves(
    runs,
    {
      "accuracy on seen test sets": _anytime,
      "online accuracy (running mean)": lambda run: _logged(
        run, "online_accuracy"
      ),
    },
  )
  for axis in figure.axes:
    axis.set_ylim(0, 1.02)
  return figure


def loss(runs: Sequence[summary.Run]) -> "Figure":
  """Draws the running mean of the training loss over optimiser steps."""
  return _curves(
    runs, {"training loss (running mean)": lambda run: _logged(run, "loss")}
  )


def accuracy_matrix(runs: Sequence[summary.Run]) -> "Figure":
  """Draws percent right on each test set after each experience, by recipe."""
  groups = table.group(runs)
  figure, axes = drawing.panels([group.label for group in groups], 2.9, 2.9)
  image = None
  for axis, group in zip(axes, groups, strict=True):
    mean = mean_matrix(group)
    if not mean.size:
      drawing.say(axis, "no experience is over yet")
      continue
    rows, columns = mean.shape
    image = axis.imshow(
      mean,
      cmap="cividis",
      vmin=0,
      vmax=1,
      aspect="auto",
      extent=(0.5, columns + 0.5, rows + 0.5, 0.5),
    )
    # Two digits fill about 1.1 times the font size.
    font_size = min(9.0, 2.2 * 72 / max(rows, columns) / 1.6)
    for i, j in np.argwhere(~np.isnan(mean)) if font_size >= 4 else ():
      axis.text(
        j + 1,
        i + 1,
        f"{100 * mean[i, j]:.0f}",
        ha="center",
        va="center",
        fontsize=font_size,
        color="white" if mean[i, j] < 0.5 else "black",
      )
    axis.set(xlabel="test set", ylabel="after experience")
    drawing.integers(axis.xaxis)
    drawing.integers(axis.yaxis)
  if image is not None:
    figure.colorbar(image, ax=axes, label="accuracy", shrink=0.8, aspect=30)
  return figure


def forgetting(runs: Sequence[summary.Run]) -> "Figure":
  """Draws the accuracy lost on each test set since its best, by recipe."""
  return _bars(
    runs,
    _forgetting,
    xlabel="test set",
    ylabel="accuracy lost",
    first=1,
    empty="one experience:\nnothing to forget yet",
  )


def memory_per_class(runs: Sequence[summary.Run]) -> "Figure":
  """Draws the examples of each class in the memory at the end, by recipe."""
  return _bars(
    runs,
    _memory,
    xlabel="class",
    ylabel="examples kept",
    first=0,
    empty="no memory recorded",
    names_fn=lambda run: table.class_names(run.summary),
  )


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


def mean_matrix(group: table.Group) -> np.ndarray:
  """Averages the class-incremental accuracy matrices of a recipe's runs.

  Returns:
    [experiences, test sets] accuracies, NaN where no run has one.
  """
  matrices = [summary.matrix(run) for run in group.runs]
  rows, columns = np.max([matrix.shape for matrix in matrices], axis=0)
  stacked = np.full((len(matrices), rows, columns), math.nan)
  for layer, matrix in zip(stacked, matrices, strict=True):
    layer[: matrix.shape[0], : matrix.shape[1]] = matrix
  mean = [
    metrics.macro_average(cell) for cell in stacked.reshape(len(stacked), -1).T
  ]
  return np.array(mean).reshape(rows, columns)


PICTURES: dict[str, Callable[[Sequence[summary.Run]], "Figure"]] = {
  "accuracy_per_experience": accuracy_per_experience,
  "accuracy_over_time": accuracy_over_time,
  "accuracy_matrix": accuracy_matrix,
  "forgetting": forgetting,
  "costs": costs,
  "loss": loss,
  "memory_per_class": memory_per_class,
  "step_memory": step_memory,
}


def _on_seen(run: summary.Run, scenario: str) -> np.ndarray:
  matrix = summary.matrix(run, scenario)
  if len(matrix) == matrix.shape[1]:
    return metrics.accuracy_on_seen(matrix) if len(matrix) else np.empty(0)
  return np.array([metrics.macro_average(row) for row in matrix])


def _anytime(run: summary.Run) -> drawing.Series:
  measured = summary.evaluations(run.records, run.curve, "accuracy")
  y = [summary.seen_average(row, index) for _, index, row in measured]
  return np.array([step for step, _, _ in measured], float), np.array(y)


def _logged(run: summary.Run, name: str) -> drawing.Series:
  points = [p for p in run.curve if isinstance(p.get(name), int | float)]
  y = np.array([p[name] for p in points], float)
  x = np.array([p["step"] for p in points], float)
  window = max(1, len(y) // 40)
  if window > 1:
    y = np.convolve(y, np.full(window, 1 / window), mode="valid")
  return x[window - 1 :], y


def _forgetting(run: summary.Run) -> np.ndarray:
  matrix = summary.matrix(run)
  if not len(matrix) or len(matrix) != matrix.shape[1]:
    return np.empty(0)
  return metrics.forgetting_per_test(matrix)


def _memory(run: summary.Run) -> np.ndarray:
  counts: Any = run.summary["memory"].get("per_class") or ()
  return np.array(counts, float)


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


def _curves(
  runs: Sequence[summary.Run],
  series_fns: dict[str, Callable[[summary.Run], drawing.Series]],
) -> "Figure":
  groups = table.group(runs)
  figure = drawing.line_figure([group.label for group in groups])
  axes = figure.subplots(1, len(series_fns), squeeze=False)[0]
  for axis, (title, series_fn) in zip(axes, series_fns.items(), strict=True):
    found = False
    for index, group in enumerate(groups):
      series = [series_fn(run) for run in group.runs]
      series = [(x, y) for x, y in series if len(x)]
      found = found or bool(series)
      drawing.line(axis, *drawing.resampled(series), index, group.label)
    axis.set(xlabel="optimiser step", ylabel=title)
    axis.set_xlim(left=0)
    for end in _shared_ends(runs):
      axis.axvline(end, color="0.75", linewidth=0.8, zorder=0)
    if not found:
      drawing.say(axis, "nothing logged")
  drawing.legend(figure, axes[0])
  return figure


def _shared_ends(runs: Sequence[summary.Run]) -> list[int]:
  """Returns the steps at which experiences end; [] if runs differ in them."""
  ends = [np.cumsum([r.steps for r in run.records], dtype=int) for run in runs]
  longest = max(ends, key=len)
  agree = all(np.array_equal(each, longest[: len(each)]) for each in ends)
  return longest[:-1].tolist() if agree else []


def _bars(
  runs: Sequence[summary.Run],
  values_fn: Callable[[summary.Run], np.ndarray],
  *,
  xlabel: str,
  ylabel: str,
  first: int,
  empty: str,
  names_fn: Callable[[summary.Run], Sequence[str]] = lambda run: (),
) -> "Figure":
  """Draws one panel of bars per recipe, named or numbered from `first`."""
  groups = table.group(runs)
  figure, axes = drawing.panels(
    [group.label for group in groups], 2.9, 2.1, sharey=True
  )
  for index, (axis, group) in enumerate(zip(axes, groups, strict=True)):
    values = drawing.stack([values_fn(run) for run in group.runs])
    axis.set_xlabel(xlabel)
    drawing.tidy(axis, "y")
    if not values.size:
      drawing.say(axis, empty)
      continue
    mean, half_width = drawing.intervals(values)
    x = np.arange(first, first + len(mean))
    axis.bar(x, mean, color=drawing.colour(index))
    if len(values) > 1 and len(mean) <= 30:
      axis.errorbar(
        x, mean, yerr=half_width, fmt="none", ecolor="0.3", capsize=2
      )
    axis.axhline(0, color="0.3", linewidth=0.8)
    drawing.named(axis, x, names_fn(group.runs[0]))
  for axis in axes[::3]:
    axis.set_ylabel(ylabel)
  return figure
