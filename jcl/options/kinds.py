"""Reads the values of options by their annotations.

A function annotates its options; `read` turns the text that a user wrote
(`Text`), or a Python value, into the kind that the annotation names, and
`words` tells in words which values the annotation takes.
"""

import ast
from collections.abc import Callable, Sequence
import dataclasses
import inspect
import math
import numbers
import re
import types
import typing
from typing import Annotated, Any, Literal
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


@dataclasses.dataclass(frozen=True)
class Range:
  """Bounds on a number; `above` and `below` leave the bounds themselves out."""

  least: float = -math.inf
  most: float = math.inf
  above: bool = False
  below: bool = False

  def check(self, value: Any) -> None:
    """Raises `Unfit` for a number out of bounds; other values pass."""
    if isinstance(value, bool) or not isinstance(value, int | float):
      return
    low = value > self.least if self.above else value >= self.least
    high = value < self.most if self.below else value <= self.most
    if not (low and high):
      raise Unfit

  def words(self, plain: str) -> str:
    """Returns `plain` with the bounds."""
    if self.least > -math.inf:
      plain += f" {'above' if self.above else 'from'} {self.least:.10g}"
    if self.most < math.inf:
      to = "and below" if self.below else "and at most" if self.above else "to"
      plain += f" {to} {self.most:.10g}"
    return plain


@dataclasses.dataclass(frozen=True)
class Trunk:
  """The units that never train: their number, share, or the first that does."""

  def check(self, value: Any) -> None:
    """Raises `Unfit` for a negative number, or a share out of bounds."""
    if isinstance(value, str):
      fits = bool(value)
    elif isinstance(value, float):
      fits = 0 <= value < 1
    else:
      fits = value >= 0
    if not fits:
      raise Unfit

  def words(self, plain: str) -> str:
    """Returns the choices in words; `plain` is not needed."""
    del plain
    return (
      "a number of units, their share from 0 and below 1, or the name of the "
      "first that trains"
    )


@dataclasses.dataclass(frozen=True)
class Bytes:
  """A size of a memory: a number of examples, or of bytes as text."""

  least: int = 1

  def read(self, value: Any) -> int | str:
    """Returns a number, or text that is a size; raises `Unfit` for others."""
    try:
      found: int | str = _int(value)
      size = int(found)
    except Unfit:
      if not isinstance(value, str):
        raise
      found = _str(value)
      try:
        size = parse_size(found)
      except ValueError:
        raise Unfit from None
    if size < self.least:
      raise Unfit
    return found

  def words(self, plain: str) -> str:
    """Returns the choices in words; `plain` is not needed."""
    del plain
    return (
      f"a number of examples from {self.least}, or bytes with their unit "
      "(2MB, 512KiB)"
    )


