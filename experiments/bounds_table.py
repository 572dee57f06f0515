"""The field's standard methods on one protocol, between their two bounds.

Question: do the recipes stand in the order the literature finds them in, on
class-incremental learning of ten classes, two at a time?

Protocol, that of Buzzega et al., "Dark Experience for General Continual
Learning: a Strong, Simple Baseline", NeurIPS 2020: five experiences of two
classes, an MLP 784-100-100-10, plain SGD, one epoch, batches of ten, all ten
outputs in play from the start. `gdumb` learns from its memory alone and takes
30 epochs on it; the digits of scikit-learn, 29 batches an experience, get ten.

  python experiments/bounds_table.py --data_dir=~/data
  python experiments/bounds_table.py --data_dir=~/data --tune
  python experiments/bounds_table.py --data=mnist --data_dir=~/data
  python experiments/bounds_table.py --data=digits --quick

On MNIST the hyper-parameters are those that paper states, the preset
"split_mnist", and the table sets its figures beside ours. On other data they
are read from `bounds_DATA.json`, which `--tune` writes: every combination of

  learning rate                 0.003, 0.01, 0.03, 0.1
  ewc, strength                 10, 100, 1000
  si, strength                  0.1, 1, 10
  lwf, strength                 0.3, 1, 3
  der and derpp, alpha          0.2, 0.5, 1
  derpp, beta                   0.5, 1

is learned once, by a seed that is not reported, on nine tenths of the training
data, and the best on the last tenth is taken; the test data are not looked at.
A run whose loss leaves the finite numbers counts 0. `si` bounds each entry of
the gradient by 1, as the preset does. Rows without a value in the preset
(er_ace, gdumb) use Fashion-MNIST's on MNIST.

RESULTS.md has what it found on Fashion-MNIST.

Each run lies in a folder of its own; the same command again makes only those
that are missing. A run takes some four seconds on two processor cores.
"""

import itertools
import json
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from jcl import recipes
from jcl.networks import catalogue
from jcl.options import spec
from jcl.recipes import presets
from jcl.report import page, summary, table
from jcl.run import loop, session
from jcl.run import workdir as workdir_lib
from jcl.streams import scenarios, sources

HERE = Path(__file__).parent
ROWS = (
  "joint",
  "finetune",
  "ewc",
  "si",
  "lwf",
  *(
    f"{name}:buffer={size}"
    for name in ("agem", "er", "der", "derpp", "er_ace", "icarl", "gdumb")
    for size in (200, 500)
  ),
)
QUICK_ROWS = ("joint", "finetune", "er:buffer=200")
# Buzzega et al. 2020, table 2: final class-incremental accuracy in percent.
PUBLISHED = {
  "joint": 95.6,
  "finetune": 19.6,
  "ewc": 20.5,
  "si": 19.3,
  "lwf": 19.6,
  "er:buffer=200": 80.4,
  "er:buffer=500": 86.1,
  "der:buffer=200": 84.6,
  "der:buffer=500": 90.5,
  "derpp:buffer=200": 85.6,
  "derpp:buffer=500": 91.0,
}
PROTOCOL: dict[str, Any] = {
  "epochs": 1,
  "batch_size": 10,
  "optimizer": "sgd",
  "head": "all",
}
EPOCHS = {"digits": 10}  # by data set
# What a recipe needs whatever the data.
OWN: dict[str, dict[str, Any]] = {
  "gdumb": {"epochs": 30},
  "si": {"clip": 1.0, "damping": 0.9},
}
LEARNING_RATES = (0.003, 0.01, 0.03, 0.1)
WEIGHTS: dict[str, dict[str, tuple[float, ...]]] = {
  "ewc": {"strength": (10, 100, 1000)},
  "si": {"strength": (0.1, 1, 10)},
  "lwf": {"strength": (0.3, 1, 3)},
  "der": {"alpha": (0.2, 0.5, 1)},
  "derpp": {"alpha": (0.2, 0.5, 1), "beta": (0.5, 1)},
}
TUNING_SEED = 1000  # table seeds count from 0

_DATA = flags.DEFINE_enum(
  "data", "fashion_mnist", ["fashion_mnist", "mnist", "digits"], "data set"
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the data sets")
_SEEDS = flags.DEFINE_integer("seeds", 5, "runs per row", lower_bound=1)
_RECIPES = flags.DEFINE_list("recipes", None, "rows to make; default all")
_WORKDIR = flags.DEFINE_string("workdir", None, "default runs/bounds_DATA")
_CHOSEN = flags.DEFINE_string(
  "chosen", None, "file of hyper-parameters; default bounds_DATA.json here"
)
_TUNE = flags.DEFINE_bool("tune", False, "choose hyper-parameters and stop")
_QUICK = flags.DEFINE_bool(
  "quick", False, "three rows, two seeds, two learning rates"
)


def main(argv):
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)  # checkpoints tell much else
  rows = _rows()
  source = sources.load(_DATA.value, _DATA_DIR.value)
  if _TUNE.value:
    rates = LEARNING_RATES[-2:] if _QUICK.value else LEARNING_RATES
    tune(source, rows, rates, _chosen_path())
    return
  folder = Path(_WORKDIR.value or f"runs/bounds_{_DATA.value}").expanduser()
  seeds = range(min(_SEEDS.value, 2) if _QUICK.value else _SEEDS.value)
  frame, runs = compare(source, rows, seeds, folder)
  if _DATA.value == "mnist":
    frame = beside_published(frame, rows)
  path = page.write(runs, folder)
  text = table.markdown(frame)
  workdir_lib.write_atomically(folder / "table.md", text + "\n")
  print(text)
  print(f"report: {path}")


