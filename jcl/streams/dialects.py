"""Recognises the dialect of a table of delimited text, where that is safe.

Where a choice is unsure, the error names the option to give.
"""

from collections.abc import Iterator, Sequence
import csv
import io
import itertools
from pathlib import Path
import re
from typing import NamedTuple

from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.streams import files

SEPARATORS = {
  "comma": ",",
  "semicolon": ";",
  "tab": "\t",
  "\\t": "\t",
  "pipe": "|",
  "space": " ",
}
DECIMALS = {"point": ".", "comma": ","}
# Texts that mean a missing value unless `na` says otherwise, as in pandas.
MISSING = frozenset(
  "#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,"
  "NULL,NaN,None,n/a,nan,null".split(",")
)
# Texts that may stand in a header and in a record alike.
_UNSURE = MISSING | {"", "?", "-", "--", ".", "*"}
_SAMPLE = 1000  # records looked at
_NUMBER = re.compile(
  r"\s*[+-]?(?:(?:\d+[.,]?\d*|[.,]\d+)(?:e[+-]?\d+)?|inf|infinity|nan)\s*"
  r"|\s*(?:true|false)\s*",
  re.I,
)
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+\s*")
_BOMS = (
  (b"\xef\xbb\xbf", "utf-8-sig"),
  (b"\xff\xfe\0\0", "utf-32"),
  (b"\0\0\xfe\xff", "utf-32"),
  (b"\xff\xfe", "utf-16"),
  (b"\xfe\xff", "utf-16"),
)

Record = tuple[int, list[str]]  # line on which it begins, from 1; its fields


class Dialect(NamedTuple):
  """The way in which a table is written."""

  sep: str
  decimal: str
  header: bool
  names: tuple[str, ...]  # of the columns; numbers from 0 without a header
  padded: bool  # every record ends in a separator with no field behind it
  num_records: int  # without the header


def to_utf8(path: Path, content: bytes, encoding: str | None) -> bytes:
  """Converts text to UTF-8 without a byte order mark.

  Args:
    path: for messages.
    content: the bytes of the file.
    encoding: of `content`; None for the encoding of its byte order mark, or
      UTF-8 without one.

  Raises:
    ValueError: where the bytes are no text in that encoding; the message names
      a line.
  """
  marked = next((name for mark, name in _BOMS if content.startswith(mark)), "")
  given = str(encoding) if encoding is not None else marked or "utf-8"
  try:
    b"".decode(given)
    text = content.decode(given)
  except UnicodeDecodeError as error:
    line = content.count(b"\n", 0, error.start) + 1
    found = content[max(0, error.start - 8) : error.end + 8]
    raise UsageError(
      f"{path}: line {line} is not in the encoding {given} (it holds {found!r})"
      "; write encoding=latin-1, encoding=utf-16 or the one it is in"
    ) from error
  except (LookupError, ValueError) as error:
    raise UsageError(
      f"encoding={files.brief(given, 40)} is not known; write encoding=utf-8, "
      "encoding=latin-1 or another that Python knows"
    ) from error
  text = text.removeprefix("\ufeff")
  if "\0" in text:
    line = text.count("\n", 0, text.index("\0")) + 1
    raise UsageError(
      f"{path}: line {line} holds a NUL character, so this is no table of text,"
      " or one in another encoding, such as encoding=utf-16"
    )
  return text.encode("utf-8", "replace")


def records(data: bytes, sep: str) -> Iterator[Record]:
  """Yields the records of a table in UTF-8 that are not blank, with lines.

  >>> list(records(b"a,b\\n\\n1,2\\n", ","))
  [(1, ['a', 'b']), (3, ['1', '2'])]
  """
  with io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="") as text:
    reader = csv.reader(text, delimiter=sep, skipinitialspace=sep != " ")
    line = 1
    for fields in reader:
      if len(fields) > 1 or any(field.strip() for field in fields):
        yield line, fields
      line = reader.line_num + 1


