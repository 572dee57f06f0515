"""Lowering of convolutions to kernels of oneDNN, where these are faster.

A program's operations stay `jax.lax.conv_general_dilated`, so that JAX can
differentiate, batch and rematerialise them as usual. Convolutions are replaced
only when the program is lowered to XLA.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import hashlib
import importlib.util
import os
import platform
import re
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcl.options.errors import UsageError
from jcl.train.kernels import bridge, choice, effort, onednn, rules
from jcl.train.kernels import problem as problem_lib

_CHOICE = "JCL_CONVOLUTIONS"


@functools.cache
def why_not() -> str:
  """Returns why XLA computes all convolutions here; "" if oneDNN does some.

  The environment variable `JCL_CONVOLUTIONS=xla` turns oneDNN off.
  """
  asked = os.environ.get(_CHOICE, "auto")
  if asked not in ("auto", "xla"):
    raise UsageError(f"{_CHOICE}={asked!r}: write auto or xla")
  if asked == "xla":
    return f"{_CHOICE}=xla"
  if jax.default_backend() != "cpu":
    return f"it runs on a {jax.default_backend()}"
  if jax.device_count() > 1:
    return "there are several devices"
  if platform.machine().lower() not in ("x86_64", "amd64"):
    return f"oneDNN has no kernels for {platform.machine()}"
  if rules.why_not():
    return rules.why_not()
  if importlib.util.find_spec("numba") is None:
    return "numba is not installed: pip install numba"
  try:
    onednn.library()
  except onednn.Missing as error:
    return str(error)
  return ""


def describe() -> str:
  """Returns the library that computes convolutions here, in half a line."""
  reason = why_not()
  return f"XLA ({reason})" if reason else onednn.describe()


def lower(fn: Callable[..., Any], shapes: Any, **jit: Any) -> Any:
  """Returns `jax.jit(fn, **jit).lower(*shapes)`, with the faster kernels.

  With several devices, XLA computes all convolutions, since it can divide
  programs among devices.

  Args:
    fn: a pure function.
    shapes: its arguments, arrays or `jax.ShapeDtypeStruct`s.
    **jit: options of `jax.jit`; for the compiler, beside those of `effort`.
  """
  told = {**effort.options(), **jit.pop("compiler_options", {})}
  traced = jax.jit(fn, compiler_options=told, **jit).trace(*shapes)
  if why_not():
    return traced.lower()
  return rules.lower(traced, _lower)


def flops(compiled: Any) -> float:
  """Returns the operations of a compiled program's kernels of oneDNN.

  XLA leaves them out of its own count. They are counted like XLA's: products
  with padding do not count, and the body of a loop counts once.
  """
  if why_not() or not _known:
    return 0.0
  numbers = re.findall(
    rf'custom_call_target="{bridge.TARGET}".*?plan = (-?\d+)',
    compiled.as_text(),
  )
  return sum(_known[int(number)].flops for number in numbers)


_known: dict[int, problem_lib.Problem] = {}
_making = threading.Lock()  # programs are compiled in several threads


def number_of(problem: problem_lib.Problem) -> int:
  """Returns a number for a problem that is the same in all processes."""
  digest = hashlib.blake2b(repr(problem).encode(), digest_size=8).digest()
  return int.from_bytes(digest, "little") >> 2 or 1


def _planned(
  shapes: tuple[Sequence[int], Sequence[int], Sequence[int]],
  dtypes: Sequence[Any],
  params: Mapping[str, Any],
) -> tuple[problem_lib.Problem, onednn.Plan] | None:
  """Returns problem and plan of a convolution; None: XLA computes it."""
  if any(dtype != jnp.float32 for dtype in dtypes):
    return None
  geometry = {name: params[name] for name in problem_lib.PARAMETERS}
  problem = problem_lib.read(shapes, **geometry)
  if problem is None or not choice.pays(problem):
    return None
  number = number_of(problem)
  with _making:
    try:
      plan = onednn.plan(problem, choice.shares(problem))
    except onednn.Missing:
      return None
    bridge.plans().add(number, plan)
    _known[number] = problem
  return problem, plan


def _lower(ctx: Any, lhs: Any, rhs: Any, **params: Any) -> Any:
  """Lowers one convolution; the lowering rule of `rules.lower`."""
  (left, right), (out,) = ctx.avals_in, ctx.avals_out
  found = _planned(
    (left.shape, right.shape, out.shape),
    (left.dtype, right.dtype, out.dtype),
    params,
  )
  if found is None:
    return rules.by_jax(ctx, lhs, rhs, **params)
  problem, plan = found

  def call(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    if problem.mirrored:
      rhs = jax.lax.rev(rhs, params["dimension_numbers"].rhs_spec[2:])
    results = (
      jax.ShapeDtypeStruct(out.shape, out.dtype),
      jax.ShapeDtypeStruct((max(plan.scratch, 1),), jnp.uint8),
    )
    return jax.ffi.ffi_call(bridge.TARGET, results)(
      lhs, rhs, plan=np.int64(number_of(problem))
    )[0]

  return rules.by_function(call, ctx, lhs, rhs)
