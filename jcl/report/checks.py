"""Checks of values that were read from a run's files.

Files may be damaged or written by another program, so every function returns
the value if it is of the wanted kind, and otherwise raises a ValueError that
names the value and the wanted kind.
"""

from collections.abc import Callable, Mapping
import math
from typing import Any, TypeVar

from jcl.options import errors

_T = TypeVar("_T")
_LARGEST = 2**53  # whole numbers up to this are exact as floats too


def whole(value: Any, name: str) -> int:
  """Returns `value` if it is a whole number from 0 to 2**53.

  >>> whole(3, "steps")
  3
  >>> whole(-1, "steps")
  Traceback (most recent call last):
  ...
  ValueError: "steps" is -1 instead of a whole number from 0 to 2**53
  """
  if type(value) is not int or not 0 <= value <= _LARGEST:
    raise _unlike(value, name, "a whole number from 0 to 2**53")
  return value


def real(value: Any, name: str) -> float:
  """Returns a number as float: null is NaN, "inf" and "-inf" are infinite."""
  if value is None:
    return math.nan
  if value in ("inf", "-inf") or type(value) in (int, float):
    try:
      return float(value)
    except OverflowError:
      pass
  raise _unlike(value, name, "a number")


def text(value: Any, name: str) -> str:
  """Returns `value` if it is text."""
  if not isinstance(value, str):
    raise _unlike(value, name, "text")
  return value


def yes_or_no(value: Any, name: str) -> bool:
  """Returns `value` if it is true or false."""
  if not isinstance(value, bool):
    raise _unlike(value, name, "true or false")
  return value


def mapping(value: Any, name: str) -> dict[str, Any]:
  """Returns a copy of `value` if it is a JSON object."""
  if not isinstance(value, Mapping):
    raise _unlike(value, name, "an object")
  return dict(value)


def several(
  value: Any, name: str, each: Callable[[Any, str], _T]
) -> tuple[_T, ...]:
  """Returns a list as a tuple, each of its items checked by `each`."""
  if not isinstance(value, list | tuple):
    raise _unlike(value, name, "a list")
  return tuple(each(item, name) for item in value)


def wholes(value: Any, name: str) -> tuple[int, ...]:
  """Returns a list of whole numbers as a tuple."""
  return several(value, name, whole)


def row(value: Any, name: str) -> tuple[float, ...]:
  """Returns a list of numbers as a tuple, NaN for null."""
  return several(value, name, real)


def _unlike(value: Any, name: str, wanted: str) -> ValueError:
  return ValueError(f'"{name}" is {errors.short(value)} instead of {wanted}')
