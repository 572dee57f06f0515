"""The table of a sweep: means and spreads over seeds, as CSV."""

import csv
import io
import statistics

from jcl.cli.sweep_grid import Arm, Sweep
from jcl.report import lines, summary, table


class Table:
  """Means and standard deviations over the seeds of each arm.

  Args:
    sweep: whose runs it is about.
  """

  def __init__(self, sweep: Sweep) -> None:
    self.path = sweep.folder / "sweep.csv"
    self._sweep = sweep
    self._runs: dict[str, list[summary.Run]] = {}  # by the arm's label
    self._changed = False

  @property
  def count(self) -> int:
    """Runs in the table."""
    return sum(map(len, self._runs.values()))

  def add(self, arm: Arm, run: summary.Run) -> None:
    """Adds a run that has ended."""
    self._runs.setdefault(arm.label, []).append(run)
    self._changed = True

  def write(self) -> None:
    """Writes the table, if it has changed."""
    if self._changed:
      lines.write_atomically(self.path, self.text())
      self._changed = False

  def text(self) -> str:
    """Returns the table as CSV: a line for each arm that has a run.

    Its columns are the recipe, the flags that vary, the number of runs, and
    mean and standard deviation of each quantity; that of one run is empty.
    """
    every = [run for runs in self._runs.values() for run in runs]
    quantities = table.quantities(every)
    differing = self._sweep.arms[0].differing
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    spreads = [
      f"{name} {kind}" for name in quantities for kind in ("mean", "sd")
    ]
    writer.writerow(["recipe", *differing, "runs", *spreads])
    for arm in self._sweep.arms:
      runs = self._runs.get(arm.label, [])
      if not runs:
        continue
      values_of = (arm.varied[name] for name in differing)
      row: list[object] = [arm.text, *values_of, len(runs)]
      for read in quantities.values():
        values = [v for run in runs if (v := read(run.summary)) is not None]
        row.append(f"{statistics.fmean(values):.6g}" if values else "")
        row.append(f"{statistics.stdev(values):.6g}" if len(values) > 1 else "")
      writer.writerow(row)
    return out.getvalue()
