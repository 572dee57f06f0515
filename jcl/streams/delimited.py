"""Reads tables of delimited text: features, labels and groups of each record.

Errors name the line of the file, the column and the value as it stands there.
"""

from collections.abc import Sequence
import dataclasses
import io
import itertools
from pathlib import Path
import re
from typing import Any, NamedTuple

import numpy as np

from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.streams import dialects, files, tidying

Column = str | int  # a name, or the number that names it

_EXACT = 1 << 24  # whole numbers up to this are exact in float32
_WORDS = {"true": 1.0, "false": 0.0}


@dataclasses.dataclass(frozen=True)
class Options:
  """Options for reading a table; None leaves one to be recognised."""

  label: Column | None = None  # the last column
  group: Column | None = None  # no groups
  index: Column | bool | None = None  # first columns without a name
  header: bool | None = None
  sep: str | None = None
  decimal: str | None = None
  encoding: str | None = None
  na: Any = None  # texts that mean a missing value, beside the usual ones
  missing: str = "refuse"  # or "drop"


class Table(NamedTuple):
  """`n` records in the order of the file."""

  x: np.ndarray  # [n, f] float32
  y: np.ndarray  # [n] int32
  class_names: tuple[str, ...]
  group: np.ndarray | None  # [n] int32
  group_names: tuple[str, ...]  # by number, in sorted order
  notes: tuple[str, ...]  # what was recognised or left out, a line each


class _Source(NamedTuple):
  """The text of a table, with the dialect it is written in."""

  path: Path
  data: bytes  # in UTF-8
  dialect: dialects.Dialect

  def cell(self, row: int, column: int) -> tuple[int, str]:
    """Returns the line and the text of a field of the record `row`."""
    found = dialects.records(self.data, self.dialect.sep)
    start = row + self.dialect.header
    line, fields = next(itertools.islice(found, start, None))
    return line, fields[column]

  def named(self, column: int) -> str:
    """Returns the name of a column, for messages."""
    return errors.short(self.dialect.names[column])

  def error(self, row: int, column: int, reason: str) -> UsageError:
    """Returns an error about one field; `reason` follows "holds VALUE, "."""
    line, text = self.cell(row, column)
    return UsageError(
      f"{self.path}: line {line}, column {self.named(column)} holds "
      f"{files.brief(text, 60)!r}, {reason}"
    )


def read(path: Path, options: Options) -> Table:
  """Reads a table, plain or compressed.

  Raises:
    ValueError: where the file is damaged, may be read in more than one way, or
      lacks values.
  """
  _check_options(options)
  content = files.content(path)
  tidying.check(path, content)
  data = dialects.to_utf8(path, content, options.encoding)
  data, sep, left_out = tidying.tidy(data, options.sep)
  dialect = dialects.recognise(
    path,
    data,
    sep=sep,
    decimal=options.decimal,
    header=options.header,
  )
  if not dialect.num_records:
    raise UsageError(f"{path} has no rows below its header")
  source = _Source(path, data, dialect)
  frame = _parse(source, options.na)
  notes = [*left_out, *dialects.notes(dialect)]
  dropped = _index(source, frame, options.index)
  if dropped:
    names = [dialect.names[j] or "without a name" for j in dropped]
    notes.append(
      f"the rows' names or numbers, column {files.listed(names)}, are left out "
      "(index=false reads them)"
    )
  left = [j for j in frame.columns if j not in dropped]
  label = (
    left[-1] if options.label is None else _find(source, "label", options.label)
  )
  group = (
    None if options.group is None else _find(source, "group", options.group)
  )
  if label in dropped or group in dropped or group == label:
    raise UsageError(
      f"{path}: label=, group= and index= must name different columns"
    )
  features = [j for j in left if j not in (label, group)]
  if not features:
    raise UsageError(
      f"{path} has no column beside the label {source.named(label)}"
    )
  for j in (label, group):
    if j is not None:
      frame[j] = _trimmed(frame[j], options.na)
  for j in features:
    frame[j] = _numbers(source, _trimmed(frame[j], options.na))
  used = [j for j in (*features, label, group) if j is not None]
  kept = _present(source, frame[used], options.missing, notes)
  y, class_names = _encode(source, frame[label], label, kept)
  with np.errstate(over="ignore"):  # overflow is an error below
    x = frame[features].to_numpy(np.float32)
  _check_range(source, x, features, kept)
  notes += _feature_notes(source, frame, features, options.index is None)
  table = Table(x[kept], y, class_names, None, (), tuple(notes))
  if group is None:
    return table
  codes, values = _encode(source, frame[group], group, kept, "group")
  return table._replace(group=codes, group_names=values)


