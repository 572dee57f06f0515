"""Distillation whose preference for new classes is corrected afterwards.

Wu et al., "Large Scale Incremental Learning", CVPR 2019 (BiC),
https://arxiv.org/abs/1905.13260.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import batches, losses, teacher
from jcl.options.errors import UsageError

_ROWS = 500  # examples per forward pass
_STEPS = 20  # Newton's, each with a line search
_HALVINGS = 8  # of a step, at most


class Corrected(NamedTuple):
  """State of `bias_correction`: the teacher, and every class's bias layer."""

  params: base.Params  # the network as it stood when the experience began
  stats: base.Stats
  scale: jax.Array  # [C] float32, alpha of the class's experience
  shift: jax.Array  # [C] float32, beta


def bias_correction(
  is_held_out: Callable[[base.Array], jax.Array],
  temperature: float = 2.0,
  decay: float = 0.1,
) -> base.Objective:
  """Learns with distillation, then corrects the outputs of the new classes.

  The loss on stream and replayed examples is lambda * distillation
  + (1 - lambda) * cross-entropy over the classes seen, with lambda the share of
  earlier classes among them; the teacher is the network as it stood when the
  experience began, with its layers. When the experience ends, the outputs o of
  its classes become alpha * o + beta, with the two numbers that explain
  held-out examples of the memory best. All classes weigh the same in this fit,
  and nothing is corrected unless new and earlier classes both have held-out
  examples.

  Layers of earlier experiences stay as they are and with their classes: they
  apply to teacher and student alike, and to predictions that read them
  (`predictors.rescaled`). Where a class comes back, the new layer acts on the
  output of the old one; where all classes come back, the loss is plain replay.
  Held-out examples weigh nothing in the loss; normalisers in training mode see
  their inputs.

  Departures: the convex problem for alpha and beta is solved by Newton's method
  instead of 250 epochs of SGD, and with a pull towards no correction. Without
  the pull, a few examples that are told apart without error have no best alpha,
  and others ask for an alpha below 0, which would turn the order of the new
  classes around.

  Args:
    is_held_out: maps ids [B] to [B] bool, true for examples never to learn
      from.
    temperature: of the distillation, above 0.
    decay: strength of the pull, above 0: decay * (alpha - 1 - log(alpha) +
      beta^2 / 2) nats, beside the summed cross-entropy of the held-out
      examples.

  Raises:
    ValueError: where temperature or decay are not above 0.
  """
  for name, value in (("temperature", temperature), ("decay", decay)):
    if value <= 0:
      raise UsageError(f"{name} is {value}: give a number above 0")

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    state, scope = inputs.state, inputs.scope
    whole = batches.join(inputs.batch, inputs.memory[0])
    weight = jnp.where(is_held_out(whole.ids), 0.0, whole.weight)
    out = forward(inputs.params, inputs.stats, whole.x, inputs.key)
    before = forward(state.params, state.stats, whole.x, evaluate=True)
    logits, targets = (correct(state, o.logits) for o in (out, before))
    earlier = teacher.earlier_classes(scope)
    held = losses.distillation(logits, targets, weight, earlier, temperature)
    learned = losses.cross_entropy(logits, whole.y, weight, scope.head)
    share = jnp.sum(earlier) / jnp.sum(scope.seen)
    info = {"distillation": held, "cross_entropy": learned}
    aux = base.Aux(out.stats, logits[: inputs.batch.y.shape[0]], {}, info)
    return share * held + (1 - share) * learned, aux

  def review(forward: base.Forward, inputs: base.LossInputs) -> Corrected:
    memory, scope, state = inputs.batch, inputs.scope, inputs.state
    parts = [
      forward(
        inputs.params, inputs.stats, memory.x[i : i + _ROWS], evaluate=True
      ).logits
      for i in range(0, memory.y.shape[0], _ROWS)
    ]
    weight = jnp.where(is_held_out(memory.ids), memory.weight, 0.0)
    present = jnp.zeros(scope.seen.shape, weight.dtype).at[memory.y].add(weight)
    alpha, beta = fit(
      correct(state, jnp.concatenate(parts)),
      memory.y,
      weight / jnp.maximum(present[memory.y], 1),
      scope.current,
      scope.head,
      decay / jnp.maximum(jnp.sum(present), 1),
    )
    both = jnp.any(present * scope.current > 0) & jnp.any(
      present * teacher.earlier_classes(scope) > 0
    )
    now = scope.current & both
    return state._replace(
      scale=jnp.where(now, alpha * state.scale, state.scale),
      shift=jnp.where(now, alpha * state.shift + beta, state.shift),
    )

  return base.Objective(
    loss,
    num_draws=1,
    init=_init,
    sizes=lambda network: (network.num_classes,),
    begin=_begin,
    review=review,
  )


def _init(
  params: base.Params, stats: base.Stats, num_classes: int
) -> Corrected:
  """Returns the network as its own teacher, with layers that change nothing."""
  layer = jnp.ones(num_classes, jnp.float32)
  return Corrected(*teacher.copy(params, stats), layer, jnp.zeros_like(layer))


def _begin(
  state: Corrected, params: base.Params, stats: base.Stats, scope: base.Scope
) -> Corrected:
  """Makes the present network the teacher; the layers stay."""
  del scope
  return Corrected(*teacher.copy(params, stats), state.scale, state.shift)


def correct(state: Corrected, logits: jax.Array) -> jax.Array:
  """Applies the bias layers to logits [B, C]; returns [B, C] float32."""
  return state.scale * jnp.asarray(logits, jnp.float32) + state.shift


def fit(
  logits: jax.Array,
  labels: base.Array,
  weight: base.Array,
  new: base.Array,
  mask: base.Array,
  decay: base.Array | float,
) -> tuple[jax.Array, jax.Array]:
  """Fits alpha and beta to labelled examples: least cross-entropy plus pull.

  Args:
    logits: [N, C] outputs, without the layer that is sought.
    labels: [N] classes.
    weight: [N]; 0 leaves an example out.
    new: [C] bool, outputs that become alpha * logits + beta.
    mask: [C] bool, outputs that take part; holds all labels that weigh.
    decay: above 0, weight of the pull beside the mean cross-entropy of the
      examples, both in nats.

  Returns:
    alpha and beta, [] float32 each.
  """

  def surprise(layer: jax.Array) -> jax.Array:
    corrected = jnp.where(new, layer[0] * logits + layer[1], logits)
    value = losses.cross_entropy(corrected, labels, weight, mask)
    # The pull is convex too, and grows without bound as alpha nears 0.
    pull = layer[0] - 1 - jnp.log(layer[0]) + jnp.square(layer[1]) / 2
    return value + decay * pull

  def improve(_: jax.Array, layer: jax.Array) -> jax.Array:
    step = jnp.linalg.solve(jax.hessian(surprise)(layer), gradient(layer))
    tried = layer - lengths[:, None] * step
    values = jnp.where(tried[:, 0] > 0, jax.vmap(surprise)(tried), jnp.inf)
    return tried[jnp.argmin(values)]

  gradient = jax.grad(surprise)
  # A last length of 0 keeps the layer where every step makes it worse.
  lengths = jnp.append(0.5 ** jnp.arange(_HALVINGS), 0.0).astype(jnp.float32)
  start = jnp.array([1.0, 0.0], jnp.float32)
  alpha, beta = jax.lax.fori_loop(0, _STEPS, improve, start)
  return alpha, beta
