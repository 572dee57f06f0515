"""Steps compiled whole, one program for every selection."""

from collections.abc import Callable
import functools
from typing import Any

import jax

from jcl import base
from jcl.selection import mask
from jcl.train import background, step_spec
from jcl.train import step as step_lib

# Trained numbers from which on a CPU's step is put in the order that takes the
# least memory. XLA's own order leaves many gradients waiting for the update: a
# third of the step's memory where most of a ResNet-18 of 64 filters is frozen.
# Of networks a tenth as large it is a few percent, and steps are 5 to 9 %
# slower.
MANY = 4_000_000
_LEAST_MEMORY = {
  "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
}


def compiler_options(
  network: base.Network, selection: base.Selection
) -> dict[str, str]:
  """Returns what XLA is told of a step on the default device."""
  many = mask.trained_parameters(network, selection) >= MANY
  if not many or jax.default_backend() != "cpu" or not _has_orders():
    return {}
  return dict(_LEAST_MEMORY)


@functools.cache
def _has_orders() -> bool:
  """Whether this XLA knows the option; earlier ones refuse it."""
  try:
    jax.jit(lambda x: x, compiler_options=_LEAST_MEMORY)(0.0)
  except jax.errors.JaxRuntimeError:
    return False
  return True


class Whole:
  """Builds the steps of a learner as single programs.

  Args:
    spec: what the steps are made from.
    max_steps: updates of one dispatch.
    compiler: keeps the programs.
    shapes: selection -> shapes of (key, state, batches, num_steps, scope).
    out_shardings: of all that a step returns.
  """

  def __init__(
    self,
    spec: step_spec.StepSpec,
    max_steps: int,
    compiler: background.Compiler,
    shapes: Callable[[base.Selection], tuple[Any, ...]],
    out_shardings: Any,
  ) -> None:
    self._spec, self._max_steps, self._compiler = spec, max_steps, compiler
    self._shapes, self._out_shardings = shapes, out_shardings

  def compose(
    self, selection: base.Selection, exact: bool
  ) -> background.Program:
    """Returns the step, `call(key, state, batches, num_steps, scope)`."""
    del exact
    return self._compiler.get(
      ("step", selection), lambda: self._build(selection)
    )

  def prepare(self, selection: base.Selection, exact: bool) -> None:
    """Has a thread compile what `compose` will return."""
    del exact
    self._compiler.ahead(("step", selection), lambda: self._build(selection))

  def _build(self, selection: base.Selection) -> background.Program:
    step = step_lib.build_step(self._spec, selection)
    return background.compile_program(
      step_lib.build_program(step, self._max_steps, self._spec.fed_rows),
      self._shapes(selection),
      # What a step returns, the next one takes: the same on every device.
      out_shardings=self._out_shardings,
      donate_argnums=(1,),
      compiler_options=compiler_options(self._spec.network, selection),
    )
