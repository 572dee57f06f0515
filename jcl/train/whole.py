"""Steps compiled whole, one program for every selection."""

from collections.abc import Callable
from typing import Any

import optax

from jcl import base
from jcl.train import background
from jcl.train import step as step_lib


class Whole:
  """Builds the steps of a learner as single programs.

  Args:
    network: the model.
    method: objective and replay policy.
    optimizer: by `slots.per_tensor`.
    preprocess: augmentation and normalisation of raw inputs.
    norms: "batch" or "frozen"; see `base.Training`.
    accumulate: parts that each batch is cut into.
    max_steps: updates of one dispatch.
    compiler: keeps the programs.
    shapes: selection -> shapes of (key, state, batches, num_steps, scope).
    out_shardings: of all that a step returns.
  """

  def __init__(
    self,
    network: base.Network,
    method: base.Method,
    optimizer: optax.GradientTransformation,
    preprocess: step_lib.Preprocess,
    norms: str,
    accumulate: int,
    max_steps: int,
    compiler: background.Compiler,
    shapes: Callable[[base.Selection], tuple[Any, ...]],
    out_shardings: Any,
  ):
    self._parts = network, method, optimizer
    self._options = preprocess, accumulate, norms
    self._max_steps, self._compiler = max_steps, compiler
    self._shapes, self._out_shardings = shapes, out_shardings

  def compose(
    self, selection: base.Selection, exact: bool = True
  ) -> background.Program:
    """Returns the step, `call(key, state, batches, num_steps, scope)`."""
    del exact
    return self._compiler.get(
      ("step", selection), lambda: self._build(selection)
    )

  def prepare(self, selection: base.Selection, exact: bool = True) -> None:
    """Has a thread compile what `compose` will return."""
    del exact
    self._compiler.ahead(("step", selection), lambda: self._build(selection))

  def _build(self, selection) -> background.Program:
    step = step_lib.build_step(*self._parts, selection, *self._options)
    return background.compile_program(
      step_lib.build_program(step, self._max_steps),
      self._shapes(selection),
      # What a step returns, the next one takes: the same on every device.
      out_shardings=self._out_shardings,
      donate_argnums=(1,),
    )
