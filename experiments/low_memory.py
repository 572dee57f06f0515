"""What a frozen trunk and a few anchors save, and what they cost in accuracy.

Wang et al., "LightCL: Compact Continual Learning with Low Memory Footprint For
Edge Device", ASP-DAC 2025, report 55.5 % (class-incremental CIFAR-10, 15
anchors) against 54.4 % for replay of 15 examples and 34.2 % for plain SGD, with
half the memory or less. Questions, of the same network and pre-training:

  accuracy   class- and task-incremental, of all rows at two image sizes
  steps      time, operations and peak bytes of a step, against plain SGD, and
             the memory by the paper's own arithmetic

In `lightcl` and `finetune:current=True` the classes of an experience compete
among themselves, as in the paper; `lightcl:beta=0.0` has no anchors.

Rows are recipes; behind a "|" stands how the trunk's output is kept, such as
`lightcl|raw`, which then is computed once per example.

  python experiments/low_memory.py --data_dir=~/data
  python experiments/low_memory.py --data_dir=~/data --parts=steps --filters=64
  python experiments/low_memory.py --quick

Protocol: a ResNet-18 learns the first classes of CIFAR-100, then others arrive
in experiences, in the order of their labels; batches of 32, SGD without
momentum, images not augmented, which the caches need; larger images are the
same ones enlarged. The test set is the official one. Each run lies in a folder
of its own; the same command again makes only those that are missing. It writes
`runs.csv`, `table.csv`, `table.txt` and a picture of accuracy over memory.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags, logging
import jax
import numpy as np
import pandas as pd
from PIL import Image

from jcl import base, metrics, recipes
from jcl.cost import published, step_memory
from jcl.report import drawing
from jcl.run import beforehand, loop, pretraining, session
from jcl.run import setup as setups
from jcl.streams import scenarios, sources
from jcl.train import chunks, gather
from jcl.train import learner as learner_lib
from jcl.train.profiling import calibrated, learners

ROWS = (
  "finetune",
  "finetune:current=True",
  "joint",
  "ewc:strength=10,clip=1.0",
  "lwf",
  "pnn",
  "fdr:buffer=15,minibatch=15",
  "er:buffer=15,minibatch=15",
  "er:buffer=200,minibatch=32",
  "er:buffer=500,minibatch=32",
  "derpp:buffer=15,minibatch=15",
  "derpp:buffer=200,minibatch=32",
  "derpp:buffer=500,minibatch=32",
  "sparcl:buffer=15,minibatch=15,replay=er,current=false,replay_current=true",
  "freeze",
  "lightcl",
  "lightcl:beta=0.0",
  "lightcl|raw",
  "lightcl:published=True",
  "lightcl_sparse",
  "lightcl:buffer=200,minibatch=32",
  "er:buffer=200,minibatch=32+freeze|uint8",
)
QUICK_ROWS = ("finetune", "er:buffer=15,minibatch=15", "lightcl", "lightcl|raw")
PARTS = ("accuracy", "steps")


class Protocol(NamedTuple):
  """Sizes of the study on a data set."""

  base_classes: int
  base_epochs: int
  classes: int
  per_class: int
  tasks: int
  epochs: int
  sizes: tuple[int, ...]
  filters: int


PROTOCOLS = {
  "cifar100": Protocol(20, 20, 20, 150, 5, 10, (32, 64), 8),
  "digits": Protocol(4, 3, 6, 40, 3, 2, (8,), 4),
}

_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the data sets")
_PARTS = flags.DEFINE_list("parts", list(PARTS), f"of {', '.join(PARTS)}")
_ROWS = flags.DEFINE_multi_string("row", list(ROWS), "a row; may be repeated")
_SIZES = flags.DEFINE_list("sizes", None, "pixels of an image's side")
_SEEDS = flags.DEFINE_integer("seeds", 3, "runs per row", lower_bound=1)
_RATE = flags.DEFINE_float("learning_rate", 0.01, "of SGD")
_FILTERS = flags.DEFINE_integer("filters", None, "of the first stage, in steps")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "timed steps of each row")
_WORKDIR = flags.DEFINE_string("workdir", None, "default runs/low_memory_DATA")
_QUICK = flags.DEFINE_bool(
  "quick", False, "the embedded digits, four rows, two seeds"
)


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  data = "digits" if _QUICK.value else "cifar100"
  protocol = PROTOCOLS[data]
  rows = QUICK_ROWS if _QUICK.value else _ROWS.value
  folder = Path(_WORKDIR.value or f"runs/low_memory_{data}")
  folder.mkdir(parents=True, exist_ok=True)
  unknown = set(_PARTS.value) - set(PARTS)
  if unknown:
    raise app.UsageError(f"--parts={sorted(unknown)}: choose from {PARTS}")
  whole = sources.load(data, _DATA_DIR.value)
  runs: list[dict[str, Any]] = []
  steps: list[dict[str, Any]] = []
  for size in map(int, _SIZES.value or protocol.sizes):
    before, after = pretraining.split(
      _resized(whole, size),
      protocol.base_classes,
      then=protocol.classes,
      most=(None, protocol.per_class),
    )
    stream = scenarios.class_incremental(after, tasks=protocol.tasks)
    if "accuracy" in _PARTS.value:
      runs += _accuracies(before, stream, rows, protocol, folder / str(size))
      pd.DataFrame(runs).to_csv(folder / "runs.csv", index=False)
    if "steps" in _PARTS.value:
      steps += _steps(stream, rows, _FILTERS.value or protocol.filters)
  table = _table(runs, steps)
  table.to_csv(folder / "table.csv", index=False)
  text = table.to_string(index=False, float_format="%.3f")
  (folder / "table.txt").write_text(text + "\n", encoding="utf-8")
  print(text)
  if runs and steps:
    _picture(table).savefig(folder / "accuracy_over_memory.png", dpi=120)


def _resized(source: sources.Source, size: int) -> sources.Source:
  if source.train.x.shape[1] == size:
    return source
  parts = []
  for data in (source.train, source.test):
    images = [
      np.asarray(Image.fromarray(image).resize((size, size), Image.BILINEAR))
      for image in np.asarray(data.x)
    ]
    parts += [np.stack(images), data.y]
  return sources.arrays(*parts, scale=source.train.scale)


def _setup(protocol: Protocol, **options: Any) -> setups.Setup:
  """Returns the model, and how a stream is learned."""
  return setups.Setup(
    model=f"resnet18:filters={protocol.filters}",
    training=base.Training(
      epochs=protocol.epochs,
      batch_size=32,
      optimizer="sgd",
      learning_rate=_RATE.value,
    ),
    options=session.Options(**options),
  )


def _accuracies(before, stream, rows, protocol, folder) -> list[dict[str, Any]]:
  """Learns the stream by all rows; a line per run."""
  shape = stream.example_shape
  setup = _setup(protocol)
  weights, reached = beforehand.weights(
    setup,
    before,
    folder / "pretrained",
    epochs=protocol.base_epochs,
    batch_size=64,
    optimizer="adam",
  )
  print(f"{shape}: {reached:.3f} before")
  network = pretraining.begun(setups.network(setup, stream), *weights)
  lines = []
  for seed in range(2 if _QUICK.value else _SEEDS.value):
    for row in rows:
      job, options = _setting(stream, network, row, seed, protocol)
      place = folder / _slug(row) / f"seed_{seed}"
      try:
        done = session.run(job, place, options, {"recipe": _recipe(row)})
      except loop.NonFiniteLossError as error:
        print(f"{shape[0]:3} {row:40} seed {seed}: left out, {error}")
        continue
      found = done.summary
      lines.append(
        {
          "size": shape[0],
          "row": row,
          "seed": seed,
          **{
            f"{kind} accuracy": 100
            * found[f"{kind}_incremental"]["final_average_accuracy"]
            for kind in ("class", "task")
          },
          "gigaflop": found["total"]["flops"] / 1e9,
          "seconds": found["total"]["seconds"],
          "MB of a step": found.get("step_memory", {}).get("peak", np.nan)
          / 1e6,
        }
      )
      print(
        f"{shape[0]:3} {row:40} seed {seed}: "
        f"{lines[-1]['class accuracy']:.1f} {lines[-1]['task accuracy']:.1f}",
        flush=True,
      )
  return lines


def _setting(stream, network, row: str, seed: int, protocol):
  text, _, cache = row.partition("|")
  method = recipes.build(text)
  setup = _setup(protocol, trunk_cache=cache)
  setups.check_trunk(setup, {text: method})
  if method.columns:  # from scratch: nothing fits a column but itself
    network = setups.network(setup, stream, columns=True)
  job = setups.assemble(setup, method, seed, stream=stream, model=network)
  return job, setup.options


def _steps(stream, rows, filters: int) -> list[dict[str, Any]]:
  """Measures a step of every row behind its first experience, interleaved."""
  protocol = PROTOCOLS["cifar100"]._replace(filters=filters)
  fresh = setups.network(_setup(protocol), stream)
  params, stats = fresh.init(jax.random.key(0))
  network = pretraining.begun(fresh, params, stats)
  programs, costs, peaks, printed = {}, {}, {}, {}
  for row in dict.fromkeys(("finetune", *rows)):
    if row.startswith(("pnn", "joint")):
      continue  # steps of other networks, or the same as plain SGD's
    job, _ = _setting(stream, network, row, 0, protocol)
    learner = job.learner
    state, _ = learner.init(job.key)
    selection = learner.method.selector.choose(
      np.int32(2), learner.network, None, 1.0
    )
    source = gather.Experiences(job.stream, [0])
    shape = (learner.steps_per_dispatch, learner.batch_size)
    index = np.resize(np.arange(len(source), dtype=np.int32), shape)
    batches = learner.put_batches(
      chunks.with_draws(learner, source.batch(index))
    )
    scope = loop.scope_of(job, 1)
    make = learners.stepper(learner, state, batches, scope)
    programs[row] = make(selection)
    costs[row] = learner.step_program(selection).cost
    memory = step_memory.split(learner, selection, trunk=job.trunk)
    assert memory is not None
    peaks[row] = memory.peak
    printed[row] = _published_mib(learner, selection, row)
  seconds = calibrated.measure(list(programs.values()), _ROUNDS.value)
  plain, first = costs["finetune"].flops, seconds[0]
  return [
    {
      "size": stream.example_shape[0],
      "row": row,
      "step time": taken / first,
      "operations": costs[row].flops / plain,
      "peak MiB": peaks[row] / 2**20,
      "paper's MiB": printed[row],
      "peak": peaks[row] / peaks["finetune"],
    }
    for row, taken in zip(programs, seconds, strict=True)
  ]


def _published_mib(
  learner: learner_lib.Learner, selection: base.Selection, row: str
) -> float:
  """Returns a row's memory by the paper's arithmetic; NaN if it has none."""
  text, _, cache = row.partition("|")
  name = {"finetune": "sgd"}.get(text, text.partition(":")[0])
  network, batch = learner.network, learner.stream_rows
  trained = [
    tensor
    for tensor, yes in zip(network.tensors, selection.trainable, strict=True)
    if yes
  ]
  weights = 4 * sum(math.prod(tensor.shape) for tensor in network.tensors)
  if text == "lightcl" and not cache:
    units = {tensor.unit for tensor in trained}
    return published.lightcl_mib(
      weights,
      4 * sum(math.prod(tensor.shape) for tensor in trained),
      published.activations(network, units),
      published.activations(network, units),
      batch=batch,
      buffer=15,  # anchors of the recipe
    )
  if cache or name not in published.ROWS:
    return float("nan")
  buffer = learner.method.replay.num_samples
  return published.memory_mib(
    name, weights, published.activations(network), batch=batch, buffer=buffer
  )


def _table(runs, steps) -> pd.DataFrame:
  table = pd.DataFrame(steps, columns=["size", "row"] if not steps else None)
  if not runs:
    return table
  frame = pd.DataFrame(runs)
  lines = []
  for (size, row), group in frame.groupby(["size", "row"], sort=False):
    line: dict[str, Any] = {"size": size, "row": row}
    for kind in ("class accuracy", "task accuracy"):
      mean, half = metrics.confidence_interval(group[kind].to_numpy())
      line |= {kind: mean, f"± {kind.split()[0]}": half}
    for name in ("gigaflop", "seconds"):
      line[name] = group[name].median()
    lines.append(line)
  return pd.DataFrame(lines).merge(table, on=["size", "row"], how="left")


def _picture(table: pd.DataFrame):
  sizes = list(table["size"].unique())
  figure = drawing.line_figure([])
  axes = np.atleast_1d(figure.subplots(1, len(sizes), sharey=True))
  for axis, size in zip(axes, sizes, strict=True):
    part = table[table["size"] == size].dropna(subset=["peak MiB"])
    axis.errorbar(
      part["peak MiB"],
      part["class accuracy"],
      part["± class"],
      fmt="o",
      capsize=2,
    )
    for line in part.itertuples(index=False):
      where = (line[part.columns.get_loc("peak MiB")], line[2])
      axis.annotate(line[1], where, fontsize=6, rotation=20)
    axis.set(xscale="log", xlabel="peak MiB of a step", title=f"{size} pixels")
  axes[0].set_ylabel("class-incremental accuracy, %")
  return figure


def _recipe(row: str) -> dict[str, Any]:
  text, _, cache = row.partition("|")
  name, options = recipes.parse(text)
  return {"name": name, "options": {**options, "cache": cache}}


def _slug(row: str) -> str:
  return row.replace(":", "-").replace(",", "-").replace("|", "-")


if __name__ == "__main__":
  app.run(main)
