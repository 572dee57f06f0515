"""Quantising to MX formats, against exact arithmetic in fractions."""

from fractions import Fraction
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures

from jcl.networks.mx import formats

FORMATS = ("mx4", "mx6", "mx9")
BLOCK = [1.7, -0.6, 0.3, 0.07] + [0.0] * 12
LENGTH = 21  # a whole block and a ragged one
TINY = 2.0**-126

quantize = jax.jit(
  formats.quantize, static_argnames=("fmt", "axis", "rounding")
)


def exponent(value):
  return math.frexp(value)[1] - 1


def lattice(values, bits):
  """What a multiple is worth, by value of a list, as fractions; 0 for zeros."""
  units = []
  for start in range(0, len(values), 16):
    block = values[start : start + 16]
    exponents = [exponent(v) for v in block if v]
    largest = max(exponents, default=0)
    for pair in range(0, len(block), 2):
      of_pair = [exponent(v) for v in block[pair : pair + 2] if v]
      lower = 0 if of_pair and max(of_pair) == largest else 1
      unit = Fraction(2) ** (largest - lower - bits + 1)
      units += [unit] * len(block[pair : pair + 2])
  return units


def oracle(values, bits, rounding):
  found = []
  for value, unit in zip(values, lattice(values, bits), strict=True):
    multiple = Fraction(abs(value)) / unit
    # Python rounds fractions half to even.
    whole = round(multiple) if rounding == "rne" else math.floor(multiple)
    whole = min(whole, 2**bits - 1)
    found.append(float(math.copysign(1, value) * whole * unit))
  return found


NORMAL = st.floats(
  width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False
)
TIES = st.builds(
  lambda k, e: k * 2.0**e, st.integers(-257, 257), st.integers(-12, 3)
)
VALUES = st.lists(
  st.one_of(NORMAL, TIES, st.just(0.0)), min_size=LENGTH, max_size=LENGTH
) | st.lists(st.one_of(TIES, st.just(0.0)), min_size=LENGTH, max_size=LENGTH)


@pytest.mark.parametrize(
  "fmt, rounding, expected",
  [
    ("mx9", "rne", [1.703125, -0.59375, 0.296875, 0.0703125]),
    ("mx6", "rne", [1.75, -0.625, 0.3125, 0.0625]),
    ("mx4", "rne", [1.5, -0.5, 0.25, 0.0]),
    ("mx6", "trunc", [1.625, -0.5, 0.25, 0.0625]),
  ],
)
def test_a_worked_block(fmt, rounding, expected):
  found = quantize(jnp.array(BLOCK), fmt=fmt, rounding=rounding)
  np.testing.assert_array_equal(found, expected + [0.0] * 12)


@pytest.mark.parametrize("rounding", ["rne", "trunc"])
@given(values=VALUES)
@settings(max_examples=80)
def test_every_bit_is_that_of_exact_arithmetic(rounding, values):
  x = np.array(values, np.float32)
  for fmt in (*FORMATS, 23):
    found = np.asarray(quantize(x, fmt=fmt, rounding=rounding))
    expected = oracle(values, formats.mantissa(fmt), rounding)
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    again = np.asarray(quantize(found, fmt=fmt, rounding=rounding))
    np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize("edge", [TINY, 2.0**127, 2.0**-125, 2.0**-120])
def test_the_ends_of_the_range(edge):
  values = [edge * f for f in (1, 1.5, 1.996, 1, -1.27, 1.001, 0, 1)]
  values[3] = TINY
  for fmt in (*FORMATS, 23):
    found = quantize(jnp.array(values, jnp.float32), fmt=fmt)
    values32 = np.array(values, np.float32).tolist()
    expected = oracle(values32, formats.mantissa(fmt), "rne")
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_errors_are_at_most_half_a_unit_or_saturated():
  x = np.random.default_rng(0).normal(size=1600).astype(np.float32)
  for fmt in FORMATS:
    bits = formats.mantissa(fmt)
    units = np.array([float(u) for u in lattice(x.tolist(), bits)])
    beyond = np.abs(x) > (2**bits - 1) * units
    error = np.abs(x - np.asarray(quantize(x, fmt=fmt)))
    assert (error <= np.where(beyond, units, units / 2)).all()
    assert formats.saturated(jnp.array(x), fmt=fmt) == beyond.sum() > 0


def test_stochastic_rounding_is_right_on_average_and_stays_on_the_lattice():
  values = np.array(BLOCK[:3] + [0.05, 1.0, -0.8125, 0.0], np.float32)
  rows = jnp.tile(jnp.array(values), (20_000, 1))
  draws = quantize(
    rows, fmt="mx6", rounding="stochastic", key=jax.random.key(0)
  )
  draws = np.asarray(draws)
  units = np.array([float(u) for u in lattice(values.tolist(), 4)])
  error = draws.std(axis=0) / math.sqrt(len(rows))
  off = np.abs(draws.mean(axis=0, dtype=np.float64) - values)
  assert (off <= 4 * error).all()
  multiples = np.abs(draws) / units
  assert (multiples == np.round(multiples)).all() and multiples.max() <= 15
  assert (draws == values)[:, values % units == 0].all()