def _check_options(options: Options) -> None:
  if options.missing not in ("refuse", "drop"):
    raise UsageError(
      f"missing={options.missing!r}: write missing=refuse or missing=drop"
    )
  na = options.na if isinstance(options.na, list | tuple) else [options.na]
  if options.na is not None and options.na is not False:
    for text in na:
      if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise UsageError(
          f"na={errors.short(options.na)}: give the text that means a missing "
          "value, a list of such texts, or na=false for an empty field alone"
        )


def _parse(source: _Source, na: Any) -> Any:
  """Returns the table as a pandas frame whose columns are numbered."""
  import pandas as pd

  dialect = source.dialect
  width = len(dialect.names)
  try:
    with np.errstate(all="ignore"):
      frame = pd.read_csv(
        io.BytesIO(source.data),
        sep=dialect.sep,
        decimal=dialect.decimal,
        skipinitialspace=dialect.sep != " ",
        header=0 if dialect.header else None,
        names=range(width + dialect.padded),
        usecols=range(width),
        index_col=False,
        keep_default_na=na is not False,
        na_values=_texts(na),
        low_memory=False,
      )
  except (ValueError, OverflowError, MemoryError) as error:
    raise files.unreadable(source.path, error) from error
  if len(frame) != dialect.num_records:
    raise files.unreadable(
      source.path,
      f"{dialect.num_records} records or {len(frame)}, as quotes are read",
    )
  return frame


def _texts(na: Any) -> list[str]:
  """Lists the texts that mean a missing value."""
  if na is None or na is False:
    return [""]
  if isinstance(na, str) and na[:1] == "[" and na[-1:] == "]":
    na = [text.strip() for text in na[1:-1].split(",")]
  return ["", *map(str, na if isinstance(na, list | tuple) else [na])]


def _index(
  source: _Source, frame: Any, wanted: Column | bool | None
) -> list[int]:
  """Lists the columns that hold the rows' names or numbers."""
  import pandas as pd

  if wanted is False:
    return []
  if wanted is True:
    return [0]
  if wanted is not None:
    return [_find(source, "index", wanted)]
  found = []
  for j in frame.columns[:-2]:
    if not re.fullmatch(r"(Unnamed: [\d.]+)?", source.dialect.names[j]):
      break
    numeric = pd.api.types.is_numeric_dtype(frame[j])
    if numeric and not (
      pd.api.types.is_integer_dtype(frame[j]) and frame[j].is_unique
    ):
      raise UsageError(
        f"{source.path}: column {j} has no name and does not number the rows; "
        "write index=true to leave it out or index=false to read it"
      )
    found.append(j)
  return found


def _find(source: _Source, option: str, wanted: Column) -> int:
  """Returns the column that a name, a number or its text stands for."""
  names = source.dialect.names
  text = str(wanted).strip()
  found = [j for j, name in enumerate(names) if name == text]
  if not found and isinstance(wanted, bool):
    found = [j for j, n in enumerate(names) if n.lower() == text.lower()]
  elif not found and isinstance(wanted, int | float):
    found = [j for j, name in enumerate(names) if _value(name) == wanted]
  if len(found) > 1:
    raise UsageError(
      f"{source.path} has {len(found)} columns that are called "
      f"{errors.short(text)}; rename one"
    )
  if not found:
    raise UsageError(
      f"{source.path} has no column {files.brief(text, 40)!r}; write {option}= "
      f"and one of {files.listed(names, 20)}"
    )
  (column,) = found
  return column


def _value(name: str) -> float | None:
  try:
    return float(name)
  except ValueError:
    return None


def _trimmed(column: Any, na: Any) -> Any:
  """Strips blanks around a column's texts; None for missing values."""
  import pandas as pd

  if pd.api.types.is_numeric_dtype(column):
    return column
  absent = {*_texts(na), *(dialects.MISSING if na is not False else ())}

  def trim(value: Any) -> Any:
    if not isinstance(value, str) or value == value.strip():
      return value
    value = value.strip()
    return None if value in absent else value

  return column.astype(object).map(trim, na_action="ignore")


