"""Numbers labels and groups as people have them, and keeps their names."""

import collections
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jcl.options import errors
from jcl.options.errors import UsageError

# Labels that are read together must all be of one of these kinds.
_KINDS = (
  ("text", (str, bytes)),
  ("truth values", (bool, np.bool_)),
  ("numbers", (int, float, np.integer, np.floating)),
)


def number(
  name: str, *sets: Any, what: str = "label"
) -> tuple[list[np.ndarray], tuple[str, ...]]:
  """Numbers the labels that occur in any of the sets, in sorted order.

  Args:
    name: of the data, for messages.
    *sets: each as for `labels`; None is left out.
    what: "label" or "group", for messages.

  Returns:
    Numbers [N] int32 from 0 for each set that is not None, and the labels as
    text [C], by number.

  Raises:
    ValueError: as `labels`, and where one set holds text and another numbers.

  >>> numbers, names = number("pets", ["dog", "cat"], ["cat"])
  >>> [part.tolist() for part in numbers], names
  ([[1, 0], [0]], ('cat', 'dog'))
  """
  read = [labels(name, values, what) for values in sets if values is not None]
  found = [_distinct(values) for values in read]
  # One value of each set is enough; `ordered` would merge True and 1.
  _check_kinds(name, [values[0] for values, _ in found if values], what)
  ordered = sorted(set().union(*(values for values, _ in found)))
  place = {value: i for i, value in enumerate(ordered)}
  numbers = [
    np.array([place[v] for v in values], np.int32)[inverse]
    if values
    else np.zeros(0, np.int32)
    for values, inverse in found
  ]
  return numbers, names(ordered)


def names(values: Iterable[Any]) -> tuple[str, ...]:
  """Returns values as text that any file can hold."""
  return tuple(
    str(v).encode("utf-8", "backslashreplace").decode() for v in values
  )


def distinct(given: Sequence[str], marks: Sequence[Any]) -> tuple[str, ...]:
  """Makes names differ: appends the class's mark to names that occur twice.

  Args:
    given: names [C], as a publisher has them.
    marks: [C], all different, such as numbers; they replace empty names.

  >>> distinct(["crane", "crane", "heron"], [12, 40, 7])
  ('crane (12)', 'crane (40)', 'heron')
  """
  times = collections.Counter(given)
  return tuple(
    name if times[name] == 1 and name.strip() else f"{name} ({mark})".strip()
    for name, mark in zip(given, marks, strict=True)
  )


def indices(
  name: str, values: Any, class_names: Sequence[str], what: str = "label"
) -> np.ndarray:
  """Reads labels as positions in `class_names`, or as its names: [N] int64.

  Raises:
    ValueError: as `labels`, and for a label that is neither.

  >>> indices("pets", ["dog", "cat"], ("cat", "dog")).tolist()
  [1, 0]
  """
  y = labels(name, values, what)
  place = {v: i for i, v in enumerate(class_names)}
  distinct, inverse = _distinct(y)
  text = any(isinstance(v, str) for v in distinct)
  found = [
    place.get(v, -1) if text else int(v) if 0 <= v < len(class_names) else -1
    for v in distinct
  ]
  if -1 in found:
    row = int(np.flatnonzero(np.asarray(found)[inverse] == -1)[0])
    known = (
      f"none of its names, {errors.some(class_names)}"
      if text
      else f"outside 0 to {len(class_names) - 1}, the positions in its "
      f"{len(class_names)} names"
    )
    raise UsageError(
      f"{name} has {what} {errors.short(y[row])} in row {row}, {known}; leave "
      f"out {'class_names' if what == 'label' else 'the names'} to have the "
      f"{what}s that occur numbered"
    )
  return np.asarray(found, np.int64)[inverse]


