"""Adapting a trained network to other classes in a share of the time.

Question: how much accuracy does training a part of the tensors cost, and does
it save the time, operations and memory that the profile promises?

Protocol: a network is trained on half of a data set's classes and then adapts
to other classes of it, its head drawn anew, with every row of the table:

  full               every tensor
  elastic            Huang et al., "ElasticTrainer", MobiSys 2023, by rho; with
                     gradients ahead of the update as in the paper's text, and
                     once behind it as in the authors' program
  magnitude, grad_norm   the same choice by other scores
  head_only, bn_bias     fixed choices
  pruning            channels pruned under a group lasso, as in PruneTrain

All rows share data, order, epochs and optimiser; running statistics of
normalisers stay as they were. Hyper-parameters were chosen for `full`.

  python experiments/elastic_transfer.py --data_dir=~/data
  python experiments/elastic_transfer.py --quick

Each run lies in a folder of its own; the same command again makes only those
that are missing. It writes `table.csv`, `table.txt` and, for each network, the
map of what was chosen when as a picture. Step times are medians of all rows'
latest selections, interleaved in one run; their ratio is to the full step.
"""

from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags, logging
import numpy as np
import pandas as pd

from jcl import base, metrics, recipes
from jcl.options.errors import UsageError
from jcl.report import selections
from jcl.run import beforehand, loop, pretraining, session
from jcl.run import setup as setups
from jcl.streams import scenarios, sources
from jcl.train import gather
from jcl.train.profiling import calibrated, learners

RHOS = (0.3, 0.4, 0.533, 0.6, 0.7)
ROWS = (
  "full",
  *(f"elastic:rho={rho},point=before" for rho in RHOS),
  "elastic:rho=0.533",
  "grad_norm:rho=0.533",
  "magnitude:rho=0.533",
  "bn_bias",
  "head_only",
  "pruning:ratio=0.3",
)
QUICK_ROWS = (
  "full",
  "elastic:rho=0.4,point=before",
  "elastic:rho=0.533,point=before",
  "head_only",
)
NETWORKS = {
  "resnet": "slim_resnet18:filters=8",
  "mobilenet": "mobilenet:width=0.25",
  "vit": "vit:width=64,depth=4,heads=4,patch=4",
}


class Protocol(NamedTuple):
  """Sizes of the study."""

  data: str
  base_classes: int
  base_examples: int  # per class
  base_epochs: int
  classes: int
  examples: int  # per class
  epochs: int
  batch_size: int
  learning_rate: float


PROTOCOLS = {
  "cifar100": Protocol("cifar100", 10, 500, 12, 20, 200, 12, 32, 1e-3),
  "fashion_mnist": Protocol("fashion_mnist", 5, 1000, 4, 5, 200, 12, 32, 1e-3),
  "digits": Protocol("digits", 5, 150, 10, 5, 60, 12, 16, 1e-3),
}

_DATA = flags.DEFINE_enum("data", "cifar100", list(PROTOCOLS), "data set")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the data sets")
_NETWORKS = flags.DEFINE_list(
  "networks", list(NETWORKS), f"of {NETWORKS}, or models such as mlp:width=50"
)
_ROWS = flags.DEFINE_multi_string(
  "row", list(ROWS), "a row to make, such as elastic:rho=0.4; may be repeated"
)
_SEEDS = flags.DEFINE_integer("seeds", 3, "runs per row", lower_bound=1)
_PROFILE = flags.DEFINE_enum(
  "profile", "calibrated", learners.METHODS, "how tensors are timed"
)
_EXECUTOR = flags.DEFINE_string("executor", "auto", "auto, pieces or whole")
_ROUNDS = flags.DEFINE_integer("rounds", 25, "timed steps of each selection")
_WORKDIR = flags.DEFINE_string("workdir", None, "default runs/elastic_DATA")
_QUICK = flags.DEFINE_bool(
  "quick", False, "the embedded digits, one network, four rows, two seeds"
)


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  data = "digits" if _QUICK.value else _DATA.value
  protocol = PROTOCOLS[data]
  networks = ["resnet"] if _QUICK.value else _NETWORKS.value
  rows = QUICK_ROWS if _QUICK.value else _ROWS.value
  seeds = min(_SEEDS.value, 2) if _QUICK.value else _SEEDS.value
  folder = Path(_WORKDIR.value or f"runs/elastic_{data}")
  before, after = pretraining.split(
    sources.load(protocol.data, _DATA_DIR.value),
    protocol.base_classes,
    then=protocol.classes,
    most=(protocol.base_examples, protocol.examples),
  )
  tables = []
  for name in networks:
    weights = _pretrained(name, protocol, before, folder / _slug(name))
    stream = scenarios.class_incremental(after, tasks=1)
    fresh = setups.network(_setup(protocol, name), stream)
    network = pretraining.begun(fresh, *weights)
    results: dict[str, list[session.Result]] = {}
    for seed in range(seeds):
      for row in rows:
        place = folder / _slug(name) / _slug(row) / f"seed_{seed}"
        job, options = _setting(stream, network, row, seed, protocol, folder)
        try:
          done = session.run(job, place, options, {"recipe": _recipe(row)})
        except UsageError as error:  # no tensor trains in so small a share
          print(f"{name:10} {row:24} left out: {error}")
          continue
        results.setdefault(row, []).append(done)
        print(f"{name:10} {row:24} seed {seed}: {done.average_accuracy:.3f}")
    shares = _compared(stream, network, results, protocol, folder)
    tables.append(_table(name, results, shares))
    _map(name, network, results, folder)
  table = pd.concat(tables, ignore_index=True)
  table.to_csv(folder / "table.csv", index=False)
  text = table.to_string(index=False, float_format="%.3f")
  (folder / "table.txt").write_text(text + "\n", encoding="utf-8")
  print(text)


