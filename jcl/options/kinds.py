"""Reads the values of options by their annotations.

A function annotates its options; `read` turns the text that a user wrote
(`Text`), or a Python value, into the kind that the annotation names, and
`words` tells in words which values the annotation takes.
"""

from collections.abc import Callable, Sequence
import inspect
import math
import types
import typing
from typing import Annotated, Any, Literal

from jcl.options import plain
from jcl.options.bounds import Bytes, Called, Endless, Pairs, Range, Trunk
from jcl.options.plain import Text, Unfit

Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Layers = Annotated[int, Range(0, 100)]
Width = Annotated[float, Range(0, 100, above=True)]
Pixels = Annotated[int, Range(1, 10_000)]
Parts = Annotated[int, Range(1, 100_000)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, above=True)]
ShareBelowOne = Annotated[float, Range(0, 1, below=True)]
InnerShare = Annotated[float, Range(0, 1, above=True, below=True)]
Positive = Annotated[float, Range(0, above=True)]
NonNegative = Annotated[float, Range(0)]
OrInfinity = Annotated[float, Endless(Range(0))]
AboveZeroOrInfinity = Annotated[float, Endless(Range(0, above=True))]
Size = Annotated[int | str, Bytes(1)]
SizeOrNone = Annotated[int | str, Bytes(0)]
Memory = Annotated[int | str, Bytes(1, "bytes")]
Units = Annotated[str | int | float, Trunk()]
Grid = Annotated[tuple[tuple[int, int], ...], Pairs()]


def read(value: Any, hint: Any) -> Any:
  """Returns `value` as the kind that the annotation `hint` names.

  Whole numbers may be written as 1e3. Text stays as it was written, without
  the quotes around it; in a union, numbers that are written as such come first
  and text comes last.

  Args:
    value: text as a user wrote it (`Text`), or a Python value.
    hint: an annotation: a class, a `Literal`, a union, a list or tuple, or an
      `Annotated` with bounds of `bounds`.

  Raises:
    Unfit: for a value of another kind, or out of bounds.

  >>> read(Text("1e3"), int), read(Text("2024"), str)
  (1000, '2024')
  """
  if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
    value = value.item()  # an array's scalar
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin is Annotated and isinstance(args[1], Bytes | Endless | Pairs):
    return args[1].read(value)
  if origin is Annotated:
    limits = [each for each in args[1:] if not isinstance(each, Called)]
    bounded = any(getattr(b, "most", math.inf) < math.inf for b in limits)
    whole = args[0] is int and bounded
    value = plain.read_whole(value) if whole else read(value, args[0])
    for bounds in limits:
      bounds.check(value)
    return value
  if origin in (typing.Union, types.UnionType):
    return _one_of(value, args)
  if origin is Literal:
    text = plain.unquoted(value)
    if isinstance(text, str) and text in args:
      return text
    raise Unfit
  if hint in _READERS:
    return _READERS[hint](value)
  if origin in (list, tuple, Sequence):
    return _several(value, origin, args)
  if isinstance(value, Text):
    value = plain.literal(value)
  if hint in (Any, object, inspect.Parameter.empty):
    return value
  kind = origin or hint
  if not isinstance(kind, type) or isinstance(value, kind):
    return value
  raise Unfit


def words(hint: Any) -> str:
  """Describes an annotation, for a sentence beginning with "give".

  >>> words(Share | None)
  'a number from 0 to 1'
  """
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin is Annotated:
    told = words(args[0])
    for bounds in args[1:]:
      told = told if isinstance(bounds, Called) else bounds.words(told)
    return told
  if origin in (typing.Union, types.UnionType):
    args = tuple(arg for arg in args if arg is not type(None))
    return " or ".join(dict.fromkeys(map(words, args)))
  if origin is Literal:
    return "one of " + ", ".join(args)
  if origin in (list, tuple, Sequence):
    inner = [arg for arg in args if arg is not Ellipsis]
    return f"a list in brackets, each {words(inner[0]) if inner else 'a value'}"
  kind = origin or hint
  return _WORDS.get(kind, f"a {getattr(kind, '__name__', 'value')}")


_WORDS = {
  bool: "true or false",
  int: "a whole number",
  float: "a number",
  str: "text",
  type(None): "None",
  Callable: "a function",
}
_READERS: dict[Any, Callable[[Any], Any]] = {
  type(None): plain.read_none,
  bool: plain.read_bool,
  int: plain.read_int,
  float: plain.read_float,
  str: plain.read_str,
}


def _several(value: Any, origin: Any, args: tuple[Any, ...]) -> Any:
  if isinstance(value, Text):
    value = plain.literal(value)
  if hasattr(value, "tolist"):
    value = value.tolist()
  if isinstance(value, str) or not isinstance(value, Sequence) or not value:
    raise Unfit
  inner = [arg for arg in args if arg is not Ellipsis]
  if origin is tuple and Ellipsis not in args and len(inner) != len(value):
    raise Unfit
  pairs = zip(value, inner * len(value), strict=False)
  found = [read(item, hint) for item, hint in pairs] if inner else list(value)
  return found if isinstance(value, list) else tuple(found)


def _one_of(value: Any, hints: tuple[Any, ...]) -> Any:
  """Returns the value as the first of the kinds that it fits."""
  meant = plain.literal(value) if isinstance(value, Text) else value
  kinds = {hint: _plain(hint) for hint in hints}
  if not isinstance(meant, str) and type(meant) in kinds.values():
    hints = tuple(h for h in hints if kinds[h] is type(meant)) + hints
  elif isinstance(value, Text) and str in kinds.values():
    hints = tuple(h for h in hints if kinds[h] not in (int, float))
  late = [hint for hint in hints if kinds[hint] is str]
  reasons = []
  for hint in [*(hint for hint in hints if hint not in late), *late]:
    try:
      return read(value, hint)
    except Unfit as unfit:
      reasons.append(str(unfit))
  raise Unfit(next(filter(None, reasons), ""))


def _plain(hint: Any) -> Any:
  """Returns the kind of an annotation, without its bounds."""
  if typing.get_origin(hint) is Annotated:
    return typing.get_args(hint)[0]
  return hint
