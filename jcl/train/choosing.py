"""The probe for a selector, and the switch from one selection to another."""

import functools
from typing import TYPE_CHECKING, NamedTuple

import optax

from jcl import base
from jcl.selection import mask
from jcl.selection import times as times_lib
from jcl.train import slots

if TYPE_CHECKING:  # it imports this module
  from jcl.train import learner as learner_lib


def probe(
  learner: "learner_lib.Learner",
  state: base.LearnerState,
  batches: tuple[base.Batch, ...],
  scope: base.Scope,
) -> base.Probe:
  """Returns copies and functions from which a selector scores tensors.

  Args:
    learner: whose network, loss and optimiser are probed.
    state: as it stands; nothing of it changes.
    batches: labelled examples to probe with, on the device.
    scope: what is known of the classes.
  """
  train = state.train
  fresh = blank(learner, train.params)
  held = {**fresh, **(state.parked.slots if state.parked else {})}
  held = {**held, **train.opt_state}

  # All are put where the state is, whichever programs they come from: what a
  # selector computes of them is then compiled once.
  def gradient(params, batch, batch_key):
    return learner.put(learner.gradient(batch_key, params, state, batch, scope))

  return base.Probe(
    params=learner.put(train.params),
    batches=tuple(batches),
    gradient=gradient,
    advance=functools.partial(_advance, learner, held, train.step, scope),
    learning_rate=learner.rate(train.step, scope),
  )


class Allowance(NamedTuple):
  """The time of a step that a choice may fill."""

  times: times_lib.TensorTimes | None  # the profile; None where none is asked
  budget: float  # over the time of a full step


def choose(
  learner: "learner_lib.Learner",
  key: base.Key,
  state: base.LearnerState,
  batches: tuple[base.Batch, ...],
  scope: base.Scope,
  allowance: Allowance,
) -> tuple[base.LearnerState, base.Selection]:
  """Scores the tensors anew and chooses among them.

  Args:
    learner: whose method has the selector.
    key: [] random key of the scores.
    state: as it stands.
    batches: labelled examples to score with, on the device.
    scope: what is known of the classes.
    allowance: what the choice may take.

  Returns:
    The state with the selector's scores, nothing else of it changed; and the
    selection.
  """
  selector = learner.method.selector
  with learner.ledger.timed("probe"):
    shown = None
    if selector.num_probes:
      shown = probe(learner, state, batches, scope)
    scored = learner.put(selector.update(key, state.selector, shown))
    chosen = selector.choose(scored, learner.network, *allowance)
  mask.check(learner.network, chosen)
  return state._replace(selector=scored), chosen


def switch(
  learner: "learner_lib.Learner",
  state: base.LearnerState,
  old: base.Selection,
  new: base.Selection,
) -> base.LearnerState:
  """Makes `new` the selection that the state's optimiser slots are of."""
  train = state.train
  if old == new and not state.parked:
    return state
  moved, parked = slots.switch(
    learner.network,
    slots.Rule(
      learner.method.selector.slots,
      blank(learner, train.params),
      slots.decays(learner.training),
    ),
    slots.Turn(old, new, int(train.step)),
    train.opt_state,
    state.parked,
  )
  moved, parked = learner.put((moved, parked))
  return state._replace(train=train._replace(opt_state=moved), parked=parked)


def blank(learner: "learner_lib.Learner", params: base.Params) -> slots.Slots:
  """Returns blank optimiser slots of every tensor."""
  return learner.run("probe", "slots", learner.spec.optimizer.init, params)


def _advance(
  learner: "learner_lib.Learner",
  held: slots.Slots,
  step: base.Array,
  scope: base.Scope,
  grads: base.Params,
  params: base.Params,
) -> base.Params:
  """Returns the parameters after an update of every tensor."""

  def build(held, grads, params, step, scope):
    updates, _ = learner.spec.optimizer.update(
      grads, held, params, step=step, scope=scope
    )
    return optax.apply_updates(params, updates)

  moved = learner.run(
    "probe", "advance", build, held, grads, params, step, scope
  )
  return learner.put(moved)
