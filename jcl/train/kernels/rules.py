"""Lowering rules of one program: other XLA code for its convolutions.

JAX has no public interface for such rules. This module holds all uses of its
private names:

- `jax._src.interpreters.mlir`: `LoweringParameters`, `lower_fun`;
- `jax._src.lax.convolution._conv_general_dilated_lower`, JAX's own rule;
- the argument `_private_parameters` of `jax.stages.Traced.lower`.

`why_not` tries them: with a version of JAX that moved one of them, XLA computes
all convolutions.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp

try:
  from jax._src.interpreters import mlir
  from jax._src.lax import convolution as _convolution
except ImportError:
  mlir = _convolution = None  # type: ignore[assignment]

Rule = Callable[..., Any]  # of a context, two operands and the parameters


@functools.cache
def why_not() -> str:
  """Returns why JAX accepts no other lowering rule; "" if it does."""
  told = f"jax {jax.__version__} keeps lowering rules elsewhere"
  if mlir is None:
    return told
  shapes = [jax.ShapeDtypeStruct((1, 1, 1), jnp.float32)] * 2
  taken = []

  def rule(ctx: Any, lhs: Any, rhs: Any, **params: Any) -> Any:
    del params
    taken.append(True)
    return by_function(lambda a, b: a * b, ctx, lhs, rhs)

  def fn(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(lhs, rhs, (1,), "VALID")

  try:
    for each in (rule, by_jax):
      lower(jax.jit(fn).trace(*shapes), each)
  except Exception:  # private names may change in any way
    return told
  return "" if taken else told


def lower(traced: Any, rule: Rule) -> Any:
  """Returns `traced.lower()`, with its convolutions written by `rule`.

  Args:
    traced: the result of `jax.jit(...).trace`.
    rule: called with a context, two operands and the parameters of a
      convolution; returns the result of `by_jax` or `by_function`.
  """
  rules = ((jax.lax.conv_general_dilated_p, rule),)
  return traced.lower(
    _private_parameters=mlir.LoweringParameters(override_lowering_rules=rules)
  )


def by_jax(ctx: Any, lhs: Any, rhs: Any, **params: Any) -> Any:
  """Lowers a convolution by JAX's own rule."""
  return _convolution._conv_general_dilated_lower(
    ctx, lhs, rhs, expand_complex_convolutions=True, **params
  )


def by_function(fn: Callable[..., Any], ctx: Any, *operands: Any) -> Any:
  """Lowers an operation as a function of its operands."""
  return mlir.lower_fun(fn, multiple_results=False)(ctx, *operands)
