"""Block floating point with shared microexponents: MX4, MX6 and MX9.

Darvish Rouhani et al., "With Shared Microexponents, A Little Shifting Goes a
Long Way", ISCA 2023, https://arxiv.org/abs/2302.08007. Sixteen values share an
exponent of 8 bits, and each pair of values shares a microexponent of one bit.
Each value has a sign and m bits of mantissa, the leading one included: m = 2,
4, 7. These are not the OCP MX formats MXFP4 and MXFP6, which have blocks of 32
and an exponent per element.

Values are float32 on the lattice of the format: quantised and read back. Two
points on which definitions differ: zeros have no exponent here, so that they
never coarsen a block, and rounding never carries into a code that does not
exist.
"""

import functools
from typing import Any, Literal

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

  Blocks run along `axis`; the padding of the last block has no influence. Let E
  be the largest exponent of a block, and d = 0 for pairs that reach E, 1 for
  others. A value is then a multiple of 2^(E - d - m + 1), and the multiple is
  2^m - 1 at most. For gradients the quantiser is the identity.

  Args:
    x: floats of any shape; computed in float32, subnormals read as zeros.
    fmt: format of the result.
    axis: axis that blocks run along, such as the one that a product sums over.
    rounding: "rne" to the nearest, ties to even; "trunc" towards zero;
      "stochastic" up with a probability equal to the part cut off. Values
      beyond the largest multiple are cut down to it, which biases "stochastic"
      there; see `saturated`.
    key: random key, for "stochastic".

  Returns:
    The shape and dtype of `x`; NaN in every block with a value that is not
    finite.

  Raises:
    ValueError: for another format or rounding, integers, or a missing key.

  >>> quantize(jnp.array([1.0, 1.1, 0.3, 0.01]), fmt="mx4").tolist()
  [1.0, 1.0, 0.25, 0.0]
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

  Such a value lies between its pair's largest code and the next power of two,
  and every rounding takes it down.
  """
  axis = axis % x.ndim
  blocks = _blocks(x.astype(jnp.float32), axis)
  down, _, finite = _scales(blocks, axis)
  largest = 4.0 - 2.0 ** (2 - mantissa(fmt))
  beyond = finite & (jnp.abs(blocks * down) > largest)
  return jnp.sum(beyond, dtype=jnp.int32)


def bits_per_value(fmt: Format) -> int:
  """Returns the bits of a value: sign, mantissa, and its share of exponents.

  A value's share is half a bit of the pair's one bit, and half a bit of the
  block's eight.

  >>> [bits_per_value(fmt) for fmt in ("mx4", "mx6", "mx9")]
  [4, 6, 9]
  """
  return 1 + mantissa(fmt) + 1


def mantissa(fmt: Format) -> int:
  """Returns the bits of mantissa of a format, the leading one included.

  Raises:
    ValueError: for another name, or an integer that is not from 2 to 23.
  """
  if isinstance(fmt, str) and fmt in MANTISSA:
    return MANTISSA[fmt]
  if type(fmt) is int and 2 <= fmt <= 23:
    return fmt
  raise ValueError(
    f"fmt={fmt!r}: choose from {', '.join(MANTISSA)}, or give the bits of the "
    "mantissa, 2 to 23"
  )


def _check(x: jax.Array, rounding: str, key: jax.Array | None) -> None:
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
def _quantize(
  x: jax.Array, key: jax.Array | None, bits: int, axis: int, rounding: str
) -> jax.Array:
  blocks = _blocks(x.astype(jnp.float32), axis)
  down, shared, finite = _scales(blocks, axis)
  # Scaled through the exponent bits: of two constant factors XLA makes one,
  # which may overflow. A zero becomes a tiny number here.
  multiple = _times(jnp.abs(blocks * down), bits - 2)
  if rounding == "rne":
    to_even = jax.lax.RoundingMethod.TO_NEAREST_EVEN
    nearest = jax.lax.round(multiple, to_even)
  else:
    nearest = jnp.floor(multiple)
  if rounding == "stochastic":
    assert key is not None, "checked by `quantize`"
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
def _quantize_jvp(
  bits: int,
  axis: int,
  rounding: str,
  primals: tuple[Any, ...],
  tangents: tuple[Any, ...],
) -> tuple[jax.Array, jax.Array]:
  return _quantize(*primals, bits, axis, rounding), tangents[0]


def _blocks(x: jax.Array, axis: int) -> jax.Array:
  """Splits an axis into [blocks, pairs, 2], with zeros for subnormals."""
  x = jnp.where(jnp.abs(x) < jnp.finfo(jnp.float32).tiny, 0.0, x)
  rest = -x.shape[axis] % BLOCK
  if rest:
    x = jnp.pad(x, [(0, rest if i == axis else 0) for i in range(x.ndim)])
  return x.reshape(*x.shape[:axis], -1, BLOCK // 2, 2, *x.shape[axis + 1 :])


def _exponents(blocks: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
  """Returns the largest exponent fields of pairs and blocks.

  Compared as integers, the bits of magnitudes are ordered like the magnitudes.
  The field of zeros is 0, below all other values.
  """
  magnitudes = _bits(blocks) & ~_SIGN
  pairs = jnp.max(magnitudes, axis=axis + 2, keepdims=True)
  largest = jnp.max(pairs, axis=axis + 1, keepdims=True)
  return pairs >> 23, largest >> 23


def _scales(
  blocks: jax.Array, axis: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns 2^(1 - E + d), E - d, and whether all of a block is finite.

  The first is a normal number for every E and d; it scales values below 4.
  """
  pairs, largest = _exponents(blocks, axis)
  shared = jnp.maximum(jnp.maximum(largest, 1) - (pairs < largest), 1)
  down = jax.lax.bitcast_convert_type((_NOT_FINITE - shared) << 23, jnp.float32)
  return down, shared - 127, largest < _NOT_FINITE


def _times(x: jax.Array, exponent: jax.Array | int) -> jax.Array:
  """Returns x 2^exponent where x and the result are positive and normal."""
  bits = _bits(x) + (exponent << 23)
  return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _bits(x: jax.Array) -> jax.Array:
  return jax.lax.bitcast_convert_type(x, jnp.int32)
