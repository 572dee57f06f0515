"""Penalties for moving away from the solution of earlier experiences.

Each adds its term to the loss of `inner`, an objective that remembers nothing
itself: cross-entropy on the stream unless another is given. Thus
`ewc_online(10.0, inner=supervised.experience_replay())` is replay with EWC.
"""

from collections.abc import Callable
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import losses, supervised, teacher
from jcl.options.errors import UsageError

_CROSS_ENTROPY = supervised.cross_entropy()


class Fisher(NamedTuple):
  """State of `ewc_online`; all trees are like the parameters."""

  anchor: base.Params  # parameters when the last experience ended
  fisher: base.Params  # diagonal of the Fisher information, decayed sum
  total: base.Params  # squared gradients of the experience being closed
  num_examples: jax.Array  # [] float32, examples in `total`


class Path(NamedTuple):
  """State of `synaptic_intelligence`; all trees are like the parameters."""

  anchor: base.Params  # parameters when the last experience ended
  importance: base.Params  # Omega
  path: base.Params  # omega, the path integral of the current experience


def ewc_online(
  strength: float,
  decay: float = 1.0,
  inner: base.Objective = _CROSS_ENTROPY,
) -> base.Objective:
  """Elastic weight consolidation with one running Fisher diagonal.

  Schwarz et al., "Progress & Compress", ICML 2018, section 3.2,
  https://arxiv.org/abs/1805.06370: the penalty is
  strength * sum F (theta - theta*)^2, so that `strength` is half the paper's
  lambda, with theta* the parameters at the end of the last experience. When an
  experience ends, F becomes decay * F + the mean, over its examples, of the
  squared gradient of the log-likelihood of the true label. Computing that mean
  takes the memory of B gradients for a batch of B examples.

  Args:
    strength: weight of the penalty, from 0.
    decay: the paper's gamma in [0, 1].
    inner: the loss to add to; it must remember nothing.

  Raises:
    ValueError: for settings out of range, or an `inner` that remembers.
  """
  _check(inner, strength=strength, decay=decay)
  if decay > 1:
    raise UsageError(f"decay is {decay}: give a number in [0, 1]")

  def init(params: base.Params, stats: base.Stats) -> Fisher:
    del stats
    zeros = jax.tree.map(jnp.zeros_like, params)
    return Fisher(_copy(params), zeros, _copy(zeros), jnp.float32(0))

  def accumulate(forward: base.Forward, inputs: base.LossInputs) -> Fisher:
    batch, head, state = inputs.batch, inputs.scope.head, inputs.state

    def surprise(
      params: base.Params, x: jax.Array, y: jax.Array, key: base.Key
    ) -> jax.Array:
      out = forward(params, inputs.stats, x[None], key)
      return losses.cross_entropy(out.logits, y[None], jnp.ones(1), head)

    keys = jax.random.split(inputs.key, batch.y.shape[0])
    grads = jax.vmap(jax.grad(surprise), in_axes=(None, 0, 0, 0))(
      inputs.params, batch.x, batch.y, keys
    )
    total = jax.tree.map(
      lambda t, g: t + jnp.tensordot(batch.weight, jnp.square(g), axes=1),
      state.total,
      grads,
    )
    num_examples = state.num_examples + jnp.sum(batch.weight)
    return state._replace(total=total, num_examples=num_examples)

  def finish(
    state: Fisher, params: base.Params, stats: base.Stats, scope: base.Scope
  ) -> Fisher:
    del stats, scope
    count = jnp.maximum(state.num_examples, 1.0)
    fisher = jax.tree.map(
      lambda f, t: decay * f + t / count, state.fisher, state.total
    )
    zeros = jax.tree.map(jnp.zeros_like, state.total)
    return Fisher(_copy(params), fisher, zeros, jnp.float32(0))

  return inner._replace(
    loss=_penalised(inner, strength, lambda state: state.fisher),
    init=init,
    accumulate=accumulate,
    finish=finish,
  )


