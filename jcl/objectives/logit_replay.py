"""Replay of the logits an example had when it was stored.

Buzzega et al., "Dark Experience for General Continual Learning: a Strong,
Simple Baseline", NeurIPS 2020, https://arxiv.org/abs/2004.07211.
"""

import jax
import numpy as np

from jcl import base
from jcl.objectives import batches, losses, supervised
from jcl.options.errors import UsageError


def der(alpha: float, current: bool = False) -> base.Objective:
  """Cross-entropy, plus `alpha` times the drift of replayed logits (eq. 5).

  The drift is the squared difference to the stored logits, averaged over
  examples and outputs. An example is stored with the logits that the update
  computed when it learned the example.

  Args:
    alpha: weight of the drift, from 0.
    current: whether the stream's cross-entropy has only classes of the current
      experience compete, instead of all outputs in play.

  Raises:
    ValueError: where `alpha` is negative.
  """
  _check("alpha", alpha)

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    batch = inputs.batch
    key, drift_key = jax.random.split(inputs.key)
    out = forward(inputs.params, inputs.stats, batch.x, key)
    mask = inputs.scope.current if current else inputs.scope.head
    learned = losses.cross_entropy(out.logits, batch.y, batch.weight, mask)
    after = inputs._replace(stats=out.stats, key=drift_key)
    drift, again = _drift(forward, after)
    info = {"stream": learned, "drift": drift}
    extras, replayed = {"logits": out.logits}, (again.logits,)
    aux = base.Aux(again.stats, out.logits, extras, info, replayed)
    return learned + alpha * drift, aux

  return base.Objective(loss, num_draws=1, stores=_stores, reports=True)


def derpp(alpha: float, beta: float, current: bool = False) -> base.Objective:
  """`der`, plus `beta` times the cross-entropy of a second draw (eq. 6).

  Args:
    alpha: weight of the drift, from 0.
    beta: weight of the cross-entropy on replayed examples, from 0.
    current: as for `der`.

  Raises:
    ValueError: where `alpha` or `beta` is negative.
  """
  _check("beta", beta)
  dark = der(alpha, current)

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    first, second = inputs.memory
    key, replay_key = jax.random.split(inputs.key)
    value, aux = dark.loss(forward, inputs._replace(memory=(first,), key=key))
    replayed = batches.fill(second, inputs.batch)
    out = forward(inputs.params, aux.stats, replayed.x, replay_key)
    old = losses.cross_entropy(
      out.logits, replayed.y, replayed.weight, inputs.scope.head
    )
    info = {**aux.info, "replay": old}
    aux = aux._replace(
      stats=out.stats, info=info, replayed=(*aux.replayed, out.logits)
    )
    return value + beta * old, aux

  return dark._replace(loss=loss, num_draws=2)


def own(weight: float) -> base.Objective:
  """Cross-entropy of a batch that comes with its stored logits.

  Args:
    weight: of the squared difference to these, from 0; 0 does without them.

  Raises:
    ValueError: where `weight` is negative.
  """
  _check("weight", weight)
  plain = supervised.cross_entropy()

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    value, aux = plain.loss(forward, inputs)
    batch = inputs.batch
    drift = losses.squared_error(
      aux.logits, batch.extras["logits"], batch.weight, inputs.scope.head
    )
    return value + weight * drift, aux

  return base.Objective(loss) if weight else plain


def stored(inner: base.Objective) -> base.Objective:
  """Returns an objective that stores logits beside what it stores anyway."""

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    value, aux = inner.loss(forward, inputs)
    return value, aux._replace(extras={"logits": aux.logits, **aux.extras})

  return inner._replace(
    loss=loss,
    stores=lambda network: {**_stores(network), **inner.stores(network)},
  )


def _drift(
  forward: base.Forward, inputs: base.LossInputs
) -> tuple[jax.Array, base.Output]:
  """Returns the drift of replayed logits, and the output of that pass."""
  memory = inputs.memory[0]
  replayed = batches.fill(memory, inputs.batch)
  out = forward(inputs.params, inputs.stats, replayed.x, inputs.key)
  value = losses.squared_error(
    out.logits, memory.extras["logits"], memory.weight, inputs.scope.head
  )
  return value, out


def _stores(network: base.Network) -> dict[str, base.Array]:
  """Returns the extras of one example: its logits [C]."""
  return {"logits": np.zeros(network.num_classes, np.float32)}


def _check(name: str, value: float) -> None:
  if value < 0:
    raise UsageError(
      f"{name} weighs a loss and is {value}: give a number from 0"
    )
