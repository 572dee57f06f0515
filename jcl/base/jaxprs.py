"""Programs as JAX writes them down, read in this one place.

The form of a jaxpr changes from version to version of JAX; the rest of jcl
reads the records below. This module uses JAX's public names alone:
`jax.make_jaxpr`, `jax.core.Tracer` and `jax.extend.core`; the private ones are
in `jcl.train.kernels.rules`. What differs between versions, and how it is read:

- A program with its constants is a `ClosedJaxpr` that holds a `Jaxpr` until jax
  0.10; from 0.11 on both are one type. The code asks for attributes, not types.
- A scan tells its constants from its carried values by `num_consts` and
  `num_carry` until 0.10, by the trees `ft_in` and `ft_out` from 0.11 on. In all
  versions the shapes outside and inside its body tell them apart.
- The program of `jax.checkpoint` has no constants of its own until 0.10.
- Calls change their names (pjit, jit; remat, remat2, checkpoint) and where they
  hold their program (jaxpr, call_jaxpr, fun_jaxpr). A call is recognised by
  holding one program with the operands and results of the call itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
from jax.extend import core

Program = Any  # a jaxpr, with or without its constants
Value = TypeVar("Value")

# Names of primitives whose program runs many times, or not always; they are the
# same in all versions.
LOOPS = frozenset({"cond", "pallas_call", "scan", "while"})


class Equation(NamedTuple):
  """One operation of a program, apart from the values it is applied to."""

  name: str  # of the primitive
  params: Mapping[str, Any]  # as the primitive takes them
  takes: tuple[Any, ...]  # shapes and dtypes of the operands
  gives: tuple[Any, ...]  # shapes and dtypes of the results


class Loop(NamedTuple):
  """A scan, whose operands are constants, then carried values, then slices."""

  body: Program  # of one turn; results are carried values, then slices
  carried: range  # positions among the operands
  length: int  # turns


def trace(fn: Callable[..., Any], *args: Any) -> Program:
  """Returns the program of a function, which is traced and never run.

  Args:
    fn: a pure function of pytrees.
    *args: its arguments, arrays or `jax.ShapeDtypeStruct`s.
  """
  return jax.make_jaxpr(fn)(*args)


def is_traced(value: Any) -> bool:
  """Tells whether a value stands for an array while a function is traced."""
  return isinstance(value, jax.core.Tracer)


def num_inputs(program: Program) -> int:
  """Counts the arrays that a program takes, without its constants."""
  return len(_opened(program).invars)


def follow(
  program: Program,
  inputs: Sequence[Value],
  results: Callable[[Equation, list[Value]], Sequence[Value]],
  constant: Callable[[Any], Value],
  literal: Callable[[Any], Value] | None = None,
) -> list[Value]:
  """Interprets a program over values of any kind, such as shapes or axes.

  Args:
    program: its equations are visited in the order in which they run.
    inputs: the value of each argument.
    results: maps an equation and the values of its operands to the values of
      its results.
    constant: maps shape and dtype of a constant array to its value; called once
      for each.
    literal: the same for numbers that are written into an equation, once for
      each place; None takes `constant`.

  Returns:
    The value of each output.

  >>> program = trace(lambda x, y: (x + 1) * y, 2.0, 3.0)
  >>> def name(equation, operands):
  ...   return [f"{equation.name}({', '.join(operands)})"]
  >>> follow(program, ["x", "y"], name, constant=lambda aval: "1")
  ['mul(add(x, 1), y)']
  """
  jaxpr, literal = _opened(program), literal or constant
  known = {variable: constant(variable.aval) for variable in jaxpr.constvars}
  known.update(zip(jaxpr.invars, inputs, strict=True))

  def read(atom: Any) -> Value:
    if isinstance(atom, core.Literal):
      return literal(atom.aval)
    return known[atom]

  for each in jaxpr.eqns:
    found = results(read_equation(each), [read(atom) for atom in each.invars])
    known.update(zip(each.outvars, found, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def read_equation(equation: Any) -> Equation:
  """Returns an equation of a jaxpr as a record."""
  return Equation(
    equation.primitive.name,
    equation.params,
    tuple(atom.aval for atom in equation.invars),
    tuple(variable.aval for variable in equation.outvars),
  )


def equations(program: Program) -> Iterator[Equation]:
  """Yields all equations in order, each followed by those within it.

  >>> import jax.numpy as jnp
  >>> program = trace(lambda x: jax.jit(jnp.sin)(x) + 1, 2.0)
  >>> [each.name for each in equations(program)][1:]  # but for the jit
  ['sin', 'add']
  """
  for each in _opened(program).eqns:
    equation = read_equation(each)
    yield equation
    for inner in programs(equation):
      yield from equations(inner)


def programs(equation: Equation) -> list[Program]:
  """Lists the programs within an equation: a body, or branches."""
  found = []
  for value in equation.params.values():
    for each in value if isinstance(value, (tuple, list)) else (value,):
      if _is_program(each):
        found.append(each)
  return found


def called(equation: Equation) -> Program | None:
  """Returns the program that an equation runs once, on its own operands.

  Equations of jit, remat and custom derivatives run one. None for all others,
  such as loops, choices, and reductions by a function of two numbers.
  """
  found = programs(equation)
  if len(found) != 1 or equation.name in LOOPS:
    return None
  jaxpr = _opened(found[0])
  fits = _shapes(equation.takes) == _shapes(v.aval for v in jaxpr.invars) and (
    _shapes(equation.gives) == _shapes(v.aval for v in jaxpr.outvars)
  )
  return found[0] if fits else None


def loop(equation: Equation) -> Loop | None:
  """Reads a scan as a loop; returns None for other equations.

  Slices are told by their shape: an operand that is cut into slices, one a
  turn, has an axis more outside than inside the body, and so has a result that
  is stacked from slices.
  """
  if equation.name != "scan":
    return None
  (body,) = programs(equation)
  jaxpr = _opened(body)
  sliced = _longer(equation.takes, [v.aval for v in jaxpr.invars])
  stacked = _longer(equation.gives, [v.aval for v in jaxpr.outvars])
  stop = len(equation.takes) - sliced
  carried = len(equation.gives) - stacked
  return Loop(body, range(stop - carried, stop), equation.params["length"])


def own_results(
  program: Program,
) -> tuple[Callable[..., list[jax.Array]], tuple[tuple[str, int], ...]]:
  """Returns a program without results that are arguments or come twice.

  Args:
    program: with its constants, as `trace` returns it.

  Returns:
    A function of the program's arguments that returns a list of the results
    that remain, and where each result of the program comes from: ("out", j)
    the j-th of that list, or ("in", j) the j-th argument.
  """
  jaxpr = _opened(program)
  given = {variable: index for index, variable in enumerate(jaxpr.invars)}
  returned: dict[Any, int] = {}
  sources = []
  for atom in jaxpr.outvars:
    if isinstance(atom, core.Literal):  # unhashable, and small
      returned[len(returned), "literal"] = len(returned)
      sources.append(("out", len(returned) - 1))
    elif atom in given:
      sources.append(("in", given[atom]))
    else:
      sources.append(("out", returned.setdefault(atom, len(returned))))
  outvars: list[Any] = [None] * len(returned)
  for atom, (place, index) in zip(jaxpr.outvars, sources, strict=True):
    if place == "out":
      outvars[index] = atom
  shorter = core.ClosedJaxpr(jaxpr.replace(outvars=outvars), program.consts)
  return core.jaxpr_as_fun(shorter), tuple(sources)


def signature(program: Program) -> str:
  """Returns a text that two programs share if they compute the same.

  Args:
    program: with its constants, as `trace` returns it.
  """
  return f"{program.in_avals}\n{program}"


def _is_program(value: Any) -> bool:
  jaxpr = getattr(value, "jaxpr", value)
  return hasattr(jaxpr, "eqns") and hasattr(jaxpr, "invars")


def _opened(program: Program) -> Any:
  return getattr(program, "jaxpr", program)


def _shapes(avals: Iterable[Any]) -> list[tuple[int, ...] | None]:
  return [getattr(aval, "shape", None) for aval in avals]


def _longer(outside: Iterable[Any], inside: Iterable[Any]) -> int:
  """Counts values that have an axis more outside than inside."""
  return sum(
    len(getattr(whole, "shape", ())) > len(getattr(part, "shape", ()))
    for whole, part in zip(outside, inside, strict=True)
  )
