"""Sums over examples, from which learners without gradients are solved.

Of rows x [B, D], which are features of a trunk that never changes, four arrays
are kept: the weight of the rows of each class, the sum of its rows, the second
moment of all rows, and the point about which both are taken. All are sums, so
that neither the order of the rows nor their cut into batches, experiences or
devices matters beyond rounding; rows leave by subtraction. `closed_form` makes
classifiers of them.

The point, the mean of the first batch, keeps the within-class scatter from
being a small difference of large numbers.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.options.errors import UsageError

# Sources of rows, in the order of `Statistics.source`.
_SOURCES = ("trunk", "normalisation of inputs", "random expansion")
# Weight of a class that rounding may leave below zero.
_SLACK = 1e-3
_product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Statistics(NamedTuple):
  """Sums over rows of D features and C classes."""

  rows: base.Array  # [C] float32, weight of the rows of a class
  total: base.Array  # [C, D] float32, sum of its rows about the shift
  moment: base.Array  # [D, D] float32, sum of (x - shift)(x - shift)^T
  shift: base.Array  # [D] float32, mean of the first batch, then kept
  begun: base.Array  # [] bool, whether there was a first batch
  # [3] uint32, digests of what makes rows of inputs: the trunk, the
  # normalisation of inputs and the random expansion; 0 where not known.
  source: base.Array


def zeros(num_classes: int, width: int) -> Statistics:
  """Returns the statistics of no rows of `width` features."""
  return Statistics(
    jnp.zeros(num_classes, jnp.float32),
    jnp.zeros((num_classes, width), jnp.float32),
    jnp.zeros((width, width), jnp.float32),
    jnp.zeros(width, jnp.float32),
    jnp.zeros((), bool),
    jnp.zeros(len(_SOURCES), jnp.uint32),
  )


def add(
  sums: Statistics,
  x: base.Array,
  y: base.Array,
  weight: base.Array,
  decay: float = 1.0,
) -> Statistics:
  """Adds rows; a pure function, for use within `jax.jit`.

  Args:
    sums: of the rows so far.
    x: [B, D] features, summed in float32.
    y: [B] classes.
    weight: [B]; 0 leaves a row out.
    decay: factor by which a row's weight falls with every row that follows it.

  >>> x, y = np.array([[1.0], [3.0]]), np.array([0, 1])
  >>> sums = add(zeros(2, 1), x, y, np.ones(2))
  >>> sums.rows.tolist(), sums.shift.tolist(), sums.moment.tolist()
  ([1.0, 1.0], [2.0], [[2.0]])
  """
  x, weight = jnp.asarray(x, jnp.float32), jnp.asarray(weight, jnp.float32)
  taken = weight != 0
  first = _product(weight, x) / jnp.where(jnp.any(taken), jnp.sum(weight), 1)
  shift = jnp.where(sums.begun, sums.shift, first)
  kept: base.Array | float = 1.0
  if decay != 1:
    following = jnp.sum(taken) - jnp.cumsum(taken)
    weight, kept = weight * decay**following, decay ** jnp.sum(taken)
  rows = jnp.where(taken[:, None], x - shift, 0.0)
  weighted = weight[:, None] * rows
  # A product, as sums by index come in any order on some devices.
  member = jax.nn.one_hot(y, sums.rows.shape[0], dtype=jnp.float32)
  return sums._replace(
    rows=kept * sums.rows + jnp.sum(weight[:, None] * member, axis=0),
    total=kept * sums.total + _product(member.T, weighted),
    moment=kept * sums.moment + _product(weighted.T, rows),
    shift=shift,
    begun=sums.begun | jnp.any(taken),
  )


def remove(
  sums: Statistics,
  x: base.Array,
  y: base.Array,
  weight: base.Array | None = None,
) -> Statistics:
  """Takes rows out, as if they had never been added.

  It is how a user's right to be forgotten is granted without learning anew.
  Beyond rounding nothing of the rows stays but their share of the shift, which
  is a mean of the first batch and no part of any result.

  Args:
    sums: with the rows.
    x: [B, D] features of the rows, as they were added.
    y: [B] classes.
    weight: [B], as they have it by now; None: 1 each.

  Raises:
    UsageError: where more of a class would leave than there is.

  >>> x, y = np.array([[1.0], [3.0]]), np.array([0, 1])
  >>> both = add(zeros(2, 1), x, y, np.ones(2))
  >>> remove(both, np.array([[3.0]]), np.array([1])).rows.tolist()
  [1.0, 0.0]
  """
  rows = np.asarray(y)
  weight = np.ones(len(rows), np.float32) if weight is None else weight
  left = add(sums, x, rows, -np.asarray(weight, np.float32))
  return _checked(left)


def merge(first: Statistics, second: Statistics) -> Statistics:
  """Returns the statistics of the rows of both, about the first one's shift.

  Devices that share trunk, normalisation and expansion learn together so,
  without sending a row.

  Raises:
    UsageError: for statistics of other shapes, or rows made in another way.

  >>> one = add(zeros(2, 1), np.array([[1.0]]), np.array([0]), np.ones(1))
  >>> other = add(zeros(2, 1), np.array([[3.0]]), np.array([1]), np.ones(1))
  >>> merge(one, other).moment.tolist(), merge(one, other).shift.tolist()
  ([[4.0]], [1.0])
  """
  _check_alike(first, second)
  if not first.begun:
    return second
  return _combined(first, about(second, np.asarray(first.shift)), 1)


def subtract(whole: Statistics, part: Statistics) -> Statistics:
  """Returns the statistics of the rows of `whole` that `part` has not.

  Raises:
    UsageError: for statistics that cannot be a part.
  """
  _check_alike(whole, part)
  part = about(part, np.asarray(whole.shift))
  return _checked(_combined(whole, part, -1))


def about(sums: Statistics, shift: np.ndarray) -> Statistics:
  """Returns the same rows' statistics about another point [D]."""
  moved = _float64(sums.shift) - _float64(shift)
  count, total = _float64(sums.rows), _float64(sums.total)
  cross = np.outer(moved, total.sum(axis=0))
  moment = _float64(sums.moment) + cross + cross.T
  moment += count.sum() * np.outer(moved, moved)
  return sums._replace(
    total=_float32(total + count[:, None] * moved),
    moment=_float32(moment),
    shift=_float32(shift),
  )


