"""What every data set must satisfy before a stream is made of it."""

import dataclasses
from typing import Any

import numpy as np

from jcl import base

_ROWS = 4096  # looked at together, to keep the peak of memory low


def check(dataset: base.Dataset) -> base.Dataset:
  """The data set with int32 labels and uint8 or float32 inputs.

  Inputs that are decoded on demand are judged by their shape and dtype only.

  Raises:
    ValueError: where labels are not whole numbers in range, where inputs are
      of another kind or not finite, or where lengths differ; it names the
      offending value and what to write instead.
  """
  name = dataset.name
  x = _inputs(name, dataset.x)
  y = labels(name, dataset.y)
  if len(y) == 0:
    raise ValueError(f"{name} is empty; give at least one example")
  if x.shape[0] != len(y):
    raise ValueError(f"{name} has {x.shape[0]} inputs but {len(y)} labels")
  if not dataset.class_names:
    raise ValueError(f"{name} has no classes; give class_names")
  wrong = np.flatnonzero((y < 0) | (y >= dataset.num_classes))
  if wrong.size:
    raise ValueError(
      f"{name} has label {y[wrong[0]]} in row {wrong[0]}, outside 0 to "
      f"{dataset.num_classes - 1}; number the classes from 0, as "
      "np.unique(y, return_inverse=True)[1] does"
    )
  if not (np.isfinite(dataset.scale) and dataset.scale > 0):
    raise ValueError(f"{name} has scale {dataset.scale}; write a positive one")
  return dataclasses.replace(
    dataset,
    x=x,
    y=y.astype(np.int32),
    class_names=tuple(dataset.class_names),
    group=_group(name, dataset.group, len(y)),
  )


def labels(name: str, values: Any) -> np.ndarray:
  """Labels [N] as integers; whole floats will do. ValueError for others."""
  y = np.asarray(values)
  if y.ndim != 1:
    raise ValueError(
      f"{name} has labels of shape {y.shape}; give one class number each, "
      "np.argmax(y, axis=-1) for one-hot rows"
    )
  if y.size == 0 or y.dtype == bool:
    return y.astype(np.int64)
  if np.issubdtype(y.dtype, np.floating):
    wrong = np.flatnonzero(y != np.round(y))  # NaN differs from itself
    if wrong.size:
      raise ValueError(
        f"{name} has label {y[wrong[0]]} in row {wrong[0]}, which is no whole "
        "number; labels are class numbers from 0"
      )
    return y.astype(np.int64)
  if not np.issubdtype(y.dtype, np.integer):
    raise ValueError(
      f"{name} has labels of dtype {y.dtype}; number the classes from 0, as "
      "np.unique(y, return_inverse=True)[1] does"
    )
  return y.astype(np.int64)


def class_numbers(*label_sets: np.ndarray | None) -> tuple[str, ...]:
  """Names for classes without names: the numbers up to the highest label."""
  highest = max(int(np.max(y, initial=-1)) for y in label_sets if y is not None)
  return tuple(str(label) for label in range(highest + 1))


def _inputs(name: str, values: Any) -> Any:
  x = values
  # Arrays of any library speak DLPack, readers that decode on demand do not.
  if not hasattr(values, "dtype") or hasattr(values, "__dlpack__"):
    try:
      x = np.asarray(values)
    except ValueError as error:  # NumPy's answer to rows of unequal length
      raise ValueError(f"{name} has ragged inputs; {_STACK}") from error
  if x.dtype == object:
    raise ValueError(f"{name} has ragged or object inputs; {_STACK}")
  if len(x.shape) < 2:
    raise ValueError(
      f"{name} has inputs of shape {tuple(x.shape)}; the first axis counts "
      "examples, so write x[:, None] for one feature each"
    )
  if 0 in x.shape[1:]:
    raise ValueError(f"{name} has inputs of shape {tuple(x.shape)}: no values")
  if x.dtype == np.uint8:
    return x
  # By name, as bfloat16 is no kind of NumPy's own.
  if "float" not in x.dtype.name:
    raise ValueError(
      f"{name} has inputs of dtype {x.dtype}; write x.astype(np.uint8) for "
      "pixels, or x.astype(np.float32) for measurements"
    )
  if not isinstance(x, np.ndarray):
    if x.dtype != np.float32:
      raise ValueError(
        f"{name} decodes its inputs to {x.dtype}; let it give uint8 or float32"
      )
    return x
  with np.errstate(over="ignore"):  # what overflows is reported as infinite
    x = x.astype(np.float32, copy=False)
  _check_finite(name, x)
  return x


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
    raise ValueError(
      f"{name} has {count} NaN or infinite values as float32, the first in row "
      f"{first}; remove these rows or fill the gaps"
    )


def _group(name: str, group: Any, num_examples: int) -> np.ndarray | None:
  if group is None:
    return None
  group = np.asarray(group)
  if group.shape != (num_examples,) or group.dtype.kind not in "iu":
    raise ValueError(
      f"{name} has groups of shape {group.shape} and dtype {group.dtype}; give "
      f"one integer for each of the {num_examples} examples"
    )
  return group.astype(np.int32)
