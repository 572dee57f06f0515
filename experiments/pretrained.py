"""What learners make of a trunk that learned ImageNet.

Question: which way of learning behind a published trunk is worth its cost: sums
over frozen features and one linear solve, training the last units with replay
or anchors, a choice of tensors, or everything?

Protocol: EfficientNet-Lite0 with its ImageNet weights, images bicubically
enlarged to 128 pixels; the first 20,000 training and 5,000 test images of
CIFAR-100 as its files have them, ten classes at a time, one pass. Recipes that
train take batches of 32, as many replayed images, and one learning rate for all
but `auto`, which has its own and no budget. The other streams have the same
images: in 20 experiences; with a long tail, where class c keeps the first
167 * 50^(-c / 99) of its images; and in five domains, each with one class of
every superclass, whose 20 names are learned. The last stream has as many images
of Fashion-MNIST, two classes at a time.

Accuracy is that on all test images after the last experience. Operations are
those of learning, with the forward passes of a trunk whose outputs an earlier
row had left on disk: a row costs what it would cost alone. Joules are modelled
from these operations and the device's watts at `--gflops` a second, since all
that seconds tell here is which row came first to an image.

  python experiments/pretrained.py --data_dir=~/data
  python experiments/pretrained.py --streams longtail --rows ridge
  python experiments/pretrained.py --quick

Finished runs are read where they lie, in `--workdir`, which has a table of all
rows asked for, and a picture of accuracy over joules, for each stream.
RESULTS.md has what it found. `--quick` takes the digits and a small network.
"""

import argparse
from collections.abc import Iterator, Sequence
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jcl import base, metrics, recipes
from jcl.control import limits
from jcl.report import drawing
from jcl.run import session, setup
from jcl.streams import sources, views

if TYPE_CHECKING:
  from matplotlib.figure import Figure

ER, DERPP = "er:buffer=500,minibatch=32", "derpp:buffer=500,minibatch=32"
# Rows with statistics, and those that train behind a frozen trunk.
SOLVED = ("ncm", "slda", "ridge", "ridge:balanced=False", "ranpac:m=5000")
TAILS = (
  f"{ER}+freeze:until=head",
  "joint+freeze:until=head",
  "joint+freeze:until=last",
)
AUTO = ("auto",)
# A row is a recipe; behind "|" stands how a run keeps outputs of its trunk.
ROWS = (
  *AUTO,
  *SOLVED,
  *TAILS,
  f"{ER}+freeze:until=last",
  f"{DERPP}+freeze:until=last",
  "er:buffer=2MB,minibatch=32+freeze:until=last",
  "er:buffer=2MB,minibatch=32+freeze:until=last|disk:pq:32",
  "lightcl:freeze=last",
  "lightcl:freeze=last,beta=0.0",
  "elastic:rho=0.4",
  "elastic:rho=0.533",
  "elastic:rho=0.7",
  "full",
)
OTHERS = (*AUTO, *SOLVED, *TAILS)
QUICK = ("slda", f"{ER}+freeze:until=head")
FINE, COARSE = "cifar100", "cifar100:labels=coarse"
# Data set, scenario, rows.
STREAMS: dict[str, tuple[str, str, Sequence[str]]] = {
  "ten": (FINE, "class_incremental:tasks=10", ROWS),
  "twenty": (FINE, "class_incremental:tasks=20", OTHERS),
  "longtail": (FINE, "class_incremental:tasks=10", OTHERS),
  "domains": (COARSE, "domain_by_group", OTHERS),
  "fashion": ("fashion_mnist", "class_incremental:tasks=5", OTHERS),
  "digits": ("digits", "class_incremental:tasks=2", QUICK),
}
TRAIN, TEST = 20_000, 5_000  # images
MOST, RATIO = 167, 50  # images of the commonest class, and over the rarest's


