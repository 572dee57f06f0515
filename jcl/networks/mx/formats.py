"""Block floating point with shared microexponents: MX4, MX6 and MX9.

Darvish Rouhani et al., "With Shared Microexponents, A Little Shifting Goes a
Long Way", ISCA 2023. Sixteen values share an exponent of 8 bits, each pair of
them a microexponent of one bit, and each value has a sign and m bits of
mantissa, the leading one among them: m = 2, 4, 7. These are not the OCP MX
formats MXFP4 and MXFP6, which have blocks of 32 and an exponent per element.

Values are float32 on the lattice of the format: quantised and read back. Where
definitions differ, zeros have no exponent here, so that they never coarsen a
block, and rounding never carries into a code that does not exist.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

# An int is the bits of mantissa of a format without a name, 2 to 23.
Format = Literal["mx4", "mx6", "mx9"] | int
Rounding = Literal["rne", "trunc", "stochastic"]

BLOCK = 16
MANTISSA = {"mx4": 2, "mx6": 4, "mx9": 7}
ROUNDINGS = ("rne", "trunc", "stochastic")

_NOT_FINITE = 255  # exponent field of infinities and NaN
_NAN = 0x7FC00000
_SIGN = -(2**31)


def quantize(
  x: jax.Array,
  *,
  fmt: Format,
  axis: int = -1,
  rounding: Rounding = "rne",
  key: jax.Array | None = None,
) -> jax.Array:
  """Returns the values that a format stores in place of `x`.

  Blocks run along `axis`; what fills up the last one influences nothing. With E
  the largest exponent of a block, and d = 0 for pairs that reach it, 1 for
  others, a value is a multiple of 2^(E - d - m + 1), and the multiple at most
  2^m - 1. For gradients the quantiser is the identity.

  Args:
    x: floats of any shape; computed in float32, subnormals read as zeros.
    fmt: of the result.
    axis: that blocks run along, such as the one a product sums over.
    rounding: "rne" to the nearest, ties to even; "trunc" towards zero;
      "stochastic" up with the probability of what is cut off. Values beyond the
      largest multiple are cut down to it, which biases "stochastic" there; see
      `saturated`.
    key: for "stochastic".

  Returns:
    The shape and dtype of `x`; NaN in every block with a value that is not
    finite.

  Raises:
    ValueError: for another format or rounding, integers, or a missing key.
  """
  _check(x, rounding, key)
  return _quantize(x, key, mantissa(fmt), axis % x.ndim, rounding)


def nonfinite_blocks(x: jax.Array, *, axis: int = -1) -> jax.Array:
  """Counts the blocks that `quantize` turns into NaN, [] int32."""
  axis = axis % x.ndim
  _, block = _exponents(_blocks(x.astype(jnp.float32), axis), axis)
  return jnp.sum(block == _NOT_FINITE, dtype=jnp.int32)


def saturated(x: jax.Array, *, fmt: Format, axis: int = -1) -> jax.Array:
  """Counts the values beyond the largest code of their pair, [] int32.

  Between that code and the next power of two lies the top cell, in which all
  roundings go down.
  """
  axis = axis % x.ndim
  blocks = _blocks(x.astype(jnp.float32), axis)
  down, _, finite = _scales(blocks, axis)
  largest = 4.0 - 2.0 ** (2 - mantissa(fmt))
  beyond = finite & (jnp.abs(blocks * down) > largest)
  return jnp.sum(beyond, dtype=jnp.int32)


def bits_per_value(fmt: Format) -> int:
  """Returns the bits that a value takes: sign, mantissa, shares of exponents.

  The pair's bit is half a bit a value, and so are the block's eight.
  """
  return 1 + mantissa(fmt) + 1


def mantissa(fmt: Format) -> int:
  """Returns the bits of mantissa of a format, the leading one included.

  Raises:
    ValueError: for no name of a format and no integer from 2 to 23.
  """
  if isinstance(fmt, str) and fmt in MANTISSA:
    return MANTISSA[fmt]
  if type(fmt) is int and 2 <= fmt <= 23:
    return fmt
  raise ValueError(
    f"fmt={fmt!r}: choose from {', '.join(MANTISSA)}, or give the bits of the "
    "mantissa, 2 to 23"
  )


def _check(x, rounding, key):
  if rounding not in ROUNDINGS:
    raise ValueError(
      f"rounding={rounding!r}: choose from {', '.join(ROUNDINGS)}"
    )
  if rounding == "stochastic" and key is None:
    raise ValueError("rounding='stochastic' draws: give it a key")
  if not jnp.issubdtype(x.dtype, jnp.floating) or x.ndim == 0:
    raise ValueError(
      f"x is {x.dtype} of shape {x.shape}: give floats with an axis"
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _quantize(x, key, bits, axis, rounding):
  blocks = _blocks(x.astype(jnp.float32), axis)
  down, shared, finite = _scales(blocks, axis)
  # Constants multiply by way of exponents: XLA merges factors, and some of the
  # merged ones would overflow. A zero becomes a tiny number here.
  multiple = _times(jnp.abs(blocks * down), bits - 2)
  if rounding == "rne":
    to_even = jax.lax.RoundingMethod.TO_NEAREST_EVEN
    nearest = jax.lax.round(multiple, to_even)
  else:
    nearest = jnp.floor(multiple)
  if rounding == "stochastic":
    draws = jax.random.uniform(key, multiple.shape)
    nearest += draws > 1.0 - (multiple - nearest)
  nearest = jnp.minimum(nearest, 2.0**bits - 1)
  found = jnp.where(nearest == 0, 0.0, _times(nearest, shared - bits + 1))
  found = jnp.where(finite, _bits(found), _NAN) | (_bits(blocks) & _SIGN)
  values = jax.lax.bitcast_convert_type(found, jnp.float32)
  length = -(-x.shape[axis] // BLOCK) * BLOCK
  values = values.reshape(*x.shape[:axis], length, *x.shape[axis + 1 :])
  values = jax.lax.slice_in_dim(values, 0, x.shape[axis], axis=axis)
  return values.astype(x.dtype)


@_quantize.defjvp
def _quantize_jvp(bits, axis, rounding, primals, tangents):
  return _quantize(*primals, bits, axis, rounding), tangents[0]


def _blocks(x, axis):
  """Splits an axis into [blocks, pairs, 2], with zeros for subnormals."""
  x = jnp.where(jnp.abs(x) < jnp.finfo(jnp.float32).tiny, 0.0, x)
  rest = -x.shape[axis] % BLOCK
  if rest:
    x = jnp.pad(x, [(0, rest if i == axis else 0) for i in range(x.ndim)])
  return x.reshape(*x.shape[:axis], -1, BLOCK // 2, 2, *x.shape[axis + 1 :])


def _exponents(blocks, axis):
  """Returns the largest exponent fields of pairs and blocks.

  Bits order magnitudes as the magnitudes do; the field is 0 for zeros, as if
  they lay below all other values.
  """
  magnitudes = _bits(blocks) & ~_SIGN
  pairs = jnp.max(magnitudes, axis=axis + 2, keepdims=True)
  largest = jnp.max(pairs, axis=axis + 1, keepdims=True)
  return pairs >> 23, largest >> 23


def _scales(blocks, axis):
  """Returns 2^(1 - E + d), E - d, and whether all of a block is finite.

  The first is a normal number for every E and d, and takes values below 4.
  """
  pairs, largest = _exponents(blocks, axis)
  shared = jnp.maximum(jnp.maximum(largest, 1) - (pairs < largest), 1)
  down = jax.lax.bitcast_convert_type((_NOT_FINITE - shared) << 23, jnp.float32)
  return down, shared - 127, largest < _NOT_FINITE


def _times(x, exponent):
  """Returns x 2^exponent where x and the result are positive and normal."""
  bits = _bits(x) + (exponent << 23)
  return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _bits(x):
  return jax.lax.bitcast_convert_type(x, jnp.int32)
