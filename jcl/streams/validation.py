"""Checks every data set before a stream is made of it."""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Any

import numpy as np

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.streams import labelling

_ROWS = 4096  # rows checked together, to keep the peak of memory low


def check(dataset: base.Dataset, name: str = "") -> base.Dataset:
  """Returns the data set with int32 labels and uint8 or float32 inputs.

  Of inputs that are decoded on demand only shape and dtype are checked.

  Args:
    dataset: as it was read.
    name: for messages; the data set's own by default.

  Raises:
    ValueError: where labels are not whole numbers in range, where inputs are
      of another kind or not finite, or where lengths differ; the message names
      the offending value and what to write instead.
  """
  name = name or dataset.name
  x = _inputs(name, dataset.x)
  if 0 in (x.shape[0], np.size(dataset.y)):
    raise UsageError(f"{name} is empty; give at least one example")
  class_names = _names(name, dataset.class_names)
  y = labelling.indices(name, dataset.y, class_names)
  if x.shape[0] != len(y):
    raise UsageError(f"{name} has {x.shape[0]} inputs but {len(y)} labels")
  if not _is_scale(dataset.scale):
    raise UsageError(
      f"{name} has scale {errors.short(dataset.scale)}; write a positive one"
    )
  return dataclasses.replace(
    dataset,
    x=x,
    y=y.astype(np.int32),
    class_names=class_names,
    group=_group(name, dataset, len(y)),
    # A data set may be checked again, so notes that come twice are kept once.
    notes=tuple(
      dict.fromkeys(
        (
          *dataset.notes,
          *_doubtful(name, y, class_names),
          *(_doubtful_shape(name, x) if name == dataset.name else ()),
        )
      )
    ),
  )


def _names(name: str, class_names: Sequence[Any]) -> tuple[str, ...]:
  named = labelling.names(class_names)
  if not named:
    raise UsageError(f"{name} has no classes; give class_names")
  place: dict[str, int] = {}
  for i, each in enumerate(named):
    if not each.strip():
      raise UsageError(f"{name}: class {i} has no name; give it one")
    if each in place:
      raise UsageError(
        f"{name}: classes {place[each]} and {i} are both called "
        f"{errors.short(each)}; give each a name of its own"
      )
    place[each] = i
  return named


def _doubtful(
  name: str, y: np.ndarray, class_names: tuple[str, ...]
) -> Iterator[str]:
  """Yields a note about labels that may have been meant otherwise."""
  if class_names[0] == "-1" and len(class_names) > 2:
    count = errors.count(int((y == 0).sum()), "example")
    yield (
      f"{name}: label -1 is a class like others ({count}); leave these rows "
      "out if it says that they have none"
    )


def _is_scale(value: Any) -> bool:
  try:
    return bool(np.isfinite(value) and value > 0)
  except (TypeError, ValueError):  # no number
    return False


def _doubtful_shape(name: str, x: Any) -> Iterator[str]:
  """Yields a note about images that may have been meant otherwise."""
  shape = tuple(x.shape[1:])
  if len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) > 4:
    yield (
      f"{name}: inputs {shape} are read as [height, width, channels]; of "
      "images whose channels come first give np.moveaxis(x, 1, -1)"
    )
  if len(shape) == 2 and min(shape) > 4 and x.dtype == np.uint8:
    yield (
      f"{name}: inputs {shape} are read as series of {shape[0]} steps; of grey "
      "images give x[..., None]"
    )


def _inputs(name: str, values: Any) -> Any:
  x = _readable(name, values)
  if x.dtype == object:
    raise UsageError(f"{name} has {_objects(values, x)}")
  if len(x.shape) < 2:
    raise UsageError(
      f"{name} has inputs of shape {tuple(x.shape)}; the first axis counts "
      "examples, so write x[:, None] for one feature each"
    )
  if 0 in x.shape[1:]:
    raise UsageError(f"{name} has inputs of shape {tuple(x.shape)}: no values")
  if x.dtype == np.uint8:
    return x
  # By name, as bfloat16 is no kind of NumPy's own.
  if "float" not in x.dtype.name:
    raise UsageError(f"{name} has inputs of dtype {x.dtype}; {_advice(x)}")
  if not isinstance(x, np.ndarray):
    if x.dtype != np.float32:
      raise UsageError(
        f"{name} decodes its inputs to {x.dtype}; let it give uint8 or float32"
      )
    return x
  with np.errstate(over="ignore"):  # overflow is reported as infinite
    x = x.astype(np.float32, copy=False)
  _check_finite(name, x)
  return x


