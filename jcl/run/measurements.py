"""Measurements in a run's folder, each as data and as a picture.

Two of them: the times of tensors, by which a run chooses what trains, and how
stable and plastic every unit was.
"""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

from jcl import base
from jcl.metrics import generality as measures
from jcl.report import generality, lines, profile
from jcl.selection import times as times_lib
from jcl.train.profiling import store

TIMES = ("profile.json", "profile.csv", "profile.png")
UNITS = ("generality.json", "generality.png")
FILES = (*TIMES, *UNITS)


def read_times(folder: Path) -> times_lib.TensorTimes | None:
  """Reads the times of tensors; None where the folder has none.

  Raises:
    OSError: where the file cannot be read.
    ValueError: where the file is damaged.
  """
  path = folder / TIMES[0]
  if not path.exists():
    return None
  return store.from_json(json.loads(path.read_text(encoding="utf-8")))


def write_times(
  folder: Path, times: times_lib.TensorTimes, network: base.Network
) -> None:
  """Writes the times of a network's tensors.

  The JSON file, which `read_times` reads, comes last: a kill leaves all three
  files or no JSON.

  Raises:
    OSError: where a file cannot be written.
  """
  data, table, picture = (folder / name for name in TIMES)
  text = json.dumps(store.to_json(times), indent=1, allow_nan=False)
  profile.table(times, network.tensors).to_csv(table, index=False)
  profile.picture(times, network.tensors).savefig(picture, dpi=120)
  lines.write_atomically(data, text)


def write_units(
  folder: Path, units: Sequence[str], records: Sequence[Mapping[str, Any]]
) -> None:
  """Writes how stable and plastic each unit was.

  Args:
    folder: of the run.
    units: names of the units, input side first.
    records: of the experiences, one at least, as `generality.record` makes.

  Raises:
    OSError: where a file cannot be written.
  """
  data, picture = (folder / name for name in UNITS)
  known = {"units": list(units), "records": list(records)}
  lines.write_atomically(data, json.dumps(known))
  stability, plasticity = measures.table(records)
  figure = generality.picture(units, stability, plasticity)
  figure.savefig(picture, dpi=120)
