"""Accuracy against cost: one recipe that is told a budget, and fixed ones.

Question: does `auto`, which decides how to learn by what it may spend, do as
well as the recipe that one would have chosen for each budget in hindsight?

Protocol: a budget is a share of the floating-point operations that `joint`, the
upper bound, takes for learning the stream with its usual passes. Fixed recipes
may take the same in every experience (`limits.equal`) and make as many passes
as that allows; `auto` may take all of it as it likes. Only the accounts of
learning count, evaluation does not. A recipe that takes more than a budget, or
whose loss leaves the finite numbers, has no cell there. Accuracy is that after
the last experience, the mean over the test sets of all experiences. All
networks learn by Adam at a rate of 0.001: by the usual rate some data diverge.
Operations do not depend on the machine's speed, so that cells can be computed
in any order and on any number of machines.

  python experiments/frontier.py --data_dir=~/data
  python experiments/frontier.py --quick

Every cell is a row of `cells.csv` in the work directory; the same command again
computes those that are missing, and prints what came of all. `--anew` computes
the cells of `--recipes` that are there as well. `table.csv` beside it has a row
for each budget of a data set, as RESULTS.md shows it. `--quick` takes the
digits, two budgets and one seed.
"""

import argparse
from collections.abc import Iterator, Sequence
import csv
import dataclasses
import itertools
import math
import os
from pathlib import Path
import statistics
import subprocess
from typing import Any, NamedTuple

import numpy as np

from jcl import base, metrics
from jcl.control import limits
from jcl.options.errors import UsageError
from jcl.run import loop, session, setup


class Data(NamedTuple):
  """A stream of the study."""

  name: str
  stream: str
  model: str
  epochs: int  # of `joint`


STREAMS = (
  Data("digits", "class_incremental:tasks=5", "auto", 10),
  Data("gas_drift", "domain_by_group", "auto", 5),
  Data("electricity", "time_ordered:parts=10", "auto", 1),
  Data("dsads", "domain_by_group", "auto", 3),
  Data("fashion_mnist", "class_incremental:tasks=5", "auto", 1),
)
SHARES = (0.02, 0.05, 0.15, 0.4, 1.0)
AUTO = "auto"
FIXED = (
  "randumb:m=2000",
  "randumb:m=250",
  "er:buffer=500,minibatch=32",
  "derpp:buffer=500,minibatch=32",
  "er:buffer=500,minibatch=32+elastic:rho=0.533",
  "joint",
)
FIGURES = ("accuracy", "flops", "budget")
ORIGIN = ("commit", "date")
FIELDS = ("data", "share", "recipe", "seed", *FIGURES, *ORIGIN)
_MOST_EPOCHS = 200
_TRAINING = base.Training(optimizer="adam", learning_rate=1e-3)


class Cell(NamedTuple):
  """What a row of the table is about."""

  data: str
  share: float
  recipe: str
  seed: int


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--data_dir", default="data", help="folder of the data")
  parser.add_argument("--data", nargs="*", help="data sets; default all")
  parser.add_argument("--recipes", nargs="*", default=(AUTO, *FIXED))
  parser.add_argument("--shares", nargs="*", type=float, default=SHARES)
  parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
  parser.add_argument("--workdir", default="runs/frontier")
  parser.add_argument("--anew", action="store_true", help="see above")
  parser.add_argument("--quick", action="store_true", help="see above")
  given = parser.parse_args()
  if given.quick:
    given.data, given.shares, given.seeds = ["digits"], (0.05, 0.4), 1
  folder = Path(given.workdir).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  table = Table(folder / "cells.csv")
  anew = given.recipes if given.anew else ()
  known = {cell for cell in table.rows if cell.recipe not in anew}
  for seed, each in itertools.product(range(given.seeds), STREAMS):
    if given.data and each.name not in given.data:
      continue
    study = Study(each, given.data_dir, seed, table)
    for share, recipe in itertools.product(given.shares, given.recipes):
      if Cell(each.name, share, recipe, seed) not in known:
        study.cell(share, recipe)
  write(folder / "table.csv", table.rows)
  for line in compared(table.rows):
    print(line)


