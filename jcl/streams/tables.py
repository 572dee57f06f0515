"""Reads data sets in table formats: delimited text and NumPy archives."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.streams import archives, delimited, files, labelling, splits

_LEAST = 5  # rows at least, so that a fifth of them is a row


def csv(
  data_dir: Path,
  *,
  path: str,
  label: str | int | None = None,
  group: str | int | None = None,
  index: str | int | bool | None = None,
  header: bool | None = None,
  sep: str | None = None,
  decimal: str | None = None,
  encoding: str | None = None,
  na: Any = None,
  missing: Literal["refuse", "drop"] = "refuse",
) -> tuple[base.Dataset, base.Dataset]:
  """Any table, rows in time order: numeric features and one label.

  The last 20% of every tenth of the rows are the test set, so that every part
  of the time has held-out rows. With fewer than fifty rows there are fewer
  parts, of five rows or more.

  Args:
    data_dir: the folder that `path` is below, or else the working directory.
    path: of the file, plain or compressed (.gz, .bz2, .xz or .zip), absolute
      or below one of these folders.
    label: column of the class, the last one by default; every other column is
      a numeric feature. Columns have the names of the header, or numbers from
      0 without one.
    group: column of the group: subject, device, month.
    index: column of the rows' names or numbers, which is left out. By default
      a first column without a name, as pandas and R write it; true takes the
      first column, false none.
    header: whether the first line names the columns.
    sep: comma, semicolon, tab, pipe, space, or another character.
    decimal: point or comma.
    encoding: of the text; by default the encoding of the file's byte order
      mark, or UTF-8 without one.
    na: texts that mean a missing value, beside an empty field, NA, NaN and
      the like; with false only an empty field means one.
    missing: "refuse" rows that lack values, or "drop" them.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where the file is damaged, may be read in more than one way,
      lacks values, or has one class only.
  """
  options = delimited.Options(
    label, group, index, header, sep, decimal, encoding, na, missing
  )
  return _table(
    Path(path).name.split(".")[0],
    _own("csv", data_dir, path),
    options,
  )


def electricity(data_dir: Path) -> tuple[base.Dataset, base.Dataset]:
  """Does the price of electricity rise: 6 features, 45,312 half-hours.

  The last 20% of every tenth of the time are the test set.

  Args:
    data_dir: folder that holds electricity/, or the file elec.csv.gz.

  Raises:
    FileNotFoundError: where files are missing.
    ValueError: where files are damaged.
  """
  found = files.first_existing(
    (data_dir / "electricity" / "elec.csv.gz", data_dir / "elec.csv.gz")
  )
  if found is None:
    raise files.missing(
      "electricity",
      [data_dir / "electricity" / "elec.csv.gz"],
      "Harries, 'Splice-2 comparative evaluation: electricity pricing', 1999",
      "--data_dir to the folder that holds electricity/",
    )
  return _table("electricity", found, delimited.Options(label="class"))


def _own(name: str, data_dir: Path, path: str) -> Path:
  """Returns the file of the user's own that a path leads to.

  Raises:
    MissingFileError: where there is none.
    UsageError: where it is a folder.
  """
  places = files.places(data_dir, path)
  found = files.first_existing(places)
  if found is None:
    raise files.missing(
      name,
      places,
      "",
      "path= to the file, absolute, below --data_dir or below the working "
      "directory",
    )
  if found.is_dir():
    raise UsageError(f"path={errors.short(path)}: a folder; give a file")
  return found


def _table(
  name: str, path: Path, options: delimited.Options
) -> tuple[base.Dataset, base.Dataset]:
  table = delimited.read(path, options)
  if len(table.y) < _LEAST:
    raise UsageError(
      f"{path} has {errors.count(len(table.y), 'row')}, too few to hold some "
      f"out; it takes {_LEAST}"
    )
  if len(table.class_names) == 1:
    column = options.label
    column = "the last column" if column is None else files.brief(column, 40)
    raise UsageError(
      f"{path}: the label ({column}) is always "
      f"{files.brief(table.class_names[0], 40)}; write "
      "label= and the column of the class"
    )
  parts = min(10, len(table.y) // _LEAST)
  held_out = splits.last(len(table.y), splits.TEST_SHARE, parts)

  def dataset(rows: np.ndarray) -> base.Dataset:
    return base.Dataset(
      name,
      table.x[rows],
      table.y[rows],
      table.class_names,
      group=None if table.group is None else table.group[rows],
      group_names=table.group_names,
      notes=table.notes,
    )

  return dataset(~held_out), dataset(held_out)


# Keys of an archive's arrays, of one set or of training and test set.
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
    data_dir: the folder that `path` is below, or else the working directory.
    path: of the file, absolute or below one of these folders.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where the file is damaged, or its arrays are not those above.
  """
  file = _own("npz", data_dir, path)
  arrays = _archive(file)
  keys = [_WHOLE if "x" in arrays or "y" in arrays else _TRAIN]
  if any(key in arrays for key in _TEST):
    keys.append(_TEST)
  used = [key for part in keys for key in part]
  needed = [key for part in keys for key in part[:2]]
  if _TEST in keys and keys[0][2] in arrays and _TEST[2] not in arrays:
    needed.append(_TEST[2])
  named = f"it has {errors.some(sorted(arrays))}; name its arrays {_KEYS}"
  for key in needed:
    if key not in arrays:
      raise UsageError(f"{file} has no {key}: {named}")
  for key in sorted(arrays):
    if key not in used:
      raise UsageError(
        f"{file} has {errors.short(key)}, which is not read beside "
        f"{errors.some(needed)}: {named}, and leave out others"
      )
  if _TEST[2] in arrays and keys[0][2] not in arrays:
    raise UsageError(f"{file} has group_test but no {keys[0][2]}: {named}")
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
  first, *others = datasets
  return first, next(iter(others), None)


_KEYS = (
  "x_train and y_train, with x_test and y_test if any, or x and y, and of "
  "groups group_train and group_test, or group"
)


def _archive(file: Path) -> dict[str, np.ndarray]:
  """Reads all arrays of an archive; ValueError where that is impossible."""
  try:
    _check_begin(file)
    archives.check(file)
    archive = np.load(file, allow_pickle=False)
    if isinstance(archive, np.ndarray):
      raise _Held(
        f"{file} holds one array, not an archive of several by name; save both "
        "by np.savez(path, x=..., y=...)"
      )
    with archive:
      return {key: _member(file, archive, key) for key in archive.files}
  except _Held as error:
    raise UsageError(str(error)) from None
  except Exception as error:  # a damaged archive may raise almost anything
    raise files.unreadable(file, error) from error


class _Held(ValueError):
  """An error with a complete message, about a file that is not damaged."""


def _check_begin(file: Path) -> None:
  """Raises _Held where a file is neither an archive nor an array of NumPy."""
  with file.open("rb") as opened:
    start = opened.read(6)
  if start and not start.startswith((b"PK", b"\x93NUMPY")):
    raise _Held(
      f"{file} is no archive of NumPy; save one by np.savez(path, x=..., y=...)"
    )


def _member(file: Path, archive: Any, key: str) -> np.ndarray:
  try:
    return archives.legible(archive[key])
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
