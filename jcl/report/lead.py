"""The first picture of a report: accuracy against what it cost.

Left over what learning took, in joules or in the unit of the budget; right over
the bytes of memory. A recipe is a mark with its name beside it.
"""

from collections.abc import Callable, Sequence
import math
from typing import TYPE_CHECKING

from jcl import metrics
from jcl.report import budgets, drawing, labelled, summary, table

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# Accounts of what learning takes. Evaluation and files are not among them.
LEARNING = ("train", "replay", "probe", "data", "compile")

_WIDE = 20.0  # largest over smallest amount that a linear axis shows
_DASHED = 4  # budgets at most that are drawn into a panel

Value = Callable[[summary.Run], float]


def picture(runs: Sequence[summary.Run]) -> "Figure":
  """Draws accuracy over what learning took, and over bytes of memory."""
  from matplotlib import ticker

  groups = table.group(runs)
  found = budgets.several(runs)
  unit = budgets.spent_in(found)
  named = labelled.fit([group.label for group in groups])
  notes = _notes(runs, found, unit)
  height = 4.2 + 0.14 * notes.count("\n")
  height += 0 if named else 0.1 * sum(len(g.label) // 40 + 1 for g in groups)
  figure = drawing.new_figure(drawing.WIDTH, height)
  figure.supxlabel(notes, fontsize=8)
  axes = figure.subplots(1, 2, sharey=True)
  shown = [
    marks(groups, lambda run: learning(run, unit)),
    marks(groups, held),
  ]
  axes[0].set_ylim(*_range([mark.y for mark in shown[0] + shown[1]]))
  axes[0].yaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))
  axes[0].yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
  for axis, kind, drawn in zip(axes, (unit, "memory"), shown, strict=True):
    mine = [each for each in found if each.kind == kind and each.amount]
    _scale(axis, [m.x for m in drawn] + [b.amount for b in mine if b.amount])
    labelled.draw(axis, drawn)
    _limits(axis, mine)
    if not drawn:
      drawing.say(axis, _empty(groups, kind))
  axes[0].set_xlabel(_TITLES[unit].format(source=table.joules_source(runs)))
  axes[1].set_xlabel(_TITLES["memory"])
  axes[0].set_ylabel(
    "accuracy on all test sets"
    if any(run.tested for run in runs)
    else "accuracy before learning"
  )
  if named:
    figure.draw_without_rendering()  # decides where the axes are
    for axis, drawn in zip(axes, shown, strict=True):
      labelled.name(axis, drawn)
  else:
    full = len(shown[1]) > len(shown[0])
    drawing.legend(figure, axes[1 if full else 0])
  return figure


def marks(
  groups: Sequence[table.Group], value_fn: Value
) -> list[labelled.Mark]:
  """Returns the marks of a panel.

  A recipe is left out whose accuracy or amount no run knows.

  Args:
    groups: all recipes.
    value_fn: returns an amount of a run, NaN where it is not known.
  """
  found = []
  for index, group in enumerate(groups):
    x, x_spread = metrics.confidence_interval(list(map(value_fn, group.runs)))
    y, y_spread = metrics.confidence_interval(list(map(accuracy, group.runs)))
    if math.isfinite(x) and math.isfinite(y):
      found.append(labelled.Mark(index, group.label, x, y, x_spread, y_spread))
  return found


def accuracy(run: summary.Run) -> float:
  """Returns the accuracy of a run in the end; NaN for none.

  It is that on all test sets, with all classes competing; of a run without test
  sets, that on batches before they were learned.
  """
  if not run.tested:
    return table.online(run.summary)
  found = run.summary["class_incremental"]["final_average_accuracy"]
  return math.nan if found is None else float(found)


def learning(run: summary.Run, unit: str) -> float:
  """Returns what learning took in a unit of `base.Cost`; NaN if unknown."""
  costs = run.summary["costs"]
  amounts = [costs[name].get(unit) for name in LEARNING if name in costs]
  if not amounts or None in amounts:
    return math.nan
  return math.fsum(map(float, amounts))


