"""Inputs of examples as they arrive: checked before anything is kept."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from jcl.options.errors import UsageError

_VALUES = 2**20  # checked at a time, to keep the peak of memory low


@dataclasses.dataclass(frozen=True)
class Form:
  """Shape and dtype, which all examples of a log share."""

  shape: tuple[int, ...]  # of one example
  dtype: str  # "uint8" or "float32"

  @functools.cached_property
  def nbytes(self) -> int:
    """Bytes of one example."""
    return math.prod(self.shape) * np.dtype(self.dtype).itemsize

  def __str__(self) -> str:
    return f"{self.shape} {self.dtype}"


def form_of(x: np.ndarray) -> Form:
  """Returns the form of checked inputs, [N, ...]."""
  return _form(x.shape[1:], x.dtype)


@functools.lru_cache(maxsize=16)
def _form(shape: tuple[int, ...], dtype: np.dtype) -> Form:
  return Form(shape, dtype.name)


def agree(form: Form, settled: Form | None) -> None:
  """Raises UsageError for another form than the first examples had."""
  if settled is not None and settled != form:
    raise UsageError(
      f"x has examples of {form}, but the first ones were of {settled}: bring "
      "all to one shape and dtype; nothing was stored"
    )


def check(x: Any) -> np.ndarray:
  """Returns inputs, [N, ...], as uint8 or float32.

  Args:
    x: [N, ...] array or lists; uint8 stays, other numbers become float32.

  Raises:
    UsageError: for an empty batch, for other than numbers, and for NaN or
      infinite values, whose first place is named.
  """
  if np.ma.isMaskedArray(x) and np.ma.getmaskarray(x).any():
    raise UsageError(
      "x has masked values: leave these examples out, or write x.filled(...)"
    )
  try:
    given = np.asarray(x)
  except ValueError as error:  # NumPy's answer to rows of unequal length
    raise UsageError(
      "x has rows of unequal length: stack examples of one shape with np.stack"
    ) from error
  kind = given.dtype.name
  if given.dtype.kind not in "biuf" and "float" not in kind:  # bfloat16
    raise UsageError(
      f"x is of dtype {kind}: give numbers, uint8 or float32 at best"
    )
  if given.ndim < 2:
    raise UsageError(
      f"x is of shape {given.shape}, but its first axis counts examples: write "
      "x[None] for one example, or x[:, None] for one feature each"
    )
  if not given.size:
    raise UsageError(
      f"x is of shape {given.shape}: give at least one example with one value"
    )
  if given.dtype == np.uint8:
    return given
  with np.errstate(over="ignore"):  # overflow is told as infinite
    converted = given.astype(np.float32, copy=False)
  _check_finite(converted, given)
  return converted


def _check_finite(x: np.ndarray, given: np.ndarray) -> None:
  rows = max(1, _VALUES * len(x) // x.size)
  for start in range(0, len(x), rows):
    part = np.isfinite(x[start : start + rows])
    if part.all():
      continue
    first = np.unravel_index(int(part.reshape(-1).argmin()), part.shape)
    place = (start + int(first[0]), *map(int, first[1:]))
    where = ", ".join(map(str, place))
    value, shown = given[place], x[place]
    beyond = f" as float32 ({value})" if np.isfinite(value) else ""
    raise UsageError(
      f"x[{where}] is {shown}{beyond}: leave this example out, or fill the "
      "gap; nothing was stored"
    )
