"""Parameters written between updates: one pass ahead of them, then the host."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jcl import base
from jcl.train import hooks

if TYPE_CHECKING:  # they import `hooks`, which this module builds on
  from jcl.train import chunks
  from jcl.train import learner as learner_lib


def settle(
  learner: "learner_lib.Learner",
  key: base.Key,
  state: base.LearnerState,
  batches: "Iterable[chunks.Chunk]",
  scope: base.Scope,
) -> base.LearnerState:
  """Shows an experience to a method's consolidation, which then writes.

  Both are learning, filed as such; without a consolidation the state stays as
  it is, and no batch is read.

  Args:
    learner: whose method has the consolidation.
    key: [] of the pass.
    state: as the experience begins.
    batches: all examples of the experience, once.
    scope: what is known of the classes.
  """
  found = learner.method.consolidation
  if found.settle is None or found.write is None:
    return state
  visit = settling(learner, found.settle)
  for chunk in batches:
    state = hooks.run(learner, visit, key, state, chunk, scope)
  with learner.ledger.timed("train"):
    train = state.train
    kept, params, flops = found.write(
      learner.network, state.objective, train.params
    )
    kept, params = learner.put((kept, params))
  learner.ledger.charge("train", base.Cost(flops=flops))
  return state._replace(objective=kept, train=train._replace(params=params))


def settling(
  learner: "learner_lib.Learner",
  settle: Callable[[base.Forward, base.LossInputs], Any],
) -> hooks.Visit:
  """Returns the visit of the pass, which stores what is set aside as well.

  Args:
    learner: whose method has the consolidation.
    settle: of it.
  """
  forward, held = learner.spec.forward(), learner.method.consolidation.held
  add = learner.method.replay.add

  def see(key, state, batch, scope):
    noted = settle(forward, hooks.inputs(state, batch, scope, key))
    kept = state.replay
    if held is not None:
      weight = jnp.where(held(batch.ids), batch.weight, 0.0)
      kept = add(key, kept, _blank_extras(learner, batch, weight))
    return state._replace(objective=noted, replay=kept)

  return hooks.Visit("train", "settle", see)


def _blank_extras(
  learner: "learner_lib.Learner", batch: base.Batch, weight: jax.Array
) -> base.Batch:
  """Returns a batch of other weights with the extras of the memory, all 0."""
  extras: dict[str, base.Array] = {
    name: jnp.zeros((len(batch.y), *jnp.shape(each)), each.dtype)
    for name, each in learner.example.extras.items()
  }
  return batch._replace(weight=weight, extras=extras)
