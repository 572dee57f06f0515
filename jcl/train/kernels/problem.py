"""Convolutions and their gradients in the terms of kernel libraries.

JAX has one operation for a convolution and for its two gradients, which differ
in dilations and in the roles of axes. Kernel libraries have three: `forward`
reads inputs and weights, `inputs` reads gradients of outputs and weights, and
`weights` reads inputs and gradients of outputs.
"""

from collections.abc import Sequence
import math
from typing import Any, Literal, NamedTuple

Kind = Literal["forward", "inputs", "weights"]

# Parameters of the operation that `read` takes.
PARAMETERS = (
  "window_strides",
  "padding",
  "lhs_dilation",
  "rhs_dilation",
  "dimension_numbers",
  "feature_group_count",
  "batch_group_count",
)


class Operand(NamedTuple):
  """A row-major array and the roles of its axes."""

  shape: tuple[int, ...]
  # Positions of batch, channels and space; for weights of out, in and space.
  axes: tuple[int, ...]

  @property
  def sizes(self) -> tuple[int, ...]:
    """Sizes in the order of `axes`."""
    return tuple(self.shape[axis] for axis in self.axes)

  @property
  def strides(self) -> tuple[int, ...]:
    """Distances between neighbours, in elements, in the order of `axes`."""
    return tuple(math.prod(self.shape[axis + 1 :]) for axis in self.axes)

  @property
  def swapped(self) -> "Operand":
    """The operand with the roles of its first two axes exchanged."""
    first, second, *space = self.axes
    return self._replace(axes=(second, first, *space))


class Problem(NamedTuple):
  """A convolution y = w * x or one of its gradients.

  `x` [N, C, space], `w` [O, C / groups, space] and `y` [N, O, space] are the
  arrays of the convolution itself, whichever of them is computed. In the kind
  "inputs", groups may lie along another axis of `w`: see `grouped_by_input`.
  """

  kind: Kind
  x: Operand
  w: Operand
  y: Operand
  groups: int
  strides: tuple[int, ...]
  dilations: tuple[int, ...]
  padding: tuple[tuple[int, int], ...]

  @property
  def grouped_by_input(self) -> bool:
    """True if the groups lie along the input channels of the weights."""
    return self.kind == "inputs"

  @property
  def mirrored(self) -> bool:
    """True if the weights are mirrored in space."""
    return self.kind == "inputs"

  @property
  def operands(self) -> tuple[Operand, Operand, Operand]:
    """The two arrays that are read, and the one that is computed."""
    return {
      "forward": (self.x, self.w, self.y),
      "inputs": (self.y, self.w, self.x),
      "weights": (self.x, self.y, self.w),
    }[self.kind]

  @property
  def flops(self) -> float:
    """Operations, two for each product that does not meet padding."""
    taps = 1
    for axis, (stride, dilation, (low, _)) in enumerate(
      zip(self.strides, self.dilations, self.padding, strict=True), 2
    ):
      taps *= sum(
        0 <= out * stride + tap * dilation - low < self.x.sizes[axis]
        for out in range(self.y.sizes[axis])
        for tap in range(self.w.sizes[axis])
      )
    inputs = self.x.sizes[1] // self.groups  # that one output channel reads
    return 2.0 * taps * math.prod(self.y.sizes[:2]) * inputs


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
    shapes: of left operand, right operand and result.
    window_strides: a parameter of the operation, like all that follow.
    padding: see `window_strides`.
    lhs_dilation: see `window_strides`.
    rhs_dilation: see `window_strides`.
    dimension_numbers: as `jax.lax.ConvDimensionNumbers`.
    feature_group_count: see `window_strides`.
    batch_group_count: see `window_strides`.

  Returns:
    The problem; None for an operation of none of the three kinds, or one that
    crops its input.
  """
  if any(0 in shape for shape in shapes):
    return None
  left, right, out = (
    Operand(tuple(shape), tuple(axes))
    for shape, axes in zip(shapes, dimension_numbers, strict=True)
  )
  steps, apart = tuple(window_strides), tuple(rhs_dilation)
  lows = [low for low, _ in padding]
  if any(step > 1 for step in lhs_dilation):
    if any(step > 1 for step in steps) or batch_group_count > 1:
      return None
    lows = [
      (size - 1) * dilation - low
      for size, dilation, low in zip(right.sizes[2:], apart, lows, strict=True)
    ]
    found = Problem(
      "inputs", out, right.swapped, left, feature_group_count,
      tuple(lhs_dilation), apart, (),
    )  # fmt: skip
  elif feature_group_count == 1 and (
    batch_group_count > 1
    or math.prod(right.sizes[2:]) > math.prod(out.sizes[2:])
  ):
    # JAX's batch axis holds the input's channels here, and vice versa.
    x, y, w = (each.swapped for each in (left, right, out))
    found = Problem("weights", x, w, y, batch_group_count, apart, steps, ())
  else:
    found = Problem(
      "forward", left, right, out, feature_group_count, steps, apart, ()
    )
  edges = _edges(found, lows)
  return None if edges is None else found._replace(padding=edges)


def _edges(
  problem: Problem, lows: Sequence[int]
) -> tuple[tuple[int, int], ...] | None:
  """Returns padding on both sides; None if it would be negative."""
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
