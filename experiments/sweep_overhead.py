"""How much sooner a sweep ends than the same runs one after the other.

  python experiments/sweep_overhead.py [--runs=24] [--rounds=3] [--workers=2]

Short runs of the digits, half of them by replay and half without, by `jcl
learn`, one after the other in one process that may use all processors, and by
`jcl sweep`. Both write the same report; both begin with programs that are
kept. They take turns, so that what else the machine does meets both. Every run
of the sweep is compared with the same run alone, as many threads given: the
bits of weights and the matrix of accuracies.
"""

from collections.abc import Sequence
import json
import os
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags
import numpy as np
import pandas as pd

ROOT = Path(__file__).parent.parent
_RUNS = flags.DEFINE_integer("runs", 24, "runs of each way", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "turns of each way", lower_bound=1)
_WORKERS = flags.DEFINE_integer("workers", 2, "of the sweep", lower_bound=1)
_SHORT = ("--model=mlp:width=20,depth=1", "--epochs=2")


def taken(
  command: str, folder: Path, cache: Path, more: Sequence[str] = ()
) -> float:
  """Carries a command out in a process, and returns the seconds it took."""
  seeds = ",".join(map(str, range(_RUNS.value // 2)))
  words = [command, f"--seed={seeds}", f"--workdir={folder}", *_SHORT, *more]
  started = time.perf_counter()
  subprocess.run(
    [sys.executable, ROOT / "run.py", *words, f"--cache_dir={cache}"],
    check=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    stdout=subprocess.DEVNULL,
  )
  return time.perf_counter() - started


def alone(folder: Path, cache: Path) -> None:
  """Learns the same runs one after the other, each with a worker's threads."""
  every = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, every[: max(len(every) // _WORKERS.value, 1)])
  try:
    taken("learn", folder, cache)
  finally:
    os.sched_setaffinity(0, every)


def same(sweep: Path, learned: Path) -> int:
  """Returns how many runs have the same bits in both folders."""
  found = 0
  for path in sweep.rglob("model.npz"):
    recipe, seed = path.relative_to(sweep).parts[0], path.parent.name
    other = learned / recipe / seed
    with np.load(path) as ours, np.load(other / "model.npz") as theirs:
      equal = ours.files == theirs.files and all(
        np.array_equal(ours[name], theirs[name]) for name in ours.files
      )
    found += equal and accuracies(path.parent) == accuracies(other)
  return found


def accuracies(place: Path) -> list[object]:
  """Returns the rows of a run's matrix of accuracies."""
  lines = (place / "records.jsonl").read_text().splitlines()
  return [json.loads(line)["accuracy"] for line in lines]


def main(argv: Sequence[str]) -> None:
  """Measures, and prints a table."""
  del argv
  workers = [f"--workers={_WORKERS.value}"]
  seconds: dict[str, list[float]] = {"learn": [], "sweep": []}
  with tempfile.TemporaryDirectory() as temporary:
    folder, cache = Path(temporary), Path(temporary) / "cache"
    taken("sweep", folder / "first", cache, workers)  # keeps programs
    alone(folder / "alone", cache)
    equal = same(folder / "first", folder / "alone")
    taken("learn", folder / "second", cache)
    for number in range(_ROUNDS.value):
      for command, more in (("learn", []), ("sweep", workers)):
        place = folder / f"{command}_{number}"
        seconds[command].append(taken(command, place, cache, more))
        print(command, f"{seconds[command][-1]:.1f} s", flush=True)
  shares = [b / a for a, b in zip(*seconds.values(), strict=True)]
  table = pd.DataFrame(
    {
      "runs": [_RUNS.value],
      "cores": [len(os.sched_getaffinity(0))],
      "workers": [_WORKERS.value],
      "one after the other s": [statistics.median(seconds["learn"])],
      "sweep s": [statistics.median(seconds["sweep"])],
      "share": [statistics.median(shares)],
      "runs of the same bits": [equal],
    }
  ).round(3)
  print(table.to_csv(index=False))


if __name__ == "__main__":
  app.run(main)