def held(run: summary.Run) -> float:
  """Returns the most bytes that memory and statistics took; NaN if unknown.

  They are counted at the ends of experiences.
  """
  amounts = [record.memory.get("bytes") for record in run.records]
  amounts = amounts or [run.summary["memory"].get("bytes")]
  known = [float(each) for each in amounts if each is not None]
  return max(known, default=math.nan)


_TITLES = {
  "joules": "joules of learning ({source})",
  "flops": "operations of learning (FLOP)",
  "seconds": "seconds of learning",
  "memory": "bytes of memory, the most",
}


def _notes(
  runs: Sequence[summary.Run], found: Sequence[budgets.Budget], unit: str
) -> str:
  """Returns what the axes do not tell: sources, and budgets not drawn."""
  lines = [table.energy(runs)] if unit == "joules" else []
  others = [
    each.told
    for each in found
    if each.amount is None or each.kind not in (unit, "memory")
  ]
  if others:
    lines.append(f"budgets that are not drawn: {', '.join(others)}")
  return "\n".join(drawing.wrapped(line, 110) for line in lines)


def _empty(groups: Sequence[table.Group], kind: str) -> str:
  """Returns why a panel has no marks."""
  runs = [run for group in groups for run in group.runs]
  if all(math.isnan(accuracy(run)) for run in runs):
    return "no accuracy is known yet"
  what = {"flops": "operations", "memory": "bytes of memory"}.get(kind, kind)
  return f"no {what} recorded"


def _range(shares: Sequence[float]) -> tuple[float, float]:
  """Returns the limits of the y axis: tenths, with room around the marks.

  >>> _range([0.25, 0.68])
  (0.1, 0.8)
  """
  if not shares:
    return 0.0, 1.02
  low = math.floor(10 * min(shares) - 0.8) / 10
  high = math.ceil(10 * max(shares) + 0.8) / 10
  return max(low, 0.0), high if high < 1 else 1.02


def _scale(axis: "Axes", amounts: Sequence[float]) -> None:
  """Scales the x axis for amounts, logarithmically where these are far apart.

  A linear axis begins at 0, and so does a logarithmic one where an amount is 0:
  from 0 to its first tick it is linear.

  Args:
    axis: of the panel.
    amounts: 0 or more, of marks and budgets.
  """
  from matplotlib import ticker

  axis.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
  positive = [each for each in amounts if each > 0] or [1.0]
  low, high = min(positive), max(positive)
  if high <= _WIDE * low:
    axis.set_xlim(0, 1.15 * high)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(5))
    return
  low, high = low / 1.5, high * 1.5
  if min(amounts) > 0:
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    places = ticks(low, high)
  else:
    axis.set_xscale("symlog", linthresh=low, linscale=0.3)
    axis.set_xlim(0, high)
    places = [0.0, *ticks(low, high)]
  axis.xaxis.set_major_locator(ticker.FixedLocator(places))
  axis.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
  axis.xaxis.set_minor_locator(ticker.NullLocator())


def ticks(low: float, high: float) -> list[float]:
  """Returns the ticks of a logarithmic axis from `low` > 0 to `high`.

  >>> ticks(3.0, 150.0)
  [5.0, 10.0, 20.0, 50.0, 100.0]
  """
  first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
  steps = (1, 2, 5) if high < 300 * low else (1,)
  every = max(1, (last - first) // 6)
  found = (
    float(f"{step}e{power}")
    for power in range(first, last + 1, every)
    for step in steps
  )
  return [each for each in found if low <= each <= high]


def _limits(axis: "Axes", found: Sequence[budgets.Budget]) -> None:
  """Draws budgets as dashed lines, each with its amount above the panel."""
  for row, each in enumerate(found[:_DASHED]):
    assert each.amount is not None
    axis.axvline(
      each.amount, color="0.35", linestyle="--", linewidth=1.2, zorder=1
    )
    place = axis.transData.transform((each.amount, 0))
    share = axis.transAxes.inverted().transform(place)[0]
    axis.annotate(
      f"budget {each.told}",
      (each.amount, 1),
      (0, 3 + 11 * row),
      xycoords=("data", "axes fraction"),
      textcoords="offset points",
      ha="right" if share > 0.6 else "left" if share < 0.4 else "center",
      fontsize=8,
      color="0.35",
    )