class Table:
  """Rows of a CSV file, each written once it is known.

  Args:
    path: of the file, which may not be there yet.
  """

  def __init__(self, path: Path) -> None:
    self._path, self._origin = path, commit()
    self.rows: dict[Cell, dict[str, Any]] = {}
    if path.exists():
      with path.open(newline="") as lines:
        for row in csv.DictReader(lines):
          key = Cell(
            row["data"], float(row["share"]), row["recipe"], int(row["seed"])
          )
          self.rows[key] = {k: float(row[k]) for k in FIGURES}
          self.rows[key] |= {k: row[k] for k in ORIGIN}

  def add(self, cell: Cell, **figures: float) -> None:
    """Adds a row and shows it."""
    new = not self._path.exists()
    with self._path.open("a", newline="") as lines:
      writer = csv.writer(lines)
      if new:
        writer.writerow(FIELDS)
      numbers = (f"{figures[k]:.6g}" for k in FIGURES)
      writer.writerow([*cell, *numbers, *self._origin])
    self.rows[cell] = {
      **figures,
      **dict(zip(ORIGIN, self._origin, strict=True)),
    }
    print(*cell, *(f"{figures[k]:.4g}" for k in FIGURES), flush=True)


class Study:
  """Cells of one stream and seed.

  Args:
    data: the stream.
    folder: of the data.
    seed: of stream and runs.
    table: that cells are kept in.
  """

  def __init__(self, data: Data, folder: str, seed: int, table: Table) -> None:
    self._data, self._seed, self._table = data, seed, table
    self._setup = setup.Setup(
      data=data.name,
      data_dir=folder,
      stream=data.stream,
      model=data.model,
      training=dataclasses.replace(_TRAINING, epochs=data.epochs),
      options=session.Options(progress=False),
    )
    self._source = setup.read(self._setup)
    self._stream = setup.deal(self._setup, self._source, seed)

  def cell(self, share: float, recipe: str) -> None:
    """Computes a cell."""
    cell = Cell(self._data.name, share, recipe, self._seed)
    budget = share * self._whole()
    try:
      accuracy, flops = self._learned(recipe, budget)
    except (UsageError, loop.NonFiniteLossError) as refused:
      print(*cell, f"no cell with {budget:.3g}: {refused}"[:160], flush=True)
      return
    if flops > 1.02 * budget:
      print(*cell, f"took {flops:.3g} of {budget:.3g}: no cell", flush=True)
      return
    self._table.add(cell, accuracy=accuracy, flops=flops, budget=budget)

  def _whole(self) -> float:
    """Returns the operations of `joint` with its usual passes."""
    cell = Cell(self._data.name, 0.0, "joint", self._seed)
    if cell not in self._table.rows:
      accuracy, flops = self._learned("joint", None)
      self._table.add(cell, accuracy=accuracy, flops=flops, budget=flops)
    return self._table.rows[cell]["flops"]

  def _learned(self, recipe: str, budget: float | None) -> tuple[float, float]:
    """Returns accuracy in percent, and the operations of learning."""
    asked, experiences = self._setup, len(self._stream.experiences)
    if budget is not None and recipe.startswith(AUTO):
      asked = dataclasses.replace(asked, flops_budget=budget)
    elif budget is not None:
      training = dataclasses.replace(
        _TRAINING, epochs=0 if recipe.startswith("randumb") else _MOST_EPOCHS
      )
      asked = dataclasses.replace(asked, training=training)
      if training.epochs:
        asked = dataclasses.replace(asked, equal_flops=budget / experiences)
    job = setup.assemble(asked, recipe, self._seed, stream=self._stream)
    records = session.run(job, None, asked.options, None).records
    spent = [
      each.costs[name].flops
      for each in records
      for name in limits.COUNTED
      if name in each.costs
    ]
    return 100 * statistics.mean(records[-1].accuracy), sum(spent)


