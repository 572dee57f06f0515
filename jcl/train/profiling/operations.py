"""Programs as flat lists of operations, and the cost of each operation.

Floating-point operations are counted like XLA's: two per term of a convolution
or matrix product, without terms that meet padding or the holes of a dilated
operand; one per element for arithmetic, comparisons and choices; one per
element but the first for sums; none for transcendental functions and for moving
data.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from jcl.base import jaxprs


@dataclasses.dataclass(frozen=True)
class Rates:
  """The rates that limit a device."""

  flops_per_second: float
  bytes_per_second: float
  seconds_per_op: float  # constant cost of every operation
  # True for XLA's CPU backend: it computes the kernel gradient of a grouped
  # convolution for all pairs of groups and keeps the diagonal (the pass
  # "convolution group converter"), which multiplies the cost by the groups.
  expands_groups: bool = False
  # For convolutions in groups, holes of a dilated input included, for which
  # XLA's CPU backend has no fast kernel; None: `flops_per_second`.
  grouped_flops_per_second: float | None = None

  def __post_init__(self) -> None:
    for name in (
      "flops_per_second",
      "bytes_per_second",
      "grouped_flops_per_second",
    ):
      value = getattr(self, name)
      if value is not None and not value > 0:
        raise ValueError(f"{name}={value}: give a number > 0")
    if not 0 <= self.seconds_per_op < math.inf:
      raise ValueError(
        f"seconds_per_op={self.seconds_per_op}: give a number >= 0"
      )


class Operation(NamedTuple):
  """An equation of a program whose calls have been inlined."""

  name: str
  params: Mapping[str, Any]
  inputs: tuple[int | None, ...]  # variables; None for a literal
  outputs: tuple[int, ...]
  takes: tuple[Any, ...]  # shapes and dtypes of the inputs
  gives: tuple[Any, ...]  # of the outputs


class Program(NamedTuple):
  """Operations in the order in which they run."""

  operations: tuple[Operation, ...]
  inputs: tuple[int, ...]
  outputs: tuple[int | None, ...]  # None for a literal


def flatten(program: jaxprs.Program) -> Program:
  """Inlines the calls (jit, remat, custom derivatives) of a program."""
  operations: list[Operation] = []
  numbers = itertools.count()

  def results(
    equation: jaxprs.Equation, operands: list[int | None]
  ) -> Sequence[int | None]:
    if called := jaxprs.called(equation):
      return walk(called, operands)
    outputs = tuple(next(numbers) for _ in equation.gives)
    name, params, takes, gives = equation
    operations.append(
      Operation(name, params, tuple(operands), outputs, takes, gives)
    )
    return outputs

  def walk(
    inner: jaxprs.Program, inputs: Sequence[int | None]
  ) -> list[int | None]:
    return jaxprs.follow(
      inner, inputs, results, lambda _: next(numbers), lambda _: None
    )

  inputs = tuple(next(numbers) for _ in range(jaxprs.num_inputs(program)))
  outputs = tuple(walk(program, inputs))
  return Program(tuple(operations), inputs, outputs)


# Groups of primitives by name; all others are arithmetic on elements.
_VIEWS = {"reshape", "squeeze", "expand_dims", "stop_gradient"}
_MOVES = {
  "broadcast_in_dim",
  "concatenate",
  "copy",
  "dynamic_slice",
  "dynamic_update_slice",
  "gather",
  "iota",
  "pad",
  "random_bits",
  "random_fold_in",
  "random_seed",
  "random_split",
  "random_unwrap",
  "random_wrap",
  "rev",
  "scatter",
  "slice",
  "split",
  "transpose",
}
_TRANSCENDENTAL = {
  "acos",
  "acosh",
  "asin",
  "asinh",
  "atan",
  "atan2",
  "atanh",
  "cbrt",
  "cos",
  "cosh",
  "erf",
  "erf_inv",
  "erfc",
  "exp",
  "exp2",
  "expm1",
  "lgamma",
  "log",
  "log1p",
  "logistic",
  "pow",
  "rsqrt",
  "sin",
  "sinh",
  "sqrt",
  "tan",
  "tanh",
}
_REDUCTIONS = {
  "argmax",
  "argmin",
  "reduce",
  "reduce_and",
  "reduce_max",
  "reduce_min",
  "reduce_or",
  "reduce_prod",
  "reduce_sum",
}
_SCANS = {"cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"}
# Primitives that are not fused, and so read and write memory.
_PRODUCTS = {"conv_general_dilated", "dot_general", "ragged_dot_general"}
_ALONE = {
  *_PRODUCTS,
  *_SCANS,
  *jaxprs.LOOPS,
  "concatenate",
  "dynamic_update_slice",
  "gather",
  "reduce_window_max",
  "reduce_window_min",
  "reduce_window_sum",
  "scatter",
  "scatter-add",
  "scatter_add",
  "select_and_gather_add",
  "select_and_scatter_add",
  "sort",
  "top_k",
}


def flops(operation: Operation, expands_groups: bool = False) -> float:
  """Counts the floating-point operations of one operation, like XLA.

  The body of a scan counts once per turn, the body of a while loop once; only
  the most expensive branch of a choice counts.
  """
  name = operation.name
  if name in jaxprs.LOOPS:
    return _nested(
      operation,
      lambda program: sum(
        flops(each, expands_groups) for each in program.operations
      ),
    )
  if name == "conv_general_dilated":
    return _convolution(operation, expands_groups)
  if name == "dot_general":
    (axes, _), _ = operation.params["dimension_numbers"]
    terms = math.prod(operation.takes[0].shape[axis] for axis in axes)
    return 2.0 * terms * _size(operation.gives[0])
  if name in _VIEWS or name in _MOVES or name in _TRANSCENDENTAL:
    return 0.0
  if name in _REDUCTIONS:
    return float(_size(operation.takes[0]) - _size(operation.gives[0]))
  if name in _SCANS or name.startswith("scatter"):
    return float(_size(operation.takes[-1]))
  if name.startswith("reduce_window") or name.startswith("select_and"):
    window = operation.params["window_dimensions"]
    return float(_size(operation.gives[0]) * math.prod(window))
  if name == "integer_pow":
    power = abs(operation.params["y"])
    factors = power.bit_length() - 1 + power.bit_count() - 1
    return float(_size(operation.gives[0]) * max(0, factors))
  return float(sum(map(_size, operation.gives)))


def seconds(program: Program, rates: Rates) -> list[float]:
  """Computes the seconds of each operation of a program.

  They are the longer of computing and moving data, plus a constant. Arithmetic
  on elements is assumed to be fused with its reader, as XLA does: a value costs
  memory traffic, and its operation the constant, only if other operations than
  a single piece of arithmetic make, read or return it.
  """
  stored = _stored(program)
  return [_seconds(each, stored, rates) for each in program.operations]


def _seconds(operation: Operation, stored: set[int], rates: Rates) -> float:
  if operation.name in _VIEWS:
    return 0.0
  if operation.name in jaxprs.LOOPS:
    return _nested(operation, lambda program: sum(seconds(program, rates)))
  moved = 0
  for variables, avals in (
    (operation.inputs, operation.takes),
    (operation.outputs, operation.gives),
  ):
    for variable, aval in zip(variables, avals, strict=True):
      if variable in stored:
        moved += _size(aval) * _itemsize(aval)
  work = max(_computing(operation, rates), moved / rates.bytes_per_second)
  apart = any(variable in stored for variable in operation.outputs)
  return work + (rates.seconds_per_op if apart else 0.0)


def _computing(operation: Operation, rates: Rates) -> float:
  slow = rates.grouped_flops_per_second
  if slow and operation.params.get("feature_group_count", 1) > 1:
    return _convolution(operation, False, holes=True) / slow
  return flops(operation, rates.expands_groups) / rates.flops_per_second


def _stored(program: Program) -> set[int]:
  """Returns the variables that are written to memory."""
  readers = Counter(v for each in program.operations for v in each.inputs)
  stored = {*program.inputs, *program.outputs}
  for operation in program.operations:
    if operation.name in _ALONE:
      stored |= {*operation.inputs, *operation.outputs}
    elif operation.name in _REDUCTIONS:
      stored |= {*operation.outputs}
    elif operation.name != "broadcast_in_dim":
      stored |= {v for v in operation.outputs if readers[v] > 1}
  # A view shares the memory of its operand: if one is stored, both are.
  for operation in reversed(program.operations):
    if operation.name in _VIEWS and stored & {*operation.outputs}:
      stored |= {*operation.inputs}
  for operation in program.operations:
    if operation.name in _VIEWS and stored & {*operation.inputs}:
      stored |= {*operation.outputs}
  return {variable for variable in stored if variable is not None}


def _nested(operation: Operation, cost: Callable[[Program], float]) -> float:
  equation = jaxprs.Equation(
    operation.name, operation.params, operation.takes, operation.gives
  )
  costs = [cost(flatten(each)) for each in jaxprs.programs(equation)]
  if operation.name == "cond":
    return max(costs)
  loop = jaxprs.loop(equation)
  return sum(costs) * (loop.length if loop else 1)


def _convolution(
  operation: Operation, expands_groups: bool, holes: bool = False
) -> float:
  """Counts a convolution; `holes`: with those and padding."""
  params = operation.params
  numbers = params["dimension_numbers"]
  lhs, rhs = (aval.shape for aval in operation.takes)
  out = operation.gives[0].shape
  terms = rhs[numbers.rhs_spec[1]]
  for axis, window in enumerate(
    zip(
      params["window_strides"],
      params["padding"],
      params["lhs_dilation"],
      params["rhs_dilation"],
      strict=True,
    )
  ):
    taps = rhs[numbers.rhs_spec[2 + axis]]
    places = out[numbers.out_spec[2 + axis]]
    size = lhs[numbers.lhs_spec[2 + axis]]
    terms *= taps * places if holes else _meetings(size, taps, places, *window)
  count = 2.0 * terms * out[numbers.out_spec[0]] * out[numbers.out_spec[1]]
  groups = params["batch_group_count"]
  if groups == 1 or not expands_groups:
    return count
  # The result of every pair is masked and added to the others of its row.
  return groups * (count + 2.0 * _size(operation.gives[0]))


def _meetings(
  size: int,
  taps: int,
  places: int,
  stride: int,
  padding: tuple[int, int],
  dilation: int,
  spread: int,
) -> int:
  """Counts the pairs of a kernel's position and tap that meet an input element.

  Args:
    size: of the input along one axis.
    taps: of the kernel.
    places: positions of the kernel, one for each output.
    stride: from one position to the next.
    padding: before and after the dilated input.
    dilation: of the input.
    spread: dilation of the kernel.
  """
  at = np.arange(places)[:, None] * stride - padding[0]
  at = at + np.arange(taps)[None, :] * spread
  inside = (at >= 0) & (at < (size - 1) * dilation + 1) & (at % dilation == 0)
  return int(inside.sum())


def _size(aval: Any) -> int:
  return math.prod(getattr(aval, "shape", ()))


def _itemsize(aval: Any) -> int:
  return getattr(getattr(aval, "dtype", None), "itemsize", 4)
