"""Values in messages that stay short whatever they are."""

from collections.abc import Iterable
import itertools
from typing import Any

_WIDTH = 40  # characters of one value
_MOST = 8  # values of a list


def short(value: Any, width: int = _WIDTH) -> str:
  """Returns a value as Python writes it, its middle left out where long.

  Args:
    value: of any kind; NumPy's scalars read like Python's.
    width: characters at most.
  """
  if isinstance(value, str) and len(value) > 2 * width:
    # Not written out first: text may be as long as a file.
    value = value[:width] + value[-width:]
  elif hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
    value = value.item()
  text = " ".join(repr(value).split())
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
  """
  listed = list(values)
  if len(listed) <= most:
    return ", ".join(short(value, width) for value in listed) or "none"
  first = ", ".join(short(v, width) for v in itertools.islice(listed, most - 1))
  return f"{first}, ..., {short(listed[-1], width)} ({len(listed)} in all)"


def count(number: int, noun: str, plural: str | None = None) -> str:
  """Returns "1 class" or "3 classes": a number with its noun."""
  return f"{number} {noun if number == 1 else plural or noun + 's'}"
