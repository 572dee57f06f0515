"""Values of a run's files, each checked to be of the kind that it must be.

Every function returns the value, or raises a ValueError that names it and says
in a few words what it is instead: files may be damaged, or another program's.
"""

from collections.abc import Callable, Mapping
import math
from typing import Any, TypeVar

from jcl import errors

_T = TypeVar("_T")
_LARGEST = 2**53  # whole numbers up to this are exact as floats too


def whole(value: Any, name: str) -> int:
  """A whole number from 0 to 2**53."""
  if type(value) is not int or not 0 <= value <= _LARGEST:
    raise _unlike(value, name, "a whole number from 0 to 2**53")
  return value


def real(value: Any, name: str) -> float:
  """A number, NaN where the file has null, or an infinity that is text."""
  if value is None:
    return math.nan
  if value in ("inf", "-inf") or type(value) in (int, float):
    try:
      return float(value)
    except OverflowError:
      pass
  raise _unlike(value, name, "a number")


def text(value: Any, name: str) -> str:
  """Text."""
  if not isinstance(value, str):
    raise _unlike(value, name, "text")
  return value


def yes_or_no(value: Any, name: str) -> bool:
  """True or false."""
  if not isinstance(value, bool):
    raise _unlike(value, name, "true or false")
  return value


def mapping(value: Any, name: str) -> dict[str, Any]:
  """A JSON object, as a dictionary of its own."""
  if not isinstance(value, Mapping):
    raise _unlike(value, name, "an object")
  return dict(value)


def several(
  value: Any, name: str, each: Callable[[Any, str], _T]
) -> tuple[_T, ...]:
  """A list, each item of which `each` checks."""
  if not isinstance(value, list | tuple):
    raise _unlike(value, name, "a list")
  return tuple(each(item, name) for item in value)


def wholes(value: Any, name: str) -> tuple[int, ...]:
  """A list of whole numbers."""
  return several(value, name, whole)


def row(value: Any, name: str) -> tuple[float, ...]:
  """A list of numbers, null for NaN."""
  return several(value, name, real)


def _unlike(value: Any, name: str, wanted: str) -> ValueError:
  return ValueError(f'"{name}" is {errors.short(value)} instead of {wanted}')
