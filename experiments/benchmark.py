"""Time of a training step: jcl against plain JAX, PyTorch and Avalanche.

  python experiments/benchmark.py
  python experiments/benchmark.py --workloads=slim_resnet18_b32,resnet18_b32
  python experiments/benchmark.py --quick

Every contender is a process of its own, and they train in turns while all
others wait: round by round, so that whatever slows the machine down meets all
of them. The first step of a turn is not timed. Of each workload the table has

  ms a step      median over rounds, and the quartiles
  against jcl    median of the rounds' ratios: 2 is half as fast as jcl
  GFLOP/s        operations of the step as jcl counts them, over its time
  of peak        that, over what a matrix product of 2048 by 2048 reaches in
                 the same run (256 by 256 with `--quick`)
  memory         peak of the process, in MB, libraries and data included
  first step     seconds to it, imports and compilation included

Contenders that are not installed say so in their row: `pip install torch` and
`pip install avalanche-lib`. All have as many threads as there are cores. Stop
everything else meanwhile.
"""

import json
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from absl import app, flags
import contenders
import numpy as np
import pandas as pd
import tqdm

_LEAST = 3  # steps of a turn
HERE = Path(__file__).parent
_WORKLOADS = flags.DEFINE_list(
  "workloads", list(contenders.WORKLOADS), "what is trained"
)
_CONTENDERS = flags.DEFINE_list(
  "contenders", list(contenders.CONTENDERS), "who trains it"
)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "turns of each", lower_bound=2)
_SECONDS = flags.DEFINE_float("seconds", 1.0, "that a turn takes, about")
_OUT = flags.DEFINE_string("out", None, "file for the table, as CSV")
_QUICK = flags.DEFINE_bool(
  "quick", False, "the MLP at 10, jcl and JAX, 2 rounds"
)


class Contender:
  """A process that trains a workload when it is told to."""

  def __init__(self, name: str, workload: str):
    self.name = name
    self._process = subprocess.Popen(
      [sys.executable, str(HERE / "contenders.py"), name, workload],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    self.seconds: list[float] = []
    self.peak, self._steps = 0, 1
    told = self._answer()
    self.error = str(told.get("error", ""))
    self.first = float(told.get("first", np.nan))
    self._whole = int(told.get("whole", 1))

  def warm(self, seconds: float) -> None:
    """Runs once, and settles how many steps a turn has."""
    self._steps = self._whole
    self.turn()
    took = self.seconds.pop()
    turns = max(1, round(seconds / took / self._whole))
    self._steps = max(turns * self._whole, _LEAST)

  def turn(self) -> None:
    """Trains for a turn, the others waiting."""
    assert self._process.stdin is not None
    self._process.stdin.write(f"{self._steps}\n")
    self._process.stdin.flush()
    told = self._answer()
    self.seconds.append(float(told["seconds"]) / self._steps)
    self.peak = int(told["peak"])

  def close(self) -> None:
    """Ends the process."""
    assert self._process.stdin is not None
    self._process.stdin.close()
    self._process.wait()

  def _answer(self) -> dict[str, Any]:
    assert self._process.stdout is not None
    line = self._process.stdout.readline()
    return json.loads(line) if line else {"error": "ended without a word"}


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  workloads, names = _WORKLOADS.value, _CONTENDERS.value
  rounds = _ROUNDS.value
  if _QUICK.value:
    workloads, names, rounds = ["mlp_10"], ["jcl", "jax"], 2
  for given, known in (
    (workloads, contenders.WORKLOADS),
    (names, contenders.CONTENDERS),
  ):
    for each in given:
      if each not in known:
        raise app.UsageError(f"{each!r}: choose from {', '.join(known)}")
  peak = _matmul_peak(256 if _QUICK.value else 2048)
  print(f"matrix products reach {peak / 1e9:.0f} GFLOP/s here", flush=True)
  tables = []
  for workload in workloads:
    tables.append(compare(workload, names, rounds, peak))
    print(tables[-1].to_string(index=False), "\n", flush=True)
  if _OUT.value:
    pd.concat(tables).to_csv(_OUT.value, index=False)


def compare(workload, names, rounds, peak) -> pd.DataFrame:
  """Has the contenders train a workload in turns; returns its rows."""
  flops = _flops(contenders.WORKLOADS[workload])
  all_of_them = [Contender(name, workload) for name in names]
  running = [each for each in all_of_them if not each.error]
  for each in running:
    each.warm(_SECONDS.value)
  for _ in tqdm.trange(rounds, desc=workload, leave=False):
    for each in running:
      each.turn()
  lines = []
  for each in all_of_them:
    lines.append(_line(workload, each, all_of_them[0], flops, peak))
    each.close()
  return pd.DataFrame(lines).fillna("")


def _line(workload, one, ours, flops, peak) -> dict[str, Any]:
  if one.error:
    return {"workload": workload, "who": one.name, "note": one.error[:60]}
  low, middle, high = np.quantile(one.seconds, (0.25, 0.5, 0.75))
  line = {
    "workload": workload,
    "who": one.name,
    "ms a step": f"{1e3 * middle:.3g}",
    "quartiles": f"{1e3 * low:.3g} to {1e3 * high:.3g}",
    "GFLOP/s": f"{flops / middle / 1e9:.0f}",
    "of peak": f"{flops / middle / peak:.2f}",
    "memory": f"{one.peak / 1e6:.0f}",
    "first step": f"{one.first:.1f}",
    "note": "",
  }
  if not ours.error:
    ratios = np.divide(one.seconds, ours.seconds)
    line["against jcl"] = f"{np.median(ratios):.2f}"
  return line


def _flops(work: contenders.Workload) -> float:
  """Returns the operations of a step, forward and backward."""
  import jax

  from jcl.networks import catalogue
  from jcl.train.profiling import analytic

  network = catalogue.build(
    work.model, work.shape, contenders.CLASSES, **work.options
  )
  rows = work.batch * (1 + work.replays)
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  x = jax.ShapeDtypeStruct((rows, *work.shape), np.float32)
  return analytic.flops(network, *shapes, x, norms="batch").full


def _matmul_peak(size: int, rounds: int = 10) -> float:
  """Returns the operations per second of a float32 matrix product."""
  import jax
  import jax.numpy as jnp

  ones = jnp.ones((size, size))
  product = jax.jit(jnp.matmul).lower(ones, ones).compile()
  best = np.inf
  for _ in range(rounds):
    started = time.perf_counter()
    product(ones, ones).block_until_ready()
    best = min(best, time.perf_counter() - started)
  return 2.0 * size**3 / best


if __name__ == "__main__":
  app.run(main)
