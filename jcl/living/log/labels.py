"""Labels of users as text: any hashable value that JSON holds.

The text of a label, its key, is JSON in one form, so that equal keys mean equal
labels in every process. 1, 1.0, "1" and True are four labels.
"""

import json
import math
from typing import Any, TypeAlias

import numpy as np

from jcl.options import errors
from jcl.options.errors import UsageError

Label: TypeAlias = str | int | float | bool | tuple[Any, ...]

NONE = "null"  # the key of an example without a label
_LONGEST = 4096  # characters of a key
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_WRITE = "write a string, an integer, a truth value, a float or a tuple of them"


def key(label: Any, where: str = "label") -> str:
  """Returns the key of a label; None, an absent one, has the key `NONE`.

  Args:
    label: a string, integer, float, truth value, NumPy scalar, or a tuple or
      list of these and of None.
    where: place of the label, for the message.

  Raises:
    UsageError: for a label that JSON cannot hold, or a very long one.

  >>> key("door"), key(np.int64(3)), key(("a", 1))
  ('"door"', '3', '["a",1]')
  """
  if label is None:
    return NONE
  plain = _plain(label, where, label)
  try:
    text = _encode(plain)
  except (ValueError, RecursionError) as error:  # huge integers, deep tuples
    raise _refusal(where, label, errors.reason(error, 60)) from error
  if len(text) > _LONGEST:
    raise _refusal(where, label, f"its text has {len(text)} characters")
  return text


def label(text: str) -> Label | None:
  """Returns the label of a key; None for `NONE`.

  >>> label('["a",1]')
  ('a', 1)
  """
  return _hashable(json.loads(text))


def _plain(value: Any, where: str, whole: Any) -> Any:
  """Returns a value as the JSON writer takes it: subclasses become plain."""
  scalar = isinstance(value, np.generic | np.ndarray) and value.ndim == 0
  if scalar and value.dtype.kind in "biufU":
    value = value.item()
  if value is None or isinstance(value, bool):
    return value
  if isinstance(value, str):
    return str.__str__(value)
  if isinstance(value, int):
    return int(value)
  if isinstance(value, float):
    if not math.isfinite(value):
      raise _refusal(where, whole, "it is not a finite number")
    return float(value) + 0.0  # -0.0 equals 0.0, and becomes it
  if isinstance(value, tuple | list):
    try:
      return [_plain(each, where, whole) for each in value]
    except RecursionError as error:
      raise _refusal(where, whole, "it is nested too deeply") from error
  raise _refusal(where, whole, f"JSON holds no {type(value).__name__}")


def _refusal(where: str, label: Any, why: str) -> UsageError:
  try:
    shown = errors.short(label)
  except RecursionError:
    shown = f"a {type(label).__name__} of many levels"
  return UsageError(f"{where} is {shown}, but {why}: {_WRITE}")


def _hashable(value: Any) -> Any:
  if isinstance(value, list):
    return tuple(_hashable(each) for each in value)
  return value
