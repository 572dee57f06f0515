"""Prints the results of commands."""

from collections.abc import Iterable, Mapping, Sequence
import json
from pathlib import Path
from typing import Any

import numpy as np

from jcl import base
from jcl.cost import devices
from jcl.cost import ledger as ledger_lib
from jcl.cost.meters import detection
from jcl.report import profile as profiles
from jcl.run import estimate as estimates
from jcl.run import frontier as frontiers
from jcl.run.inference import merging
from jcl.run.inference import model as model_lib
from jcl.streams import sources
from jcl.train.kernels import lowering
from jcl.train.profiling import store

_NOTES = 5  # printed lines about what reading the data changed


def device(found: devices.Device) -> None:
  """Prints what computes, and by which convolutions."""
  print(devices.describe(found), flush=True)
  print(f"convolutions by {lowering.describe()}", flush=True)


def notes(lines: Sequence[str]) -> None:
  """Prints what reading the data left out or converted, in a few lines."""
  for line in lines[:_NOTES]:
    print(f"data: {line}")
  if len(lines) > _NOTES:
    print(f"data: and {len(lines) - _NOTES} more such notes, in the report")


def model(network: base.Network, methods: Iterable[base.Method]) -> None:
  """Prints which model was chosen where a recipe needs one that convolves."""
  if any(method.convolutional for method in methods):
    print(f"model: {network.name}, which convolves", flush=True)


def joules(ledger: ledger_lib.Ledger, found: detection.Detected) -> None:
  """Prints what counts joules, and why nothing better does."""
  reasons = "; ".join(f"not {kind}: {why}" for kind, why in found.unused)
  print(f"joules: {ledger.source}; {reasons}", flush=True)


def pretraining(before: sources.Source) -> None:
  """Prints that some classes are learned at once."""
  print(f"pre-training on {before.train.num_classes} classes", flush=True)


def pretrained(accuracy: float) -> None:
  """Prints what pre-training reached."""
  print(f"accuracy on them: {accuracy:.3f}", flush=True)


def profile(text: str, network: base.Network, folder: Path) -> None:
  """Prints what a run's choices of tensors went by, where it made any."""
  path = folder / "profile.json"
  if not path.exists():
    return
  times = store.from_json(json.loads(path.read_text(encoding="utf-8")))
  print(f"\n{text}: {profiles.describe(times)}")
  print(profiles.as_text(profiles.table(times, network.tensors)))
  print(f"profile: {folder / 'profile.csv'}, {folder / 'profile.png'}\n")


def took(seconds: float) -> None:
  """Prints how long a command took."""
  print(f"took {seconds:.0f} s")


def estimate(text: str, found: estimates.Estimate) -> None:
  """Prints what a recipe's run would take."""
  print(f"\n{text}\n{estimates.text(found)}")


def frontier(
  text: str, found: estimates.Estimate, budgets: frontiers.Frontier
) -> None:
  """Prints what a recipe's run would take, and what budgets would buy."""
  estimate(text, found)
  print(f"\n{frontiers.text(budgets)}")


def choices(sections: Mapping[str, Mapping[str, str]]) -> None:
  """Prints choices by title: each with a line that describes it."""
  for title, lines in sections.items():
    print(title)
    for name, line in lines.items():
      print(f"  {name:20} {line}")
    print()


def converted(arrays: Mapping[str, np.ndarray], path: Path) -> None:
  """Prints how much a new file of arrays holds."""
  total = sum(array.nbytes for array in arrays.values())
  print(f"{path}: {len(arrays)} arrays, {total:,} bytes")


def exported(made: model_lib.Model, path: Path) -> None:
  """Prints what a new program of a model takes and gives."""
  shape = ", ".join(map(str, made.inputs.network.input_shape))
  print(
    f"{path}: [N, {shape}] {made.inputs.dtype} -> scores of "
    f"{len(made.class_names)} classes, {path.stat().st_size:,} bytes"
  )


def merged(part: merging.Part, path: Path) -> None:
  """Prints what a new model was merged of."""
  rows = np.asarray(part.sums.rows)
  size = (path.parent / merging.NAME).stat().st_size
  print(
    f"{path}: {len(part.folders)} runs, {rows.sum():,.0f} examples of "
    f"{np.count_nonzero(rows)} classes; their sums take {size:,} bytes"
  )


def score(
  scenario: str, system: str, seed: int, percent: float, measure: str = ""
) -> None:
  """Prints what a system reached on a stream of frames.

  Args:
    scenario: of the stream.
    system: that served it.
    seed: of the run.
    percent: its score.
    measure: what that is a share of, where it is not accuracy.
  """
  told = f"{scenario}  {system}  seed {seed}: {percent:.1f} %"
  print(f"{told}, {measure}" if measure else told, flush=True)


def line(text: str) -> None:
  """Prints a line at once."""
  print(text, flush=True)


def served(
  address: str,
  folder: Path,
  watched: Path | None,
  count: int,
  token: str | None,
) -> None:
  """Prints where a learner is asked.

  Args:
    address: of the server.
    folder: of the learner.
    watched: folder that is watched; None: none.
    count: examples that have arrived so far.
    token: that is wanted; None: none.
  """
  line(f"{folder} at {address}, with {count} examples so far")
  if watched is not None:
    line(f"watching {watched}")
  how = "its password is the token" if token else "open it in a browser"
  line(f"{how}; Ctrl-C saves and stops")


def scores(table: Any, path: Path, measure: str = "") -> None:
  """Prints the scores of all systems, and where their report lies."""
  of = f", {measure}" if measure else ""
  print(f"\nscore in %{of}\n{table.to_string()}")
  print(f"report: {path}")
