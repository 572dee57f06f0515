"""What a trunk's outputs on disk save the runs that come later.

Question: how much faster is a second run over the same images, and what does
keeping the outputs cost the first one?

Protocol: EfficientNet-Lite0 with weights learned on ImageNet, CIFAR-100 in ten
experiences, one pass over the first training images of each class; the first
test images of each class are evaluated after every experience. For each recipe
four runs, one after the other: without a cache; with one in memory; with one on
disk that is empty; and with the disk that this run has filled. All of them
compute each image in batches of the recipe's size. Learning is the accounts
train, replay and data; programs that an earlier run has compiled are read.

  python experiments/kept_trunk.py --data_dir=~/data
  python experiments/kept_trunk.py --quick

RESULTS.md has what it found. `--quick` takes the digits and a small network.
"""

import argparse
from collections.abc import Iterator, Mapping
import dataclasses
import tempfile
from typing import Any

import numpy as np

from jcl import base
from jcl.run import session, setup
from jcl.streams import sources

RECIPES = (
  "slda",
  "er:buffer=500,minibatch=32+freeze:until=head",
  "er:buffer=500,minibatch=32+freeze:until=0.9",
)
# What a row is called, and how the run keeps outputs.
CACHES = (
  ("none", ""),
  ("memory", "raw"),
  ("disk, first", "disk"),
  ("disk, second", "disk"),
)
HEADER = (
  "recipe,pixels,cache,learning s,evaluation s,writing s,compiling s,"
  "computed,read,accuracy %"
)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--data_dir", default="data", help="folder of the data")
  parser.add_argument("--recipes", nargs="*", default=RECIPES, help="recipes")
  parser.add_argument("--sides", nargs="*", type=int, default=[96])
  parser.add_argument(
    "--images", type=int, default=20, help="of a class, to learn and to test"
  )
  parser.add_argument("--quick", action="store_true", help="a small network")
  given = parser.parse_args()
  print(HEADER)
  with tempfile.TemporaryDirectory() as folder:
    setup.keep_programs(folder)
    _compare(given)


def _compare(given: argparse.Namespace) -> None:
  """Prints the rows of all recipes and sides."""
  for side in given.sides[:1] if given.quick else given.sides:
    asked = _setup(given.data_dir, side, given.quick)
    source = few(setup.read(asked), given.images)
    for recipe in given.recipes[:2] if given.quick else given.recipes:
      for cells in compared(asked, source, recipe):
        print(f'"{recipe}",{side},{cells}', flush=True)


def few(source: sources.Source, count: int) -> sources.Source:
  """Returns the first images of each class, for learning and for tests."""
  assert source.test is not None
  parts = []
  for data in (source.train, source.test):
    found = [np.flatnonzero(data.y == y)[:count] for y in np.unique(data.y)]
    rows = np.sort(np.concatenate(found))
    parts += [np.asarray(data.x[rows]), data.y[rows]]
  return sources.arrays(*parts, scale=source.train.scale)


def compared(
  asked: setup.Setup, source: sources.Source, recipe: str
) -> Iterator[str]:
  """Yields the cells of a recipe's runs, by how they keep outputs."""
  with tempfile.TemporaryDirectory() as folder:
    for name, cache in CACHES:
      options = session.Options(
        progress=False, trunk_cache=cache, cache_dir=folder
      )
      job = setup.assemble(
        dataclasses.replace(asked, options=options),
        recipe,
        stream=setup.deal(asked, source, seed=0),
      )
      yield f'"{name}",{_cells(session.run(job, None, options))}'


def _cells(result: session.Result) -> str:
  costs: Mapping[str, Any] = result.summary["costs"]
  spent = {name: each["seconds"] for name, each in costs.items()}
  times = (
    spent["train"] + spent["replay"] + spent["data"],
    spent["evaluate"],
    spent["write"],
    spent["compile"],
  )
  told = result.summary.get("trunk_cache")
  counts = [
    "-" if told is None else told["training"][name] + told["held_out"][name]
    for name in ("misses", "on_disk")
  ]
  cells = [*(f"{each:.2f}" for each in times), *counts]
  return ",".join(map(str, [*cells, f"{100 * result.average_accuracy:.1f}"]))


def _setup(data_dir: str, side: int, quick: bool) -> setup.Setup:
  if quick:
    return setup.Setup(
      stream="class_incremental:tasks=2",
      model="mlp:width=16",
      training=base.Training(epochs=1),
    )
  return setup.Setup(
    data="cifar100",
    data_dir=data_dir,
    stream="class_incremental:tasks=10",
    model=f"efficientnet_lite0:side={side}",
    weights="imagenet",
  )


if __name__ == "__main__":
  main()
