"""Axes of arrays, followed through a program.

Two axes belong together where a program pairs their positions one to one: it
adds the arrays, or sums over the products of them. Taking a position out then
takes it out of both. An axis is fixed where no position can go without a change
to the others: where the axis is summed over without a kernel (as in layer
normalisation), split, merged, shifted or concatenated, and wherever it goes
through an operation not known here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import itertools
from typing import Any, NamedTuple

from jcl.base import jaxprs

Params = Mapping[str, Any]  # of an equation
Shape = tuple[int, ...]


class Value(NamedTuple):
  """The axes of an array, while a jaxpr is walked."""

  axes: tuple[int, ...]
  # Whether it is a parameter or a statistic, perhaps cast or moved, so that
  # positions that hold zeros there are zero here.
  stored: bool = False


class Axes:
  """Axes by number, and which of them have the same positions.

  A union-find structure: `find` returns the axis that stands for all axes
  united with the given one.
  """

  def __init__(self) -> None:
    self.sizes: list[int] = []
    self.fixed: list[bool] = []  # valid at the root of a set
    self.roles: dict[int, Any] = {}  # by axis, not by set
    self._parents: list[int] = []

  def new(self, shape: Sequence[int], fixed: bool = False) -> tuple[int, ...]:
    """Adds the axes of an array of this shape, and returns them."""
    start = len(self.sizes)
    self.sizes += shape
    self.fixed += [fixed] * len(shape)
    self._parents += range(start, start + len(shape))
    return tuple(range(start, start + len(shape)))

  def find(self, axis: int) -> int:
    """Returns the axis that stands for the set of an axis."""
    while self._parents[axis] != axis:
      self._parents[axis] = self._parents[self._parents[axis]]
      axis = self._parents[axis]
    return axis

  def unite(self, ours: Iterable[int], theirs: Iterable[int]) -> None:
    """Unites axes pair by pair; one that is fixed fixes the other."""
    for one, other in zip(ours, theirs, strict=True):
      one, other = self.find(one), self.find(other)
      assert self.sizes[one] == self.sizes[other]
      self.fixed[one] |= self.fixed[other]
      self._parents[other] = one

  def fix(self, *axes: int) -> None:
    """Fixes axes, and with each the set that it is in."""
    for axis in axes:
      self.fixed[self.find(axis)] = True

  def mark(self, value: Value, role: str, *positions: int) -> None:
    """Notes the role of some axes of a kernel; other arrays have none."""
    if value.stored:
      for position in positions:
        self.roles.setdefault(value.axes[position], role)


_ELEMENTWISE = frozenset(
  """abs add add_any and atan2 bitcast_convert_type cbrt ceil clamp
  convert_element_type copy copy_p cos cosh div eq erf erf_inv erfc exp exp2
  expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul
  name ne neg nextafter not or pow reduce_precision rem round rsqrt select_n
  shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt
  square stop_gradient sub tan tanh xor""".split()
)
# Elementwise operations that leave zeros where they are.
_CASTS = frozenset(
  {"convert_element_type", "copy", "copy_p", "name", "stop_gradient"}
)
_REDUCTIONS = frozenset(
  """argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod
  reduce_sum""".split()
)
_SCANS = frozenset("cumlogsumexp cummax cummin cumprod cumsum".split())
_WINDOWS = frozenset(
  {"reduce_window_max", "reduce_window_min", "reduce_window_sum"}
)


def walk(
  axes: Axes, program: jaxprs.Program, inputs: Sequence[Value]
) -> list[Value]:
  """Follows axes through a program, uniting and fixing them on the way.

  Args:
    axes: holds the axes of the inputs; gains the axes of all values.
    program: as `jaxprs.trace` returns it.
    inputs: values of its arguments.

  Returns:
    Values of its results.
  """
  return jaxprs.follow(
    program,
    inputs,
    lambda equation, operands: _results(axes, equation, operands),
    lambda aval: _fixed(axes, aval.shape),
  )


def _results(
  axes: Axes, equation: jaxprs.Equation, operands: list[Value]
) -> list[Value]:
  name, params = equation.name, equation.params
  shapes = [aval.shape for aval in equation.gives]
  if called := jaxprs.called(equation):
    return walk(axes, called, operands)
  if name in _ELEMENTWISE and _aligned(operands, shapes[0]):
    return [_elementwise(axes, name, operands, shapes[0])]
  if name in _REDUCTIONS:
    return [_without(axes, operands[0], params["axes"])]
  if name in _SCANS:
    axes.fix(operands[0].axes[params["axis"]])
    return [operands[0]._replace(stored=False)]
  if name in _WINDOWS:
    return [_window(axes, params, operands[0], shapes[0])]
  if name in _RULES:
    return [_RULES[name](axes, params, operands, shapes[0])]
  for operand in operands:
    axes.fix(*operand.axes)
  return [_fixed(axes, shape) for shape in shapes]


def _fixed(axes: Axes, shape: Shape) -> Value:
  return Value(axes.new(shape, fixed=True))


def _aligned(operands: Sequence[Value], shape: Shape) -> bool:
  return all(len(v.axes) in (0, len(shape)) for v in operands)


def _elementwise(
  axes: Axes, name: str, operands: Sequence[Value], shape: Shape
) -> Value:
  """Unites axes of operands, of the result's size, of size 1, or absent."""
  result = list(axes.new(shape))
  for operand in operands:
    for position, axis in enumerate(operand.axes):
      if axes.sizes[axis] != shape[position]:
        continue
      axes.unite((result[position],), (axis,))
      # Keeps the kernel's own axis, which has a role.
      if name in _CASTS:
        result[position] = axis
  return Value(tuple(result), name in _CASTS and operands[0].stored)


