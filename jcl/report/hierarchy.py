"""Tables and pictures of a memory hierarchy: sizes, exchanges and decisions.

All figures come from `Record.memory`, which `replay.tiers.tiers.Tiers.summary`
fills.
"""

from collections.abc import Iterator, Sequence
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jcl import base
from jcl.report import drawing, summary, table

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

Decision = dict[str, Any]

_COUNTS = ("requested", "applied", "dropped", "failed", "ended", "bytes")
# Markers of candidates by their state, in the order of the legend.
_LOOKS: dict[str, dict[str, Any]] = {
  "beyond the joules left": {"marker": "x", "c": "0.5", "s": 24},
  "tried": {"marker": "o", "facecolors": "none", "edgecolors": "0.4", "s": 28},
  "kept": {"marker": "o", "c": drawing.colour(0), "s": 28},
  "chosen": {"marker": "*", "c": drawing.colour(1), "s": 130, "zorder": 3},
}
_NOT_TRIED = "not tried to the end"
FILES = ("hierarchy.png", "trials.png")  # of a run's folder


class Table(NamedTuple):
  """A table as text, for the page."""

  title: str
  note: str  # how to read the table
  header: tuple[str, ...]
  rows: Sequence[tuple[str, ...]]
  totals: bool = False  # true: the last row holds sums
  words: bool = False  # true: cells hold sentences


def save(run: summary.Run) -> None:
  """Draws `hierarchy.png` and `trials.png` in the run's folder.

  A run without decisions about sizes gets no `hierarchy.png`, a run without
  trials no `trials.png`.
  """
  if _decisions(run):
    timeline(run).savefig(run.folder / FILES[0], dpi=120)
  if list(_tried(run)):
    trials(run).savefig(run.folder / FILES[1], dpi=120)


def timeline(run: summary.Run) -> "Figure":
  """Draws sizes and swap ratio over optimiser steps, and decisions by kind.

  Raises:
    ValueError: for a run without decisions about a hierarchy.
  """
  decisions = _decisions(run)
  if not decisions:
    raise ValueError("the run has no decisions about a hierarchy to draw")
  ends = np.cumsum([record.steps for record in run.records], dtype=int)
  kinds = list(dict.fromkeys(each["kind"] for each in decisions))
  strip = 0.3 + 0.2 * len(kinds)
  figure = drawing.new_figure(drawing.WIDTH, 3.6 + strip)
  sizes, marks = figure.subplots(2, 1, sharex=True, height_ratios=[3.0, strip])
  ratio = sizes.twinx()
  steps = [*(each["step"] for each in decisions), int(ends[-1])]
  for index, (axis, name, label, scale) in enumerate(
    (
      (sizes, "em", "episodic memory", 1),
      (sizes, "sb", "stream buffer", 1),
      (ratio, "swap", "swap ratio (right)", 100),
    )
  ):
    values = [scale * each[name] for each in decisions]
    axis.plot(
      steps,
      [*values, values[-1]],
      drawstyle="steps-post",
      color=drawing.colour(index),
      linestyle="--" if axis is ratio else "-",
      linewidth=1.2 if axis is ratio else 1.8,
      label=label,
    )
  for index, kind in enumerate(kinds):
    where = [each["step"] for each in decisions if each["kind"] == kind]
    marks.scatter(
      where,
      [index] * len(where),
      s=22,
      color=drawing.colour(index),
      clip_on=False,
      zorder=3,
    )
  for axis in (sizes, marks):
    for end in ends[:-1]:
      axis.axvline(end, color="0.75", linewidth=0.8, zorder=0)
    drawing.tidy(axis, "y")
  sizes.set(ylabel="examples", xlim=(0, max(steps[-1], 1)))
  # Leave room at the top, so that no size lies on the line of 100 %.
  largest = max(max(each["em"], each["sb"]) for each in decisions)
  sizes.set_ylim(0, 1.15 * max(largest, 1))
  ratio.set(ylabel="swap ratio (%)", ylim=(0, 105))
  ratio.spines["top"].set_visible(False)
  marks.set_yticks(range(len(kinds)), kinds)
  marks.set(xlabel="optimiser step", ylim=(len(kinds) - 0.5, -0.5))
  handles = [*sizes.get_lines()[:2], *ratio.get_lines()]
  figure.legend(
    handles=handles, loc="outside upper center", ncols=3, frameon=False
  )
  return figure


