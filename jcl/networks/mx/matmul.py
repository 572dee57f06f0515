"""Products and convolutions in MX formats, each pass along its own sums.

Blocks of shared exponents run along the axis that a product sums over (Darvish
Rouhani et al., "With Shared Microexponents, A Little Shifting Goes a Long Way",
ISCA 2023, https://arxiv.org/abs/2302.08007; Kim et al., "DaCapo", ISCA 2024,
https://arxiv.org/abs/2403.14353). The forward product, the gradient of the
input and the gradient of the weights sum over different axes. A weight thus has
one set of values in the forward pass and another in the backward pass. Sums are
float32, and the quantiser counts as the identity in all gradients.
"""

from collections.abc import Callable, Sequence
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jcl.networks.mx import formats, windows

# Values of patches that are made at once, at most. Patches of an image take
# many times its size; on CPUs, pieces that stay in a core's cache are made in a
# fifth of the time. Other devices make all patches at once.
_PIECE = {"cpu": 1 << 20}


def matmul(
  x: jax.Array,
  w: jax.Array,
  *,
  fmt: formats.Format,
  rounding: formats.Rounding = "rne",
  key: jax.Array | None = None,
) -> jax.Array:
  """Returns x @ w with both operands, in all three passes, in an MX format.

  Args:
    x: [..., K] floats; the gradient of the weights sums over all leading axes
      as over one.
    w: [K, N] floats.
    fmt: see `formats.quantize`.
    rounding: see `formats.quantize`.
    key: random key, for stochastic rounding.

  Returns:
    [..., N] of the dtype of `x`.

  Raises:
    ValueError: as `formats.quantize`.

  >>> matmul(jnp.array([[1.0, 0.3]]), jnp.eye(2), fmt="mx4").tolist()
  [[1.0, 0.5]]
  """
  how = _how(fmt, rounding, key)
  rows = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
  out = _matmul(rows, w.astype(jnp.float32), key, how)
  return out.reshape(*x.shape[:-1], w.shape[-1]).astype(x.dtype)


def conv(
  x: jax.Array,
  w: jax.Array,
  *,
  strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  lhs_dilation: Sequence[int] | None = None,
  rhs_dilation: Sequence[int] | None = None,
  fmt: formats.Format,
  rounding: formats.Rounding = "rne",
  key: jax.Array | None = None,
) -> jax.Array:
  """Returns the convolution of x and w, as products of patches in MX formats.

  In the forward pass, blocks run over input channels and, within each, over the
  positions of the kernel. In the gradient of the input they run over output
  channels and positions of the kernel; in the gradient of the weights over
  images and positions of the output.

  Args:
    x: [N, H, W, Cin] floats, with any number of spatial axes.
    w: [kh, kw, Cin, Cout] floats.
    strides: along each spatial axis.
    padding: as for `jax.lax.conv_general_dilated`.
    lhs_dilation: of the input; 1 by default.
    rhs_dilation: of the kernel; 1 by default.
    fmt: see `formats.quantize`.
    rounding: see `formats.quantize`.
    key: random key, for stochastic rounding.

  Returns:
    [N, OH, OW, Cout] of the dtype of `x`.

  Raises:
    ValueError: as `formats.quantize`.
  """
  how = _how(fmt, rounding, key)
  rank = w.ndim - 2
  kernel, ones = w.shape[:rank], (1,) * rank
  strides = tuple(strides)
  lhs_dilation = tuple(lhs_dilation or ones)
  rhs_dilation = tuple(rhs_dilation or ones)
  if isinstance(padding, str):
    padding = jax.lax.padtype_to_pads(
      x.shape[1:-1], windows.spread(kernel, rhs_dilation), strides, padding
    )
  window = windows.Window(
    kernel,
    strides,
    tuple((int(low), int(high)) for low, high in padding),
    lhs_dilation,
    rhs_dilation,
  )
  out = _conv(x.astype(jnp.float32), w.astype(jnp.float32), key, how, window)
  return out.astype(x.dtype)