def _without(axes: Axes, value: Value, dropped: Sequence[int]) -> Value:
  axes.fix(*(value.axes[position] for position in dropped))
  kept = [a for i, a in enumerate(value.axes) if i not in dropped]
  return Value(tuple(kept))


def _same_or_fixed(
  axes: Axes,
  value: Value,
  shape: Shape,
  same: Sequence[bool],
  stored: bool = False,
) -> Value:
  """Keeps the axes that an operation leaves alone, and fixes the others."""
  result = []
  for axis, size, keep in zip(value.axes, shape, same, strict=True):
    if keep:
      result.append(axis)
    else:
      axes.fix(axis)
      result += axes.new((size,), fixed=True)
  return Value(tuple(result), stored)


def _window(axes: Axes, params: Params, value: Value, shape: Shape) -> Value:
  alone = [
    window == stride == dilation == 1 and tuple(padding) == (0, 0)
    for window, stride, dilation, padding in zip(
      params["window_dimensions"],
      params["window_strides"],
      params["base_dilation"],
      params["padding"],
      strict=True,
    )
  ]
  return _same_or_fixed(axes, value, shape, alone)


def _dot_general(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  del shape
  contracted, batched = params["dimension_numbers"]
  for ours, theirs in (contracted, batched):
    axes.unite(
      [operands[0].axes[i] for i in ours],
      [operands[1].axes[i] for i in theirs],
    )
  if not (operands[0].stored or operands[1].stored):
    # No kernel holds zeros for channels that go, so that the sum would change.
    axes.fix(*(operands[0].axes[i] for i in contracted[0]))
  result = [operands[0].axes[i] for i in batched[0]]
  for value, summed, batch in zip(operands, contracted, batched, strict=True):
    free = [i for i in range(len(value.axes)) if i not in {*summed, *batch}]
    axes.mark(value, "in", *summed)
    axes.mark(value, "through", *batch)
    axes.mark(value, "out", *free)
    result += [value.axes[i] for i in free]
  return Value(tuple(result))


def _convolution(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  x, kernel = operands
  (batch, features, *space), (outputs, inputs, *window), layout = params[
    "dimension_numbers"
  ]
  result = list(axes.new(shape, fixed=True))
  axes.fix(*(x.axes[i] for i in space), *(kernel.axes[i] for i in window))
  read, written = x.axes[features], kernel.axes[outputs]
  num_groups = params["feature_group_count"]
  each = num_groups == axes.sizes[read] == axes.sizes[written] > 1
  if params["batch_group_count"] != 1 or (num_groups > 1 and not each):
    axes.fix(x.axes[batch], read, written, *kernel.axes)
    return Value(tuple(result))
  if each:
    axes.mark(kernel, "through", outputs)
    axes.unite((read,), (written,))
  else:
    axes.mark(kernel, "out", outputs)
    axes.mark(kernel, "in", inputs)
    axes.unite((read,), (kernel.axes[inputs],))
    if not (x.stored or kernel.stored):
      axes.fix(read)
  result[layout[0]], result[layout[1]] = x.axes[batch], written
  return Value(tuple(result))


def _reshape(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  """Keeps an axis that has as many elements ahead of it as before."""
  del params
  value, result = operands[0], list(axes.new(shape))
  before = _places([axes.sizes[axis] for axis in value.axes])
  after = _places(shape)
  for place, position in before.items():
    if place in after:
      result[after[place]] = value.axes[position]
    else:
      axes.fix(value.axes[position])
  axes.fix(*(result[i] for place, i in after.items() if place not in before))
  return Value(tuple(result), value.stored)


def _places(shape: Sequence[int]) -> dict[tuple[int, int], int]:
  """Maps (elements ahead, size) to the position of each axis longer than 1."""
  ahead = itertools.accumulate(shape, lambda a, b: a * b, initial=1)
  pairs = enumerate(zip(ahead, shape, strict=False))
  return {place: position for position, place in pairs if place[1] != 1}


def _broadcast(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  value, result = operands[0], list(axes.new(shape))
  pairs = zip(value.axes, params["broadcast_dimensions"], strict=True)
  for axis, position in pairs:
    if axes.sizes[axis] == shape[position]:
      result[position] = axis
  return Value(tuple(result), value.stored)


def _concatenate(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  joined, result = params["dimension"], list(operands[0].axes)
  for operand in operands:
    others = [i for i in range(len(shape)) if i != joined]
    axes.unite([result[i] for i in others], [operand.axes[i] for i in others])
    axes.fix(operand.axes[joined])
  (result[joined],) = axes.new((shape[joined],), fixed=True)
  return Value(tuple(result))


def _pad(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  alone = [tuple(edges) == (0, 0, 0) for edges in params["padding_config"]]
  return _same_or_fixed(axes, operands[0], shape, alone)


def _cut(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  del params
  whole = [
    axes.sizes[axis] == size
    for axis, size in zip(operands[0].axes, shape, strict=True)
  ]
  for operand in operands[1:]:
    axes.fix(*operand.axes)
  return _same_or_fixed(axes, operands[0], shape, whole)


def _reverse(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  turned = params["dimensions"]
  alone = [i not in turned for i in range(len(shape))]
  return _same_or_fixed(axes, operands[0], shape, alone)


def _squeeze(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  del shape
  kept = _without(axes, operands[0], params["dimensions"])
  return kept._replace(stored=operands[0].stored)


def _transpose(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  del axes, shape
  value = operands[0]
  moved = tuple(value.axes[i] for i in params["permutation"])
  return Value(moved, value.stored)


def _random(
  axes: Axes, params: Params, operands: Sequence[Value], shape: Shape
) -> Value:
  """Returns free axes: noise of fewer channels is other noise, but as good."""
  del params, operands
  return Value(axes.new(shape))


_RULES: dict[str, Callable[..., Value]] = {
  "broadcast_in_dim": _broadcast,
  "concatenate": _concatenate,
  "conv_general_dilated": _convolution,
  "dot_general": _dot_general,
  "dynamic_slice": _cut,
  "pad": _pad,
  "random_bits": _random,
  "reshape": _reshape,
  "rev": _reverse,
  "slice": _cut,
  "squeeze": _squeeze,
  "transpose": _transpose,
}
