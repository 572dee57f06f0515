"""Which units of a network hold for tasks to come, and may be frozen.

Question: how deep does a network trained on some classes serve others, by the
similarity of its features and by what freezing costs?

Protocol: a network is trained on the first classes of a data set. Two runs in
which everything trains then measure every unit (`jcl.metrics.generality`),
both from the learned weights with the head drawn anew:

  base     over the base classes again, as two tasks: what a device could be
           given ahead of the stream, and what the prefix is chosen by; the
           weights know these classes, which flatters them
  stream   over the later classes: the same in hindsight

Units are frozen from the input on while their generality is `tau` or more.
A gate asks that a linear classifier on the frozen trunk tells the classes of
the stream's first task apart 10 points better than on random weights.

`--slow` trains the stream once with every prefix frozen and gives the ratios
of task-incremental accuracy to those of the run with nothing frozen: LPx(t)
on task t when it has been learned, and MSx(t) of the mean over tasks before.

  python experiments/generality.py --data_dir=~/data --slow
  python experiments/generality.py --quick

It writes `measures.csv` (task by task), `table.csv` (unit by unit), with
`--slow` `slow.csv`, all of it as `table.txt`, and `base.png` and `stream.png`.
What is finished is not made again.
"""

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags, logging
import numpy as np
import pandas as pd

from jcl import base, recipes
from jcl.metrics import generality
from jcl.report import generality as pictures
from jcl.run import beforehand, pretraining, session, workdir
from jcl.run import setup as setups
from jcl.run.generality import calibrate, follow, probe
from jcl.selection import fixed
from jcl.streams import scenarios, sources


class Protocol(NamedTuple):
  """Sizes of the study."""

  network: str
  base_classes: int
  base_epochs: int
  tasks: int  # of the stream, over all other classes
  examples: int  # of a class, at most
  epochs: int
  augment: str
  pretraining: Mapping[str, Any]
  training: Mapping[str, Any]


_IMAGES: tuple[str, dict[str, Any], dict[str, Any]] = (
  "crop_flip",
  {
    "batch_size": 128,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
  },
  {"batch_size": 32, "learning_rate": 0.01},
)
_DIGITS: tuple[str, dict[str, Any], dict[str, Any]] = (
  "none",
  {"batch_size": 16, "learning_rate": 0.1},
  {"batch_size": 16, "learning_rate": 0.05},
)
_RESNET = "resnet18:filters=16"
PROTOCOLS = {
  "cifar10": Protocol(_RESNET, 4, 30, 3, 5000, 10, *_IMAGES),
  "cifar100": Protocol(_RESNET, 50, 30, 5, 500, 10, *_IMAGES),
  "digits": Protocol("mlp:width=48,depth=3", 4, 10, 3, 200, 5, *_DIGITS),
}

_DATA = flags.DEFINE_enum("data", "cifar10", list(PROTOCOLS), "data set")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the data sets")
_NETWORK = flags.DEFINE_string(
  "network", None, f"such as {_RESNET}; by default what suits the data"
)
_TAU = flags.DEFINE_float("tau", generality.TAU, "generality of frozen units")
_SLOW = flags.DEFINE_bool("slow", False, "train with every prefix frozen")
_SEED = flags.DEFINE_integer("seed", 0, "of all that is drawn")
_WORKDIR = flags.DEFINE_string("workdir", None, "default runs/generality_DATA")
_QUICK = flags.DEFINE_bool("quick", False, "the embedded digits, in seconds")


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  data = "digits" if _QUICK.value else _DATA.value
  protocol = PROTOCOLS[data]
  if _NETWORK.value:
    protocol = protocol._replace(network=_NETWORK.value)
  folder = Path(_WORKDIR.value or f"runs/generality_{data}")
  folder.mkdir(parents=True, exist_ok=True)
  settings = {"data": data, "seed": _SEED.value, **protocol._asdict()}
  workdir.claim(folder, settings)
  before, after = pretraining.split(
    sources.load(data, _DATA_DIR.value),
    protocol.base_classes,
    most=(protocol.examples, protocol.examples),
  )
  weights = _pretrained(protocol, before, folder)
  streams = {
    "base": scenarios.class_incremental(before, tasks=2),
    "stream": scenarios.class_incremental(after, tasks=protocol.tasks),
  }
  found = {}
  for name, stream in streams.items():
    network = _from(weights, protocol, stream)
    found[name] = _calibrated(name, stream, network, protocol, folder)
    each = found[name]
    figure = pictures.picture(each.units, each.ms, each.lp, each.prefix)
    figure.savefig(folder / f"{name}.png", dpi=120)
  _long(found).to_csv(folder / "measures.csv", index=False)
  table = _table(found)
  table.to_csv(folder / "table.csv", index=False)
  texts = [
    table.to_string(index=False, float_format="%.3f"),
    _chosen(found),
    _gated(weights, protocol, streams["stream"], found["base"]),
  ]
  if _SLOW.value:
    slow = _slow(weights, protocol, streams["stream"], folder)
    slow.to_csv(folder / "slow.csv", index=False)
    texts.append(slow.to_string(index=False, float_format="%.3f"))
  text = "\n\n".join(texts) + "\n"
  (folder / "table.txt").write_text(text, encoding="utf-8")
  print(text, end="")