def _numbers(source: _Source, column: Any) -> Any:
  """Reads a column as numbers or truth values; ValueError for other text."""
  import pandas as pd

  kinds = pd.api.types
  if kinds.is_numeric_dtype(column) or kinds.is_bool_dtype(column):
    return column
  texts = column.astype(object)
  if source.dialect.decimal == ",":
    texts = texts.map(lambda t: str(t).replace(",", "."), na_action="ignore")
  texts = texts.map(lambda t: _WORDS.get(str(t).lower(), t), na_action="ignore")
  numbers = pd.to_numeric(texts, errors="coerce")
  wrong = (numbers.isna() & column.notna()).to_numpy()
  if not wrong.any():
    return numbers.astype(np.float64)
  row = int(wrong.argmax())
  if 2 * wrong.sum() > column.notna().sum():
    line, text = source.cell(row, column.name)
    name = source.named(column.name)
    raise UsageError(
      f"{source.path}: column {name} is not numeric (line {line} holds "
      f"{files.brief(text, 60)!r}); leave it out of the file, encode it as "
      f"numbers, or write label={name} if it is the class"
    )
  text = source.cell(row, column.name)[1].strip()
  if row == 0 and source.dialect.header and column.notna().sum() > 1:
    remedy = "take the line out if it is a second header or holds units"
  elif re.fullmatch(r"[+-]?[\d.]*,\d+", text):
    remedy = "write it without commas of thousands, or decimal=comma"
  else:
    remedy = "mend it"
    if len(text) < 20:
      remedy += f", or write na={text} if it means a missing value"
  raise source.error(row, column.name, f"which is no number; {remedy}")


def _present(
  source: _Source, frame: Any, missing: str, notes: list[str]
) -> np.ndarray:
  """Marks rows [n] that lack no value; others are an error unless dropped."""
  lacking = frame.isna().to_numpy()
  rows = lacking.any(axis=1)
  if not rows.any():
    return ~rows
  row = int(rows.argmax())
  column = min(frame.columns[lacking[row]])
  count, examples = int(lacking.sum()), int(rows.sum())
  if missing == "drop":
    line, _ = source.cell(row, column)
    notes.append(
      f"{examples} of {len(rows)} rows are left out, as they lack values, the "
      f"first in line {line}"
    )
    return ~rows
  text = source.cell(row, column)[1].strip()
  others = "" if count == 1 else f", the first of {count} in {examples} rows"
  raise source.error(
    row,
    column,
    f"which stands for a missing value{others}; fill it, or write missing=drop "
    "to leave such rows out"
    + (", na=false to read words" if text in dialects.MISSING else ""),
  )


def _encode(
  source: _Source, column: Any, j: int, kept: np.ndarray, what: str = "label"
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Numbers values of any kind; returns their names in sorted order too."""
  import pandas as pd

  if pd.api.types.is_float_dtype(column):
    values = column.to_numpy()
    wrong = kept & ~((values == np.round(values)) & (np.abs(values) < 2.0**53))
    if wrong.any():
      raise source.error(
        int(wrong.argmax()),
        j,
        "which is no class; write label= and the column of classes, or cut a "
        "quantity into classes"
        if what == "label"
        else "which is no whole number",
      )
    column = column[kept].astype(np.int64)
  else:
    column = column[kept]
  codes, values = pd.factorize(column, sort=True)
  return codes.astype(np.int32), tuple(str(value) for value in values)


def _check_range(
  source: _Source, x: np.ndarray, features: Sequence[int], kept: np.ndarray
) -> None:
  wrong = ~np.isfinite(x) & kept[:, None]
  if wrong.any():
    row, column = divmod(int(wrong.argmax()), x.shape[1])
    raise source.error(
      row, features[column], "which is infinite in 32 bits; mend it"
    )


def _feature_notes(
  source: _Source, frame: Any, features: Sequence[int], unasked: bool
) -> list[str]:
  notes = []
  whole = [j for j in features if frame[j].dtype.kind in "iu"]
  names = source.dialect.names
  counters = [
    names[j]
    for j in whole
    if len(frame) > 9 and (frame[j].diff()[1:] == 1).all()
  ]
  if counters and unasked:
    notes.append(
      f"features that count the rows: {files.listed(counters)} (index=NAME "
      "leaves one out)"
    )
  large = [
    names[j] for j in whole if abs(frame[j].astype(float)).max() > _EXACT
  ]
  if large:
    notes.append(
      f"whole numbers above {_EXACT:,} are rounded to 32 bits: "
      f"{files.listed(large)}"
    )
  return notes
