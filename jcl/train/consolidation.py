"""Parameters written between updates: one pass ahead of them, then the host."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

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
  forward, shown = learner.spec.forward(), found.settle

  def see(key, state, batch, scope):
    noted = shown(forward, hooks.inputs(state, batch, scope, key))
    return state._replace(objective=noted)

  visit = hooks.Visit("train", "settle", see)
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
