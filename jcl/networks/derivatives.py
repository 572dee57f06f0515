"""Layers whose derivatives are written out, for fewer passes over memory.

JAX differentiates operation by operation and keeps what each of them needs.
Where a layer's derivative is known as a whole, less is kept and read: on CPUs,
where such passes take up to half of a step's time.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

_Residuals = tuple[Any, ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def batch_normalised(
  x: jax.Array,
  mean: jax.Array,
  var: jax.Array,
  scale: jax.Array,
  bias: jax.Array,
  epsilon: float,
) -> jax.Array:
  """Normalises examples by the mean and variance of these very examples.

  Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by
  Reducing Internal Covariate Shift", ICML 2015, section 3,
  https://arxiv.org/abs/1502.03167. The derivative for `x` holds all that comes
  through mean and variance, and those for `mean` and `var` are zero.

  Args:
    x: [..., C] examples.
    mean: [C] float32, mean of `x` over all axes but the last.
    var: [C] float32, its variance, divided by the number of values.
    scale: [C] that the results are multiplied by.
    bias: [C] that is added to them.
    epsilon: added to the variance.

  Returns:
    [..., C] in the type that `x`, `scale` and `bias` have together.
  """
  slope = jax.lax.rsqrt(var + epsilon) * scale
  # Lines in `x`, here and in the derivative: XLA would keep and read again a
  # difference `x - mean` that it met in both.
  y = x * slope + (bias - mean * slope)
  return y.astype(jnp.result_type(x, scale, bias))


def _batch_normalised(
  x: jax.Array,
  mean: jax.Array,
  var: jax.Array,
  scale: jax.Array,
  bias: jax.Array,
  epsilon: float,
) -> tuple[jax.Array, _Residuals]:
  y = batch_normalised(x, mean, var, scale, bias, epsilon)
  return y, (x, mean, jax.lax.rsqrt(var + epsilon), scale, bias)


def _batch_normalised_back(
  epsilon: float, kept: _Residuals, dy: jax.Array
) -> tuple[jax.Array, ...]:
  del epsilon
  x, mean, inverse, scale, bias = kept
  axes, count = tuple(range(x.ndim - 1)), math.prod(x.shape[:-1])
  wide = dy.astype(mean.dtype)
  dbias = wide.sum(axes)
  dscale = ((wide * x).sum(axes) - mean * dbias) * inverse
  slope = scale * inverse
  of_x = -slope * inverse * dscale / count
  dx = slope * wide + (of_x * x + (-slope * dbias / count - of_x * mean))
  nothing = jnp.zeros_like(mean)
  return (
    *(dx.astype(x.dtype), nothing, nothing),
    *(dscale.astype(scale.dtype), dbias.astype(bias.dtype)),
  )


batch_normalised.defvjp(_batch_normalised, _batch_normalised_back)


@jax.custom_vjp
def attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
  """Scaled dot-product attention in several heads, without a mask.

  Vaswani et al., "Attention Is All You Need", NeurIPS 2017, eq. 1,
  https://arxiv.org/abs/1706.03762. Axes of heads are brought to the front once,
  for all six products of a step. Logits and their softmax are float32.

  Args:
    query: [B, T, N, H] for T positions and N heads.
    key: as `query`.
    value: as `query`.

  Returns:
    [B, T, N, H].
  """
  return _attention(query, key, value)[0]


def _attention(
  query: jax.Array, key: jax.Array, value: jax.Array
) -> tuple[jax.Array, _Residuals]:
  query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
  logits = _product("bnth,bnsh->bnts", query, key, jnp.float32)
  shares = jax.nn.softmax(logits * query.shape[-1] ** -0.5, axis=-1)
  out = _product("bnts,bnsh->bnth", shares.astype(value.dtype), value)
  return jnp.swapaxes(out, 1, 2), (query, key, value, shares)


def _attention_back(kept: _Residuals, dout: jax.Array) -> tuple[jax.Array, ...]:
  query, key, value, shares = kept
  dout = jnp.swapaxes(dout, 1, 2)
  dvalue = _product("bnts,bnth->bnsh", shares.astype(dout.dtype), dout)
  dshares = _product("bnth,bnsh->bnts", dout, value, jnp.float32)
  inner = (shares * dshares).sum(-1, keepdims=True)
  dlogits = shares * (dshares - inner) * query.shape[-1] ** -0.5
  dlogits = dlogits.astype(query.dtype)
  dquery = _product("bnts,bnsh->bnth", dlogits, key)
  dkey = _product("bnts,bnth->bnsh", dlogits, query)
  back = (jnp.swapaxes(x, 1, 2) for x in (dquery, dkey, dvalue))
  return tuple(back)


def _product(
  axes: str, left: jax.Array, right: jax.Array, dtype: Any = None
) -> jax.Array:
  return jnp.einsum(axes, left, right, preferred_element_type=dtype)


attention.defvjp(_attention, _attention_back)
