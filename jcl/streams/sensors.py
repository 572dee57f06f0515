"""Reads sensor data that come in groups: subjects, batches in time."""

from pathlib import Path
import re
from typing import Any, Literal
import warnings

import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.streams import files

_ACTIVITIES = (
  "sitting",
  "standing",
  "lying on back",
  "lying on right side",
  "ascending stairs",
  "descending stairs",
  "standing in a lift",
  "moving around in a lift",
  "walking in a car park",
  "treadmill walking flat",
  "treadmill walking inclined",
  "treadmill running",
  "stepper",
  "cross trainer",
  "cycling horizontal",
  "cycling vertical",
  "rowing",
  "jumping",
  "playing basketball",
)
_SEGMENT = (125, 45)  # samples of 5 s at 25 Hz, channels of 5 units
_TEST_SUBJECTS = (7, 8)

# In the order of the numeric codes of the published files.
_GASES = (
  "Ethanol",
  "Ethylene",
  "Ammonia",
  "Acetaldehyde",
  "Acetone",
  "Toluene",
)
_GAS_FEATURES = 128  # 16 sensors, 8 features each


def dsads(
  data_dir: Path, *, test: Literal["segments", "subjects"] = "segments"
) -> tuple[base.Dataset, base.Dataset]:
  """Daily and sports activities: 125x45 series, 19 classes, 8 subjects.

  Barshan and Yuksek, "Recognizing Daily and Sports Activities in Two Open
  Source Machine Learning Environments Using Body-Worn Sensor Units", The
  Computer Journal 2014, https://doi.org/10.1093/comjnl/bxt075. The subject is
  the group.

  Args:
    data_dir: folder that holds dsads/, or the published folder data/.
    test: "segments" holds out the last quarter of the segments of each
      activity and subject, as neighbours in time are alike; "subjects" holds
      out subjects 7 and 8.

  Raises:
    FileNotFoundError: where files are missing.
    ValueError: where files are damaged.
  """
  if test not in ("segments", "subjects"):
    raise UsageError(f"test={test!r}: write test=segments or test=subjects")
  roots = [data_dir / "dsads" / "data", data_dir / "data", data_dir]
  found = files.first_existing(root / "a01" for root in roots)
  if found is None:
    raise files.missing(
      "dsads",
      [root / "a01" / "p1" / "s01.txt" for root in roots],
      "UCI Machine Learning Repository no. 256, 'Daily and Sports Activities'",
      "--data_dir to the folder that holds dsads/",
    )
  x, y, subject, held_out = [], [], [], []
  for folder in sorted(found.parent.glob("a[0-9][0-9]/p[0-9]")):
    segments = sorted(folder.glob("s[0-9][0-9].txt"))
    person = int(folder.name[1:])
    x += [_segment(path) for path in segments]
    y += [int(folder.parent.name[1:]) - 1] * len(segments)
    subject += [person] * len(segments)
    if test == "subjects":
      held_out += [person in _TEST_SUBJECTS] * len(segments)
    else:
      kept = len(segments) - len(segments) // 4
      held_out += [i >= kept for i in range(len(segments))]
  return _split(
    "dsads", x, y, _ACTIVITIES, np.array(subject), np.array(held_out, bool)
  )


def _segment(path: Path) -> np.ndarray:
  try:
    with warnings.catch_warnings(action="ignore"):  # of an empty file
      values = np.loadtxt(path, np.float32, delimiter=",", ndmin=2)
  except (ValueError, OSError) as error:
    raise files.damaged(path, error) from error
  if values.shape != _SEGMENT:
    raise files.damaged(path, f"shape {values.shape} instead of {_SEGMENT}")
  return values


def gas_drift(data_dir: Path) -> tuple[base.Dataset, base.Dataset]:
  """Gas sensors ageing: 128 features, 6 gases, 10 batches over 36 months.

  Vergara et al., "Chemical gas sensor drift compensation using classifier
  ensembles", Sensors and Actuators B 2012,
  https://doi.org/10.1016/j.snb.2012.01.074. The batch is the group, the rows
  keep their order, and every fifth row of each batch is a test row. Both the
  published form
  `class;concentration 1:v 2:v ...` and plain comma-separated rows that begin
  with the gas's name are read.

  Args:
    data_dir: folder that holds gas-sensor-drift/, or the files batch*.dat.

  Raises:
    FileNotFoundError: where files are missing.
    ValueError: where files are damaged.
  """
  roots = [
    data_dir / "gas-sensor-drift" / "gas-sensor-drift",
    data_dir / "gas-sensor-drift",
    data_dir / "gas_drift",
    data_dir / "Dataset",
    data_dir,
  ]
  found = files.first_existing(root / "batch1.dat" for root in roots)
  if found is None:
    raise files.missing(
      "gas_drift",
      [root / "batch1.dat" for root in roots],
      "UCI Machine Learning Repository no. 270, 'Gas Sensor Array Drift at "
      "Different Concentrations'",
      "--data_dir to the folder that holds gas-sensor-drift/",
    )
  x, y, batch, held_out = [], [], [], []
  numbered = {
    int(path.stem[len("batch") :]): path
    for path in found.parent.glob("batch*.dat")
    if path.stem[len("batch") :].isdecimal()
  }
  for number, path in sorted(numbered.items()):
    features, labels = _gas_batch(path)
    x.append(features)
    y.append(labels)
    batch.append(np.full(len(labels), number))
    held_out.append(np.arange(len(labels)) % 5 == 4)
  return _split(
    "gas_drift",
    np.concatenate(x),
    np.concatenate(y),
    _GASES,
    np.concatenate(batch),
    np.concatenate(held_out),
  )


def _gas_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
  # Dropping the feature numbers turns the published form into the plain one.
  text = re.sub(r"[ \t]+\d+:", ",", files.text(path).replace(";", ","))
  code = {name: i for i, name in enumerate(_GASES)}
  code |= {str(i + 1): i for i in range(len(_GASES))}
  try:
    rows = [line.split(",") for line in text.splitlines() if line.strip()]
    labels = np.array([code[row[0].strip()] for row in rows], np.int32)
    values = np.array([row[2:] for row in rows], np.float32)
  except KeyError as error:
    raise files.damaged(path, f"no gas is called {error}") from error
  except ValueError as error:
    raise files.damaged(path, error) from error
  if values.ndim != 2 or values.shape[1] != _GAS_FEATURES:
    raise files.damaged(path, f"shape {values.shape}, not [N, {_GAS_FEATURES}]")
  return values, labels


def _split(
  name: str,
  x: Any,
  y: Any,
  class_names: tuple[str, ...],
  group: np.ndarray,
  held_out: np.ndarray,
) -> tuple[base.Dataset, base.Dataset]:
  """Returns the rows not held out and the rows held out as two data sets."""
  x, y = np.asarray(x, np.float32), np.asarray(y, np.int32)
  train, test = (
    base.Dataset(name, x[rows], y[rows], class_names, group=group[rows])
    for rows in (~held_out, held_out)
  )
  return train, test
