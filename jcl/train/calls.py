"""A loss taken apart at the network: what it asks, and what it makes of it.

An objective calls `forward` somewhere in its loss. To run the network block by
block, the loss is traced twice: once to learn what goes into the network, once
as a function of what comes out of it.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.base import jaxprs


class NotApartError(ValueError):
  """A loss that needs the network whole; the message says why."""


class Answer(NamedTuple):
  """The network's result of one call."""

  logits: Any  # [B, C], array or shape
  stats: base.Stats  # as the call left them


@dataclasses.dataclass(frozen=True)
class Calls:
  """A loss as two pure functions around the network.

  `questions(inputs)` returns a tuple of (x, key) for the calls with the
  parameters that train, raw inputs as stored; `key` is None where the loss
  gives none. `loss(answers, inputs)` is the objective's own result.
  """

  questions: Callable[
    [base.LossInputs], tuple[tuple[base.Array, base.Key | None], ...]
  ]
  loss: Callable[
    [tuple[Answer, ...], base.LossInputs], tuple[jax.Array, base.Aux]
  ]
  stats_from: tuple[int, ...]  # call whose statistics each starts from, or -1
  reads_params: bool  # whether the loss looks at parameters directly


class _Network:
  """Stands for the network while a loss is traced."""

  def __init__(
    self, real: base.Forward, inputs: base.LossInputs, answer: Any
  ) -> None:
    self._real, self._inputs, self._answer = real, inputs, answer
    self.asked: list[tuple[base.Array, base.Key | None]] = []
    self.stats_from: list[int] = []
    self._stats: list[Any] = []

  @property
  def network(self) -> base.Network:
    return self._real.network

  @property
  def trained(self) -> tuple[str, ...]:
    raise NotApartError("the loss depends on which units train")

  @property
  def normalisation(self) -> tuple[base.Array, base.Array]:
    return self._real.normalisation

  def __call__(
    self,
    params: base.Params,
    stats: base.Stats,
    x: base.Array,
    key: base.Key | None = None,
    taps: Sequence[str] = (),
    evaluate: bool = False,
    start: str | None = None,
  ) -> base.Output:
    if not _same(params, self._inputs.params):
      return self._real(params, stats, x, key, taps, evaluate, start)
    if taps or evaluate or start:
      what = f"the outputs of {', '.join(taps)}" if taps else "evaluation mode"
      what = f"a part from {start}" if start else what
      raise NotApartError(f"the loss asks the trained network for {what}")
    known = [self._inputs.stats, *self._stats]
    sources = [i for i, one in enumerate(known) if _same(stats, one)]
    if not sources:
      raise NotApartError("the loss computes statistics for the network")
    answer = self._answer(len(self.asked), x)
    self.asked.append((x, key))
    self.stats_from.append(sources[-1] - 1)
    self._stats.append(answer.stats)
    return base.Output(answer.logits, answer.stats, {})


def take_apart(
  function: base.Loss, forward: base.Forward, inputs: base.LossInputs
) -> Calls:
  """Traces a loss to find its calls of the network.

  Args:
    function: `Objective.loss` or `Objective.reference`.
    forward: the network, also called with other parameters, such as a
      teacher's.
    inputs: their shapes.

  Raises:
    NotApartError: where the loss needs outputs inside the network, or a call
      depends on the result of another.
  """

  network = forward.network

  def blank(inputs):
    def answer(index, x):
      del index
      out = jax.eval_shape(
        lambda x: network.apply(inputs.params, inputs.stats, x).logits,
        jax.ShapeDtypeStruct(x.shape, jnp.float32),
      )
      # Copies, so that each call's statistics can be told from another's.
      return Answer(
        jnp.zeros(out.shape, out.dtype), jax.tree.map(jnp.copy, inputs.stats)
      )

    return answer

  def run(answer, inputs):
    stub = _Network(forward, inputs, answer)
    value, aux = function(stub, inputs)
    return value, aux, stub

  found = []

  def ask(inputs):
    *_, stub = run(blank(inputs), inputs)
    found.append(stub)
    return tuple(stub.asked)

  jax.eval_shape(ask, inputs)
  stub = found[-1]
  if not stub.asked:
    raise NotApartError("the loss does not call the network")

  def loss(answers, inputs):
    value, aux, _ = run(lambda index, x: answers[index], inputs)
    return value, aux

  asked = jax.eval_shape(ask, inputs)
  answers = answer_shapes(network, asked, inputs.stats)
  _check_independent(run, answers, inputs)
  reads = depends(
    lambda params, answers, inputs: loss(
      answers, inputs._replace(params=params)
    )[0],
    inputs.params,
    answers,
    inputs,
  )
  return Calls(ask, loss, tuple(stub.stats_from), reads)


def answer_shapes(
  network: base.Network, asked: Sequence[Any], stats: base.Stats
) -> tuple[Answer, ...]:
  """Returns shapes of the answers to questions (x, key)."""
  return tuple(
    Answer(
      jax.ShapeDtypeStruct((x.shape[0], network.num_classes), jnp.float32),
      stats,
    )
    for x, _ in asked
  )


def _check_independent(
  run: Callable[..., Any],
  answers: tuple[Answer, ...],
  inputs: base.LossInputs,
) -> None:
  def asked(answers, inputs):
    *_, stub = run(lambda index, x: answers[index], inputs)
    return tuple(stub.asked)

  if depends(asked, answers, inputs):
    raise NotApartError("one call of the network depends on another's result")


def depends(fn: Callable[..., Any], first: Any, *others: Any) -> bool:
  """Tells whether a result of `fn` is computed from its first argument.

  Arguments may be arrays or shapes. Calls inside `fn` count as one operation
  that reads all of their arguments.
  """
  program = jaxprs.trace(fn, first, *others)
  count = len(jax.tree.leaves(first))
  answers = jaxprs.follow(
    program,
    [index < count for index in range(jaxprs.num_inputs(program))],
    lambda equation, reads: [any(reads)] * len(equation.gives),
    lambda _: False,
  )
  return any(answers)


def _same(one: Any, other: Any) -> bool:
  first, second = jax.tree.leaves(one), jax.tree.leaves(other)
  return len(first) == len(second) and all(
    a is b for a, b in zip(first, second, strict=True)
  )
