"""Sets in general-purpose table formats: delimited text and NumPy archives."""

import lzma
from pathlib import Path
import struct
import tokenize
from typing import Any
import zipfile
import zlib

import numpy as np

from jcl import base, wording
from jcl.streams import files, labelling, splits

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


# Keys of an archive: those of the training set and those of the test set.
_WHOLE = ("x", "y", "group")
_TRAIN = ("x_train", "y_train", "group_train")
_TEST = ("x_test", "y_test", "group_test")


def npz(
  data_dir: Path, *, path: str
) -> tuple[base.Dataset, base.Dataset | None]:
  """Any NumPy archive of x_train, y_train[, x_test, y_test], or of x, y.

  Groups of the examples, integers or text, are group_train and group_test, or
  group. Labels that occur are numbered, as by `arrays`.

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
  arrays = _archive(file)
  keys = [_WHOLE if "x" in arrays or "y" in arrays else _TRAIN]
  if any(key in arrays for key in _TEST):
    keys.append(_TEST)
  used = [key for part in keys for key in part]
  needed = [key for part in keys for key in part[:2]]
  if len(keys) > 1 and keys[0][2] in arrays and _TEST[2] not in arrays:
    needed.append(_TEST[2])
  named = f"it has {wording.some(sorted(arrays))}; name its arrays {_KEYS}"
  for key in needed:
    if key not in arrays:
      raise ValueError(f"{file} has no {key}: {named}")
  for key in sorted(arrays):
    if key not in used:
      raise ValueError(
        f"{file} has {wording.short(key)}, which is not read beside "
        f"{wording.some(needed)}: {named}, and leave out others"
      )
  if _TEST[2] in arrays and keys[0][2] not in arrays:
    raise ValueError(f"{file} has group_test but no {keys[0][2]}: {named}")
  x, y, group = (
    [arrays.get(part[i]) for part in keys] for i in range(len(_WHOLE))
  )
  labels, class_names = labelling.number(file.stem, *y)
  groups, group_names = labelling.number(file.stem, *group, what="group")
  datasets = [
    base.Dataset(
      file.stem,
      x[i],
      labels[i],
      class_names,
      group=groups[i] if groups else None,
      group_names=group_names,
    )
    for i in range(len(keys))
  ]
  return datasets[0], datasets[1] if len(datasets) > 1 else None


_KEYS = (
  "x_train and y_train, with x_test and y_test if any, or x and y, and of "
  "groups group_train and group_test, or group"
)


def _archive(file: Path) -> dict[str, np.ndarray]:
  """All arrays of an archive. ValueError where it cannot be read."""
  try:
    archive = np.load(file, allow_pickle=False)
    if isinstance(archive, np.ndarray):
      raise ValueError("one array, not an archive of several by name")
    with archive:
      return {key: _member(file, archive, key) for key in archive.files}
  except _Held as error:
    raise ValueError(str(error)) from None
  except (*_ZIP_ERRORS, ValueError, MemoryError) as error:
    raise files.damaged(file, error) from error


_ZIP_ERRORS = (
  EOFError,
  KeyError,
  NotImplementedError,  # a compression that Python lacks
  OSError,
  OverflowError,
  RuntimeError,  # a password
  lzma.LZMAError,
  struct.error,
  tokenize.TokenError,
  zipfile.BadZipFile,
  zlib.error,
)


class _Held(ValueError):
  """An array that was saved as Python objects."""


def _member(file: Path, archive: Any, key: str) -> np.ndarray:
  try:
    return archive[key]
  except ValueError as error:
    if "allow_pickle" not in str(error):
      raise
    advice = (
      "x as np.stack makes of examples of one shape"
      if key.startswith("x")
      else f"{key[:1]}.astype(str) of text, .astype(int) of numbers"
      if key.startswith("y")
      else "text by .astype(str), numbers by .astype(int)"
    )
    raise _Held(
      f"{file}: {key} holds Python objects, which are not read, as that could "
      f"run code; save {advice} instead, as in np.savez(path, {key}=...)"
    ) from error