def _readable(name: str, values: Any) -> Any:
  """Returns an array, or a reader that decodes on demand."""
  if hasattr(values, "tocsr"):
    raise UsageError(f"{name} has sparse inputs; write x.toarray()")
  if np.ma.isMaskedArray(values):
    hidden = np.ma.getmaskarray(values)
    if hidden.any():
      raise UsageError(
        f"{name} has {int(hidden.sum())} masked values, the first in row "
        f"{int(np.argwhere(hidden)[0][0])}; remove these rows or write "
        "x.filled(...)"
      )
  # Arrays of any library have DLPack, readers that decode on demand do not.
  if hasattr(values, "dtype") and not hasattr(values, "__dlpack__"):
    return values
  try:
    return np.asarray(values)
  except ValueError as error:  # NumPy's answer to rows of unequal length
    raise UsageError(f"{name} has ragged inputs; {_STACK}") from error
  except (TypeError, RuntimeError) as error:  # tensors elsewhere, with gradient
    raise UsageError(
      f"{name} has inputs that NumPy cannot read "
      f"({errors.reason(error)}); of a tensor write "
      "x.detach().cpu().numpy()"
    ) from error


def _objects(values: Any, x: np.ndarray) -> str:
  """Describes inputs that are Python objects, and says what to give instead."""
  dtypes = getattr(values, "dtypes", None)  # of a table's columns
  if dtypes is not None and hasattr(values, "columns"):
    wrong = [
      column
      for column, dtype in zip(values.columns, dtypes, strict=True)
      if getattr(dtype, "kind", "O") not in "biuf"
    ]
    if wrong:
      return (
        f"columns that are not numeric: {errors.some(wrong)}; drop them or "
        "encode them, as pandas.get_dummies does"
      )
    return "columns of several kinds; write x.astype(np.float32)"
  first = x.reshape(-1)[0] if x.size else None
  if np.isscalar(first) and not isinstance(first, str | bytes):
    return (
      f"object inputs, the first {errors.short(first)}; if all are numbers, "
      "write x.astype(np.float32)"
    )
  if isinstance(first, str | bytes):
    return (
      f"text for inputs, the first {errors.short(first)}; encode it as "
      "numbers, such as embeddings or counts of words"
    )
  return f"ragged or object inputs; {_STACK}"


def _advice(x: Any) -> str:
  """Says how to convert inputs of another dtype."""
  kind = np.dtype(x.dtype).kind
  if kind == "b":
    return "write x.astype(np.float32)"
  if kind == "c":
    return "write np.stack([x.real, x.imag], axis=-1), or np.abs(x)"
  if kind not in "iu":
    return "write x.astype(np.float32) if they are numbers"
  pixels = "write x.astype(np.uint8) for pixels from 0 to 255"
  if isinstance(x, np.ndarray) and (x.min() < 0 or x.max() > 255):
    pixels = (
      f"they reach from {x.min()} to {x.max()}: scale pixels to 0 to 255 and "
      "write .astype(np.uint8)"
    )
  return (
    f"{pixels}, or write x.astype(np.float32) for measurements. Token ids are "
    "learned as float32 with normalize=none by a network of one's own that "
    "begins with an embedding of x.astype(int), or as counts of words"
  )


_STACK = "bring all examples to one shape and stack them with np.stack"


def _check_finite(name: str, x: np.ndarray) -> None:
  count, first = 0, -1
  for start in range(0, len(x), _ROWS):
    bad = ~np.isfinite(x[start : start + _ROWS])
    num_bad = int(bad.sum())
    if num_bad and not count:
      first = start + int(bad.reshape(len(bad), -1).any(axis=1).argmax())
    count += num_bad
  if count:
    raise UsageError(
      f"{name} has {count} NaN or infinite values as float32, the first in row "
      f"{first}; remove these rows or fill the gaps"
    )


def _group(
  name: str, dataset: base.Dataset, num_examples: int
) -> np.ndarray | None:
  if dataset.group is None:
    return None
  group = np.asarray(dataset.group)
  if group.shape != (num_examples,) or group.dtype.kind not in "iu":
    raise UsageError(
      f"{name} has groups of shape {group.shape} and dtype {group.dtype}; give "
      f"one integer for each of the {num_examples} examples"
    )
  if dataset.group_names:
    labelling.indices(name, group, dataset.group_names, "group")
  return group.astype(np.int32)