def synaptic_intelligence(
  strength: float,
  damping: float = 0.1,
  inner: base.Objective = _CROSS_ENTROPY,
) -> base.Objective:
  """Holds parameters by how much of the loss they took away on their path.

  Zenke et al., "Continual Learning Through Synaptic Intelligence", ICML 2017,
  eqs. 3 to 5, https://arxiv.org/abs/1703.04200: the penalty is
  strength * sum Omega (theta - theta*)^2, and an experience that moved a
  parameter by Delta adds omega / (Delta^2 + damping) to Omega, where omega sums
  -gradient * step over the updates. It is the gradient of the whole loss,
  penalty included. Departure: a negative omega, which momentum can lead to,
  counts as 0 instead of driving a parameter away.

  Args:
    strength: the paper's c, from 0.
    damping: the paper's xi, above 0.
    inner: the loss to add to; it must remember nothing.

  Raises:
    ValueError: for settings out of range, or an `inner` that remembers.
  """
  _check(inner, strength=strength)
  if damping <= 0:
    raise UsageError(
      f"damping is {damping}: give a number above 0, such as 0.1, as it "
      "divides where a parameter did not move"
    )

  def init(params: base.Params, stats: base.Stats) -> Path:
    del stats
    zeros = jax.tree.map(jnp.zeros_like, params)
    return Path(_copy(params), zeros, _copy(zeros))

  def track(state: Path, traced: base.Traced) -> Path:
    def extend(
      grad: jax.Array | None,
      before: jax.Array,
      after: jax.Array,
      path: jax.Array,
    ) -> jax.Array:
      return path if grad is None else path - grad * (after - before)

    path = jax.tree.map(
      extend, *traced, state.path, is_leaf=lambda leaf: leaf is None
    )
    return state._replace(path=path)

  def finish(
    state: Path, params: base.Params, stats: base.Stats, scope: base.Scope
  ) -> Path:
    del stats, scope
    importance = jax.tree.map(
      lambda old, path, now, then: (
        old + jnp.maximum(path, 0) / (jnp.square(now - then) + damping)
      ),
      state.importance,
      state.path,
      params,
      state.anchor,
    )
    zeros = jax.tree.map(jnp.zeros_like, state.path)
    return Path(_copy(params), importance, zeros)

  return inner._replace(
    loss=_penalised(inner, strength, lambda state: state.importance),
    init=init,
    track=track,
    finish=finish,
  )


def lwf(
  strength: float = 1.0,
  temperature: float = 2.0,
  inner: base.Objective = _CROSS_ENTROPY,
) -> base.Objective:
  """Learning without forgetting.

  Li and Hoiem, "Learning without Forgetting", ECCV 2016, eqs. 1 to 3,
  https://arxiv.org/abs/1606.09282: on the stream's examples, predictions over
  the classes seen before are held near the predictions of the network as it
  stood when the experience began. In the first experience no prediction is
  held. Where all classes have come back, as when only the domain changes, they
  all count as seen before.

  Args:
    strength: the paper's lambda, from 0.
    temperature: the paper's T, above 0.
    inner: the loss to add to; it must remember nothing.

  Raises:
    ValueError: for settings out of range, or an `inner` that remembers.
  """
  _check(inner, strength=strength)
  if temperature <= 0:
    raise UsageError(
      f"temperature is {temperature}: give a number above 0, such as 2"
    )

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    batch, scope, state = inputs.batch, inputs.scope, inputs.state
    value, aux = inner.loss(forward, inputs._replace(state=()))
    old = forward(state.params, state.stats, batch.x, evaluate=True)
    classes = teacher.earlier_classes(scope)
    classes = jnp.where(jnp.any(classes), classes, scope.seen)
    term = losses.distillation(
      aux.logits, old.logits, batch.weight, classes, temperature
    )
    term = jnp.where(scope.task > 0, term, 0.0)
    info = {**aux.info, "distillation": term}
    return value + strength * term, aux._replace(info=info)

  return inner._replace(loss=loss, init=teacher.copy, begin=teacher.begin)


def _penalised(
  inner: base.Objective,
  strength: float,
  importance_fn: Callable[[Any], base.Params],
) -> base.Loss:
  """Returns the loss of `inner` plus a quadratic pull to `state.anchor`."""

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    value, aux = inner.loss(forward, inputs._replace(state=()))
    terms = jax.tree.map(
      lambda weight, now, then: jnp.sum(weight * jnp.square(now - then)),
      importance_fn(inputs.state),
      inputs.params,
      inputs.state.anchor,
    )
    penalty = strength * jax.tree.reduce(operator.add, terms)
    return value + penalty, aux._replace(info={**aux.info, "penalty": penalty})

  return loss


def _copy(tree: base.Params) -> base.Params:
  return jax.tree.map(jnp.copy, tree)


def _check(inner: base.Objective, **factors: float) -> None:
  supervised.without_state(inner)
  for name, value in factors.items():
    if value < 0:
      raise UsageError(f"{name} is {value}: give a number from 0")
