"""Equality of records that may hold NaN, such as those read back from JSON."""

import dataclasses
import math
from typing import Any

_MISSING = object()  # stands for every NaN


class Alike:
  """Base of dataclasses that are equal where both have NaN in one place.

  NaN equals nothing, not even itself, so that a record read back from a file
  would differ from the one written. (Until Python 3.12 a dataclass took the
  very same NaN object for equal.) NaN in tuples, lists and dicts among the
  fields counts too. Declare subclasses with `dataclasses.dataclass(eq=False)`.

  >>> @dataclasses.dataclass(frozen=True, eq=False)
  ... class Point(Alike):
  ...   x: float
  >>> Point(float("nan")) == Point(float("nan"))
  True
  """

  def __eq__(self, other: object) -> bool:
    if other.__class__ is not self.__class__:
      return NotImplemented
    return _fields(self) == _fields(other)

  def __hash__(self) -> int:
    return hash(_fields(self))


def _fields(record: Any) -> tuple[Any, ...]:
  fields = dataclasses.fields(record)
  return tuple(_known(getattr(record, f.name)) for f in fields if f.compare)


def _known(value: Any) -> Any:
  if isinstance(value, float):
    return _MISSING if math.isnan(value) else value
  if isinstance(value, tuple):
    return tuple(map(_known, value))
  if isinstance(value, list):
    return [_known(each) for each in value]
  if isinstance(value, dict):
    return {key: _known(each) for key, each in value.items()}
  return value
