"""Hooks of an experience, compiled and run for a learner's method."""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np

from jcl import base
from jcl.train import background
from jcl.train import step as step_lib

if TYPE_CHECKING:  # they import this module
  from jcl.train import chunks
  from jcl.train import learner as learner_lib


class Visit(NamedTuple):
  """A function that sees batches one by one, and makes no update."""

  account: str  # of the ledger
  name: str
  # (key, state, batch, scope) -> state
  call: Callable[..., base.LearnerState]


def add(
  learner: "learner_lib.Learner",
  key: base.Key,
  state: base.LearnerState,
  chunk: "chunks.Chunk",
) -> base.LearnerState:
  """Offers batches to the memory without learning from them."""
  return run(learner, adding(learner), key, state, chunk, ())


def adding(learner: "learner_lib.Learner") -> Visit:
  """Returns the visit that offers batches to the memory.

  Where the objective stores extras, they are the logits as of now.
  """

  def visit(key, state, batch, scope):
    del scope
    extras = {}
    if learner.method.objective.stores(learner.network):
      forward = learner.spec.forward()
      out = forward(state.train.params, state.train.stats, batch.x)
      extras = {"logits": out.logits}
    kept = learner.method.replay.add(
      key, state.replay, batch._replace(extras=extras)
    )
    return state._replace(replay=kept)

  return Visit("replay", "add", visit)


def begin(
  learner: "learner_lib.Learner", state: base.LearnerState, scope: base.Scope
) -> base.LearnerState:
  """Opens an experience for the objective, and for weights held at zero."""
  sparsity = learner.spec.sparsity
  if sparsity is not None:
    slots = sparsity.restart(state.train.opt_state)
    state = state._replace(train=state.train._replace(opt_state=slots))
  return _turn(learner, "begin", learner.method.objective.begin, state, scope)


def finish(
  learner: "learner_lib.Learner", state: base.LearnerState, scope: base.Scope
) -> base.LearnerState:
  """Closes an experience for the objective."""
  return _turn(learner, "finish", learner.method.objective.finish, state, scope)


def turning(hook: Callable[..., Any]) -> Callable[..., base.LearnerState]:
  """Returns what opens or closes an experience: (state, scope) -> state."""

  def build(state, scope):
    train = state.train
    noted = hook(state.objective, train.params, train.stats, scope)
    return state._replace(objective=noted)

  return build


class BatchHook(NamedTuple):
  """A hook that sees a batch as a step of a selection would."""

  when: Literal["first_batch", "last_batch"]  # ahead of updates, or behind them
  selection: base.Selection  # that trains


def show_batch(
  learner: "learner_lib.Learner",
  hook: BatchHook,
  key: base.Key,
  state: base.LearnerState,
  batches: base.Batch,
  scope: base.Scope,
) -> base.LearnerState:
  """Shows the first of the batches [K, B, ...] to a hook of the objective."""
  function = getattr(learner.method.objective, hook.when)
  program = step_lib.build_batch_hook(learner.spec, function, hook.selection)
  return learner.run("probe", hook, program, key, state, batches, scope)


def review(
  learner: "learner_lib.Learner",
  key: base.Key,
  state: base.LearnerState,
  scope: base.Scope,
  memory: base.Batch | None = None,
) -> base.LearnerState:
  """Shows the objective a memory; None: the one on the device."""
  build, shown = reviewing(learner, key, state, scope, memory)
  noted = learner.run("probe", "review", build, shown)
  return state._replace(objective=noted)


def reviewing(
  learner: "learner_lib.Learner",
  key: base.Key,
  state: base.LearnerState,
  scope: base.Scope,
  memory: base.Batch | None = None,
) -> tuple[Callable[[base.LossInputs], Any], base.LossInputs]:
  """Returns what reviews a memory, and its arguments."""
  forward = learner.spec.forward()
  review = learner.method.objective.review
  assert review is not None
  if memory is None:
    assert state.replay  # a method that reviews a memory has one
    memory = state.replay.items

  def build(inputs):
    return review(forward, inputs)

  return build, inputs(state, memory, scope, key)


def accumulate(
  learner: "learner_lib.Learner",
  key: base.Key,
  state: base.LearnerState,
  chunk: "chunks.Chunk",
  scope: base.Scope,
) -> base.LearnerState:
  """Shows batches of a finished experience once more."""
  return run(learner, accumulating(learner), key, state, chunk, scope)


def accumulation(
  learner: "learner_lib.Learner",
  key: base.Key,
  state: base.LearnerState,
  chunk: "chunks.Chunk",
  scope: base.Scope,
) -> background.Program:
  """Returns the compiled program of `accumulate`, for the same arguments."""
  args = key, state, chunk.batches, np.int32(chunk.num_steps), scope
  return program(learner, accumulating(learner), args)


def accumulating(learner: "learner_lib.Learner") -> Visit:
  """Returns the visit that shows batches to the objective.

  It is filed as training where predictions are solved from what is kept.
  """
  forward = learner.spec.forward()
  accumulate = learner.method.objective.accumulate
  assert accumulate is not None

  def visit(key, state, batch, scope):
    noted = accumulate(forward, inputs(state, batch, scope, key))
    return state._replace(objective=noted)

  solved = learner.method.predictor.solve is not None
  return Visit("train" if solved else "probe", "accumulate", visit)


def inputs(
  state: base.LearnerState,
  batch: base.Batch,
  scope: base.Scope,
  key: base.Key,
) -> base.LossInputs:
  """Returns what a hook reads that has no replayed batches."""
  train = state.train
  return base.LossInputs(
    train.params, train.stats, batch, (), scope, state.objective, key
  )


def _turn(
  learner: "learner_lib.Learner",
  name: Hashable,
  hook: Callable[..., Any] | None,
  state: base.LearnerState,
  scope: base.Scope,
) -> base.LearnerState:
  if hook is None:
    return state

  return learner.run("train", name, turning(hook), state, scope)


def run(
  learner: "learner_lib.Learner",
  visit: Visit,
  key: base.Key,
  state: base.LearnerState,
  chunk: "chunks.Chunk",
  scope: base.Scope | tuple[()],
) -> base.LearnerState:
  """Runs a visit over the batches of a chunk."""
  steps = chunk.num_steps
  args = key, state, chunk.batches, np.int32(steps), scope
  found = program(learner, visit, args)
  flops, moved = found.cost.flops, found.cost.bytes_accessed
  with learner.ledger.timed(visit.account, steps * flops, steps * moved):
    state, _ = jax.block_until_ready(found.call(*args))
  return state


def program(
  learner: "learner_lib.Learner", visit: Visit, args: tuple[Any, ...]
) -> background.Program:
  """Returns the compiled program of a visit to some batches."""

  def step(key, state, batch, scope):
    key = jax.random.fold_in(key, batch.ids[0])
    return visit.call(key, state, batch, scope), step_lib.NO_INFO

  most = min(learner.steps_per_dispatch, len(args[2].y))
  call = step_lib.build_program(step, most)
  return learner.compiled((visit.name,), call, args, donate=(1,))
