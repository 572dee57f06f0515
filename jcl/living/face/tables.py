"""Tables of text that grow at their end: their new rows, as numbers."""

import csv
import itertools
import math
from pathlib import Path
from typing import Any, NamedTuple
import zlib

import numpy as np

from jcl.living.face import memory as memory_lib
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.streams import dialects, files

SUFFIXES = (".csv", ".tsv")
_PART = 1 << 20  # bytes that are read at a time
_MOST = 1 << 26  # of one record, and of a table's first part


class Form(NamedTuple):
  """How a table is written, and which of its columns is the label."""

  sep: str
  decimal: str
  header: bool
  names: tuple[str, ...]  # of the columns
  label: int  # the column
  rows: int  # leading columns of the rows' names or numbers, left out


class Row(NamedTuple):
  """A record of a table.

  Attributes:
    start: its first byte in the file.
    end: behind its last one.
    crc: checksum of its bytes.
    x: [F] float32; None where the record is left out.
    label: None where it has none.
    why: a record is left out.
  """

  start: int
  end: int
  crc: int
  x: np.ndarray | None = None
  label: str | None = None
  why: str = ""


def recognised(
  path: Path, name: str, label: str | None
) -> dict[str, Any] | None:
  """Returns the form of a table as JSON holds it; None: it has no row yet.

  Args:
    path: of the file.
    name: of the table, for messages.
    label: column of the label, by name or number; None: the last one.

  Raises:
    UsageError: where the form is unsure, or has no such column.
  """
  with open(path, "rb") as file:
    data = files.first(file, _MOST)
  records = list(itertools.islice(_records(data), 1000))
  if len(records) < 2:
    return None
  whole = b"".join(records)
  text = dialects.to_utf8(Path(name), whole, None)
  found = dialects.recognise(
    Path(name), text, sep=None, decimal=None, header=None
  )
  if len(found.names) < 2:
    raise UsageError(f"{name} has no column beside the label")
  if found.padded:
    raise UsageError(f"{name}: every line ends in a separator: leave it out")
  rows, column = 0, len(found.names) - 1
  while rows < column - 1 and not found.names[rows]:  # as pandas and R write
    rows += 1
  if label is not None:
    named = [j for j, each in enumerate(found.names) if each == label.strip()]
    if len(named) != 1:
      raise UsageError(
        f"{name} has no column {errors.short(label)}: start with --label= and "
        f"one of {files.listed(found.names, 20)}"
      )
    column = named[0]
  if column < rows:
    raise UsageError(f"{name}: the column {errors.short(label)} numbers rows")
  form = Form(found.sep, found.decimal, found.header, found.names, column, rows)
  return {**form._asdict(), "names": list(found.names)}


def appended(path: Path, name: str, table: memory_lib.Table) -> list[Row]:
  """Returns the next whole records of a table, as many as are read at a time.

  Args:
    path: of the file.
    name: of the table, for messages.
    table: what was read of it.

  Raises:
    UsageError: where what was read before is not there any more.
    OSError: where the file cannot be read.
  """
  form = Form(**{**table.dialect, "names": tuple(table.dialect["names"])})
  with open(path, "rb") as file:
    _check_unchanged(file, name, table)
    data = file.read(_PART)
    found = list(_records(data))
    while not found and len(data) < _MOST and (more := file.read(_PART)):
      data += more
      found = list(_records(data))
  if not found and len(data) >= _MOST:
    raise UsageError(f"{name}: no line ends within {_MOST >> 20} MiB")
  rows, at = [], table.end
  for record in found:
    row = Row(at, at + len(record), zlib.crc32(record))
    rows.append(_parsed(row, record, form, name, header=form.header and not at))
    at = row.end
  return rows


def _check_unchanged(file: Any, name: str, table: memory_lib.Table) -> None:
  file.seek(table.start)
  last = file.read(table.end - table.start)
  if len(last) < table.end - table.start or zlib.crc32(last) != table.crc:
    raise UsageError(
      f"{name} was altered before byte {table.end}, up to which it was read: "
      "append to a table, and give another one another name"
    )


def _records(data: bytes) -> Any:
  """Yields the whole records of a text, each with the line feed it ends in.

  A record goes on behind a line feed that stands between quotes.
  """
  start, quotes = 0, 0
  at = 0
  while (end := data.find(b"\n", at) + 1) > 0:
    quotes += data.count(b'"', at, end)
    at = end
    if quotes % 2 == 0:
      yield data[start:end]
      start = end


def _parsed(
  row: Row, record: bytes, form: Form, name: str, header: bool
) -> Row:
  """Returns a row with its inputs and label, or why it is left out."""
  try:
    text = record.decode("utf-8-sig" if not row.start else "utf-8")
    fields = next(
      csv.reader(
        text.splitlines(keepends=True),
        delimiter=form.sep,
        skipinitialspace=form.sep != " ",
      ),
      [],
    )
  except (ValueError, csv.Error) as error:
    return row._replace(why=_told(name, row, errors.reason(error, 60)))
  if header or not any(field.strip() for field in fields):
    return row  # nothing that was meant as an example
  if len(fields) != len(form.names):
    found, wanted = len(fields), len(form.names)
    why = f"there are {found} fields, and {wanted} in the lines before"
    return row._replace(why=_told(name, row, why))
  values = []
  for j, field in enumerate(fields):
    if j < form.rows or j == form.label:
      continue
    number = _number(field, form.decimal)
    if number is None:
      column = errors.short(form.names[j])
      why = (
        f"column {column} holds {files.brief(field, 30)!r}, which is no number"
      )
      return row._replace(why=_told(name, row, why))
    values.append(number)
  label = fields[form.label].strip()
  return row._replace(
    x=np.array(values, np.float32),
    label=None if label in ("", *dialects.MISSING) else label,
  )


def _number(field: str, decimal: str) -> float | None:
  text = field.strip()
  if decimal == ",":
    text = text.replace(",", ".")
  if text.lower() in ("true", "false"):
    return float(text.lower() == "true")
  try:
    found = float(text)
  except ValueError:
    return None
  fits = math.isfinite(found) and abs(found) <= np.finfo(np.float32).max
  return found if fits and "_" not in text else None


def _told(name: str, row: Row, why: str) -> str:
  return f"{name}: the line at byte {row.start} is left out: {why}"
