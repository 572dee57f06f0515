"""Rows of a data set, changed when they are read instead of ahead of time."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from jcl import base

# [B, ...] -> [B, ...] of the same shape and dtype.
Transform = Callable[[np.ndarray], np.ndarray]


class View:
  """Chosen rows of an indexable `x`, each passed through a transform.

  Indexing by an integer array reads just the rows asked for.
  """

  def __init__(
    self, x: Any, rows: np.ndarray, transform: Transform | None = None
  ) -> None:
    self._x, self._rows, self._transform = x, rows, transform
    self.shape = (len(rows), *x.shape[1:])
    self.dtype = np.dtype(x.dtype)

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: Any) -> np.ndarray:
    rows = self._rows[index]
    values = self._x[np.atleast_1d(rows)]
    if self._transform is not None:
      values = self._transform(values)
    return values if np.ndim(rows) else values[0]

  def __array__(
    self, dtype: DTypeLike | None = None, copy: bool | None = None
  ) -> np.ndarray:
    del copy  # reading makes a new array in any case
    return np.asarray(self[np.arange(len(self))], dtype)


class Joined:
  """Several indexables `x`, one behind the other, read on demand.

  All must have the same shape of an example and the same dtype. Rows of views
  of one array are read together, so that many small parts cost no more than a
  large one.
  """

  def __init__(self, parts: Sequence[Any]) -> None:
    opened = [
      (part._x, part._rows, part._transform)
      if isinstance(part, View)
      else (part, np.arange(part.shape[0]), None)
      for part in parts
    ]
    # By identity: (number, array, transform) of each pair that occurs.
    found: dict[tuple[int, int], tuple[int, Any, Transform | None]] = {}
    for x, _, transform in opened:
      found.setdefault((id(x), id(transform)), (len(found), x, transform))
    self._sources = [(x, transform) for _, x, transform in found.values()]
    numbers = [found[id(x), id(transform)][0] for x, _, transform in opened]
    self._rows = np.concatenate([rows for _, rows, _ in opened])
    sizes = [len(rows) for _, rows, _ in opened]
    self._source_of = np.repeat(np.asarray(numbers, np.int32), sizes)
    self.shape = (len(self._rows), *parts[0].shape[1:])
    self.dtype = np.dtype(parts[0].dtype)

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: Any) -> np.ndarray:
    chosen = self._rows[index]
    rows, source_of = np.atleast_1d(chosen, self._source_of[index])
    values = np.empty((len(rows), *self.shape[1:]), self.dtype)
    for number in np.unique(source_of):
      x, transform = self._sources[number]
      here = source_of == number
      found = x[rows[here]]
      values[here] = found if transform is None else transform(found)
    return values if np.ndim(chosen) else values[0]


def take(
  dataset: base.Dataset, rows: np.ndarray, transform: Transform | None = None
) -> base.Dataset:
  """Returns rows [N] of a data set as a data set, inputs read on demand."""
  return dataclasses.replace(
    dataset,
    x=View(dataset.x, rows, transform),
    y=dataset.y[rows],
    group=None if dataset.group is None else dataset.group[rows],
  )


def join(datasets: Sequence[base.Dataset]) -> base.Dataset:
  """Joins data sets of one kind, inputs read on demand."""
  return dataclasses.replace(
    datasets[0],
    x=Joined([data.x for data in datasets]),
    y=np.concatenate([data.y for data in datasets]),
    group=None,
  )


def permute(order: np.ndarray) -> Transform:
  """Returns a transform that puts the pixel `order[i]` at position i.

  Images [B, height, width, channels] keep the channels of a pixel together; in
  other inputs every value moves by itself.

  >>> permute(np.array([2, 0, 1]))(np.array([[10, 20, 30]])).tolist()
  [[30, 10, 20]]
  """
  return functools.partial(_permute, order)


def num_positions(example_shape: tuple[int, ...]) -> int:
  """Counts the positions that `permute` reorders in an example.

  >>> num_positions((28, 28, 3)), num_positions((28, 6))
  (784, 168)
  """
  spatial = example_shape[:-1] if len(example_shape) == 3 else example_shape
  return int(np.prod(spatial))


def _permute(order: np.ndarray, x: np.ndarray) -> np.ndarray:
  return x.reshape(len(x), len(order), -1)[:, order].reshape(x.shape)


def rotate(degrees: float, height: int, width: int) -> Transform:
  """Returns a transform that turns images anticlockwise about the centre.

  Images are [B, height, width, channels]. Values between pixels are bilinear;
  pixels from outside the image are zero.

  >>> image = np.array([[1, 2], [3, 4]], np.uint8).reshape(1, 2, 2, 1)
  >>> rotate(90, 2, 2)(image)[0, :, :, 0].tolist()
  [[2, 4], [1, 3]]
  """
  # One sparse matrix for all images is far quicker than a call per image.
  return functools.partial(_rotate, _rotation(degrees, height, width))


def _rotate(matrix: Any, x: np.ndarray) -> np.ndarray:
  pixels = np.moveaxis(x.reshape(len(x), matrix.shape[1], -1), 1, 0)
  turned = matrix @ pixels.reshape(len(pixels), -1).astype(np.float32)
  turned = np.moveaxis(turned.reshape(pixels.shape), 0, 1).reshape(x.shape)
  if np.issubdtype(x.dtype, np.integer):
    turned = np.rint(turned)
  return turned.astype(x.dtype)


def _rotation(degrees: float, height: int, width: int) -> Any:
  """Returns weights [P, P] of the input pixels in each output pixel."""
  from scipy import sparse

  angle = np.deg2rad(degrees)
  sine, cosine = np.sin(angle), np.cos(angle)
  row, column = np.indices((height, width)).reshape(2, -1)
  down, right = row - (height - 1) / 2, column - (width - 1) / 2
  # Source of each output pixel; rounding rids right angles of noise.
  from_row = (cosine * down + sine * right + (height - 1) / 2).round(6)
  from_column = (cosine * right - sine * down + (width - 1) / 2).round(6)
  top, left = np.floor(from_row), np.floor(from_column)
  matrix = sparse.csr_array((height * width, height * width), dtype=np.float32)
  for r, c in (
    (top, left),
    (top, left + 1),
    (top + 1, left),
    (top + 1, left + 1),
  ):
    weight = (1 - abs(from_row - r)) * (1 - abs(from_column - c))
    inside = (r >= 0) & (r < height) & (c >= 0) & (c < width) & (weight > 0)
    source = (r * width + c)[inside].astype(int)
    target = np.flatnonzero(inside)
    matrix += sparse.csr_array(
      (weight[inside].astype(np.float32), (target, source)), matrix.shape
    )
  return matrix
