"""Finds the order in which a network's parameters meet its data, by tracing.

JAX sorts the keys of dicts, so a parameter tree does not tell which array is
nearer to the input. The program does: a jaxpr lists its equations in the order
in which they run.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple
import warnings

import jax

from jcl import base
from jcl.base import jaxprs
from jcl.options import errors

Path = tuple[str, ...]
Kind = Literal["kernel", "bias", "scale", "shift", "other"]


class _Value(NamedTuple):
  """The origin of an intermediate value, while a jaxpr is walked."""

  data: bool  # depends on the data
  sources: tuple[int, ...] = ()  # parameters it is made of, if not on data


_CONSTANT = _Value(False)
_DATA = _Value(True)


def execution_order(
  fn: Callable[..., Any], params: base.Params, *args: Any
) -> tuple[list[Path], list[Path]]:
  """Lists the parameters in the order in which a function first uses them.

  A parameter is used where it, or a value computed from parameters and
  constants alone (a cast, a transpose, a normalised weight), first meets a
  value that depends on `args`. Parameters that meet data in one and the same
  equation keep the order of its operands. Values that never meet data but are
  returned count as used at the end.

  Args:
    fn: called as `fn(params, *args)`; traced, never run.
    params: nested dict of arrays or of `jax.ShapeDtypeStruct`.
    *args: the data, including running statistics and random keys.

  Returns:
    Paths of the parameters in order of use, and paths of those never used.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  paths = [_names(path) for path, _ in leaves]
  program = jaxprs.trace(fn, params, *args)
  num_data = jaxprs.num_inputs(program) - len(paths)
  inputs = [_Value(False, (index,)) for index in range(len(paths))]
  used: list[int] = []
  for value in _walk(program, inputs + [_DATA] * num_data, used):
    used += value.sources
  order = dict.fromkeys(used)
  unused = [path for index, path in enumerate(paths) if index not in order]
  return [paths[index] for index in order], unused


def layout(
  fn: Callable[..., Any], params: base.Params, *args: Any
) -> tuple[tuple[str, ...], tuple[base.Tensor, ...]]:
  """Returns the units and the tensors of a network in execution order.

  Tensors that `fn` never reads come last, with a warning that names them. Units
  with no other tensors come first, so that the last unit is the one that writes
  the logits.

  Args:
    fn: called as `fn(params, *args)`; traced, never run.
    params: nested dict of arrays or of `jax.ShapeDtypeStruct`.
    *args: the data, including running statistics and random keys.
  """
  used, unused = execution_order(fn, params, *args)
  if unused:
    warnings.warn(
      "parameters the network never reads, which therefore cannot learn: "
      + errors.names("/".join(path) for path in unused),
      stacklevel=3,
    )
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  shapes = {_names(path): tuple(leaf.shape) for path, leaf in leaves}
  siblings: dict[Path, list[str]] = {}
  for path in shapes:
    siblings.setdefault(path[:-1], []).append(path[-1])
  listed = tuple(
    base.Tensor(
      path,
      path[0],
      tensor_kind(path, shapes[path], siblings[path[:-1]]),
      shapes[path],
    )
    for path in used + unused
  )
  running = dict.fromkeys(path[0] for path in used)
  idle = dict.fromkeys(path[0] for path in unused if path[0] not in running)
  return (*idle, *running), listed


def tensors(
  fn: Callable[..., Any], params: base.Params, *args: Any
) -> tuple[base.Tensor, ...]:
  """Returns the tensors of a network in execution order; see `layout`."""
  return layout(fn, params, *args)[1]


def tensor_kind(
  path: Path, shape: tuple[int, ...], siblings: Iterable[str] = ()
) -> Kind:
  """Tells the kind of an array from its name, its shape and its neighbours.

  Args:
    path: keys from the root of the parameters; the last names the array.
    shape: of the array; a kernel has at least two axes.
    siblings: names of the arrays of the same module. A bias next to a scale
      is a normaliser's shift.

  >>> tensor_kind(("conv", "kernel"), (3, 3, 8, 16))
  'kernel'
  >>> tensor_kind(("norm", "bias"), (16,), siblings=["scale", "bias"])
  'shift'
  """
  name = path[-1]
  if name in ("scale", "gamma"):
    return "scale"
  if name == "beta":
    return "shift"
  if name in ("bias", "b"):
    return "shift" if {"scale", "gamma"} & set(siblings) else "bias"
  if name in ("kernel", "weight", "w") and len(shape) >= 2:
    return "kernel"
  return "other"


def _names(path: Sequence[Any]) -> Path:
  return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _join(values: Iterable[_Value]) -> _Value:
  values = tuple(values)
  sources = dict.fromkeys(s for value in values for s in value.sources)
  return _Value(any(value.data for value in values), tuple(sources))


def _meet(values: Iterable[_Value], used: list[int]) -> _Value:
  """Joins operands; if one is data, the parameters among them are used."""
  joined = _join(values)
  if not joined.data:
    return joined
  used += joined.sources
  return _DATA


def _walk(
  program: jaxprs.Program, inputs: Sequence[_Value], used: list[int]
) -> list[_Value]:
  """Follows values through a program, appending parameters as they are used."""
  return jaxprs.follow(
    program,
    inputs,
    lambda equation, operands: _results(equation, operands, used),
    lambda _: _CONSTANT,
  )


def _results(
  equation: jaxprs.Equation, operands: list[_Value], used: list[int]
) -> list[_Value]:
  """Returns the origins of an equation's results.

  A while loop and a hand-written kernel count as one operation.
  """
  if equation.name == "cond":
    index, *rest = operands
    branches = [
      _walk(branch, rest, used) for branch in jaxprs.programs(equation)
    ]
    return [
      _meet((index, *choices), used) for choices in zip(*branches, strict=True)
    ]
  if loop := jaxprs.loop(equation):
    return _walk(loop.body, _fixed_point(loop, operands), used)
  if called := jaxprs.called(equation):
    return _walk(called, operands, used)
  return [_meet(operands, used)] * len(equation.gives)


def _fixed_point(loop: jaxprs.Loop, operands: list[_Value]) -> list[_Value]:
  """Repeats a scan's body until the origins of carried values are settled."""
  start, stop = loop.carried.start, loop.carried.stop
  while True:
    carried = _walk(loop.body, operands, [])[: stop - start]
    settled = [
      _Value(True, pair[0].sources) if joined.data else joined
      for pair in zip(operands[start:stop], carried, strict=True)
      for joined in [_join(pair)]
    ]
    if settled == operands[start:stop]:
      return operands
    operands = [*operands[:start], *settled, *operands[stop:]]
