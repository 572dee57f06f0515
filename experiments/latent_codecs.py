"""Replaying latents of a frozen trunk: what each way to keep them is worth.

Question: a memory has so many bytes. Is it better filled with images, with
latents as they are, or with more latents that come back less exactly? And how
many of the trunk's operations does keeping them save?

Protocol: a network is trained on some classes of a data set. Its lower units
are then frozen, its head is drawn anew, and the rest learns other classes,
class-incrementally, with experience replay from a memory of the same bytes:

  images    no cache: the memory holds images, the trunk runs in every step
  raw       float32 latents
  uint8     eight bits a value, by channel
  pq:8, pq:32, pq:128
            a bitmap of the non-zeros and one byte for 8, 32 or 128 of them:
            Kwon et al., "LifeLearner", SenSys 2023

Where to cut and what to freeze follows Wang et al., "LightCL", ASP-DAC 2025:
the stem and three of four stages of a ResNet. Rows share data, order, epochs
and optimiser; images are not augmented. LifeLearner's plots put sub-vectors of
8 at 1 to 5 points below latents as they are, and those of 128 two points lower
still, where all examples are kept; in a memory of equal bytes a code that takes
less holds more. Latents of the digits are so short that a codeword or two write
all of one: they show that the study works, not what codes are worth.

  python experiments/latent_codecs.py --data_dir=~/data
  python experiments/latent_codecs.py --quick

Each run lies in a folder of its own; the same command again makes only those
that are missing. It writes `table.csv` and `table.txt`. Operations are those of
compiled programs, evaluation left out: `trunk done` by the trunk in training,
`trunk saved` by rows found in the cache (which takes `--cache` bytes beside the
memory), `in all` everything that trains or makes what is trained on. Seconds
are of the same accounts, compilation left out; other programs disturb them.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags, logging
import jax
import numpy as np
import pandas as pd

from jcl import base, metrics, recipes
from jcl.replay.latents import stream as latents
from jcl.run import beforehand, pretraining, session
from jcl.run import setup as setups
from jcl.selection import fixed
from jcl.streams import scenarios, sources

IMAGES = "images"
ROWS = (IMAGES, "raw", "uint8", "pq:8", "pq:32", "pq:128")
ACCOUNTS = ("train", "replay", "data")  # of `in all` and of the seconds


class Protocol(NamedTuple):
  """Sizes of the study."""

  data: str
  network: str
  at: str  # first unit that learns
  base_classes: int
  base_examples: int  # per class
  base_epochs: int
  classes: int
  tasks: int
  examples: int  # per class
  epochs: int
  batch_size: int  # as many are replayed
  learning_rate: float
  buffer: str  # bytes of the memory


PROTOCOLS = {
  "cifar100": Protocol(
    *("cifar100", "slim_resnet18:filters=16", "block_6"),
    *(20, 500, 15, 20, 5, 200, 5, 32, 0.03),
    buffer="500kB",
  ),
  "digits": Protocol(
    *("digits", "mlp:width=64,depth=2", "dense_1"),
    *(5, 150, 5, 5, 2, 60, 4, 10, 0.03),
    buffer="2kB",
  ),
}

_DATA = flags.DEFINE_enum("data", "cifar100", list(PROTOCOLS), "data set")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the data sets")
_ROWS = flags.DEFINE_multi_string(
  "row", list(ROWS), f"a row to make: {IMAGES} or a codec; may be repeated"
)
_SEEDS = flags.DEFINE_integer("seeds", 3, "runs per row", lower_bound=1)
_BUFFER = flags.DEFINE_string(
  "buffer", None, "bytes of the memory, such as 1MB; default by data set"
)
_CACHE = flags.DEFINE_string(
  "cache", None, "bytes of the cache, such as 64MB; default no limit"
)
_WORKDIR = flags.DEFINE_string("workdir", None, "default runs/latents_DATA")
_QUICK = flags.DEFINE_bool("quick", False, "the embedded digits, two seeds")


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  protocol = PROTOCOLS["digits" if _QUICK.value else _DATA.value]
  if _BUFFER.value:
    protocol = protocol._replace(buffer=_BUFFER.value)
  folder = Path(_WORKDIR.value or f"runs/latents_{protocol.data}")
  seeds = min(_SEEDS.value, 2) if _QUICK.value else _SEEDS.value
  before, after = pretraining.split(
    sources.load(protocol.data, _DATA_DIR.value),
    protocol.base_classes,
    then=protocol.classes,
    most=(protocol.base_examples, protocol.examples),
  )
  stream = scenarios.class_incremental(after, tasks=protocol.tasks)
  network = _pretrained(protocol, before, stream, folder)
  lines = []
  for row in _ROWS.value:
    runs = [
      _run(row, stream, network, protocol, seed, folder)
      for seed in range(seeds)
    ]
    accuracy = np.array([run.pop("accuracy") for run in runs])
    lines.append(
      {
        "row": row,
        "accuracy": 100 * accuracy.mean(),
        "95% interval": 100 * metrics.confidence_interval(accuracy)[1],
        **pd.DataFrame(runs).median().to_dict(),
      }
    )
    print(f"{row:10} {lines[-1]['accuracy']:.1f} %")
  table = pd.DataFrame(lines)
  table.to_csv(folder / "table.csv", index=False)
  text = table.to_string(index=False, float_format="%.4g")
  (folder / "table.txt").write_text(text + "\n", encoding="utf-8")
  print(text)


def _pretrained(protocol: Protocol, source, stream, folder: Path):
  """Returns the stream's network, begun with weights of the base classes."""
  augment = "crop_flip" if protocol.data == "cifar100" else "none"
  setup = setups.Setup(
    model=protocol.network, options=session.Options(augment=augment)
  )
  weights, reached = beforehand.weights(
    setup,
    source,
    folder / "pretrained",
    epochs=protocol.base_epochs,
    batch_size=protocol.batch_size,
    optimizer="adam",
    weight_decay=5e-4,
  )
  print(f"{reached:.3f} on the base classes")
  return pretraining.begun(setups.network(setup, stream), *weights)


