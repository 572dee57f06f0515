"""Sets in general-purpose table formats: delimited text and NumPy archives."""

from pathlib import Path
import zipfile
import zlib

import numpy as np

from jcl import base
from jcl.streams import files, splits, validation

_LEAST = 5  # rows of which the held-out share is a whole one


def csv(
  data_dir: Path, *, path: str, label: str | None = None
) -> tuple[base.Dataset, base.Dataset]:
  """Any table with a header, rows in time order: features and one label.

  The last 20% of every tenth of the rows are the test set, so that every part
  of the time has held-out rows (of every five rows where there are fewer than
  fifty).

  Args:
    path: of the file, plain or compressed, absolute or below `data_dir`.
    label: column of the class, the last one by default; every other column is
      a numeric feature.
  """
  return _table(
    Path(path).name.split(".")[0],
    data_dir / path,
    label,
    "wherever you found the table",
    "path= to the file, absolute or below --data_dir",
  )


def electricity(data_dir: Path) -> tuple[base.Dataset, base.Dataset]:
  """Does the price of electricity rise: 6 features, 45,312 half-hours.

  The last 20% of every tenth of the time are the test set.
  """
  found = files.first_existing(
    (data_dir / "electricity" / "elec.csv.gz", data_dir / "elec.csv.gz")
  )
  return _table(
    "electricity",
    found or data_dir / "electricity" / "elec.csv.gz",
    "class",
    "Harries, 'Splice-2 comparative evaluation: electricity pricing', 1999",
    "--data_dir to the folder that holds electricity/",
  )


def _table(
  name: str, path: Path, label: str | None, published: str, remedy: str
) -> tuple[base.Dataset, base.Dataset]:
  import pandas as pd

  if not path.exists():
    raise files.missing(name, [path], published, remedy)
  try:
    frame = pd.read_csv(path)
  except (ValueError, EOFError, OSError, zlib.error) as error:
    raise files.damaged(path, error) from error
  label = frame.columns[-1] if label is None else label
  if label not in frame:
    raise ValueError(
      f"{path} has no column {label!r}; write label= and one of "
      f"{', '.join(frame.columns)}"
    )
  features = frame.drop(columns=label)
  for column in features.select_dtypes(exclude=["number", "bool"]):
    first = features[column].dropna().iloc[:1].tolist()
    raise ValueError(
      f"{path}: column {column!r} is not numeric (it holds {first}); leave it "
      "out of the file or encode it as numbers"
    )
  if features.shape[1] == 0:
    raise ValueError(f"{path} has no column beside the label {label!r}")
  y, class_names = _encode(path, frame[label])
  x = features.to_numpy(np.float32)
  if len(y) < _LEAST:
    raise ValueError(
      f"{path} has {len(y)} rows, too few to hold some out; it takes {_LEAST}"
    )
  held_out = splits.last(len(y), splits.TEST_SHARE, min(10, len(y) // _LEAST))
  return (
    base.Dataset(name, x[~held_out], y[~held_out], class_names),
    base.Dataset(name, x[held_out], y[held_out], class_names),
  )


def _encode(path: Path, column) -> tuple[np.ndarray, tuple[str, ...]]:
  """Labels of any kind as integers, and their names in sorted order."""
  import pandas as pd

  if column.isna().any():
    row = int(column.isna().to_numpy().argmax())
    raise ValueError(f"{path}: the label is missing in row {row}")
  if pd.api.types.is_float_dtype(column):
    whole = column == column.round()
    if not whole.all():
      raise ValueError(
        f"{path}: the label column {column.name!r} holds "
        f"{column[~whole].iloc[0]}, which is no class; write label= and the "
        "column of the class"
      )
    column = column.astype(np.int64)
  codes, values = pd.factorize(column, sort=True)
  return codes.astype(np.int32), tuple(str(value) for value in values)


def npz(
  data_dir: Path, *, path: str
) -> tuple[base.Dataset, base.Dataset | None]:
  """Any NumPy archive of x_train, y_train[, x_test, y_test], or of x, y.

  Args:
    path: of the file, absolute or below `data_dir`.
  """
  file = data_dir / path
  if not file.exists():
    raise files.missing(
      "npz",
      [file],
      "wherever you found the archive",
      "path= to the file, absolute or below --data_dir",
    )
  try:
    with np.load(file, allow_pickle=False) as archive:
      arrays = {key: archive[key] for key in archive.files}
  except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise files.damaged(file, error) from error
  pairs = [("x", "y")] if "x" in arrays else [("x_train", "y_train")]
  if "x_test" in arrays:
    pairs.append(("x_test", "y_test"))
  for key in (key for pair in pairs for key in pair):
    if key not in arrays:
      raise ValueError(
        f"{file} has no {key}, only {sorted(arrays)}; name its arrays x_train, "
        "y_train, x_test and y_test, or x and y"
      )
  labels = [validation.labels(file.stem, arrays[y]) for _, y in pairs]
  class_names = validation.class_numbers(*labels)
  datasets = [
    base.Dataset(file.stem, arrays[x], y, class_names)
    for (x, _), y in zip(pairs, labels, strict=True)
  ]
  return datasets[0], datasets[1] if len(datasets) > 1 else None