def test_stochastic_rounding_does_not_carry_beyond_the_largest_code():
  x = jnp.full((100,), 1.99)
  found = quantize(x, fmt="mx4", rounding="stochastic", key=jax.random.key(0))
  np.testing.assert_array_equal(found, np.full(100, 1.5))
  assert formats.saturated(x, fmt="mx4") == 100


def test_zeros_do_not_coarsen_a_block():
  x = 1e-4 * np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
  x[:, ::2] = 0
  error = np.asarray(quantize(x, fmt="mx9")) - x
  assert np.sqrt((error**2).sum() / (x**2).sum()) < 0.01


def test_zeros_and_subnormals():
  x = jnp.zeros((3, 20)).at[1].set(TINY / 4)
  np.testing.assert_array_equal(quantize(x, fmt="mx6"), np.zeros((3, 20)))
  assert formats.nonfinite_blocks(x) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_takes_its_block_along(bad):
  x = np.ones((2, LENGTH), np.float32)
  x[1, 3] = bad
  found = np.asarray(quantize(x, fmt="mx9"))
  assert np.isnan(found[1, :16]).all()
  assert (found[0] == 1).all() and (found[1, 16:] == 1).all()
  assert formats.nonfinite_blocks(jnp.array(x)) == 1
  assert formats.nonfinite_blocks(jnp.array(x), axis=0) == 1


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_blocks_run_along_the_axis_asked_for(axis):
  x = jax.random.normal(jax.random.key(0), (18, 5, 20))
  found = quantize(x, fmt="mx6", axis=axis)
  last = quantize(jnp.moveaxis(x, axis, -1), fmt="mx6")
  np.testing.assert_array_equal(jnp.moveaxis(found, axis, -1), last)


@pytest.mark.parametrize("rounding", ["rne", "stochastic"])
def test_the_gradient_is_the_identity(rounding):
  @jax.jit
  @jax.grad
  def gradient(x):
    key = jax.random.key(1)
    return (
      2.0 * formats.quantize(x, fmt="mx4", rounding=rounding, key=key).sum()
    )

  x = jnp.linspace(-1.0, 1.0, LENGTH)
  np.testing.assert_array_equal(gradient(x), np.full(LENGTH, 2.0))


def test_half_precision_keeps_its_type():
  x = jax.random.normal(jax.random.key(0), (LENGTH,), jnp.bfloat16)
  found = quantize(x, fmt="mx9")
  assert found.dtype == jnp.bfloat16
  np.testing.assert_array_equal(
    found.astype(jnp.float32), quantize(x.astype(jnp.float32), fmt="mx9")
  )


def test_bits_per_value():
  assert [formats.bits_per_value(fmt) for fmt in FORMATS] == [4, 6, 9]


@pytest.mark.parametrize(
  "x, options, message",
  [
    ([1.0], {"fmt": "mxfp4"}, "fmt='mxfp4': choose from mx4, mx6, mx9"),
    ([1.0], {"fmt": 24}, "fmt=24: .* 2 to 23"),
    ([1.0], {"fmt": "mx4", "rounding": "up"}, "rounding='up': choose from rne"),
    ([1.0], {"fmt": "mx4", "rounding": "stochastic"}, "give it a key"),
    ([1], {"fmt": "mx4"}, "give floats with an axis"),
    (1.0, {"fmt": "mx4"}, "give floats with an axis"),
  ],
)
def test_bad_input(x, options, message):
  with pytest.raises(ValueError, match=message):
    formats.quantize(jnp.array(x), **options)


def test_defaults():
  assert signatures.defaults(formats.quantize) == {
    "axis": -1,
    "rounding": "rne",
  }
  assert signatures.defaults(formats.nonfinite_blocks) == {"axis": -1}
  assert signatures.defaults(formats.saturated) == {"axis": -1}


def test_formats_by_bits():
  assert [formats.mantissa(bits) for bits in (2, 23)] == [2, 23]
  for bits in (1, 24, True, 4.0):
    with pytest.raises(ValueError, match="mantissa, 2 to 23"):
      formats.mantissa(bits)
  assert formats.bits_per_value(2) == 4 and formats.BLOCK == 16
  assert formats.MANTISSA == {"mx4": 2, "mx6": 4, "mx9": 7}


@pytest.mark.parametrize("fmt, largest", [("mx4", 3), ("mx6", 15), (3, 7)])
def test_values_beyond_the_largest_code(fmt, largest):
  unit = 2.0 / (largest + 1)  # of pairs whose exponent is 0
  x = np.zeros(32, np.float32)
  x[0], x[1], x[2], x[16] = largest * unit, -largest * unit, 0.5, 1.0
  assert formats.saturated(jnp.array(x), fmt=fmt) == 0
  x[0] = np.nextafter(x[0], np.float32(2))
  assert formats.saturated(jnp.array(x), fmt=fmt) == 1
  x[17] = np.inf  # a block that is not finite has no codes
  x[18] = 1.999
  assert formats.saturated(jnp.array(x), fmt=fmt) == 1
  assert formats.saturated(jnp.array(x)[:, None], fmt=fmt, axis=0) == 1