@dataclasses.dataclass(frozen=True)
class Endless:
  """A number within bounds, or infinity."""

  bounds: Range

  def read(self, value: Any) -> float:
    """Returns the number; raises `Unfit` for one out of bounds."""
    # `_float`, which reads all other numbers, takes finite ones only.
    if _number(value) == math.inf:
      return math.inf
    found = _float(value)
    self.bounds.check(found)
    return found

  def words(self, plain: str) -> str:
    """Returns `plain` with the bounds."""
    return f"{self.bounds.words(plain)}, or inf"


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Sizes to try: pairs of numbers of examples, as text "500x1000/200x500"."""

  def read(self, value: Any) -> tuple[tuple[int, int], ...]:
    """Returns the pairs, none for empty text; raises `Unfit` for others."""
    if isinstance(value, str):
      parts = str(_unquoted(value)).split("/")
      value = [
        [Text(size) for size in part.split("x")] for part in parts if part
      ]
    if not isinstance(value, Sequence):
      raise Unfit
    found = []
    for pair in value:
      if not isinstance(pair, Sequence) or len(pair) != 2:
        raise Unfit
      em, sb = map(_int, pair)
      if min(em, sb) < 0:
        raise Unfit
      found.append((em, sb))
    return tuple(found)

  def words(self, plain: str) -> str:
    """Returns the choices in words; `plain` is not needed."""
    del plain
    return "sizes as memory x stream buffer, such as 500x1000/200x500"


@dataclasses.dataclass(frozen=True)
class Called:
  """The name of an option where the field of a record has another one."""

  name: str


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
Units = Annotated[str | int | float, Trunk()]
Grid = Annotated[tuple[tuple[int, int], ...], Pairs()]


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


def read(value: Any, hint: Any) -> Any:
  """Returns `value` as the kind that the annotation `hint` names.

  Whole numbers may be written as 1e3. Text stays as it was written, without
  the quotes around it; in a union, numbers that are written as such come first
  and text comes last.

  Args:
    value: text as a user wrote it (`Text`), or a Python value.
    hint: an annotation: a class, a `Literal`, a union, a list or tuple, or an
      `Annotated` with bounds of this module.

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
    plain = _whole if args[0] is int and bounded else None
    value = plain(value) if plain else read(value, args[0])
    for bounds in limits:
      bounds.check(value)
    return value
  if origin in (typing.Union, types.UnionType):
    return _one_of(value, args)
  if origin is Literal:
    plain = _unquoted(value)
    if isinstance(plain, str) and plain in args:
      return plain
    raise Unfit
  if hint in _READERS:
    return _READERS[hint](value)
  if origin in (list, tuple, Sequence):
    return _several(value, origin, args)
  if isinstance(value, Text):
    value = literal(value)
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


def shown(value: Any, most: int = 60) -> str:
  """Returns a value as a user wrote it, cut to `most` characters."""
  try:
    text = str(value) if isinstance(value, Text) else repr(value)
  except ValueError:  # an integer of thousands of digits
    text = "a very large number"
  text = " ".join(text.split()) if "\n" in text else text
  return text if len(text) <= most else text[: most - 4] + " ..."


def _unquoted(value: Any) -> Any:
  """Returns text as a user meant it, without quotes around it."""
  if not isinstance(value, Text):
    return value
  text = str(value)
  quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
  return text[1:-1] if quoted else text


def _none(value: Any) -> None:
  if value is not None and value != Text("None"):
    raise Unfit


def _bool(value: Any) -> bool:
  if isinstance(value, Text):
    value = literal(value)
  if not isinstance(value, bool):
    raise Unfit
  return value


def _number(value: Any) -> Any:
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


def _whole(value: Any) -> int:
  found = _number(value)
  if not (isinstance(found, numbers.Integral) or float(found).is_integer()):
    raise Unfit
  return int(found)


def _int(value: Any) -> int:
  found = _whole(value)
  if abs(found) > _MOST:
    raise Unfit(f"at most {_MOST}")
  return found


def _float(value: Any) -> float:
  found = _number(value)
  try:
    found = found if isinstance(found, int) else float(found)
    finite = math.isfinite(found)
  except OverflowError:
    finite = False
  if not finite:
    raise Unfit
  return found


def _str(value: Any) -> str:
  if isinstance(value, numbers.Integral) and not isinstance(value, bool):
    return str(value)  # a column or folder with a number for a name
  if hasattr(value, "__fspath__"):
    return str(value.__fspath__())
  if not isinstance(value, str):
    raise Unfit
  return _unquoted(value)


_WORDS = {
  bool: "true or false",
  int: "a whole number",
  float: "a number",
  str: "text",
  type(None): "None",
  Callable: "a function",
}
_READERS: dict[Any, Callable[[Any], Any]] = {
  type(None): _none,
  bool: _bool,
  int: _int,
  float: _float,
  str: _str,
}


def _several(value: Any, origin: Any, args: tuple[Any, ...]) -> Any:
  if isinstance(value, Text):
    value = literal(value)
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
  plain = literal(value) if isinstance(value, Text) else value
  kinds = {hint: _plain(hint) for hint in hints}
  if not isinstance(plain, str) and type(plain) in kinds.values():
    hints = tuple(h for h in hints if kinds[h] is type(plain)) + hints
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