class _How(NamedTuple):
  """How operands are quantised."""

  bits: int  # of the mantissa
  rounding: formats.Rounding

  def quantize(
    self,
    x: jax.Array,
    axis: int,
    key: jax.Array | None,
    number: int | jax.Array,
  ) -> jax.Array:
    """Quantises an operand of a layer; `number` tells it from the others."""
    if key is not None:
      key = jax.random.fold_in(key, number)
    return formats.quantize(
      x, fmt=self.bits, axis=axis, rounding=self.rounding, key=key
    )

  def product(self, x: jax.Array, w: jax.Array) -> jax.Array:
    """Returns x @ w with products that are exact and sums in float32."""
    # Mantissas of up to 8 bits are exact even in bfloat16, in which some
    # devices multiply float32 by default.
    exact = self.bits <= 8
    precision = None if exact else jax.lax.Precision.HIGHEST
    product = jnp.matmul(x, w, precision=precision)
    # The barrier keeps XLA's CPU backend from merging a transpose into the
    # product, which then takes three times as long.
    return jax.lax.optimization_barrier(product)


# Of a product or convolution, for the gradients: x, w, key.
_Kept = tuple[jax.Array, jax.Array, jax.Array | None]


def _how(
  fmt: formats.Format, rounding: formats.Rounding, key: jax.Array | None
) -> _How:
  if rounding == "stochastic" and key is None:
    raise ValueError("rounding='stochastic' draws: give it a key")
  return _How(formats.mantissa(fmt), rounding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _matmul(
  x: jax.Array, w: jax.Array, key: jax.Array | None, how: _How
) -> jax.Array:
  return _matmul_forward(x, w, key, how)[0]


def _matmul_forward(
  x: jax.Array, w: jax.Array, key: jax.Array | None, how: _How
) -> tuple[jax.Array, _Kept]:
  out = how.product(how.quantize(x, 1, key, 0), how.quantize(w, 0, key, 1))
  return out, (x, w, key)


def _matmul_backward(
  how: _How, kept: _Kept, g: jax.Array
) -> tuple[jax.Array, jax.Array, None]:
  x, w, key = kept
  dx = how.product(how.quantize(g, 1, key, 2), how.quantize(w, 1, key, 3).T)
  dw = how.product(how.quantize(g, 0, key, 5).T, how.quantize(x, 0, key, 4))
  return dx, dw.T, None


_matmul.defvjp(_matmul_forward, _matmul_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _conv(
  x: jax.Array,
  w: jax.Array,
  key: jax.Array | None,
  how: _How,
  window: windows.Window,
) -> jax.Array:
  return _conv_forward(x, w, key, how, window)[0]


def _conv_forward(
  x: jax.Array,
  w: jax.Array,
  key: jax.Array | None,
  how: _How,
  window: windows.Window,
) -> tuple[jax.Array, _Kept]:
  # [kh, kw, Cin, Cout] -> [Cin * kh * kw, Cout]
  kernel = jnp.moveaxis(w, -2, 0).reshape(-1, w.shape[-1])
  out = _correlate(x, kernel, key, how, window, number=0)
  return out, (x, w, key)


def _conv_backward(
  how: _How, window: windows.Window, kept: _Kept, g: jax.Array
) -> tuple[jax.Array, jax.Array, None]:
  x, w, key = kept
  # [kh, kw, Cin, Cout] -> [Cout * kh * kw, Cin]
  kernel = jnp.moveaxis(w, -1, 0).reshape(-1, w.shape[-2])
  back = windows.transposed(window, x.shape[1:-1], g.shape[1:-1])
  dx = _correlate(g, kernel, key, how, back, number=2, turned=True)
  dw = _weight_gradient(x, g, key, how, window, number=4)
  return dx, dw.reshape(w.shape), None


_conv.defvjp(_conv_forward, _conv_backward)


def _correlate(
  x: jax.Array,
  kernel: jax.Array,
  key: jax.Array | None,
  how: _How,
  window: windows.Window,
  number: int,
  turned: bool = False,
) -> jax.Array:
  """Returns patches of x times a kernel [C * places, M], both quantised.

  `turned` reads the positions of a patch from the last one to the first, as the
  gradient of the input needs them.
  """
  kernel = how.quantize(kernel, 0, key, number).T
  if key is not None:
    key = jax.random.fold_in(key, number + 1)

  def piece(index: int | jax.Array, x: jax.Array) -> jax.Array:
    x = jnp.moveaxis(x, -1, 0)  # channels first: blocks run over rows
    columns = windows.taps(x, 2, window, axis=1, turned=turned)
    shape = columns.shape
    columns = columns.reshape(shape[0] * shape[1], -1)
    out = how.product(kernel, how.quantize(columns, 0, key, index))
    return out.T.reshape(*shape[2:], -1)

  out = windows.outputs(x.shape[1:-1], window)
  size = _piece_size(len(x), math.prod(out) * kernel.shape[1], 1)
  _, parts, last = _run(lambda _, index, x: ((), piece(index, x)), (), size, x)
  parts = parts.reshape(-1, *parts.shape[2:])
  return parts if last is None else jnp.concatenate([parts, last])


def _weight_gradient(
  x: jax.Array,
  g: jax.Array,
  key: jax.Array | None,
  how: _How,
  window: windows.Window,
  number: int,
) -> jax.Array:
  """Returns patches of x, transposed, times g, [places * Cin, Cout]."""
  keys = [
    key if key is None else jax.random.fold_in(key, number + i) for i in (0, 1)
  ]

  def piece(
    total: jax.Array, index: int | jax.Array, x: jax.Array, g: jax.Array
  ) -> tuple[jax.Array, None]:
    rows = windows.taps(x, 1, window, axis=len(window.kernel) + 1).reshape(
      -1, terms
    )
    g = g.reshape(-1, g.shape[-1])
    rows = how.quantize(rows, 0, keys[0], index)
    total += how.product(how.quantize(g, 0, keys[1], index).T, rows)
    return total, None

  places = math.prod(g.shape[1:-1])
  terms = math.prod(window.kernel) * x.shape[-1]
  # Blocks run over positions and images, and no piece may cut one in two.
  whole = formats.BLOCK // math.gcd(formats.BLOCK, places)
  size = _piece_size(len(x), places * terms, whole)
  total = jnp.zeros((g.shape[-1], terms), jnp.float32)
  return _run(piece, total, size, x, g)[0].T


def _piece_size(images: int, values: int, multiple: int) -> int:
  """Returns how many images make a piece.

  Pieces are of equal size if that is not much smaller, since a rest takes a
  program of its own.

  Args:
    images: number of images in all.
    values: values in the patches of one image.
    multiple: a piece's number of images is a multiple of this.
  """
  most = _PIECE.get(jax.default_backend())
  if most is None:
    return images
  steps = max(1, most // (values * multiple))
  sizes = [step * multiple for step in range(steps, steps // 2, -1)]
  if sizes[0] >= images:
    return images
  return next((size for size in sizes if images % size == 0), sizes[0])


def _run(
  fn: Callable[..., Any], total: Any, size: int, *arrays: jax.Array
) -> tuple[Any, Any, Any]:
  """Runs `fn(total, index, *pieces) -> (total, out)` over pieces of arrays.

  Returns the total, the outputs of whole pieces [pieces, size, ...], and the
  output of the rest, None where there is no rest.
  """
  count = len(arrays[0]) // size
  whole = [
    array[: count * size].reshape(count, size, *array.shape[1:])
    for array in arrays
  ]
  if count == 1:
    total, out = fn(total, 0, *(array[0] for array in whole))
    outs = jax.tree.map(lambda leaf: leaf[None], out)
  else:
    total, outs = jax.lax.scan(
      lambda total, piece: fn(total, *piece),
      total,
      (jnp.arange(count), *whole),
    )
  last = None
  if count * size < len(arrays[0]):
    rest = (array[count * size :] for array in arrays)
    total, last = fn(total, count, *rest)
  return total, outs, last
