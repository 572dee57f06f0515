"""What a convolution computes, as kernel libraries put it.

JAX has one operation for a convolution and for its two gradients, told apart by
dilations and by which axes change roles. Kernels are made for three: `forward`
reads inputs and weights, `inputs` reads gradients of outputs and weights, and
`weights` reads inputs and gradients of outputs.
"""

from collections.abc import Sequence
import math
from typing import Any, Literal, NamedTuple

Kind = Literal["forward", "inputs", "weights"]


class Operand(NamedTuple):
  """An array, row-major, and which of its axes is which."""

  shape: tuple[int, ...]
  axes: tuple[int, ...]  # batch, channels, space; of weights: out, in, space

  @property
  def sizes(self) -> tuple[int, ...]:
    """Returns the sizes in the order of `axes`."""
    return tuple(self.shape[axis] for axis in self.axes)

  @property
  def strides(self) -> tuple[int, ...]:
    """Returns the steps between elements, in elements, in that order."""
    return tuple(math.prod(self.shape[axis + 1 :]) for axis in self.axes)


class Problem(NamedTuple):
  """A convolution y = w * x or one of its gradients.

  `x` [N, C, space], `w` [O, C / groups, space] and `y` [N, O, space] are the
  operands of the convolution itself, whichever of them is computed. In the
  kind "inputs" the weights' axes may group otherwise: see `grouped_by_input`.
  """

  kind: Kind
  x: Operand
  w: Operand
  y: Operand
  groups: int
  strides: tuple[int, ...]
  dilations: tuple[int, ...]
  padding: tuple[tuple[int, int], ...]
  # Whether the array of weights has the groups along its input channels.
  grouped_by_input: bool = False
  # Whether the array of weights is mirrored in space.
  mirrored: bool = False

  @property
  def operands(self) -> tuple[Operand, Operand, Operand]:
    """Returns both arrays that are read and the one that is computed."""
    return {
      "forward": (self.x, self.w, self.y),
      "inputs": (self.y, self.w, self.x),
      "weights": (self.x, self.y, self.w),
    }[self.kind]

  @property
  def flops(self) -> float:
    """Returns operations, two for each product that is no padding."""
    taps = 1
    for axis, (stride, dilation, (low, _)) in enumerate(
      zip(self.strides, self.dilations, self.padding, strict=True), 2
    ):
      taps *= sum(
        0 <= out * stride + tap * dilation - low < self.x.sizes[axis]
        for out in range(self.y.sizes[axis])
        for tap in range(self.w.sizes[axis])
      )
    channels = math.prod(self.y.sizes[:2]) * self._inputs_of_one
    return 2.0 * taps * channels

  @property
  def _inputs_of_one(self) -> int:
    return self.x.sizes[1] // self.groups


def read(
  shapes: tuple[Sequence[int], Sequence[int], Sequence[int]],
  *,
  window_strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  lhs_dilation: Sequence[int],
  rhs_dilation: Sequence[int],
  dimension_numbers: Any,
  feature_group_count: int = 1,
  batch_group_count: int = 1,
) -> Problem | None:
  """Reads the parameters of `jax.lax.conv_general_dilated`.

  Args:
    shapes: of left side, right side and result.
    window_strides: as of the operation, and so are all others.
    padding: the same.
    lhs_dilation: the same.
    rhs_dilation: the same.
    dimension_numbers: the same, as `jax.lax.ConvDimensionNumbers`.
    feature_group_count: the same.
    batch_group_count: the same.

  Returns:
    The problem, or None where it is none of the three kinds, or crops.
  """
  if any(0 in shape for shape in shapes):
    return None
  left, right, out = (
    Operand(tuple(shape), tuple(axes))
    for shape, axes in zip(shapes, dimension_numbers, strict=True)
  )
  steps, apart = tuple(window_strides), tuple(rhs_dilation)
  ahead = [low for low, _ in padding]
  is_strided_gradient = any(step > 1 for step in lhs_dilation)
  if is_strided_gradient:
    if any(step > 1 for step in steps) or batch_group_count > 1:
      return None
    spans = [
      (size - 1) * dilation
      for size, dilation in zip(right.sizes[2:], apart, strict=True)
    ]
    lows = [span - low for span, low in zip(spans, ahead, strict=True)]
    w = right._replace(axes=(right.axes[1], right.axes[0], *right.axes[2:]))
    found = Problem(
      "inputs", out, w, left, feature_group_count, tuple(lhs_dilation), apart,
      (), grouped_by_input=True, mirrored=True,
    )  # fmt: skip
  elif math.prod(right.sizes[2:]) > math.prod(out.sizes[2:]) or (
    batch_group_count > 1
  ):
    if feature_group_count > 1:
      return None
    # What JAX calls batch are the input's channels, and the other way round.
    swap = [
      each._replace(axes=(each.axes[1], each.axes[0], *each.axes[2:]))
      for each in (left, right, out)
    ]
    x, y, w = swap
    lows = ahead
    found = Problem("weights", x, w, y, batch_group_count, apart, steps, ())
  else:
    lows = ahead
    found = Problem(
      "forward", left, right, out, feature_group_count, steps, apart, ()
    )
  edges = _edges(found, lows)
  return None if edges is None else found._replace(padding=edges)


def _edges(problem: Problem, lows) -> tuple[tuple[int, int], ...] | None:
  """Returns padding on both sides, None where it were negative."""
  edges = []
  for axis, (stride, dilation, low) in enumerate(
    zip(problem.strides, problem.dilations, lows, strict=True), 2
  ):
    size, taps, out = (
      each.sizes[axis] for each in (problem.x, problem.w, problem.y)
    )
    span = (taps - 1) * dilation + 1
    high = max((out - 1) * stride + span - size - low, 0)
    if low < 0 or (size + low + high - span) // stride + 1 != out:
      return None
    edges.append((low, high))
  return tuple(edges)