def compare(source, rows, seeds, folder):
  """Makes the runs that are missing; returns their comparison and them all."""
  texts = [recipe_text(_DATA.value, row) for row in rows]
  runs = []
  for row, text in zip(rows, texts, strict=True):
    for seed in seeds:
      path = folder / row.replace(":", "-") / f"seed_{seed}"
      name, options = spec.parse(text)
      context = {"recipe": {"name": name, "options": options}}
      result = learn(source, text, seed, workdir=path, context=context)
      print(f"{text} seed={seed}: {result.average_accuracy:.4f}", flush=True)
      runs.append(summary.read_run(path))
  return table.comparison(runs), runs


def learn(source, text, seed, holdout=0.0, **options) -> session.Result:
  """Learns the protocol's stream with a recipe."""
  stream = scenarios.class_incremental(source, tasks=5, holdout=holdout)
  network = catalogue.build(
    "mlp", stream.example_shape, stream.num_classes, width=100, depth=2
  )
  epochs = EPOCHS.get(source.train.name, PROTOCOL["epochs"])
  training = {**PROTOCOL, "epochs": epochs}
  method = recipes.build(text)
  return session.learn(
    stream, network, method, seed=seed, **options, **training
  )


def recipe_text(data: str, row: str) -> str:
  """Returns a row's recipe with the hyper-parameters used on this data."""
  name, options = spec.parse(row)
  known, _ = presets.PRESETS["split_mnist"]
  if data == "mnist" and (name, options.get("buffer", 0)) in known:
    return _with(row, {"preset": "split_mnist"})
  path = _chosen_path()
  chosen = json.loads(path.read_text()) if path.exists() else {}
  if row not in chosen:
    raise ValueError(
      f"no hyper-parameters for {row} in {path}: choose them first, by "
      f"--data={data} --tune --recipes={row}"
    )
  return _with(row, {**OWN.get(name, {}), **chosen[row]["options"]})


def tune(source, rows, rates, path):
  """Writes the best of each row's grid on held-out training data."""
  chosen = json.loads(path.read_text()) if path.exists() else {}
  for row in rows:
    scores = [
      (_held_out_accuracy(source, row, options), options)
      for options in grid(row, rates)
    ]
    accuracy, options = max(scores, key=lambda score: score[0])
    chosen[row] = {"options": options, "held_out_accuracy": round(accuracy, 4)}
    ordered = {row: chosen[row] for row in ROWS if row in chosen}
    workdir_lib.write_atomically(path, json.dumps(ordered, indent=2) + "\n")


def grid(row: str, rates) -> list[dict[str, Any]]:
  """Returns every combination of a row's learning rates and own weights."""
  name, _ = spec.parse(row)
  axes = {"learning_rate": rates, **WEIGHTS.get(name, {})}
  combinations = itertools.product(*axes.values())
  return [dict(zip(axes, values, strict=True)) for values in combinations]


def _held_out_accuracy(source, row, options) -> float:
  name, _ = spec.parse(row)
  text = _with(row, {**OWN.get(name, {}), **options})
  try:
    accuracy = learn(source, text, TUNING_SEED, 0.1).average_accuracy
  except loop.NonFiniteLossError:
    accuracy = 0.0
  print(f"{text}: {accuracy:.4f}", flush=True)
  return accuracy


def beside_published(frame, rows):
  """Adds the published accuracy and our difference to it, in percent."""
  published = [PUBLISHED.get(row) for row in rows]
  ours = 100 * frame["class-incremental accuracy", "mean"]
  frame["published, %", ""] = [
    "–" if value is None else f"{value:.1f}" for value in published
  ]
  frame["difference, %", ""] = [
    "–" if value is None else f"{mine - value:+.1f}"
    for mine, value in zip(ours, published, strict=True)
  ]
  return frame


def _with(row: str, options: dict[str, Any]) -> str:
  parts = [f"{key}={value}" for key, value in options.items()]
  return row + ("," if ":" in row else ":") + ",".join(parts)


def _rows() -> list[str]:
  rows = list(_RECIPES.value or (QUICK_ROWS if _QUICK.value else ROWS))
  unknown = [row for row in rows if row not in ROWS]
  if unknown:
    raise ValueError(
      f"--recipes: no row {', '.join(unknown)}; choose from {', '.join(ROWS)}"
    )
  return rows


def _chosen_path() -> Path:
  data = "digits" if _DATA.value == "digits" else "fashion_mnist"
  return Path(_CHOSEN.value or HERE / f"bounds_{data}.json").expanduser()


if __name__ == "__main__":
  app.run(main)
