"""The pure train step of one selection: draw, differentiate, update, keep."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jcl import base
from jcl.base import jaxprs
from jcl.selection import mask
from jcl.train import step_spec


class Info(NamedTuple):
  """Figures of one update."""

  loss: base.Array  # [] float32
  correct: base.Array  # [] float32, right answers before the update, weighted
  examples: base.Array  # [] float32, stream examples, padding left out
  difficulty: base.Array  # [B] float32 in [0, 1], of each stream example


_ZERO = np.zeros((), np.float32)
NO_INFO = Info(_ZERO, _ZERO, _ZERO, _ZERO)


Step = Callable[
  [base.Key, base.LearnerState, base.Batch, base.Scope],
  tuple[base.LearnerState, Info],
]


def build_step(spec: step_spec.StepSpec, selection: base.Selection) -> Step:
  """Builds the pure train step of one selection.

  Only the selected tensors are differentiated, so nothing below the deepest
  one is computed backward or kept, and only they have optimiser slots.

  Args:
    spec: what the step is made from; `spec.optimizer` is initialised on the
      selected tensors only.
    selection: which tensors train.

  Returns:
    `step(key, state, batch, scope) -> (state, Info)`; the key is folded with
    the step count, so one key serves a whole run.
  """
  objective, replay = spec.method.objective, spec.method.replay
  rewrite = spec.method.rewrite
  rule = optax.with_extra_args_support(spec.optimizer)
  forward = spec.forward(selection)

  def step(key, state, batch, scope):
    key = jax.random.fold_in(key, state.train.step)
    shown = spec.draw(key, state.replay, batch, scope)
    batch = shown.stream
    before, frozen = mask.split(state.train.params, spec.network, selection)
    inputs = shown.for_loss(state, scope)

    def gradient(function):
      loss_fn = functools.partial(_loss, function, forward, frozen)
      return _mean_gradient(loss_fn, before, inputs, spec.accumulate)

    loss, aux, grads = gradient(objective.loss)
    if objective.reference is not None and objective.project is not None:
      _, _, reference = gradient(objective.reference)
      grads = objective.project(grads, reference, shown.memory)
    updates, opt_state = rule.update(
      grads,
      state.train.opt_state,
      before,
      step=state.train.step,
      scope=scope,
    )
    after = optax.apply_updates(before, updates)

    remembered, kept = state.objective, state.replay
    traced = base.Traced(grads, before, after)
    if objective.track is not None:
      remembered = objective.track(remembered, traced)
    if rewrite is not None and rewrite.track is not None:
      state = state._replace(weights=rewrite.track(state.weights, traced))
    if replay.update is not None:
      for drawn, logits in zip(shown.memory, aux.replayed, strict=True):
        kept = replay.update(kept, drawn, logits, scope)
    if replay.when == "step":
      kept = replay.add(shown.keep_key, kept, batch._replace(extras=aux.extras))
    train = base.TrainState(
      state.train.step + 1, mask.merge(after, frozen), aux.stats, opt_state
    )
    state = state._replace(train=train, replay=kept, objective=remembered)
    return state, summarise(loss, aux.logits, batch, scope)

  return step


def readable(state: base.LearnerState) -> base.LearnerState:
  """Returns what a loss reads, alike for all selections."""
  train = state.train._replace(opt_state=())
  return state._replace(train=train, selector=(), parked=(), weights=())


def build_gradient(spec: step_spec.StepSpec) -> Callable[..., base.Params]:
  """Returns `gradient(key, params, state, batch, scope)` of every tensor.

  It is that of the method's loss at `params`, with draws from the memory and
  augmentation decided by the key and the step count; the state is only read.
  What the selector never chooses is not differentiated: its gradient is 0.
  """
  candidates = spec.method.selector.candidates or mask.everything
  selection = candidates(spec.network)
  forward, objective = spec.forward(selection), spec.method.objective

  def gradient(key, params, state, batch, scope):
    key = jax.random.fold_in(key, state.train.step)
    shown = spec.draw(key, state.replay, batch, scope)
    trained, frozen = mask.split(params, spec.network, selection)
    loss = functools.partial(_loss, objective.loss, forward, frozen)
    inputs = shown.for_loss(state, scope)
    grads, _ = jax.grad(loss, has_aux=True)(trained, inputs)
    return mask.merge(grads, jax.tree.map(jnp.zeros_like, frozen))

  return gradient


def build_batch_hook(
  spec: step_spec.StepSpec,
  hook: Callable[[base.Forward, base.LossInputs], tuple[Any, base.Stats]],
  selection: base.Selection,
) -> Callable[..., base.LearnerState]:
  """Returns `show_batch(key, state, batches, scope) -> state`.

  It shows the first of the batches [K, B, ...] to `Objective.first_batch` or
  `Objective.last_batch`, drawn and augmented as a step of the selection would.
  """
  forward = spec.forward(selection)

  def show_batch(key, state, batches, scope):
    batch = jax.tree.map(lambda leaf: leaf[0], batches)
    shown = spec.draw(key, state.replay, batch, scope)
    noted, stats = hook(forward, shown.for_loss(state, scope))
    train = state.train._replace(stats=stats)
    return state._replace(objective=noted, train=train)

  return show_batch


def _loss(
  function: base.Loss,
  forward: base.Forward,
  frozen: base.Params,
  trained: base.Params,
  inputs: base.LossInputs,
) -> tuple[jax.Array, base.Aux]:
  """Calls a loss as a function of the selected tensors."""
  params = mask.merge(trained, frozen)
  return function(forward, inputs._replace(params=params))


def _mean_gradient(
  loss_fn: Callable[[base.Params, base.LossInputs], tuple[jax.Array, base.Aux]],
  trained: base.Params,
  inputs: base.LossInputs,
  num_parts: int,
) -> tuple[jax.Array, base.Aux, base.Params]:
  """Returns loss, aux and gradient, averaged over `num_parts` of the batches.

  Parts count by their examples, replayed ones included, so that a partly
  filled last batch weighs what it would weigh in one piece.
  """
  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  if num_parts == 1:
    (loss, aux), grads = grad_fn(trained, inputs)
    return loss, aux, grads
  # A Python loop, not a scan: convolutions inside a loop are slow on CPU.
  pieces = [_part(inputs, i, num_parts) for i in range(num_parts)]
  weights = [
    sum(jnp.sum(b.weight) for b in (piece.batch, *piece.memory))
    for piece in pieces
  ]
  total = jnp.maximum(sum(weights), 1e-9)
  loss, grads = jnp.float32(0), None
  stats, auxes = inputs.stats, []
  for i, (piece, weight) in enumerate(zip(pieces, weights, strict=True)):
    piece = piece._replace(stats=stats, key=jax.random.fold_in(inputs.key, i))
    (value, aux), grad = grad_fn(trained, piece)
    share = weight / total
    loss += share * value
    grad = jax.tree.map(lambda g, s=share: s * g, grad)
    grads = grad if grads is None else jax.tree.map(jnp.add, grads, grad)
    stats = aux.stats
    auxes.append(aux)
  whole = base.Aux(
    stats,
    jnp.concatenate([a.logits for a in auxes]),
    {k: jnp.concatenate([a.extras[k] for a in auxes]) for k in aux.extras},
    {k: sum(a.info[k] for a in auxes) / num_parts for k in aux.info},
    tuple(map(jnp.concatenate, zip(*(a.replayed for a in auxes), strict=True))),
  )
  return loss, whole, grads


def _part(inputs: base.LossInputs, i: int, num_parts: int) -> base.LossInputs:
  """Returns part `i` of the batches, all else as it is."""

  def cut(leaf):
    size = leaf.shape[0] // num_parts
    return leaf[i * size : (i + 1) * size]

  batch, memory = jax.tree.map(cut, (inputs.batch, inputs.memory))
  return inputs._replace(batch=batch, memory=memory)


def summarise(
  loss: jax.Array, logits: jax.Array, batch: base.Batch, scope: base.Scope
) -> Info:
  """Returns what an update reports of the logits [B, C] ahead of it.

  How hard an example is rises from right and certain to right and unsure, wrong
  and unsure, wrong and certain, as for the gate of Lee et al., "CarM", DAC
  2022: with the entropy h as a share of the largest one, h/2 where the answer
  is right and 1 - h/2 where it is wrong.
  """
  shown = jnp.where(scope.head, logits, -jnp.inf)
  right = jnp.argmax(shown, axis=1) == batch.y
  # Finite, as 0 times infinity would be no number.
  logs = jax.nn.log_softmax(jnp.where(scope.head, logits, -1e9), axis=1)
  classes = jnp.maximum(jnp.sum(scope.head), 2)
  half = -0.5 * jnp.sum(jnp.exp(logs) * logs, axis=1) / jnp.log(classes)
  return Info(
    loss,
    jnp.sum(right * batch.weight),
    jnp.sum(batch.weight),
    jnp.where(right, half, 1 - half),
  )


def build_program(step: Step, max_steps: int, fed_rows: int = 0) -> Any:
  """Returns `program(key, state, batches, num_steps, scope)`.

  It takes up to `max_steps` steps in one dispatch: `batches` has leaves
  [max_steps, B, ...] of which the first `num_steps` (traced) are used, so one
  compiled program serves full and partial runs of steps alike. `Info` comes
  back with leaves [max_steps, ...], zero where no step was taken. The last
  `fed_rows` of a batch are a memory's, of which it tells nothing.
  """
  if max_steps == 1:

    def single(key, state, batches, num_steps, scope):
      del num_steps
      batch = jax.tree.map(lambda leaf: leaf[0], batches)
      state, info = step(key, state, batch, scope)
      return state, jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], info)

    return single

  def program(key, state, batches, num_steps, scope):
    def body(i, carry):
      state, infos = carry
      batch = jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(
          leaf, i, keepdims=False, allow_negative_indices=False
        ),
        batches,
      )
      state, info = step(key, state, batch, scope)
      infos = jax.tree.map(
        lambda all_, one: jax.lax.dynamic_update_index_in_dim(
          all_,
          jnp.broadcast_to(jnp.asarray(one, all_.dtype), all_.shape[1:]),
          i,
          axis=0,
          allow_negative_indices=False,
        ),
        infos,
        info,
      )
      return state, infos

    number = jnp.zeros(max_steps, np.float32)
    own = batches.weight[:, : batches.weight.shape[1] - fed_rows]
    infos = Info(number, number, number, jnp.zeros_like(own))
    return jax.lax.fori_loop(0, num_steps, body, (state, infos))

  return program


def has_convolution(program: jaxprs.Program) -> bool:
  """Tells whether a program convolves anywhere, calls included.

  XLA's CPU backend runs convolutions inside a loop or branch with a slow,
  generic kernel (about 17 times the time of the same step outside, jax 0.10),
  so steps that convolve are dispatched one by one there.
  """
  return any(
    equation.name == "conv_general_dilated"
    for equation in jaxprs.equations(program)
  )