def recognise(
  path: Path,
  data: bytes,
  *,
  sep: str | None,
  decimal: str | None,
  header: bool | None,
) -> Dialect:
  """Recognises how a table is written.

  Args:
    path: for messages.
    data: the table in UTF-8.
    sep: the separator; None to recognise it.
    decimal: the decimal mark; None to recognise it.
    header: whether the first record names columns; None to recognise it.

  Raises:
    ValueError: where records differ in length, or a choice is unsure; the
      message names the line and the option.
  """
  if header not in (None, True, False):
    raise UsageError(
      f"header={errors.short(header)}: write header=true or header=false"
    )
  if not data.strip():
    raise UsageError(f"{path} is empty")
  try:
    sep = _separator(path, data, sep)
    sample = list(itertools.islice(records(data, sep), _SAMPLE))
    if not sample:
      raise UsageError(f"{path} is empty")
    first = sample.pop(0)
    num_records, width, padded = _shape(path, data, sep)
  except csv.Error as error:
    raise files.unreadable(path, error) from error
  first_fields = first[1]
  if padded and len(first_fields) > width:
    first_fields = first_fields[:width]
  rows = [fields[:width] for _, fields in sample]
  point = _decimal(path, sep, decimal, [first_fields, *rows])
  if len(first_fields) == width - 1 and rows:
    # R writes no name above the column of the rows' names.
    first_fields, header = ["", *first_fields], True
  if header is None:
    header = _has_header(first_fields, rows)
  if header is None:
    raise UsageError(
      f"{path}: line {first[0]} ({files.listed(first_fields, 5)}) may be a "
      "header or an example; write header=true or header=false"
    )
  names = first_fields if header else map(str, range(width))
  return Dialect(
    sep,
    point,
    header,
    tuple(name.strip() for name in names),
    padded,
    num_records - header,
  )


def _shape(path: Path, data: bytes, sep: str) -> tuple[int, int, bool]:
  """Counts records and fields; tells whether every record ends in `sep`."""
  total, width, first, padded = 0, 0, 0, True
  for line, fields in records(data, sep):
    total += 1
    if total == 1:
      first, width = len(fields), len(fields)
      first_padded = not fields[-1].strip()
      continue
    if total == 2 and abs(len(fields) - first) == 1:
      width = len(fields)  # the header may lack a name for the rows' names
    if len(fields) != width:
      raise UsageError(
        f"{path}: line {line} has {len(fields)} fields, the lines before "
        f"{width} (separated by {_spelt(sep)}); mend the line, or write sep="
      )
    padded = padded and not fields[-1].strip()
  if total == 1:
    return total, width, False
  if first == width + 1 and first_padded:  # only the header is padded
    return total, width, True
  if first > width:
    raise UsageError(
      f"{path}: the first line has {first} fields, the others {width} "
      f"(separated by {_spelt(sep)}); mend it, or write sep="
    )
  padded = padded and (first < width or first_padded)
  return total, width - padded, padded


def _separator(path: Path, data: bytes, given: str | None) -> str:
  if given is not None:
    sep = SEPARATORS.get(str(given), str(given))
    if len(sep) != 1 or sep in '"\r\n':
      raise UsageError(
        f"sep={files.brief(given, 40)!r}: write one character, or comma, "
        "semicolon, tab, pipe or space"
      )
    return sep
  scores, widest = {}, (1, ",")
  for sep in dict.fromkeys(SEPARATORS.values()):
    sample = [f for _, f in itertools.islice(records(data, sep), _SAMPLE)]
    if not sample:
      raise UsageError(f"{path} is empty")
    widths = {len(fields) for fields in sample[1:]} or {len(sample[0])}
    widest = max(widest, (max(widths), sep), key=lambda pair: pair[0])
    width = widths.pop()
    if widths or width < 2 or abs(width - len(sample[0])) > 1:
      continue
    fields = [f for row in sample[1:] or sample for f in row if f.strip()]
    scores[sep] = sum(map(is_number, fields)) / max(len(fields), 1)
  if not scores:
    if widest[0] == 1:
      raise UsageError(
        f"{path} has no column beside the label, or is not separated by comma, "
        "semicolon, tab, pipe or space; write sep= and the character"
      )
    return widest[1]  # `_shape` then reports the line of another length
  best = max(scores.values())
  first, *others = (sep for sep, score in scores.items() if score == best)
  if others:
    raise UsageError(
      f"{path} may be separated by "
      f"{' or '.join(map(_spelt, (first, *others)))}; write sep= and which"
    )
  return first


