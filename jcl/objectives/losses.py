"""Losses of a batch: means over examples, weighted, over some outputs only.

Throughout, `weight` [B] counts examples, 0 leaving one out, and `mask` [C]
names the outputs that take part, [B, C] for each example by itself in
`cross_entropy`; the gradient at all others is exactly 0. A
batch that weighs nothing has loss 0. Values and sums are float32.
"""

import jax
import jax.numpy as jnp
import optax

from jcl import base

# In place of masked logits. Not infinite: 0 times it has to be 0.
MASKED = -1e9


def weighted_mean(values: jax.Array, weight: base.Array) -> jax.Array:
  """Returns the mean of `values` [B], 0 where the weights [B] sum to 0.

  >>> float(weighted_mean(jnp.array([1.0, 3.0, 9.0]), jnp.array([1.0, 1.0, 0])))
  2.0
  """
  total = jnp.sum(weight)
  return jnp.sum(values * weight) / jnp.where(total > 0, total, 1.0)


def cross_entropy(
  logits: jax.Array, labels: base.Array, weight: base.Array, mask: base.Array
) -> jax.Array:
  """Returns the softmax cross-entropy of `logits` [B, C], in nats.

  The softmax runs over the outputs in `mask`, which has to hold the labels [B]
  of all rows that weigh something.

  >>> labels, mask = jnp.array([0]), jnp.array([True, True, False])
  >>> value = cross_entropy(jnp.zeros((1, 3)), labels, jnp.ones(1), mask)
  >>> round(float(value), 4)  # the logarithm of 2
  0.6931
  """
  return weighted_mean(surprise(logits, labels, mask), weight)


def surprise(
  logits: jax.Array, labels: base.Array, mask: base.Array
) -> jax.Array:
  """Returns the softmax cross-entropy of each row, [B]."""
  return optax.softmax_cross_entropy_with_integer_labels(
    _keep(logits, mask), labels
  )


def binary_cross_entropy(
  logits: jax.Array, targets: base.Array, weight: base.Array, mask: base.Array
) -> jax.Array:
  """Returns the sigmoid cross-entropy, in nats, averaged over the outputs.

  `targets` [B, C] are probabilities, one for each of the `logits` [B, C].
  """
  values = optax.sigmoid_binary_cross_entropy(_float32(logits), targets)
  return weighted_mean(_mean_over(values, mask), weight)


def distillation(
  student: jax.Array,
  teacher: jax.Array,
  weight: base.Array,
  mask: base.Array,
  temperature: float,
) -> jax.Array:
  """Returns the divergence of softened predictions, KL(teacher || student).

  Its gradient equals that of the cross-entropy between logits [B, C] over
  `temperature` (Li and Hoiem, "Learning without Forgetting", ECCV 2016, eqs. 2
  and 3, https://arxiv.org/abs/1606.09282), and it is 0 where the two agree. It
  is not scaled by the temperature's square.
  """
  student, teacher = (
    jax.nn.log_softmax(_keep(logits, mask) / temperature)
    for logits in (student, teacher)
  )
  values = jnp.sum(jnp.exp(teacher) * (teacher - student), axis=-1)
  return weighted_mean(values, weight)


def squared_error(
  outputs: jax.Array, targets: base.Array, weight: base.Array, mask: base.Array
) -> jax.Array:
  """Returns the squared difference of [B, C], averaged over the outputs."""
  values = jnp.square(_float32(outputs) - targets)
  return weighted_mean(_mean_over(values, mask), weight)


def _keep(logits: base.Array, mask: base.Array) -> jax.Array:
  return jnp.where(mask, _float32(logits), MASKED)


def _mean_over(values: jax.Array, mask: base.Array) -> jax.Array:
  size = jnp.maximum(jnp.sum(mask), 1)
  return jnp.sum(jnp.where(mask, values, 0.0), axis=-1) / size


def _float32(logits: base.Array) -> jax.Array:
  return jnp.asarray(logits, jnp.float32)
