"""Neighbouring methods at equal cost: samples, rounds, averages, memories.

Questions, a part each:

- `budget`: is uniform sampling from everything seen ahead of replay, rules of
  drawing and distillation, where every recipe gets the same operations?
- `rounds`: do a few rounds on the memory, which tune normalisers, biases and
  head, stand in for replay in every update? Both are paid.
- `weights`: do averages of weights, and a reset ahead of them, add anything to
  replay from an ample memory, and what does each of the two?
- `memory`: is a memory of hard examples worth more than a uniform one where it
  is small?
- `sparse`: how much of what sparse kernels gain over replay comes from their
  loss, in which new classes alone compete? These rows get epochs, not
  operations: what zeros would save is not saved here.

Every row of a part learns the same stream with the same batch and rate; in all
parts but the last it gets the same operations in each experience, all passes of
learning counted (`--equal_flops`). Expected, stated ahead: `naive` is first or
level everywhere in `budget`; `k_fpf` is level with `er`, and `er+fpf` above it;
`average` gains, and the reset adds little; `lars` is ahead of a uniform memory
of 50 examples and level at 200; most of the gain of `sparcl` is its loss's.

  python experiments/kin.py --data_dir=~/data
  python experiments/kin.py --parts budget memory --seeds=5
  python experiments/kin.py --quick  # digits, one seed

A row is one line of `cells.csv` in `--workdir`, written as soon as it is known:
a call that was stopped goes on with the next one. Rows of a recipe that cannot
be paid are told and left out.
"""

import argparse
import csv
import itertools
from pathlib import Path
import statistics
import subprocess
from typing import NamedTuple

from jcl import base, metrics
from jcl.control import limits
from jcl.options.errors import UsageError
from jcl.run import loop, session, setup

FIELDS = ("part", "data", "recipe", "seed", "accuracy", "flops", "origin")
_MEMORY = "buffer={},minibatch=32"


class Part(NamedTuple):
  """Rows that are compared, and what they learn from."""

  recipes: tuple[str, ...]
  flops: float  # of an experience; 0: epochs decide
  model: str = "auto"
  epochs: int = 999


_ER, _SMALL = (f"er:{_MEMORY.format(size)}" for size in (500, 50))
PARTS = {
  "budget": Part(
    (
      *("naive", "naive:draw=balanced", "naive:draw=recent"),
      *(_ER, f"derpp:{_MEMORY.format(500)}", "lwf", "finetune"),
    ),
    3e9,
  ),
  "rounds": Part(
    (
      *("finetune", _ER, f"{_ER}+fpf"),
      *(f"k_fpf:k={k},buffer=500" for k in (1, 5, 10, 20)),
    ),
    3e9,
  ),
  "weights": Part(
    tuple(
      f"er:buffer=2000,minibatch=32{behind}"
      for behind in ("", "+average", "+wsc", "+wsc:keep=1", "+wa")
    ),
    3e9,
  ),
  "memory": Part(
    tuple(
      f"{name}:{_MEMORY.format(size)}{behind}"
      for name in ("er", "derpp")
      for size in (50, 200)
      for behind in ("", "+lars")
    ),
    3e9,
  ),
  "sparse": Part(
    (
      *(_SMALL, _SMALL + ",current=true,replay_current=false"),
      *(
        f"sparcl:{_MEMORY.format(50)},replay=er,{more}"
        for more in (
          "current=false,replay_current=true",
          "removed=0",
          "sparsity=0.9",
          "removed=0.3",
        )
      ),
    ),
    0.0,
    "resnet18:filters=8",
    50,
  ),
}
DATA = (("fashion_mnist", 5), ("cifar100:labels=coarse", 5))


class Cell(NamedTuple):
  """What a row of the table is about."""

  part: str
  data: str
  recipe: str
  seed: int