def labels(name: str, values: Any, what: str = "label") -> np.ndarray:
  """Returns labels [N] of one kind: integers, truth values, or text as objects.

  Args:
    name: of the data, for messages.
    values: [N] or [N, 1] integers, whole floats, truth values, text or objects
      of one of these kinds, in an array, list, tensor or column.
    what: "label" or "group", for messages.

  Raises:
    ValueError: where there is not one label for each example; the message names
      the value and says what to give instead.
  """
  y = _array(name, values, what)
  if y.ndim == 0:
    raise UsageError(
      f"{name} has {errors.short(values)} for {what}s; give one for each "
      "example"
    )
  while y.ndim > 1 and y.shape[-1] == 1:
    y = y[..., 0]
  if y.ndim > 1:
    raise UsageError(f"{name} has {_several(y, what)}")
  if "float" in y.dtype.name:  # bfloat16 is no kind of NumPy's own
    return _whole(name, y, what)
  if y.dtype.kind in "biu":
    return y
  if y.dtype.kind in "OSUT":
    return _objects(name, y.astype(object), what)
  raise UsageError(
    f"{name} has {what}s of dtype {y.dtype}; give integers or text, as "
    "y.astype(str) makes"
  )


def _array(name: str, values: Any, what: str) -> np.ndarray:
  if np.ma.isMaskedArray(values) and np.ma.getmaskarray(values).any():
    row = int(np.argwhere(np.ma.getmaskarray(values))[0][0])
    raise _missing(name, what, row, "masked")
  if hasattr(values, "tocsr"):
    raise UsageError(f"{name} has sparse {what}s; write y.toarray()")
  try:
    y = np.asarray(values)
  except ValueError:  # NumPy's answer to rows of unequal length
    y = np.empty(len(values), object)
    y[:] = list(values)
  except (TypeError, RuntimeError) as error:  # tensors elsewhere, with gradient
    raise UsageError(
      f"{name} has {what}s that NumPy cannot read "
      f"({errors.reason(error)}); of a tensor write "
      "y.detach().cpu().numpy()"
    ) from error
  # One entry makes NumPy turn a whole list into text or floats, which would
  # hide that kinds are mixed: entries are looked at one by one.
  if isinstance(values, list | tuple) and y.dtype.kind in "USf":
    return np.asarray(values, object)
  return y


def _several(y: np.ndarray, what: str) -> str:
  """Describes labels of more than one axis, and says what to give instead."""
  shape = tuple(y.shape)
  if what != "label" or 0 in shape:
    return f"{what}s of shape {shape}; give one {what} for each example"
  if y.ndim > 2:
    return (
      f"labels of shape {shape}, several for each example, as where each pixel "
      "has one; jcl learns one class for each example: give them as [N]"
    )
  one = "jcl learns one class for each example"
  numeric = y.dtype.kind in "biuf"
  if numeric and np.isin(y, (0, 1)).all():
    counts = (y == 1).sum(axis=1)
    if (counts == 1).all():
      return (
        f"one-hot labels of shape {shape}; write np.argmax(y, axis=1), the "
        "number of each row's class"
      )
    row = int(np.flatnonzero(counts != 1)[0])
    return (
      f"labels of shape {shape} that mark several classes of an example, or "
      f"none (row {row} marks {counts[row]}); {one}. Give the column of one "
      "question, as y[:, 0], or number the combinations that occur, as "
      "np.unique(y, axis=0, return_inverse=True)[1]"
    )
  if shape[0] == 1:
    return f"labels of shape {shape}; of {shape[1]} examples give y[0]"
  if numeric and np.allclose(np.asarray(y, float).sum(axis=1), 1):
    return (
      f"probabilities of {shape[1]} classes for labels; {one}: give the class "
      "that each example was observed to have"
    )
  return (
    f"labels of shape {shape}, {shape[1]} columns; {one}: give the column that "
    "holds it, as y[:, 0]"
  )


def _whole(name: str, y: np.ndarray, what: str) -> np.ndarray:
  """Converts whole floats to integers."""
  wrong = np.flatnonzero(np.isnan(y.astype(float)))
  if wrong.size:
    raise _missing(name, what, int(wrong[0]), "nan")
  wide = y.astype(np.result_type(y.dtype, np.float32))
  wrong = np.flatnonzero(~np.isfinite(wide) | (wide != np.round(wide)))
  if wrong.size:
    row = int(wrong[0])
    advice = (
      "labels are classes; to learn a quantity in classes, cut its range, as "
      "np.digitize(y, np.quantile(y, [0.25, 0.5, 0.75])) does"
      if what == "label"
      else "give integers or text"
    )
    raise UsageError(
      f"{name} has {what} {errors.short(y[row])} in row {row}, which is no "
      f"whole number; {advice}"
    )
  if not y.size or np.abs(wide).max() < 2.0**62:
    return y.astype(np.int64)
  return np.array([int(value) for value in y.tolist()], object)


