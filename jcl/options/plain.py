"""Values as users write them: text, truth, numbers and sizes in bytes."""

import ast
import math
import numbers
import re
from typing import Any
import warnings

from jcl.options.errors import UsageError

_BYTES = {
  "B": 1,
  "KB": 10**3,
  "MB": 10**6,
  "GB": 10**9,
  "KIB": 2**10,
  "MIB": 2**20,
  "GIB": 2**30,
}
# The largest whole number where an annotation sets no upper bound. Such numbers
# count rows of arrays, which JAX numbers by int32.
_MOST = 2**31 - 1


class Text(str):
  """A value as a user wrote it, which is read once its kind is known."""


class Unfit(ValueError):
  """Raised for a value of another kind; the message, if any, says why."""


def parse_size(text: str) -> int:
  """Returns the bytes of a size such as "2MB" (10**6) or "512KiB" (2**10).

  Raises:
    ValueError: where the text is no number, or its unit is missing or unknown.

  >>> parse_size("2MB"), parse_size("512 KiB")
  (2000000, 524288)
  """
  match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?i?B)", text.strip(), re.I)
  if match is None or match[2].upper() not in _BYTES or len(text) > 100:
    raise UsageError(
      f"{shown(text)} is no size in bytes: write a number and one of B, kB, "
      'MB, GB, KiB, MiB, GiB, such as "2MB" or "512KiB"'
    )
  return int(float(match[1]) * _BYTES[match[2].upper()])


def literal(text: str) -> Any:
  """Returns a Python literal, "true" and "false" as bool, all else as text.

  >>> literal("0.5"), literal("true"), literal("[1, 2]"), literal("mean")
  (0.5, True, [1, 2], 'mean')
  """
  if text in ("true", "false"):
    return text == "true"
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # text is no source of a program
      return ast.literal_eval(text)
  except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
    return str(text)


def shown(value: Any, most: int = 60) -> str:
  """Returns a value as a user wrote it, cut to `most` characters."""
  try:
    text = str(value) if isinstance(value, Text) else repr(value)
  except ValueError:  # an integer of thousands of digits
    text = "a very large number"
  text = " ".join(text.split()) if "\n" in text else text
  return text if len(text) <= most else text[: most - 4] + " ..."


def unquoted(value: Any) -> Any:
  """Returns text as a user meant it, without quotes around it."""
  if not isinstance(value, Text):
    return value
  text = str(value)
  quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
  return text[1:-1] if quoted else text


def read_none(value: Any) -> None:
  """Returns None for None; raises `Unfit` for other values."""
  if value is not None and value != Text("None"):
    raise Unfit


def read_bool(value: Any) -> bool:
  """Returns a truth value; raises `Unfit` for other values."""
  if isinstance(value, Text):
    value = literal(value)
  if not isinstance(value, bool):
    raise Unfit
  return value


def read_number(value: Any) -> Any:
  """Returns a real number; raises `Unfit` for other values."""
  if isinstance(value, Text):
    text, value = value, literal(value)
    if isinstance(value, str):
      try:
        value = float(text)  # also nan and inf, which are no literals
      except ValueError:
        raise Unfit from None
  if isinstance(value, bool) or not isinstance(value, numbers.Real):
    raise Unfit
  return value


def read_whole(value: Any) -> int:
  """Returns a whole number, which may be written as 1e3, or raises `Unfit`."""
  found = read_number(value)
  if not (isinstance(found, numbers.Integral) or float(found).is_integer()):
    raise Unfit
  return int(found)


def read_int(value: Any) -> int:
  """Returns a whole number within int32, or raises `Unfit`."""
  found = read_whole(value)
  if abs(found) > _MOST:
    raise Unfit(f"at most {_MOST}")
  return found


def read_float(value: Any) -> float:
  """Returns a finite number; raises `Unfit` for other values."""
  found = read_number(value)
  try:
    found = found if isinstance(found, int) else float(found)
    finite = math.isfinite(found)
  except OverflowError:
    finite = False
  if not finite:
    raise Unfit
  return found


def read_str(value: Any) -> str:
  """Returns text, a number or a path as text; raises `Unfit` for others."""
  if isinstance(value, numbers.Integral) and not isinstance(value, bool):
    return str(value)  # a column or folder with a number for a name
  if hasattr(value, "__fspath__"):
    return str(value.__fspath__())
  if not isinstance(value, str):
    raise Unfit
  return unquoted(value)