def trials(run: summary.Run) -> "Figure":
  """Draws the trial accuracy of candidates over their predicted energy.

  Raises:
    ValueError: for a run that tried no sizes.
  """
  tried = list(_tried(run))
  if not tried:
    raise ValueError("the run tried no sizes: there is no picture of trials")
  titles = [_title(*pair) for pair in tried]
  figure, axes = drawing.panels(titles, 2.9, 2.5)
  found: dict[str, Any] = {}
  for axis, (record, decision) in zip(axes, tried, strict=True):
    found |= _scatter(axis, record, decision)
    drawing.tidy(axis, "both")
    axis.set_xlabel(f"predicted joules ({table.joules_source([run])})")
  for axis in axes[::3]:
    axis.set_ylabel(_shown(tried[0][1]))
  shown = [found[state] for state in _LOOKS if state in found]
  if shown:
    figure.legend(
      handles=shown, loc="outside lower center", ncols=4, frameon=False
    )
  return figure


def _shown(decision: Decision) -> str:
  """Returns the name of the figure by which trials were judged."""
  return f"trial {decision.get('judge', 'accuracy')} (%)"


def _title(record: base.Record, decision: Decision) -> str:
  rows = decision["candidates"]
  count = sum(row["accuracy"] is not None for row in rows)
  return (
    f"experience {record.experience + 1}: {count} of {len(rows)} tried to the "
    f"end, {decision['kind']} {decision['em']:,} + {decision['sb']:,}"
  )


def _scatter(
  axis: "Axes", record: base.Record, decision: Decision
) -> dict[str, Any]:
  """Draws candidates; returns one artist per state, for the legend."""
  rows, states = decision["candidates"], _states(record, decision)
  found = {}
  for state, look in _LOOKS.items():
    mine = [row for row, s in zip(rows, states, strict=True) if s == state]
    if mine:
      x = [row["energy"] for row in mine]
      y = [row["accuracy"] for row in mine]
      found[state] = axis.scatter(x, y, label=state, linewidths=1.2, **look)
  if not found:
    drawing.say(axis, "none was tried to the end")
  axis.margins(0.12)
  axis.locator_params(axis="x", nbins=4)
  return found


def tables(run: summary.Run) -> list[Table]:
  """Returns the tables of a run's hierarchy; no tables for other methods."""
  found = [
    *_decision_table(run),
    *_cost_table(run),
    *_exchange_table(run),
  ]
  return found + [_candidate_table(run, *pair) for pair in _tried(run)]


def _decision_table(run: summary.Run) -> Iterator[Table]:
  rows = [
    (
      str(each["experience"] + 1),
      str(each["epoch"] + 1),
      f"{each['step']:,}",
      each["kind"],
      f"{each['em']:,}",
      f"{each['sb']:,}",
      _percent(each["swap"]),
      each["reason"],
    )
    for each in _decisions(run)
  ]
  if rows:
    yield Table(
      "Sizes of memory and stream buffer",
      "Each line holds from its step on; sizes are in examples.",
      (
        "experience",
        "epoch",
        "step",
        "decision",
        "memory",
        "stream buffer",
        "swap ratio",
        "reason",
      ),
      rows,
      words=True,
    )


