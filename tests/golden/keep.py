"""Keeps the results of runs on this machine.

  python tests/golden/keep.py [--anew] [NAME ...]

Without names, all runs are kept. `--anew` forgets the results of other machines
and versions: for a change that is meant to change results.
"""

from pathlib import Path
import sys
import tempfile
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import conftest  # noqa: E402, F401  sets the options of XLA, as in tests
import kept  # noqa: E402
import runs  # noqa: E402


def main(arguments: list[str]) -> None:
  anew = "--anew" in arguments
  chosen = [each for each in arguments if not each.startswith("--")]
  with tempfile.TemporaryDirectory() as folder:
    for name, run in runs.RUNS.items():
      compiled: dict[Any, Any] = {}
      for seed in runs.SEEDS if not chosen or name in chosen else ():
        path = Path(folder) / name / f"seed_{seed}"
        kept.keep(name, seed, runs.learned(run, seed, path, compiled), anew)
        print(name, seed, flush=True)
    for name in runs.SYSTEMS:
      for seed in runs.SEEDS if not chosen or name in chosen else ():
        parts = runs.served(name, seed, Path(folder) / "serving" / name)
        kept.keep(f"serve_{name}", seed, parts, anew)
        print("serve", name, seed, flush=True)


if __name__ == "__main__":
  main(sys.argv[1:])