class Table:
  """Rows of a CSV file, each written once it is known.

  Args:
    path: of the file, which may not be there yet.
  """

  def __init__(self, path: Path) -> None:
    self._path = path
    self.rows: dict[Cell, tuple[float, float]] = {}
    if path.exists():
      with path.open(newline="") as lines:
        for row in csv.DictReader(lines):
          cell = Cell(row["part"], row["data"], row["recipe"], int(row["seed"]))
          self.rows[cell] = float(row["accuracy"]), float(row["flops"])

  def add(self, cell: Cell, accuracy: float, flops: float) -> None:
    """Adds a row, and shows it."""
    new = not self._path.exists()
    with self._path.open("a", newline="") as lines:
      writer = csv.writer(lines, lineterminator="\n")
      if new:
        writer.writerow(FIELDS)
      writer.writerow([*cell, f"{accuracy:.4f}", f"{flops:.6g}", origin()])
    self.rows[cell] = accuracy, flops
    print(*cell, f"{accuracy:.1f} % {flops / 1e9:.3g} GFLOP", flush=True)


def main(arguments: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--data_dir", default="data", help="folder of the data")
  parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
  parser.add_argument("--recipes", nargs="*", help="of these rows alone")
  parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
  parser.add_argument("--workdir", default="runs/kin")
  parser.add_argument("--quick", action="store_true", help="the digits alone")
  given = parser.parse_args(arguments)
  folder = Path(given.workdir).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  table = Table(folder / "cells.csv")
  data = (("digits", 5),) if given.quick else DATA
  for seed in range(1 if given.quick else given.seeds):
    for name, (source, tasks) in itertools.product(given.parts, data):
      part = quick(PARTS[name]) if given.quick else PARTS[name]
      if not part.recipes:
        print(f"{name}: not of the digits", flush=True)
        continue
      asked = _setup(part, source, tasks, given.data_dir)
      for recipe in part.recipes:
        cell = Cell(name, source, recipe, seed)
        chosen = given.recipes is None or recipe in given.recipes
        if chosen and cell not in table.rows:
          _learn(asked, cell, table)
  for line in told(table.rows):
    print(line)


def quick(part: Part) -> Part:
  """Returns a part that is over in seconds; without rows where none is."""
  if not part.flops:
    return part._replace(recipes=())
  return part._replace(flops=2e7, model="mlp:width=50")


def _setup(part: Part, data: str, tasks: int, folder: str) -> setup.Setup:
  training = base.Training(batch_size=32, learning_rate=0.1, epochs=part.epochs)
  return setup.Setup(
    data=data,
    data_dir=folder,
    stream=f"class_incremental:tasks={tasks}",
    model=part.model,
    training=training,
    options=session.Options(progress=False),
    equal_flops=part.flops or None,
  )


def _learn(asked: setup.Setup, cell: Cell, table: Table) -> None:
  """Computes a cell."""
  stream = setup.deal(asked, setup.read(asked), cell.seed)
  try:
    job = setup.assemble(asked, cell.recipe, cell.seed, stream=stream)
    records = session.run(job, None, asked.options, None).records
  except (UsageError, loop.NonFiniteLossError) as refused:
    print(*cell, f"no row: {refused}"[:200], flush=True)
    return
  spent = sum(
    record.costs[name].flops
    for record in records
    for name in limits.LEARNING
    if name in record.costs
  )
  table.add(cell, 100 * statistics.mean(records[-1].accuracy), spent)


def told(rows: dict[Cell, tuple[float, float]]) -> list[str]:
  """Returns means over seeds, with half of their 95 % intervals."""
  lines = []
  for name, data, recipe in dict.fromkeys(cell[:3] for cell in rows):
    found = [rows[cell] for cell in rows if cell[:3] == (name, data, recipe)]
    mean, half = metrics.confidence_interval([each for each, _ in found])
    flops = statistics.mean(each for _, each in found)
    spread = f" ± {half:.1f}" if len(found) > 1 else ""
    lines.append(
      f"{name}, {data}, {recipe}: {mean:.1f}{spread} % of {len(found)}, "
      f"{flops / 1e9:.3g} GFLOP"
    )
  return lines


def origin() -> str:
  """Returns the commit that runs, and its date; "" outside a repository."""
  asked = ["git", "show", "-s", "--format=%h %cs", "HEAD"]
  here = Path(__file__).parent
  done = subprocess.run(asked, cwd=here, capture_output=True, text=True)
  return done.stdout.strip()


if __name__ == "__main__":
  main()
