"""Errors of users, and values in messages that stay short whatever they are."""

from collections.abc import Iterable
import math
from typing import Any

_WIDTH = 40  # characters of one value
_MOST = 8  # values of a list


class UsageError(ValueError):
  """An option, a file or a combination of parts that jcl refuses.

  The message is whole sentences for the user: what was given and what to give
  instead. The command line prints it without a traceback. An error of any
  other kind is a mistake of the program, or of a function's caller.
  """


class MissingFileError(UsageError, FileNotFoundError):
  """A file or folder that the user named and that is not there."""


class MissingPackageError(UsageError, ImportError):
  """A package that what the user chose needs and that is not installed."""


def short(value: Any, width: int = _WIDTH) -> str:
  """Returns a value as Python writes it, its middle left out where long.

  Args:
    value: of any kind; NumPy's scalars read like Python's.
    width: characters at most.

  >>> short("a" * 100, width=12)
  "'aaaa...aaa'"
  """
  if isinstance(value, str) and len(value) > 2 * width:
    # Cut before it is written out: text may be as long as a file.
    value = value[:width] + value[-width:]
  elif hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
    value = value.item()
  try:
    text = " ".join(repr(value).split())
  except ValueError:  # an integer of thousands of digits
    text = "a very large number"
  if len(text) <= width:
    return text
  kept = width - 3
  return f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"


def some(values: Iterable[Any], most: int = _MOST, width: int = _WIDTH) -> str:
  """Returns values with commas between them, the first and the last of many.

  Args:
    values: of any kind, each written as by `short`.
    most: values that are written out.
    width: characters of each at most.

  >>> some(range(100), most=4)
  '0, 1, 2, ..., 99 (100 in all)'
  """
  listed = list(values)
  return _few([short(value, width) for value in _shown(listed, most)], listed)


def names(
  values: Iterable[Any], most: int = 2 * _MOST, width: int = _WIDTH
) -> str:
  """Returns names with commas between them, the first and the last of many.

  Args:
    values: names, or paths.
    most: names that are written out.
    width: characters of each at most; the rest of a longer one is left out.

  >>> names(["conv", "head"])
  'conv, head'
  """
  listed = list(values)
  shown = [
    " ".join(f"{name[:width]}...".split()) if len(name) > width + 3 else name
    for name in map(str, _shown(listed, most))
  ]
  return _few(shown, listed)


def _shown(listed: list[Any], most: int) -> list[Any]:
  """Returns the values to write out: all, or the first ones and the last."""
  if len(listed) <= most:
    return listed
  return [*listed[: most - 1], listed[-1]]


def _few(written: list[str], listed: list[Any]) -> str:
  """Joins what is written out, with the count of all where some are not."""
  if len(written) == len(listed):
    return ", ".join(written) or "none"
  *first, last = written
  return f"{', '.join(first)}, ..., {last} ({len(listed)} in all)"


def reason(error: BaseException, width: int = 200) -> str:
  """Returns an error's message on one line, cut to `width` characters."""
  return " ".join(str(error).split())[:width]


def count(number: int, noun: str, plural: str | None = None) -> str:
  """Returns a number with its noun, in the plural where it is not 1.

  >>> count(1, "class", "classes"), count(3, "class", "classes")
  ('1 class', '3 classes')
  """
  return f"{number} {noun if number == 1 else plural or noun + 's'}"


_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_UNPREFIXED = ("", "s")


def amount(value: float, unit: str = "") -> str:
  """Returns a quantity to three digits or to the unit, large ones prefixed.

  Args:
    value: of any size; infinity reads "inf".
    unit: such as "J" or "FLOP"; seconds and numbers have no prefixes.

  >>> amount(0.0032149, "J"), amount(2000.0, "J"), amount(3.6e6, "J")
  ('0.00321 J', '2,000 J', '3.6 MJ')
  """
  step = 0
  if unit not in _UNPREFIXED and 1e5 <= abs(value) < math.inf:
    value = float(f"{value:.3g}")
    while abs(value) >= 1000 and step + 1 < len(_PREFIXES):
      value, step = value / 1000, step + 1
  told = f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
  return f"{told} {_PREFIXES[step]}{unit}".rstrip()


def part(value: float, whole: float, unit: str) -> str:
  """Returns what there is of a whole, see `amount`; a unit of both stands once.

  >>> part(20.0, 2000.0, "J"), part(2e8, 1e9, "FLOP")
  ('20 of 2,000 J', '200 MFLOP of 1 GFLOP')
  """
  told, every = amount(value, unit), amount(whole, unit)
  number, given = told.split()
  return f"{number if every.split()[1] == given else told} of {every}"
