"""Charts of runs: each function takes runs and returns a matplotlib figure.

A recipe keeps its colour, line and marker in every chart. For a recipe with
several seeds, lines and bars are means, bands and whiskers 95 % intervals.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jcl import metrics
from jcl.report import (
  bought,
  bought_picture,
  cost_pictures,
  drawing,
  lead,
  summarising,
  summary,
  table,
)

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_SCENARIO_TITLES = {
  "class_incremental": "class-incremental",
  "task_incremental": "task-incremental",
}


def save_all(
  runs: Sequence[summary.Run], folder: str | Path, processes: int = 1
) -> dict[str, Path]:
  """Draws every chart as a PNG in `folder` and returns their paths by name.

  Args:
    runs: whose charts these are.
    folder: made where it is missing.
    processes: that share the work, forked from this one where there are more
      than one: it must have no threads.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  paths = {name: folder / f"{name}.png" for name in _fitting(runs)}
  names = list(paths)
  others = []
  for number in range(1, processes):
    if child := os.fork():
      others.append(child)
      continue
    status = 1
    try:
      _save(runs, {name: paths[name] for name in names[number::processes]})
      status = 0
    finally:
      os._exit(status)
  _save(runs, {name: paths[name] for name in names[::processes]})
  if any([os.waitpid(child, 0)[1] for child in others]):
    raise ChildProcessError("a process that draws charts failed")
  return paths


def _fitting(runs: Sequence[summary.Run]) -> Iterator[str]:
  """Yields the names of the charts that have something to show."""
  tested = any(run.tested for run in runs)
  for name in PICTURES:
    if name in (_WITHOUT_TESTS if tested else _OF_TESTS):
      continue
    if name != "bought" or any(map(bought.shown, runs)):
      yield name


def _save(runs: Sequence[summary.Run], paths: Mapping[str, Path]) -> None:
  for name, path in paths.items():
    drawing.save(PICTURES[name](runs), path)


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
  return _accuracies(runs, {"accuracy on seen test sets": _anytime, **_ONLINE})


def accuracy_online(runs: Sequence[summary.Run]) -> "Figure":
  """Draws accuracy on batches before they are learned, over optimiser steps."""
  return _accuracies(runs, _ONLINE)


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


LEAD = "accuracy_cost"  # the picture that a report begins with
PICTURES: dict[str, Callable[[Sequence[summary.Run]], "Figure"]] = {
  LEAD: lead.picture,
  "bought": bought_picture.picture,
  "accuracy_per_experience": accuracy_per_experience,
  "accuracy_over_time": accuracy_over_time,
  "accuracy_online": accuracy_online,
  "accuracy_matrix": accuracy_matrix,
  "forgetting": forgetting,
  "costs": cost_pictures.costs,
  "loss": loss,
  "memory_per_class": memory_per_class,
  "step_memory": cost_pictures.step_memory,
}
# Those that show nothing without test sets, and what takes their place.
_OF_TESTS = (
  "accuracy_per_experience",
  "accuracy_over_time",
  "accuracy_matrix",
  "forgetting",
)
_WITHOUT_TESTS = ("accuracy_online",)


def _on_seen(run: summary.Run, scenario: str) -> np.ndarray:
  matrix = summary.matrix(run, scenario)
  if len(matrix) == matrix.shape[1]:
    return metrics.accuracy_on_seen(matrix) if len(matrix) else np.empty(0)
  return np.array([metrics.macro_average(row) for row in matrix])


def _anytime(run: summary.Run) -> drawing.Series:
  measured = summarising.evaluations(run.records, run.curve, "accuracy")
  y = [summarising.seen_average(row, index) for _, index, row in measured]
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


_ONLINE: dict[str, Callable[[summary.Run], drawing.Series]] = {
  "online accuracy (running mean)": lambda run: _logged(run, "online_accuracy")
}


def _accuracies(
  runs: Sequence[summary.Run],
  series_fns: dict[str, Callable[[summary.Run], drawing.Series]],
) -> "Figure":
  figure = _curves(runs, series_fns)
  for axis in figure.axes:
    axis.set_ylim(0, 1.02)
  return figure


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