def _spelt(sep: str) -> str:
  return next((name for name, s in SEPARATORS.items() if s == sep), repr(sep))


def is_number(field: str) -> bool:
  """Tells whether a field holds a number or a truth value.

  >>> is_number("-1.5e3"), is_number("true"), is_number("abc")
  (True, True, False)
  """
  return _NUMBER.fullmatch(field) is not None


def _decimal(
  path: Path, sep: str, given: str | None, rows: Sequence[Sequence[str]]
) -> str:
  if given is not None:
    decimal = DECIMALS.get(str(given), str(given))
    if decimal not in DECIMALS.values():
      raise UsageError(
        f"decimal={files.brief(given, 40)!r}: write decimal=point or "
        "decimal=comma"
      )
    return decimal
  numbers = [f for row in rows for f in row if is_number(f)]
  commas = [field for field in numbers if "," in field]
  if sep == "," or not commas or any("." in field for field in numbers):
    return "."
  if all(map(_THOUSANDS.fullmatch, commas)):
    raise UsageError(
      f"{path}: {errors.short(commas[0].strip())} may have a decimal comma or "
      "be in thousands; write decimal=comma, or take these commas out"
    )
  return ","


def _has_header(
  first: Sequence[str], rows: Sequence[Sequence[str]]
) -> bool | None:
  """Tells whether the first record names columns; None where unsure."""
  if not rows:
    return not any(map(is_number, first))
  columns = [[f.strip() for f in column] for column in zip(*rows, strict=True)]
  tells = [f.strip() not in _UNSURE for f in first]
  number = [is_number(f) for f in first]
  numeric = [
    2 * sum(map(is_number, c)) >= max(1, sum(f not in _UNSURE for f in c))
    for c in columns
  ]
  kinds = list(zip(tells, number, numeric, strict=True))
  if any(told and not n and numbers for told, n, numbers in kinds):
    return True  # words above numbers
  values = [f.strip() for f, n in zip(first, number, strict=True) if n]
  counted = _counts(values)
  words = [j for j, (told, n, _) in enumerate(kinds) if told and not n]
  if words:  # only above words
    if not values:
      return True
    if any(first[j].strip() in columns[j] for j in words):
      return False
    return True if counted else None
  if not counted:
    return False
  if not first[0].strip() and len(values) == len(first) - 1:
    return True if _counts(columns[0]) else None
  # Numbers 0, 1, 2 ... as pandas names columns, or an example of these?
  if any(all(re.search("[.,e]", f) for f in c) for c in columns):
    return True
  return None


def _counts(values: Sequence[str]) -> bool:
  """Tells whether the texts are 0, 1, 2 ... or 1, 2, 3 ..."""
  wanted = range(len(values))
  return len(values) > 0 and list(values) in (
    [str(i) for i in wanted],
    [str(i + 1) for i in wanted],
  )


def notes(dialect: Dialect) -> list[str]:
  """Returns what was recognised and a reader may want to know, a line each."""
  told = []
  if not dialect.header:
    told.append(
      f"no header: columns are called 0 to {len(dialect.names) - 1} "
      "(header=true takes the first line for one)"
    )
  if dialect.decimal == ",":
    told.append("numbers are read with a decimal comma")
  return told