def commit() -> tuple[str, str]:
  """Returns the commit that runs, and its date; "" outside a repository."""
  asked = ["git", "show", "-s", "--format=%h,%cs", "HEAD"]
  here = Path(__file__).parent
  told = subprocess.run(asked, cwd=here, capture_output=True, text=True)
  name, _, date = told.stdout.strip().partition(",")
  return name, date


def write(path: Path, rows: dict[Cell, dict[str, Any]]) -> None:
  """Writes a table with a row for each budget of a data set."""
  shown = (AUTO, *(each for each in FIXED if _has(rows, each)))
  machine = f"{os.cpu_count()} CPU cores, shared with others"
  header = ["data", "budget, % of joint", "GFLOP"]
  for recipe in shown:
    header += [f"{recipe}, %", f"{recipe}, % ±"]
  header += ["auto spent, % of it", "seeds", "commit", "date", "machine"]
  with path.open("w", newline="") as lines:
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(header)
    for data, share in _places(rows):
      own = [
        {c.seed: rows[c] for c in rows if c[:3] == (data, share, recipe)}
        for recipe in shown
      ]
      auto = list(own[0].values())
      spent = [100 * each["flops"] / each["budget"] for each in auto]
      line = [data, f"{100 * share:g}", f"{auto[0]['budget'] / 1e9:.3g}"]
      for found in own:
        line += _mean([each["accuracy"] for each in found.values()])
      line += [f"{max(spent):.0f}", str(len(auto))]
      writer.writerow([*line, auto[-1]["commit"], auto[-1]["date"], machine])


def _mean(values: Sequence[float]) -> list[str]:
  """Returns a mean and the half-width of its 95 % interval, as cells."""
  if not values:
    return ["–", ""]
  mean, half = metrics.confidence_interval(values)
  return [f"{mean:.1f}", "" if math.isnan(half) else f"{half:.1f}"]


def _has(rows: dict[Cell, dict[str, Any]], recipe: str) -> bool:
  return any(each.recipe == recipe and each.share for each in rows)


def _places(rows: dict[Cell, dict[str, Any]]) -> list[tuple[str, float]]:
  """Returns data sets and budgets for which there is a row of `auto`."""
  order = [each.name for each in STREAMS]
  found = {(each.data, each.share) for each in rows if each.recipe == AUTO}
  return sorted(found, key=lambda each: (order.index(each[0]), each[1]))


def compared(rows: dict[Cell, dict[str, Any]]) -> Iterator[str]:
  """Yields the gap of `auto` to the best fixed recipe, cell by cell."""
  gaps, below = [], 0
  curves: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
  for data, share in _places(rows):
    for seed in sorted({each.seed for each in rows}):
      found = {
        cell.recipe: figures["accuracy"]
        for cell, figures in rows.items()
        if (cell.data, cell.share, cell.seed) == (data, share, seed)
      }
      mine = found.pop(AUTO, None)
      if mine is None or not found:
        continue
      best = max(found, key=lambda name: found[name])
      median = statistics.median(found.values())
      gaps.append(found[best] - mine)
      below += mine < median
      point = math.log(share), mine, found[best]
      curves.setdefault((data, seed), []).append(point)
      yield (
        f"{data} {share:g} seed {seed}: auto {mine:.1f}, best {best} "
        f"{found[best]:.1f}, median {median:.1f}"
      )
  if not gaps:
    return
  yield (
    f"gap to the best in hindsight: mean {statistics.mean(gaps):.2f} points, "
    f"largest {max(gaps):.1f}, {below} of {len(gaps)} cells below the median"
  )
  areas = []
  for points in curves.values():
    if len(points) > 1:
      x, mine, best = np.transpose(points)
      areas.append(np.trapezoid(mine, x) / np.trapezoid(best, x))
  if areas:
    yield (
      "area under accuracy over the logarithm of the budget, over that of the "
      f"best in hindsight: {np.mean(areas):.3f}, least {min(areas):.3f}"
    )


if __name__ == "__main__":
  main()