def _setup(protocol: Protocol) -> setups.Setup:
  """Returns the model, and how it is trained on a stream."""
  return setups.Setup(
    model=protocol.network,
    training=base.Training(epochs=protocol.epochs, **protocol.training),
    options=session.Options(augment=protocol.augment),
  )


def _from(weights, protocol: Protocol, stream) -> base.Network:
  """Returns the network that begins with the weights and another head."""
  return pretraining.begun(setups.network(_setup(protocol), stream), *weights)


def _pretrained(protocol: Protocol, source, folder: Path) -> probe.Weights:
  """Returns weights learned on the base classes, from disk where they are."""
  weights, reached = beforehand.weights(
    _setup(protocol),
    source,
    folder / "pretrained",
    seed=_SEED.value,
    epochs=protocol.base_epochs,
    **protocol.pretraining,
  )
  print(f"{reached:.3f} on the base classes")
  return weights


def _setting(stream, network, method, protocol: Protocol):
  setup = _setup(protocol)
  job = setups.assemble(
    setup, method, _SEED.value, stream=stream, model=network
  )
  return job, setup.options


def _calibrated(
  name: str, stream, network, protocol: Protocol, folder: Path
) -> calibrate.Calibration:
  """Returns what a calibration run found, from disk where it is."""
  kept = folder / f"{name}.json"
  if not kept.exists():
    job, _ = _setting(stream, network, recipes.finetune(), protocol)
    probes = follow.held_out(stream, seed=_SEED.value)
    # The weights are learned ones: the first task counts.
    done = calibrate.calibrate(job, probes, first=0, tau=_TAU.value)
    figures = {"ms": done.ms[1:].tolist(), "lp": done.lp.tolist()}
    workdir.write_atomically(kept, json.dumps(figures))
  figures = json.loads(kept.read_text(encoding="utf-8"))
  lp = np.array(figures["lp"])
  ms = np.concatenate([np.full_like(lp[:1], np.nan), figures["ms"]])
  values = generality.generality(ms, lp, first=0)
  chosen = generality.prefix(values, _TAU.value)
  return calibrate.Calibration(network.units[:-1], ms, lp, values, chosen)


def _long(found: Mapping[str, calibrate.Calibration]) -> pd.DataFrame:
  """A line for every calibration, task and unit."""
  return pd.DataFrame(
    {
      "calibration": name,
      "task": task,
      "unit": unit,
      "MS": each.ms[task, index],
      "LP": each.lp[task, index],
    }
    for name, each in found.items()
    for task in range(len(each.lp))
    for index, unit in enumerate(each.units)
  )


def _table(found: Mapping[str, calibrate.Calibration]) -> pd.DataFrame:
  """A line for every calibration and unit: the least over tasks."""
  return pd.DataFrame(
    {
      "calibration": name,
      "unit": unit,
      "MS": each.ms[1:, index].min(),
      "LP": each.lp[:, index].min(),
      "G": each.generality[index],
      "frozen": "yes" if index < each.prefix else "no",
    }
    for name, each in found.items()
    for index, unit in enumerate(each.units)
  )


def _chosen(found: Mapping[str, calibrate.Calibration]) -> str:
  return "\n".join(
    f"{name}: freeze {each.prefix} of {len(each.units)} units at tau "
    f"{_TAU.value}"
    for name, each in found.items()
  )


def _gated(
  weights, protocol: Protocol, stream, found: calibrate.Calibration
) -> str:
  """Says whether the trunk that the base classes chose may be frozen."""
  if not found.prefix:
    return "gate: there is no trunk to freeze"
  network = setups.network(_setup(protocol), stream)
  job, _ = _setting(stream, network, recipes.finetune(), protocol)
  learned = _from(weights, protocol, stream)
  verdict = probe.gate(
    job.learner,
    learned.init(job.key),
    network.init(job.key),
    found.units[found.prefix - 1],
    stream.experiences[0].data,
    seed=_SEED.value,
  )
  return (
    f"gate: {100 * verdict.trained:.1f} % on the trunk up to "
    f"{found.units[found.prefix - 1]}, {100 * verdict.drawn:.1f} % on random "
    f"weights, {100 * verdict.margin:.0f} points more asked for: "
    + ("freeze it" if verdict.passed else "do not freeze it")
  )


def _slow(weights, protocol: Protocol, stream, folder: Path) -> pd.DataFrame:
  """Task-incremental accuracy that freezing each prefix costs."""
  network = _from(weights, protocol, stream)
  accuracy = []
  for prefix in range(len(network.units)):
    method = recipes.finetune()._replace(selector=fixed.frozen_prefix(prefix))
    job, options = _setting(stream, network, method, protocol)
    done = session.run(
      job,
      folder / f"prefix_{prefix}",
      options,
      {"recipe": {"name": "frozen_prefix", "options": {"until": prefix}}},
    )
    accuracy.append([record.accuracy_task for record in done.records])
  lpx, msx = generality.frozen_ratios(np.array(accuracy))
  return pd.DataFrame(
    {
      "prefix": prefix,
      "first trained": network.units[prefix],
      "task": task,
      "LPx": lpx[prefix, task],
      "MSx": msx[prefix, task],
    }
    for prefix, task in np.ndindex(lpx.shape)
  )


if __name__ == "__main__":
  app.run(main)