def _objects(name: str, y: np.ndarray, what: str) -> np.ndarray:
  """Reads objects of one kind as labels; bytes become text."""
  kinds = set(map(type, y.tolist()))
  known = tuple(kind for _, types in _KINDS for kind in types)
  for kind in kinds:
    row = next(i for i, value in enumerate(y) if type(value) is kind)
    if issubclass(kind, list | tuple | set | frozenset | dict | np.ndarray):
      raise UsageError(
        f"{name} has several {what}s in row {row}, "
        f"{errors.short(y[row])}; give one for each example, such as the "
        f"first: [v[0] for v in y]"
      )
    if kind.__name__ in ("NoneType", "NAType", "NaTType"):
      raise _missing(name, what, row, str(y[row]))
    if not issubclass(kind, known):
      raise UsageError(
        f"{name} has {what} {errors.short(y[row])} of type {kind.__name__} in "
        f"row {row}; give integers or text, as [str(v) for v in y]"
      )
  values = y.tolist()
  floats = any(issubclass(kind, float | np.floating) for kind in kinds)
  if floats and not all(value == value for value in values):
    row = next(i for i, value in enumerate(values) if value != value)
    raise _missing(name, what, row, "nan")
  _check_kinds(name, values, what)
  if not kinds or issubclass(next(iter(kinds)), bool | np.bool_):
    return y.astype(bool)
  if issubclass(next(iter(kinds)), str | bytes):
    return _text(name, values, what)
  for row, value in enumerate(values if floats else ()):
    if isinstance(value, float | np.floating) and value % 1 != 0:
      # `_whole` has the message, for floats: the rows up to this one.
      return _whole(name, np.array(values[: row + 1], float), what)
  whole = [int(value) for value in values]
  fits = -(2**63) <= min(whole) and max(whole) < 2**63
  return np.array(whole, np.int64 if fits else object)


def _text(name: str, values: list[Any], what: str) -> np.ndarray:
  read = np.empty(len(values), object)
  for row, value in enumerate(values):
    if isinstance(value, bytes):
      value = value.decode("utf-8", "backslashreplace")
    if not value.strip():
      raise _missing(name, what, row, errors.short(str(value)))
    read[row] = str(value)
  return read


def _distinct(y: np.ndarray) -> tuple[list[Any], np.ndarray]:
  """Returns the values that occur, sorted, and each row's position in them."""
  if y.dtype != object:
    values, inverse = np.unique(y, return_inverse=True)
    return values.tolist(), inverse.reshape(-1)
  listed = y.tolist()
  occurring = sorted(set(listed))
  place = {value: i for i, value in enumerate(occurring)}
  return occurring, np.array([place[v] for v in listed], np.int64)


def _check_kinds(name: str, values: Iterable[Any], what: str) -> None:
  """Raises ValueError where values of more than one kind occur."""
  seen: dict[str, Any] = {}
  for value in values:
    # Truth values are numbers to Python, so the order of the kinds matters.
    kind = next(kind for kind, types in _KINDS if isinstance(value, types))
    seen.setdefault(kind, value)
  if len(seen) > 1:
    first, second = list(seen.values())[:2]
    raise UsageError(
      f"{name} has {what}s of mixed kinds, such as {errors.short(first)} "
      f"({type(first).__name__}) and {errors.short(second)} "
      f"({type(second).__name__}); give all as text, as [str(v) for v in y], "
      "or all as integers"
    )


def _missing(name: str, what: str, row: int, found: str) -> UsageError:
  return UsageError(
    f"{name} has no {what} in row {row} ({found}); leave such rows out, or "
    f"give them a {what} of their own"
  )
