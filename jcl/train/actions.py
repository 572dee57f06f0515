"""The actions of a step made of pieces, and the shapes that they pass on."""

from collections.abc import Iterator
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jcl import base
from jcl.train import calls, composed, step_spec
from jcl.train import step as step_lib


class Loss(NamedTuple):
  """One of the method's losses, with the shapes of its calls' inputs."""

  name: str
  calls: calls.Calls
  asked: tuple[Any, ...]


class Actions:
  """The functions that pieces are compiled of, beside blocks of the network.

  Args:
    spec: of a network that is a plain chain of units.
    shapes: of (key, state, batch, scope).
  """

  def __init__(
    self,
    spec: step_spec.StepSpec,
    shapes: tuple[Any, base.LearnerState, base.Batch, base.Scope],
  ) -> None:
    self._spec, self.shapes = spec, shapes
    self._network, self._method = spec.network, spec.method
    self.losses = tuple(self.take_apart())

  def show(
    self,
    key: base.Key,
    state: base.LearnerState,
    batch: base.Batch,
    scope: base.Scope,
  ) -> step_spec.StepInputs:
    key = jax.random.fold_in(key, state.train.step)
    return self._spec.draw(key, state.replay, batch, scope)

  def opening(
    self,
    key: base.Key,
    state: base.LearnerState,
    batches: base.Batch,
    scope: base.Scope,
  ) -> composed.Opened:
    batch = jax.tree.map(lambda leaf: leaf[0], batches)
    shown = self.show(key, state, batch, scope)
    inputs = shown.for_loss(state, scope)
    asked = tuple(
      tuple(
        (self._spec.preprocess.normalise(x), self.unit_keys(call_key))
        for x, call_key in loss.calls.questions(inputs)
      )
      for loss in self.losses
    )
    return composed.Opened(shown.stream, shown, asked, state.train.step + 1)

  def unit_keys(self, key: base.Key | None) -> tuple[base.Key, ...] | None:
    """Returns a key for each unit; None where the call draws nothing."""
    if key is None or not self.noisy:
      return None
    return tuple(
      jax.random.fold_in(key, i) for i in range(len(self._network.units))
    )

  def closing(
    self, loss: Loss, answers: Any, inputs: base.LossInputs, batch: base.Batch
  ) -> Any:
    def value(logits, params):
      replaced = tuple(
        a._replace(logits=one) for a, one in zip(answers, logits, strict=True)
      )
      return loss.calls.loss(replaced, inputs._replace(params=params))

    logits = tuple(answer.logits for answer in answers)
    wanted = (0, 1) if loss.calls.reads_params else (0,)
    (result, aux), grads = jax.value_and_grad(value, wanted, has_aux=True)(
      logits, inputs.params
    )
    info = step_lib.NO_INFO
    if loss.name == "loss":
      info = step_lib.summarise(result, aux.logits, batch, inputs.scope)
    info = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], info)
    return info, aux, grads

  def update(
    self,
    grads: base.Params,
    held: Any,
    params: base.Params,
    step: base.Array,
    scope: base.Scope,
  ) -> Any:
    rule = optax.with_extra_args_support(self._spec.rule)
    after, fresh = [], []
    for grad, slot, leaf in zip(grads, held, params, strict=True):
      change, slot = rule.update(grad, slot, leaf, step=step, scope=scope)
      after.append(optax.apply_updates(leaf, change))
      fresh.append(slot)
    return after, fresh

  def keeping(
    self,
    key: base.Key,
    replay_state: base.ReplayState,
    batch: base.Batch,
    extras: dict[str, base.Array],
  ) -> Any:
    batch = batch._replace(extras=extras)
    return self._method.replay.add(key, replay_state, batch)

  def take_apart(self) -> Iterator[Loss]:
    key, state, batch, scope = self.shapes
    shown = jax.eval_shape(self.show, key, state, batch, scope)
    inputs = shown.for_loss(state, scope)
    forward = self._spec.forward()
    functions = {"loss": self._method.objective.loss}
    if self._method.objective.reference is not None:
      functions["reference"] = self._method.objective.reference
    for name, function in functions.items():
      apart = calls.take_apart(function, forward, inputs)
      asked = jax.eval_shape(apart.questions, inputs)
      yield Loss(name, apart, asked)

  @functools.cached_property
  def noisy(self) -> bool:
    """Whether random keys reach anything inside the network."""
    key, state, batch, _ = self.shapes
    return calls.depends(
      lambda key, params, stats, x: (
        self._network.apply(
          params, stats, x, training=self._network.units, key=key
        ).logits
      ),
      key,
      state.train.params,
      state.train.stats,
      jax.ShapeDtypeStruct(batch.x.shape, jnp.float32),
    )

  @functools.cached_property
  def opened(self) -> composed.Opened:
    key, state, batch, scope = self.shapes
    return jax.eval_shape(self.opening, key, state, stacked(batch), scope)

  def closing_shapes(self, loss: Loss) -> Any:
    _, state, _, scope = self.shapes
    inputs = self.opened.shown.for_loss(state, scope)
    answers = calls.answer_shapes(self._network, loss.asked, inputs.stats)
    return answers, inputs, self.opened.batch

  def extras(self) -> Any:
    loss = self.losses[0]
    closing = functools.partial(self.closing, loss)
    _, aux, _ = jax.eval_shape(closing, *self.closing_shapes(loss))
    return aux.extras


def stacked(batch: base.Batch) -> Any:
  """Returns shapes [1, B, ...] as a dispatch has them."""
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), batch
  )