def means(sums: Statistics) -> np.ndarray:
  """Returns the mean of each class [C, D] float64; the shift without rows."""
  count = _float64(sums.rows)[:, None]
  return _float64(sums.shift) + _float64(sums.total) / np.where(
    count > 0, count, 1
  )


def seen(sums: Statistics) -> np.ndarray:
  """Returns [C] bool: classes of which there are rows."""
  return np.asarray(sums.rows) > _SLACK


def within(sums: Statistics) -> np.ndarray:
  """Returns the scatter about the classes' means [D, D] float64."""
  known = seen(sums)
  count, total = _float64(sums.rows)[known], _float64(sums.total)[known]
  moment = _float64(sums.moment)
  moment = (moment + moment.T) / 2
  return moment - (total / count[:, None]).T @ total


def gram(sums: Statistics) -> np.ndarray:
  """Returns the sum of x x^T over all rows [D, D] float64."""
  shift, moment = _float64(sums.shift), _float64(sums.moment)
  rows = _float64(sums.total).sum(axis=0)
  cross = np.outer(shift, rows)
  square = _float64(sums.rows).sum() * np.outer(shift, shift)
  return (moment + moment.T) / 2 + cross + cross.T + square


def cross(sums: Statistics) -> np.ndarray:
  """Returns the sum of the rows of each class [D, C] float64."""
  count, total = _float64(sums.rows), _float64(sums.total)
  return (total + count[:, None] * _float64(sums.shift)).T


def _combined(first: Statistics, second: Statistics, sign: int) -> Statistics:
  """Adds statistics about one point, or subtracts the second ones."""
  parts = {
    name: _float32(
      _float64(getattr(first, name)) + sign * _float64(getattr(second, name))
    )
    for name in ("rows", "total", "moment")
  }
  return first._replace(**parts)


def _check_alike(first: Statistics, second: Statistics) -> None:
  if first.total.shape != second.total.shape:
    raise UsageError(
      f"statistics of {_sizes(first)} and of {_sizes(second)}: merge those of "
      "one network on streams with the same classes"
    )
  ours, theirs = np.asarray(first.source), np.asarray(second.source)
  for name, mine, other in zip(_SOURCES, ours, theirs, strict=True):
    if mine != other and mine and other:
      raise UsageError(
        f"the {name} differs ({mine:08x} and {other:08x}): statistics add up "
        "where rows are made alike; learn both with the same weights, data "
        "statistics, --seed and gamma"
      )


def _sizes(sums: Statistics) -> str:
  classes, width = sums.total.shape
  return f"{width} features and {classes} classes"


def _checked(left: Statistics) -> Statistics:
  """Returns statistics after a subtraction, if they can be those of rows."""
  count = np.asarray(left.rows)
  if (count < -_SLACK).any():
    worst = int(np.argmin(count))
    raise UsageError(
      f"{-count[worst]:g} rows of class {worst} would leave that are not "
      "there: take out rows that were added, once"
    )
  return left


def _float64(array: base.Array) -> np.ndarray:
  return np.asarray(array, np.float64)


def _float32(array: base.Array) -> np.ndarray:
  return np.asarray(array, np.float32)