def _run(
  row: str, stream, network, protocol: Protocol, seed: int, folder: Path
) -> dict[str, Any]:
  """Makes a run and returns its line of the table."""
  method = recipes.er(buffer=protocol.buffer, minibatch=protocol.batch_size)
  training = base.Training(
    epochs=protocol.epochs,
    batch_size=protocol.batch_size,
    learning_rate=protocol.learning_rate,
  )
  made = latents.prepare(
    stream,
    network,
    protocol.at,
    "raw" if row == IMAGES else row,
    key=jax.random.fold_in(jax.random.key(seed), 0),
    budget=_CACHE.value,
    rows=protocol.batch_size,
  )
  if row == IMAGES:
    selector = fixed.frozen_prefix(protocol.at)
    job = session.assemble(
      stream, network, method._replace(selector=selector), training, seed
    )
  else:
    job = session.assemble(made.stream, made.network, method, training, seed)
    made.cache.charge_to(job.ledger)
  place = folder / row.replace(":", "-") / f"seed_{seed}"
  done = session.run(
    job,
    place,
    context={
      "recipe": {"name": "er", "options": {"buffer": protocol.buffer}},
      "cache": _CACHE.value,
    },
  )
  spent = {
    name: sum((each.costs[name] for each in done.records), base.Cost())
    for name in ACCOUNTS
  }
  trunk = _trunk(place, made, row, job, done)
  held = done.records[-1].memory
  size = int(np.prod(stream.example_shape)) * stream.dtype.itemsize
  if row != IMAGES:
    size = made.cache.codec.bytes_per_example
  return {
    "accuracy": done.average_accuracy,
    "bytes / example": size,
    "held": held["examples"],
    "memory bytes": held["bytes"],
    "trunk done GFLOP": trunk["operations"] / 1e9,
    "trunk saved GFLOP": trunk["saved"] / 1e9,
    "train GFLOP": (spent["train"].flops + spent["replay"].flops) / 1e9,
    "in all GFLOP": sum(cost.flops for cost in spent.values()) / 1e9,
    "seconds": sum(cost.seconds for cost in spent.values()),
  }


def _trunk(place: Path, made, row: str, job, done) -> dict[str, float]:
  """Returns what the trunk did and was spared in training; kept on disk."""
  kept = place / "trunk.json"
  if row == IMAGES:  # within the steps
    steps = sum(record.steps for record in done.records)
    shown = steps * job.learner.rows_per_step
    return {"operations": shown * made.cache.row_flops, "saved": 0.0}
  if not kept.exists():
    report = dataclasses.asdict(made.cache.report())
    kept.write_text(json.dumps(report), encoding="utf-8")
  return json.loads(kept.read_text(encoding="utf-8"))["training"]


if __name__ == "__main__":
  app.run(main)
