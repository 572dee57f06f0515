"""Bounds that an option's annotation sets beside the kind of its values.

`kinds.read` checks values by these, and `kinds.words` tells them.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from jcl.options import plain
from jcl.options.plain import Text, Unfit


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

  def words(self, kind: str) -> str:
    """Returns `kind` with the bounds."""
    if self.least > -math.inf:
      kind += f" {'above' if self.above else 'from'} {self.least:.10g}"
    if self.most < math.inf:
      to = "and below" if self.below else "and at most" if self.above else "to"
      kind += f" {to} {self.most:.10g}"
    return kind


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

  def words(self, kind: str) -> str:
    """Returns the choices in words; `kind` is not needed."""
    del kind
    return (
      "a number of units, their share from 0 and below 1, or the name of the "
      "first that trains"
    )


@dataclasses.dataclass(frozen=True)
class Bytes:
  """A size of a memory: a number of examples, or of bytes as text.

  Args:
    least: number, or bytes.
    unit: of a number without one: "examples", or "bytes".
  """

  least: int = 1
  unit: str = "examples"

  def read(self, value: Any) -> int | str:
    """Returns a number, or text that is a size; raises `Unfit` for others."""
    try:
      # Examples are rows of arrays, of which there are not as many as bytes.
      number = plain.read_int if self.unit == "examples" else plain.read_whole
      found: int | str = number(value)
      size = int(found)
    except Unfit:
      if not isinstance(value, str):
        raise
      found = plain.read_str(value)
      try:
        size = plain.parse_size(found)
      except ValueError:
        raise Unfit from None
    if size < self.least:
      raise Unfit
    return found

  def words(self, kind: str) -> str:
    """Returns the choices in words; `kind` is not needed."""
    del kind
    return (
      f"a number of {self.unit} from {self.least}, or bytes with their unit "
      "(2MB, 512KiB)"
    )


@dataclasses.dataclass(frozen=True)
class Endless:
  """A number within bounds, or infinity."""

  bounds: Range

  def read(self, value: Any) -> float:
    """Returns the number; raises `Unfit` for one out of bounds."""
    # `plain.read_float`, which reads all other numbers, takes finite ones only.
    if plain.read_number(value) == math.inf:
      return math.inf
    found = plain.read_float(value)
    self.bounds.check(found)
    return found

  def words(self, kind: str) -> str:
    """Returns `kind` with the bounds."""
    return f"{self.bounds.words(kind)}, or inf"


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Sizes to try: pairs of numbers of examples, as text "500x1000/200x500"."""

  def read(self, value: Any) -> tuple[tuple[int, int], ...]:
    """Returns the pairs, none for empty text; raises `Unfit` for others."""
    if isinstance(value, str):
      parts = str(plain.unquoted(value)).split("/")
      value = [
        [Text(size) for size in part.split("x")] for part in parts if part
      ]
    if not isinstance(value, Sequence):
      raise Unfit
    found = []
    for pair in value:
      if not isinstance(pair, Sequence) or len(pair) != 2:
        raise Unfit
      em, sb = map(plain.read_int, pair)
      if min(em, sb) < 0:
        raise Unfit
      found.append((em, sb))
    return tuple(found)

  def words(self, kind: str) -> str:
    """Returns the choices in words; `kind` is not needed."""
    del kind
    return "sizes as memory x stream buffer, such as 500x1000/200x500"


@dataclasses.dataclass(frozen=True)
class Called:
  """The name of an option where the field of a record has another one."""

  name: str