def main(arguments: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--data_dir", default="data", help="folder of the data")
  parser.add_argument("--rows", nargs="*", help="recipes; default the stream's")
  parser.add_argument("--streams", nargs="*", default=[*STREAMS][:-1])
  parser.add_argument("--seeds", type=int, default=3, help="runs of a row")
  parser.add_argument("--side", type=int, default=128, help="pixels")
  parser.add_argument("--learning_rate", type=float, default=0.03)
  parser.add_argument("--workdir", default="runs/pretrained", help="of runs")
  parser.add_argument(
    "--gflops", type=float, default=36.0, help="of a busy device, for joules"
  )
  parser.add_argument("--quick", action="store_true", help="the digits alone")
  given = parser.parse_args(arguments)
  folder = Path(given.workdir).expanduser()
  setup.keep_programs(folder)
  for name in ["digits"] if given.quick else given.streams:
    runs = list(learned(given, name, folder))
    table = summed_up(runs)
    place = folder / name
    table.to_csv(place / "table.csv", index=False, float_format="%.4g")
    picture(table).savefig(place / "accuracy_over_joules.png", dpi=120)


def learned(
  given: argparse.Namespace, name: str, folder: Path
) -> Iterator[dict[str, Any]]:
  """Makes the runs of a stream, or reads them; yields the figures of each."""
  asked = _setup(given, name, folder)
  source = chosen(asked, name)
  for seed in range(1 if given.quick else given.seeds):
    dealt = setup.deal(asked, source, seed=seed)
    for row in given.rows or STREAMS[name][2]:
      recipe, _, cache = row.partition("|")
      mine = _for_row(asked, recipe, cache)
      job = setup.assemble(mine, recipe, seed, stream=dealt)
      result = session.run(
        job,
        folder / name / row.replace(":", "-") / f"seed_{seed}",
        setup.options(mine, recipes.build(recipe)),
        {"recipe": _about(recipe)},
      )
      figures = costs(result, setup.device(mine).busy_watts / given.gflops)
      print(f"{name:8} {row:40} seed {seed}: {figures['accuracy, %']:.1f}")
      yield {"row": row, **figures}


def costs(result: session.Result, joules_per_gflop: float) -> dict[str, float]:
  """Returns what a run reached and what its learning cost."""
  told = result.summary["class_incremental"]["micro_average_accuracy"]
  of_class = np.array(result.summary["accuracy_class"], float)
  spent: Any = result.summary["costs"]
  flops = sum(spent[account]["flops"] for account in limits.LEARNING)
  kept = (result.summary.get("trunk_cache") or {}).get("training")
  if kept and kept["on_disk"]:
    flops += kept["saved"] * kept["on_disk"] / (kept["on_disk"] + kept["hits"])
  return {
    "accuracy, %": 100 * told,
    "last third of classes, %": 100
    * float(np.nanmean(of_class[-(len(of_class) // 3) :])),
    "GFLOP": flops / 1e9,
    "joules (modelled)": flops / 1e9 * joules_per_gflop,
    "kept, MB": result.records[-1].memory["bytes"] / 1e6,
  }


def summed_up(runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
  """Returns means over seeds, a line per row, with accuracy's interval."""
  grouped = pd.DataFrame(runs).groupby("row", sort=False)
  table = grouped.mean()
  spread = [
    metrics.confidence_interval(each)[1] if len(each) > 1 else None
    for _, each in grouped["accuracy, %"]
  ]
  table.insert(1, "accuracy, % ±", spread)
  return table.reset_index()


def picture(table: pd.DataFrame) -> "Figure":
  """Draws accuracy over modelled joules, a point for each row."""
  figure = drawing.new_figure(drawing.WIDTH, 5.0)
  axis = figure.subplots()
  for index, (_, line) in enumerate(table.iterrows()):
    axis.errorbar(
      line["joules (modelled)"],
      line["accuracy, %"],
      yerr=np.nan_to_num(float(line["accuracy, % ±"] or 0)),
      marker=drawing.marker(index),
      color=drawing.colour(index),
      label=line["row"],
      linestyle="none",
    )
  axis.set_xscale("log")
  axis.set_xlabel("joules of learning (modelled)")
  axis.set_ylabel("accuracy, %")
  axis.legend(fontsize=7)
  drawing.tidy(axis, "y")
  return figure


def chosen(asked: setup.Setup, name: str) -> sources.Source:
  """Returns the images of a stream, by position in their files."""
  whole = setup.read(asked)
  test = whole.test
  if test is None:
    return whole
  rows = np.arange(min(TRAIN, len(whole.train)))
  tests = np.arange(min(TEST, len(test)))
  if name == "longtail":
    rows = long_tail(whole.train.y[rows])
  train, test = views.take(whole.train, rows), views.take(test, tests)
  if name == "domains":
    fine = setup.read(dataclasses.replace(asked, data=FINE))
    assert fine.test is not None
    group, names = domains(whole.train.y, fine.train.y)
    train, test = (
      dataclasses.replace(data, group=group[labels], group_names=names)
      for data, labels in (
        (train, fine.train.y[rows]),
        (test, fine.test.y[tests]),
      )
    )
  return sources.Source(train, test)


def long_tail(labels: np.ndarray) -> np.ndarray:
  """Returns rows of labels [N] that leave ever fewer of each later class."""
  last = labels.max()
  most = np.floor(MOST * float(RATIO) ** (-np.arange(last + 1) / last))
  found = [
    np.flatnonzero(labels == label)[: int(count)]
    for label, count in enumerate(most)
  ]
  return np.sort(np.concatenate(found))


def domains(
  coarse: np.ndarray, fine: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns a domain for each fine class, and the domains' names.

  A domain is the place of a class among those of its superclass.
  """
  above = np.array([coarse[fine == y][0] for y in range(fine.max() + 1)])
  place = np.array([np.sum(above[:y] == above[y]) for y in range(len(above))])
  return place, tuple(map(str, range(place.max() + 1)))


def _setup(given: argparse.Namespace, name: str, folder: Path) -> setup.Setup:
  data, stream, _ = STREAMS[name]
  small = name == "digits"
  return setup.Setup(
    data=data,
    data_dir=given.data_dir,
    stream=stream,
    model="mlp:width=16" if small else f"efficientnet_lite0:side={given.side}",
    weights=None if small else "imagenet",
    training=base.Training(
      epochs=1, batch_size=32, learning_rate=given.learning_rate
    ),
    options=session.Options(
      progress=False, trunk_cache="disk", cache_dir=str(folder / "kept")
    ),
  )


def _for_row(asked: setup.Setup, recipe: str, cache: str) -> setup.Setup:
  """Returns what the runs of a row have of their own."""
  options = asked.options
  if cache:
    options = dataclasses.replace(options, trunk_cache=cache)
  method, training = recipes.build(recipe), asked.training
  if method.training.epochs == 0:
    training = base.Training()
  elif method.defaults.learning_rate is not None:
    training = dataclasses.replace(training, learning_rate=None)
  return dataclasses.replace(asked, options=options, training=training)


def _about(recipe: str) -> dict[str, Any]:
  name, options = recipes.parse(recipe)
  return {"name": name, "options": options}


if __name__ == "__main__":
  main()
