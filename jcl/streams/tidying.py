"""Takes comments, marks for programs and empty rows out of a table's text.

Lines keep their numbers: a line that is taken out leaves a blank one.
"""

from collections.abc import Callable, Sequence
import csv
import itertools
from pathlib import Path
import re

from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.streams import dialects

_EXCEL = re.compile(rb'\s*"?sep=(.)"?[ \t]*(?=[\r\n])', re.I | re.S)
_COMMENT = re.compile(rb"(?m)^[ \t]*#[^\r\n]*")
_NO_VALUES = re.compile(rb"(?m)^ *[,;\t|][,;\t| ]*(?=\r?$)")
_ALIGNED = re.compile(rb"(?m)^ +\S|\S {2,}\S")
_SAMPLE = 1000  # records looked at

# First bytes of files that are no tables of text, and the names of such files.
_FOREIGN = (
  (b"PK\x03\x04", "an Excel workbook or another archive"),
  (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
  (b"PAR1", "a Parquet file"),
  (b"ARROW1", "an Arrow file"),
  (b"\x89HDF", "an HDF5 file"),
  (b"\x93NUMPY", "a NumPy array"),
  (b"MATLAB 5", "a MATLAB file"),
  (b"%PDF", "a PDF document"),
  (b"\x89PNG", "an image"),
  (b"\xff\xd8\xff", "an image"),
  (b"GIF8", "an image"),
  (b"SQLite format 3", "a database"),
  (b"\x1f\x8b", "compressed by gzip without ending in .gz"),
  (b'{"', "a JSON file"),
  (b"[{", "a JSON file"),
  (b"<!doctype", "a web page"),
  (b"<html", "a web page"),
  (b"<?xml", "an XML file"),
  (b"@relation", "an ARFF file"),
)


def check(path: Path, content: bytes) -> None:
  """Raises ValueError for a file that is known to be no table of text."""
  start = content[:4096].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
  for mark, what in _FOREIGN:
    if start.startswith(mark.lower()):
      raise UsageError(
        f"{path} is {what}, no table of text; save it as CSV, as Excel and "
        "pandas.DataFrame.to_csv do"
      )


def tidy(data: bytes, sep: str | None) -> tuple[bytes, str | None, list[str]]:
  """Takes out comments and rows without values; joins runs of blanks.

  Args:
    data: text in UTF-8.
    sep: the separator as given; None to recognise it.

  Returns:
    The table, the separator if it is known by now, and notes on the lines left
    out.

  >>> tidy(b"# note\\na,b\\n1,2\\n", None)[0]
  b'\\na,b\\n1,2\\n'
  """
  notes: list[str] = []
  said = _EXCEL.match(data)
  if said:
    data = b"\n" * said[0].count(b"\n") + data[said.end() :]
    sep = sep or said[1].decode("latin-1")
  if sep != "#" and _COMMENT.search(data):
    data = _without_comments(data, notes)
  data = _without_empty_rows(data, notes)
  if sep in (None, "space", " ") and b'"' not in data:
    closed = _closed_up(data, sep)
    if closed is not None:
      return closed, "space", notes
  return data, sep, notes


def _without_comments(data: bytes, notes: list[str]) -> bytes:
  """Blanks lines that begin with #; one that names the columns loses its #."""
  plain = re.search(rb"(?m)^[ \t]*[^#\s][^\r\n]*", data)
  if plain is None:
    return data
  first, shape = plain.start(), _shape(plain[0])
  leading = [m for m in _COMMENT.finditer(data, 0, first) if m.end() <= first]
  header = leading[-1] if leading and _names(leading[-1][0], shape) else None

  def replacement(match: re.Match[bytes]) -> bytes:
    if header is not None and match.start() == header.start():
      return match[0].lstrip(b"# \t")
    if any(shape[:-1]) and _shape(match[0])[:-1] == shape[:-1]:
      return match[0]  # a record whose first value begins with #
    return b""

  data, count = _replaced(data, _COMMENT, replacement)
  if count:
    lines = errors.count(count, "line")
    notes.append(f"{lines} of comments, which begin with #, left out")
  return data


def _shape(line: bytes) -> tuple[int, ...]:
  """Counts each separator in a line, and its words."""
  line = line.strip()
  counts = [line.count(sep) for sep in (b",", b";", b"\t", b"|")]
  return *counts, len(line.split())


def _names(comment: bytes, shape: Sequence[int]) -> bool:
  """Tells whether a comment is a header: a record's fields, but no number."""
  text = comment.lstrip(b"# \t")
  found = _shape(text)
  if found[:-1] != shape[:-1] or not (any(shape[:-1]) or found == shape):
    return False
  fields = re.split(r"[,;\t| ]+", text.decode("utf-8", "replace").strip())
  return not any(map(dialects.is_number, fields))


def _without_empty_rows(data: bytes, notes: list[str]) -> bytes:
  """Blanks rows of separators alone, as spreadsheets leave at the end."""
  cleaned, count = _replaced(data, _NO_VALUES, lambda match: b"")
  if count:
    rows = errors.count(count, "row")
    notes.append(f"{rows} without any value left out")
  return cleaned


def _replaced(
  data: bytes,
  pattern: re.Pattern[bytes],
  replacement: Callable[[re.Match[bytes]], bytes],
) -> tuple[bytes, int]:
  """Replaces lines outside quotes; counts those that became blank."""
  at, quotes, blank = 0, 0, 0

  def replaced(match: re.Match[bytes]) -> bytes:
    nonlocal at, quotes, blank
    quotes += data.count(b'"', at, match.start())
    at = match.start()
    if quotes % 2:  # inside a value of several lines
      return match[0]
    found = replacement(match)
    blank += not found
    at = at if found else match.end()
    return found

  return pattern.sub(replaced, data), blank


def _closed_up(data: bytes, sep: str | None) -> bytes | None:
  """Joins runs of blanks into one; None where no blank separates values."""
  if not _ALIGNED.search(data):
    return None
  closed = re.sub(rb" {2,}", b" ", data)
  closed = re.sub(rb"(?m)^ | (?=\r?$)", b"", closed)
  if sep is not None:
    return closed if not _fits(data) else None
  score = _score(closed, " ")
  others = [_score(data, s) for s in dialects.SEPARATORS.values() if s != " "]
  if score <= max(others) or _fits(data):
    return None
  return closed


def _fits(data: bytes) -> bool:
  """Tells whether each blank separates values: no column is all empty."""
  rows = _sample(data, " ")
  if len({len(row) for row in rows}) != 1:
    return False
  return all(
    any(f.strip() for f in column) for column in zip(*rows, strict=True)
  )


def _score(data: bytes, sep: str) -> float:
  """Returns the share of numbers; -1 where records differ in length."""
  rows = _sample(data, sep)
  widths = {len(row) for row in rows[1:]}
  if len(widths) != 1 or min(widths) < 2:
    return -1.0
  if abs(len(rows[0]) - min(widths)) > 1:
    return -1.0
  fields = [f for row in rows[1:] for f in row]
  return sum(map(dialects.is_number, fields)) / len(fields)


def _sample(data: bytes, sep: str) -> list[list[str]]:
  try:
    found = itertools.islice(dialects.records(data, sep), _SAMPLE)
    return [fields for _, fields in found]
  except csv.Error:
    return []
