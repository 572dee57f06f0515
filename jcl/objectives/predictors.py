"""Predictors: read class scores off a network."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.options.errors import UsageError

# Score of a class that cannot be predicted; finite, so that scores can be
# compared and averaged.
NEVER = -1e9
_ROWS = 500  # exemplars per forward pass


class Ahead(NamedTuple):
  """A tap for predictors: the output ahead of the first unit that trains.

  `until` names that unit, as of `selection.fixed.first_trained`; None where the
  head alone trains.
  """

  until: str | int | float | None


class Layer(NamedTuple):
  """Factors and offsets that `rescaled` applies to the outputs."""

  scale: jax.Array  # [C]
  shift: jax.Array  # [C]


class Means(NamedTuple):
  """Means of the exemplars' features, for `nearest_mean`."""

  mean: jax.Array  # [C, D] of unit length
  known: jax.Array  # [C] bool, classes with an exemplar


def unfitted(*_: Any) -> tuple[()]:
  """Returns (), as `fit` of predictors whose scores need nothing prepared."""
  return ()


def logits() -> base.Predictor:
  """Scores classes by the network's outputs."""

  def scores(network_apply, params, stats, x, fitted):
    del fitted
    return network_apply(params, stats, x, ()).logits

  return base.Predictor(unfitted, scores, name="logits")


def rescaled() -> base.Predictor:
  """Scores classes by scale * output + shift, as the objective remembers them.

  These are the bias correction layers of Wu et al., "Large Scale Incremental
  Learning", CVPR 2019, https://arxiv.org/abs/1905.13260. The objective's state
  must have `scale` [C] and `shift` [C], as the state of
  `objectives.bias.bias_correction` has.
  """

  def fit(network_apply, params, stats, memory, scale, shift):
    del network_apply, params, stats, memory
    return Layer(scale, shift)

  def scores(network_apply, params, stats, x, fitted):
    outputs = network_apply(params, stats, x, ()).logits
    return fitted.scale * jnp.asarray(outputs, jnp.float32) + fitted.shift

  def recalls(state):
    return state.scale, state.shift

  return base.Predictor(fit, scores, recalls=recalls, name="rescaled")


def nearest_mean(features: str = "features") -> base.Predictor:
  """Scores classes by how near the mean of their exemplars is.

  Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning",
  CVPR 2017, Algorithm 1, https://arxiv.org/abs/1611.07725: features and means
  have unit length, and a score is minus the squared distance. Classes without
  exemplars score `NEVER`.

  Args:
    features: the tap [B, D] to read, as `network_apply` knows it.
  """

  def embed(network_apply, params, stats, x):
    out = network_apply(params, stats, x, (features,))
    return unit_length(jnp.asarray(out.taps[features], jnp.float32)), out

  def fit(network_apply, params, stats, memory):
    if memory is None:
      raise UsageError(
        "the nearest mean of exemplars needs a memory: use a replay such as "
        "herding.herding(capacity, num_samples), or predictors.logits()"
      )
    totals, counts = [], []
    # A Python loop: within `lax` loops convolutions are slow on CPU.
    for start in range(0, memory.y.shape[0], _ROWS):
      part = jax.tree.map(lambda leaf, i=start: leaf[i : i + _ROWS], memory)
      embedded, out = embed(network_apply, params, stats, part.x)
      member = jax.nn.one_hot(part.y, out.logits.shape[-1])
      member = member * part.weight[:, None]
      totals.append(member.T @ embedded)
      counts.append(jnp.sum(member, axis=0))
    return Means(unit_length(sum(totals)), sum(counts) > jnp.float32(0))

  def scores(network_apply, params, stats, x, fitted):
    embedded, _ = embed(network_apply, params, stats, x)
    distance = (
      jnp.sum(jnp.square(embedded), axis=1, keepdims=True)
      - 2 * embedded @ fitted.mean.T
      + jnp.sum(jnp.square(fitted.mean), axis=1)
    )
    return jnp.where(fitted.known, -distance, NEVER)

  return base.Predictor(
    fit, scores, reads_memory=True, name=f"nearest_mean:features={features}"
  )


def unit_length(vectors: jax.Array) -> jax.Array:
  """Returns vectors [N, D] over their lengths; zeros stay zeros."""
  length = jnp.linalg.norm(vectors, axis=1, keepdims=True)
  return vectors / jnp.maximum(length, 1e-12)
