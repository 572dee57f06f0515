"""What steps in pieces cost beside whole ones, and what a new choice costs.

Questions: is a step composed of separately compiled pieces as fast and as small
as the same step compiled whole? How much training time is lost to a new choice
of tensors, with programs compiled beside the training?

  python experiments/executors.py
  python experiments/executors.py --model=slim_resnet18:filters=8 --quick

The first table has, for some selections, the median time of a step by either
executor, interleaved in one run, and the bytes that its compiled programs need
at their peak. For the second, elastic selection trains on with a choice after
every epoch; the time lost to a choice is what the updates up to the next one
took beyond the median of their selection's undisturbed updates, with probing,
choosing, compiling and waiting. It is stated per choice, and as the share that
ten choices take of ten minutes. Nothing compiled is read from disk.

Inputs are noise: nothing here says anything about accuracy.
"""

from collections import defaultdict
import time

from absl import app, flags, logging
import jax
import numpy as np
import pandas as pd

from jcl import base, recipes
from jcl.run import loop, session
from jcl.run import setup as setups
from jcl.streams import scenarios, sources
from jcl.train import gather
from jcl.train.profiling import calibrated, learners

_MODEL = flags.DEFINE_string("model", "resnet18:filters=20", "network")
_SIDE = flags.DEFINE_integer("side", 32, "pixels of an image's side")
_BATCH = flags.DEFINE_integer("batch_size", 32, "examples per update")
_ROUNDS = flags.DEFINE_integer("rounds", 25, "timed steps of each selection")
_UPDATES = flags.DEFINE_integer("updates", 120, "updates between two choices")
_CHOICES = flags.DEFINE_integer("choices", 5, "choices, the first not counted")
_RHO = flags.DEFINE_float("rho", 0.6, "time of a step over a full one's")
_QUICK = flags.DEFINE_bool("quick", False, "a few steps of each")


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  rounds, updates, choices = _ROUNDS.value, _UPDATES.value, _CHOICES.value
  if _QUICK.value:
    rounds, updates, choices = 3, 8, 2
  print(_steps(rounds).to_string(index=False, float_format="%.3f"))
  print()
  print(_choices(updates, choices).to_string(index=False, float_format="%.3f"))


def _setting(executor: str, updates: int = 4, epochs: int = 1) -> loop.Job:
  shape = (_SIDE.value, _SIDE.value, 3)
  generator = np.random.default_rng(0)
  count = updates * _BATCH.value
  x = generator.normal(size=(count, *shape)).astype(np.float32)
  y = np.arange(count) % 10
  stream = scenarios.class_incremental(
    sources.arrays(x, y, x[:10], y[:10]), tasks=1
  )
  setup = setups.Setup(
    model=_MODEL.value,
    training=base.Training(
      batch_size=_BATCH.value, epochs=epochs, momentum=0.9, learning_rate=1e-3
    ),
    options=session.Options(executor=executor, steps_per_dispatch=1),
  )
  method = recipes.elastic(rho=_RHO.value, interval=1)
  return setups.assemble(setup, method, stream=stream)


def _selections(network: base.Network) -> dict[str, base.Selection]:
  """Everything, the last units, and tensors here and there."""
  units = [network.units.index(tensor.unit) for tensor in network.tensors]
  last, generator = max(units), np.random.default_rng(3)
  chosen = {
    "everything": [True] * len(units),
    **{
      f"from {network.units[first]}": [unit >= first for unit in units]
      for first in sorted({last // 3, 2 * last // 3, last - 1, last})
    },
    "three in ten": (generator.random(len(units)) < 0.3).tolist(),
    "half of the upper half": [
      unit > last // 2 and bool(generator.random() < 0.5) for unit in units
    ],
  }
  return {name: base.Selection(tuple(mask)) for name, mask in chosen.items()}


def _steps(rounds: int) -> pd.DataFrame:
  programs, costs, compiled = {}, {}, {}
  for executor in ("pieces", "whole"):
    job = _setting(executor)
    learner = job.learner
    source = gather.Experiences(job.stream, [0])
    rows = np.arange(_BATCH.value, dtype=np.int32)[None]
    state, _ = learner.init(job.key)
    stepper = learners.stepper(
      learner,
      state,
      learner.put_batches(source.batch(rows)),
      loop.scope_of(job, 0),
    )
    for name, selection in _selections(learner.network).items():
      start = time.perf_counter()
      programs[name, executor] = stepper(selection)
      compiled[name, executor] = time.perf_counter() - start
      costs[name, executor] = learner.step_program(selection).cost
  taken = calibrated.measure(list(programs.values()), rounds)
  seconds = dict(zip(programs, taken, strict=True))
  return pd.DataFrame(
    {
      "selection": name,
      "pieces ms": 1e3 * seconds[name, "pieces"],
      "whole ms": 1e3 * seconds[name, "whole"],
      "time ratio": seconds[name, "pieces"] / seconds[name, "whole"],
      "pieces MB": costs[name, "pieces"].peak_bytes / 1e6,
      "whole MB": costs[name, "whole"].peak_bytes / 1e6,
      "memory ratio": costs[name, "pieces"].peak_bytes
      / costs[name, "whole"].peak_bytes,
      "pieces compile s": compiled[name, "pieces"],
      "whole compile s": compiled[name, "whole"],
    }
    for name, executor in programs
    if executor == "pieces"
  )


def _choices(updates: int, choices: int) -> pd.DataFrame:
  lines = []
  for executor in ("pieces", "whole"):
    job = _setting(executor, updates, choices + 1)
    session.profiled(job, session.Options(executor=executor))
    state, place = loop.start(job)
    before = 0.0  # seconds of profiling and of the first choice
    taken: dict[base.Selection, list[float]] = defaultdict(list)
    everything: dict[base.Selection, list[float]] = defaultdict(list)
    walls, last = [], time.perf_counter()
    for event in loop.run(job, state, place):
      if event.kind != "steps":
        last = time.perf_counter()
        continue
      now = time.perf_counter()
      if place.step == 1:
        before = job.ledger.totals()["probe"].seconds
      walls.append((job.trainee.selection, now - last))
      everything[job.trainee.selection].append(now - last)
      if place.step > job.trainee.switch_step + 3 and place.step % updates > 3:
        taken[job.trainee.selection].append(now - last)
      last = now
    usual = {  # of all its updates where none was left undisturbed
      name: float(np.median(taken.get(name, values)))
      for name, values in everything.items()
    }
    counted = walls[updates:]
    lost = sum(wall - usual[name] for name, wall in counted)
    changed = len({c.trainable for r in place.records for c in r.choices})
    probing = place.records[0].costs["probe"].seconds - before
    probing /= choices
    lines.append(
      {
        "executor": executor,
        "choices": choices,
        "different": changed,
        "usual ms": 1e3 * float(np.median(list(usual.values()))),
        "updates ahead": job.trainee.compile_ahead
        if executor == "whole"
        else 0,
        "lost s per choice": lost / choices,
        "of it probing s": probing,
        "compiled beside s": job.learner.compiler.ahead_seconds,
        "of ten minutes %": 100 * 10 * lost / choices / 600,
        "without probing %": 100 * 10 * (lost / choices - probing) / 600,
      }
    )
  return pd.DataFrame(lines)


if __name__ == "__main__":
  jax.config.update("jax_compilation_cache_dir", None)
  app.run(main)
