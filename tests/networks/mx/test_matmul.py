"""Products in MX formats: which values meet in each of the three passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures

from jcl.networks.mx import formats, matmul, windows

# Machine code that is slower and takes less time to make.
QUICK = {"xla_backend_optimization_level": 0}


def quantize(x, fmt, axis):
  return np.asarray(formats.quantize(jnp.asarray(x), fmt=fmt, axis=axis))


def passes(fn, g, *args):
  """Returns output and gradients, as arrays."""

  def run(g, *args):
    out, back = jax.vjp(fn, *args)
    return out, *back(g)

  program = jax.jit(run).lower(g, *args).compile(compiler_options=QUICK)
  return [np.asarray(each) for each in program(g, *args)]


def normal(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def patches(x, kernel, strides, padding):
  """[N, OH, OW, kh, kw, C] by a loop, in NumPy."""
  x = np.pad(x, [(0, 0), *padding, (0, 0)])
  out = [
    (size - taps) // stride + 1
    for size, taps, stride in zip(x.shape[1:3], kernel, strides, strict=True)
  ]
  found = np.zeros((len(x), *out, *kernel, x.shape[-1]), np.float32)
  for row, column in np.ndindex(*out):
    top, left = row * strides[0], column * strides[1]
    found[:, row, column] = x[:, top : top + kernel[0], left : left + kernel[1]]
  return found


def test_a_weight_differs_from_pass_to_pass():
  # Rows of very different sizes: blocks along rows keep what blocks along
  # columns lose.
  w = np.outer(2.0 ** -np.arange(16), np.linspace(1, 1.9, 16))
  w = w.astype(np.float32)
  by_column, by_row = quantize(w, "mx4", 0), quantize(w, "mx4", 1)
  assert (by_column[6:] == 0).all() and (by_row != 0).all()
  x, g = normal(0, 5, 16), normal(1, 5, 16)
  out, dx, dw = passes(
    lambda x, w: matmul.matmul(x, w, fmt="mx4"), g, x, jnp.asarray(w)
  )
  tolerance = {"rtol": 1e-5, "atol": 1e-6}
  expected = quantize(x, "mx4", 1) @ by_column
  np.testing.assert_allclose(out, expected, **tolerance)
  expected = quantize(g, "mx4", 1) @ by_row.T
  np.testing.assert_allclose(dx, expected, **tolerance)
  expected = quantize(x, "mx4", 0).T @ quantize(g, "mx4", 0)
  np.testing.assert_allclose(dw, expected, **tolerance)


def test_each_pass_of_a_convolution_has_blocks_along_its_own_sum():
  fmt, pad, strides = "mx6", ((1, 1), (0, 2)), (2, 1)
  x, w = np.asarray(normal(0, 3, 6, 5, 4)), np.asarray(normal(1, 3, 3, 4, 7))
  seen = patches(x, (3, 3), strides, pad)
  places = seen.shape[:3]
  g = np.asarray(normal(2, *places, 7))
  out, dx, dw = passes(
    lambda x, w: matmul.conv(x, w, strides=strides, padding=pad, fmt=fmt),
    jnp.asarray(g),
    jnp.asarray(x),
    jnp.asarray(w),
  )
  # Forward: input channels, and within each the places of the kernel.
  rows = np.moveaxis(seen, -1, 3).reshape(-1, 4 * 9)
  kernel = np.moveaxis(w, 2, 0).reshape(4 * 9, 7)
  expected = quantize(rows, fmt, 1) @ quantize(kernel, fmt, 0)
  np.testing.assert_allclose(out.reshape(-1, 7), expected, atol=1e-5)
  # Weights: images and places of the output.
  rows = quantize(seen.reshape(-1, 9 * 4), fmt, 0)
  expected = rows.T @ quantize(g.reshape(-1, 7), fmt, 0)
  np.testing.assert_allclose(dw, expected.reshape(w.shape), atol=2e-5)
  # Input: output channels, and within each the places of the kernel; what it
  # meets there is the gradient of the output that reads it from this place.
  met = np.zeros((*x.shape[:3], 7, 3, 3), np.float32)
  for n, row, column, i, j in np.ndindex(*places, 3, 3):
    at = row * strides[0] + i - pad[0][0], column * strides[1] + j - pad[1][0]
    if 0 <= at[0] < x.shape[1] and 0 <= at[1] < x.shape[2]:
      met[n, *at, :, i, j] = g[n, row, column]
  kernel = np.moveaxis(w, 3, 0).reshape(7 * 9, 4)
  met = quantize(met.reshape(-1, 7 * 9), fmt, 1)
  expected = met @ quantize(kernel, fmt, 0)
  np.testing.assert_allclose(dx.reshape(-1, 4), expected, atol=1e-5)


CASES = {
  "same": ((3, 7, 6, 5), (3, 2, 5, 4), {"padding": "SAME"}),
  "strided": ((2, 7, 6, 3), (1, 3, 3, 4), {"strides": (2, 3)}),
  "spread": (
    (2, 8, 8, 3),
    (3, 3, 3, 4),
    {"padding": ((3, 1), (-1, 2)), "rhs_dilation": (2, 1), "strides": (2, 1)},
  ),
  "series": (
    (3, 5, 6),
    (3, 6, 4),
    {"strides": (1,), "padding": ((2, 2),), "lhs_dilation": (2,)},
  ),
}


@pytest.mark.parametrize("case", CASES)
def test_wide_mantissas_give_the_convolution_of_float32(case):
  shape, kernel, options = CASES[case]
  options = {"strides": (1, 1), "padding": "VALID", **options}
  x, w = normal(0, *shape), normal(1, *kernel)
  letters = "HW"[: len(kernel) - 2]

  def plain(x, w):
    return jax.lax.conv_general_dilated(
      x,
      w,
      options["strides"],
      options["padding"],
      options.get("lhs_dilation"),
      options.get("rhs_dilation"),
      dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )

  g = normal(2, *jax.eval_shape(plain, x, w).shape)
  ours = passes(lambda x, w: matmul.conv(x, w, fmt=23, **options), g, x, w)
  for found, expected in zip(ours, passes(plain, g, x, w), strict=True):
    np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())


def test_wide_mantissas_give_the_product_of_float32():
  x, w, g = normal(0, 2, 5, 20), normal(1, 20, 7), normal(2, 2, 5, 7)
  ours = passes(lambda x, w: matmul.matmul(x, w, fmt=23), g, x, w)
  plain = passes(lambda x, w: x @ w, g, x, w)
  for found, expected in zip(ours, plain, strict=True):
    np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())


def test_pieces_make_no_difference(monkeypatch):
  x, w = normal(0, 5, 4, 4, 5), normal(1, 3, 3, 5, 4)
  g = normal(2, 5, 4, 4, 4)

  def run():
    return passes(
      lambda x, w: matmul.conv(x, w, strides=(1, 1), padding="SAME", fmt="mx4"),
      g,
      x,
      w,
    )

  whole = run()
  # Two pieces of two images, and one left.
  monkeypatch.setitem(matmul._PIECE, "cpu", 2 * 16 * 45)
  # What has been traced with other pieces does not count.
  jax.clear_caches()
  for one, two in zip(run(), whole, strict=True):
    np.testing.assert_allclose(one, two, atol=1e-5)
  jax.clear_caches()


def test_stochastic_rounding_draws_for_every_operand():
  x, w = jnp.full((2, 5, 3), 0.7), jnp.full((2, 3, 2), 0.7)
  options = {"fmt": "mx4", "rounding": "stochastic"}

  def run(key):
    out, back = jax.vjp(
      lambda x, w: matmul.matmul(
        matmul.conv(x, w, strides=(1,), padding="SAME", key=key, **options),
        w[0].T,
        key=key,
        **options,
      ),
      x,
      w,
    )
    return out, *back(jnp.full_like(out, 0.7))

  keys = [jax.random.key(seed) for seed in (0, 0, 1)]
  program = jax.jit(run).lower(keys[0]).compile(compiler_options=QUICK)
  for one, again, other in zip(*map(program, keys), strict=True):
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert len(np.unique(one)) > 2  # equal operands, unequal draws


def test_half_precision_keeps_its_type():
  x = normal(0, 2, 4, 4, 3).astype(jnp.bfloat16)
  w = normal(1, 3, 3, 3, 2).astype(jnp.bfloat16)
  out, dx, dw = jax.eval_shape(
    lambda x, w: (
      matmul.conv(x, w, strides=(1, 1), padding="SAME", fmt="mx9"),
      *jax.grad(
        lambda x, w: matmul.conv(
          x, w, strides=(1, 1), padding="SAME", fmt="mx9"
        ).sum(),
        (0, 1),
      )(x, w),
    ),
    x,
    w,
  )
  assert {out.dtype, dx.dtype, dw.dtype} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
  "options, message",
  [
    ({"fmt": "mx5"}, "fmt='mx5'"),
    ({"fmt": "mx6", "rounding": "up"}, "rounding='up'"),
    ({"fmt": "mx6", "rounding": "stochastic"}, "give it a key"),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    matmul.matmul(jnp.ones((2, 3)), jnp.ones((3, 2)), **options)
  with pytest.raises(ValueError, match=message):
    matmul.conv(
      jnp.ones((1, 4, 3)),
      jnp.ones((2, 3, 2)),
      strides=(1,),
      padding="SAME",
      **options,
    )


def test_images_of_a_piece(monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
  monkeypatch.setitem(matmul._PIECE, "cpu", 100)
  size = matmul._piece_size
  # Ten values each: up to ten images, of equal pieces if six or more do.
  assert [size(images, 10, 1) for images in (9, 10, 11, 12, 14, 24, 25)] == [
    *(9, 10, 10, 6, 7, 8, 10)
  ]
  assert size(10, 10, 1) == 10 and size(15, 10, 1) == 10
  assert size(21, 10, 1) == 7
  # Of three or more images that stay together.
  assert [size(images, 10, 3) for images in (9, 12, 18, 20)] == [9, 6, 9, 9]
  assert size(3, 1000, 1) == 1 and size(7, 1000, 2) == 2
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert size(25, 10, 1) == 25


def test_values_of_a_piece():
  assert matmul._PIECE == {"cpu": 2**20}


@pytest.mark.parametrize("size, pieces", [(5, 1), (2, 2), (1, 5), (3, 1)])
def test_pieces_in_turn(size, pieces):
  rows = jnp.arange(10.0).reshape(5, 2)

  def fn(total, index, piece):
    return total + piece.sum(), piece + 100 * index

  total, outs, last = matmul._run(fn, jnp.float32(1), size, rows)
  assert total == 46
  assert outs.shape == (pieces, size, 2)
  for index in range(pieces):
    part = rows[index * size : (index + 1) * size] + 100 * index
    np.testing.assert_array_equal(outs[index], part)
  if pieces * size == 5:
    assert last is None
  else:
    np.testing.assert_array_equal(last, rows[pieces * size :] + 100 * pieces)


def test_windows_by_hand():
  window = windows.Window((3, 2), (2, 1), ((1, 0), (2, 3)), (1, 3), (2, 1))
  assert windows.spread((5, 4), (2, 1)) == (9, 4)
  # Rows: 7 + 1 in steps of 2 for 5 taps; columns: 3 * 3 + 1 + 5 for 2.
  assert windows.outputs((7, 4), window) == (2, 14)
  back = windows.transposed(window, (7, 4), (2, 14))
  assert back.kernel == (3, 2) and back.rhs_dilation == (2, 1)
  assert back.strides == (1, 3) and back.lhs_dilation == (2, 1)
  # Outputs spread to 3 and 14 rows and columns, inputs to 7 and 10.
  assert back.padding == ((3, 5), (-1, -2))
  assert windows.outputs((2, 14), back) == (7, 4)


def test_mantissas_that_products_round(monkeypatch):
  seen = []
  plain = jnp.matmul

  def spy(x, w, precision):
    seen.append(precision)
    return plain(x, w)

  monkeypatch.setattr(jnp, "matmul", spy)
  one = jnp.ones((1, 1))
  for bits in (2, 8, 9, 23):
    matmul._How(bits, "rne").product(one, one)
  highest = jax.lax.Precision.HIGHEST
  assert seen == [None, None, highest, highest]


def test_operands_are_drawn_with_keys_of_their_own(monkeypatch):
  seen = []

  def spy(x, fmt, axis, rounding, key):
    seen.append((axis, key))
    return x

  monkeypatch.setattr(formats, "quantize", spy)
  key, how = jax.random.key(3), matmul._How(4, "stochastic")
  x = w = g = jnp.ones((2, 2))
  matmul._matmul_forward(x, w, key, how)
  matmul._matmul_backward(how, (x, w, key), g)
  assert [axis for axis, _ in seen] == [1, 0, 1, 1, 0, 0]
  for (_, found), number in zip(seen, (0, 1, 2, 3, 5, 4), strict=True):
    wanted = jax.random.fold_in(key, number)
    assert (jax.random.key_data(found) == jax.random.key_data(wanted)).all()


def test_defaults():
  assert signatures.defaults(matmul.matmul) == {"rounding": "rne"}
  assert signatures.defaults(matmul.conv) == {"rounding": "rne"}
