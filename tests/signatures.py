"""What functions take unless told otherwise, and how records are compared."""

from collections.abc import Callable
import inspect
from typing import Any

_PLAIN = (bool, int, float, str, tuple)


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
  """Returns the defaults that are numbers, texts or tuples, by parameter."""
  return {
    name: each.default
    for name, each in inspect.signature(function).parameters.items()
    if type(each.default) in _PLAIN
  }


def equal_themselves_alone(*records: type) -> bool:
  """Tells whether records, which hold arrays, are compared as objects."""
  return all(
    each.__eq__ is object.__eq__ and each.__hash__ is object.__hash__
    for each in records
  )
