"""Values that functions take unless told otherwise."""

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