def _setup(
  protocol: Protocol, name: str = "auto", **options: Any
) -> setups.Setup:
  """Returns the model of that name, and how it adapts to a stream."""
  augment = "crop_flip" if protocol.data == "cifar100" else "none"
  return setups.Setup(
    model=NETWORKS.get(name, name),
    training=base.Training(
      epochs=protocol.epochs,
      batch_size=protocol.batch_size,
      optimizer="adam",
      learning_rate=protocol.learning_rate,
      weight_decay=5e-4,
    ),
    options=session.Options(augment=augment, **options),
  )


def _pretrained(name: str, protocol: Protocol, source, folder: Path):
  """Returns weights learned on the base classes, from disk where they are."""
  weights, reached = beforehand.weights(
    _setup(protocol, name),
    source,
    folder / "pretrained",
    epochs=protocol.base_epochs,
    batch_size=protocol.batch_size,
    optimizer="adam",
    weight_decay=5e-4,
  )
  print(f"{name}: {reached:.3f} on the base classes")
  return weights


def _setting(stream, network, row: str, seed: int, protocol: Protocol, folder):
  method = recipes.build(row)
  if method.selector.profile:
    profiled = method.selector._replace(profile=_PROFILE.value)
    method = method._replace(selector=profiled)
  setup = _setup(
    protocol,
    executor=_EXECUTOR.value,
    cache_dir=str(folder / "profiles"),
  )
  job = setups.assemble(setup, method, seed, stream=stream, model=network)
  return job, setup.options


def _recipe(row: str) -> dict[str, Any]:
  name, options = recipes.parse(row)
  return {"name": name, "options": options}


def _slug(row: str) -> str:
  return row.replace(":", "-").replace(",", "-")


def _compared(stream, network, results, protocol, folder):
  """Times the latest selection of every row, interleaved; by row."""
  job, _ = _setting(stream, network, "elastic", 0, protocol, folder)
  everything = base.Selection((True,) * len(network.tensors))
  wanted = {"": (network, everything)}
  for row, runs in results.items():
    latest = runs[0].records[-1].choices[-1].trainable
    wanted[row] = (runs[0].network, base.Selection(latest))
  programs, costs = {}, {}
  for row, (model, selection) in wanted.items():
    learner = job.learner.rebuilt(model)
    if model is network or row == "":
      learner = job.learner
    programs[row] = _stepper(learner, stream, job)(selection)
    costs[row] = learner.step_program(selection).cost
  seconds = calibrated.measure(list(programs.values()), _ROUNDS.value)
  times = dict(zip(programs, seconds, strict=True))
  return {
    row: {
      "step time": times[row] / times[""],
      "operations": costs[row].flops / costs[""].flops,
      "peak memory": costs[row].peak_bytes / costs[""].peak_bytes,
    }
    for row in results
  }


def _stepper(learner, stream, job):
  source = gather.Experiences(stream, [0])
  rows = np.resize(
    np.arange(len(source), dtype=np.int32),
    (learner.steps_per_dispatch, learner.batch_size),
  )
  state, _ = learner.init(job.key)
  batches = learner.put_batches(source.batch(rows))
  return learners.stepper(learner, state, batches, loop.scope_of(job, 0))


def _table(name: str, results, shares) -> pd.DataFrame:
  lines = []
  for row, runs in results.items():
    accuracy = np.array([run.average_accuracy for run in runs])
    spent = [_spent(run) for run in runs]
    lines.append(
      {
        "network": name,
        "row": row,
        "accuracy": 100 * accuracy.mean(),
        "95% interval": 100 * _half_width(accuracy),
        **shares[row],
        "train seconds": np.median([each["train"].seconds for each in spent]),
        "modelled joules": np.median(
          [sum(cost.joules for cost in each.values()) for each in spent]
        ),
        **{
          f"{account} / train": np.median(
            [each[account].seconds / each["train"].seconds for each in spent]
          )
          for account in ("probe", "compile")
        },
      }
    )
  return pd.DataFrame(lines)


def _half_width(values: np.ndarray) -> float:
  return metrics.confidence_interval(values)[1]


def _spent(run: session.Result) -> dict[str, base.Cost]:
  """Costs of learning, without evaluation and waiting for the disk."""
  return {
    account: sum((r.costs[account] for r in run.records), base.Cost())
    for account in ("train", "replay", "probe", "compile")
  }


def _map(name: str, network, results, folder: Path) -> None:
  for row, runs in results.items():
    if row.startswith("elastic"):
      choices = [c for record in runs[0].records for c in record.choices]
      figure = selections.picture(choices, network.tensors, f"{name}, {row}")
      figure.savefig(folder / f"{_slug(name)}-{_slug(row)}.png", dpi=120)


if __name__ == "__main__":
  app.run(main)