def _cost_table(run: summary.Run) -> Iterator[Table]:
  """Yields the table of what trials cost."""
  took = spent = 0.0
  rows = []
  for record in run.records:
    spent += sum(cost.joules for cost in record.costs.values())
    mine = _tried_in(record)
    took += sum(each["joules"] for each in mine)
    for each in mine:
      rows.append(
        (
          str(record.experience + 1),
          table.amount(each["seconds"]),
          table.amount(each["joules"]),
          _percent(_over(took, spent)),
        )
      )
  if rows:
    joules = f"joules ({table.joules_source([run])})"
    yield Table(
      "The cost of choosing by trials",
      "The share divides the joules of all trials so far by all joules that "
      "the run had spent at the end of the experience, with compiling, "
      "evaluation and idling.",
      (
        "experience",
        "seconds of trials",
        f"{joules} of trials",
        "share of the run’s joules so far",
      ),
      rows,
    )


def _exchange_table(run: summary.Run) -> Iterator[Table]:
  """Yields the table of exchanges by experience.

  Records hold the counts since the start of the run, so a row is a difference.
  """
  before = dict.fromkeys(_COUNTS, 0)
  rows = []
  for record in run.records:
    counts = record.memory.get("exchanges")
    if counts is None:
      return
    differences = (f"{counts[name] - before[name]:,}" for name in _COUNTS)
    rows.append((str(record.experience + 1), *differences))
    before = counts
  if before["requested"]:
    rows.append(("total", *(f"{before[name]:,}" for name in _COUNTS)))
    yield Table(
      "Examples exchanged with the store",
      "Requested examples are dropped for lack of room, fail if they are "
      "damaged on disk, or end with their experience before they are applied.",
      ("experience", *_COUNTS[:-1], "bytes read"),
      rows,
      totals=True,
    )


def _candidate_table(
  run: summary.Run, record: base.Record, decision: Decision
) -> Table:
  rows = [
    (
      f"{row['em']:,}",
      f"{row['sb']:,}",
      "–" if row["accuracy"] is None else f"{row['accuracy']:.1f}",
      table.amount(row["energy"]),
      state,
    )
    for row, state in zip(
      decision["candidates"], _states(record, decision), strict=True
    )
  ]
  return Table(
    f"Candidates of experience {record.experience + 1}",
    f"{decision['kind'].capitalize()}: {decision['reason']}.",
    (
      "memory",
      "stream buffer",
      _shown(decision),
      f"predicted joules ({table.joules_source([run])})",
      "outcome",
    ),
    rows,
  )


def _states(record: base.Record, decision: Decision) -> list[str]:
  """Returns the state of each candidate after a decision.

  No candidate is "chosen" if the host allowed none of their sizes in the end.
  """
  given = decision["em"], decision["sb"]
  rows, kept = decision["candidates"], decision["kept"]
  left = record.decision.limit.joules
  dear = [row["energy"] > left for row in rows]
  dear = [each and not all(dear) for each in dear]
  states = []
  for i, row in enumerate(rows):
    if row["accuracy"] is None:
      states.append(_NOT_TRIED)
    elif decision["kind"] == "chosen" and (row["em"], row["sb"]) == given:
      states.append("chosen")
    elif i in kept:
      states.append("kept")
    else:
      states.append("beyond the joules left" if dear[i] else "tried")
  return states


def _decisions(run: summary.Run) -> list[Decision]:
  """Returns all decisions of a run, in order."""
  return [d for r in run.records for d in r.memory.get("decisions", ())]


def _tried(run: summary.Run) -> Iterator[tuple[base.Record, Decision]]:
  """Yields the decisions that were based on trials, with their records."""
  for record in run.records:
    for decision in _tried_in(record):
      yield record, decision


def _tried_in(record: base.Record) -> list[Decision]:
  decisions = record.memory.get("decisions", ())
  return [each for each in decisions if each.get("candidates")]


def _over(part: float, whole: float) -> float:
  return part / whole if whole else math.nan


def _percent(share: float) -> str:
  return "–" if math.isnan(share) else f"{100 * share:.3g} %"
