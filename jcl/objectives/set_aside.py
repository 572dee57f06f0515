"""An objective that leaves some examples to those who judge."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jcl import base

Rule = Callable[[base.Array], jax.Array]  # ids [B] -> [B] bool


def without(loss: base.Loss, held: Rule) -> base.Loss:
  """Returns a loss in which examples that a rule holds out weigh nothing."""

  def masked(batch: base.Batch) -> base.Batch:
    weight = jnp.where(held(batch.ids), 0.0, batch.weight)
    return batch._replace(weight=weight)

  def call(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    memory = tuple(masked(each) for each in inputs.memory)
    batch = masked(inputs.batch)
    return loss(forward, inputs._replace(batch=batch, memory=memory))

  return call


def objective(inner: base.Objective, held: Rule) -> base.Objective:
  """Returns an objective whose losses examples held out have no part in."""
  second = inner.reference
  return inner._replace(
    loss=without(inner.loss, held),
    reference=None if second is None else without(second, held),
  )


def kept(held: Rule) -> base.Consolidation:
  """Returns a consolidation that stores what is held out, and writes nothing.

  One pass ahead of an experience's updates offers its examples to the memory.
  """

  def settle(forward, inputs):
    del forward
    return inputs.state

  def write(network, state, params):
    del network
    return state, params, 0.0

  return base.Consolidation(settle=settle, write=write, held=held)
