"""Products and convolutions in MX formats, each pass along its own sums.

The forward product, the gradient of the input and that of the weights sum over
different axes, and blocks of shared exponents run along the axis that is summed
over (Darvish Rouhani et al., "With Shared Microexponents, A Little Shifting
Goes a Long Way", ISCA 2023; Kim et al., "DaCapo", ISCA 2024). A weight thus has
one set of values on the way forward and another on the way back. Sums are
float32, and the quantiser counts as the identity in all gradients.
"""

from collections.abc import Callable, Sequence
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcl.networks.mx import formats

# Patches of an image take many times its size. In pieces that stay in a core's
# cache they are made in a fifth of the time; other devices take them whole.
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
    x: [..., K] floats; the leading axes are one where gradients sum over them.
    w: [K, N] floats.
    fmt: see `mx.quantize`.
    rounding: see `mx.quantize`.
    key: for stochastic rounding.

  Returns:
    [..., N] of the dtype of `x`.

  Raises:
    ValueError: as `mx.quantize`.
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

  Forward, blocks run over input channels and within each over the places of the
  kernel; in the input's gradient over output channels and places; in that of
  the weights over images and places of the output.

  Args:
    x: [N, H, W, Cin] floats, with any number of spatial axes.
    w: [kh, kw, Cin, Cout] floats.
    strides: along each spatial axis.
    padding: as for `jax.lax.conv_general_dilated`.
    lhs_dilation: of the input; 1 by default.
    rhs_dilation: of the kernel; 1 by default.
    fmt: see `mx.quantize`.
    rounding: see `mx.quantize`.
    key: for stochastic rounding.

  Returns:
    [N, OH, OW, Cout] of the dtype of `x`.

  Raises:
    ValueError: as `mx.quantize`.
  """
  how = _how(fmt, rounding, key)
  rank = w.ndim - 2
  kernel, ones = w.shape[:rank], (1,) * rank
  strides = tuple(strides)
  lhs_dilation = tuple(lhs_dilation or ones)
  rhs_dilation = tuple(rhs_dilation or ones)
  if isinstance(padding, str):
    padding = jax.lax.padtype_to_pads(
      x.shape[1:-1], _spread(kernel, rhs_dilation), strides, padding
    )
  window = _Window(
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

  def quantize(self, x, axis, key, number):
    """Quantises one of the operands of a layer; numbers differ."""
    if key is not None:
      key = jax.random.fold_in(key, number)
    return formats.quantize(
      x, fmt=self.bits, axis=axis, rounding=self.rounding, key=key
    )

  def product(self, x, w):
    """Returns x @ w with products that are exact and sums in float32."""
    # Up to 8 bits fit whatever a device multiplies float32 in by default.
    exact = self.bits <= 8
    precision = None if exact else jax.lax.Precision.HIGHEST
    product = jnp.matmul(x, w, precision=precision)
    # Of transposed products XLA's CPU backend makes other products, which take
    # three times as long.
    return jax.lax.optimization_barrier(product)


class _Window(NamedTuple):
  """The places that a convolution looks at, along each spatial axis."""

  kernel: tuple[int, ...]
  strides: tuple[int, ...]
  padding: tuple[tuple[int, int], ...]
  lhs_dilation: tuple[int, ...]
  rhs_dilation: tuple[int, ...]


def _how(fmt, rounding, key) -> _How:
  if rounding == "stochastic" and key is None:
    raise ValueError("rounding='stochastic' draws: give it a key")
  return _How(formats.mantissa(fmt), rounding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _matmul(x, w, key, how):
  return _matmul_forward(x, w, key, how)[0]


def _matmul_forward(x, w, key, how):
  out = how.product(how.quantize(x, 1, key, 0), how.quantize(w, 0, key, 1))
  return out, (x, w, key)


def _matmul_backward(how, kept, g):
  x, w, key = kept
  dx = how.product(how.quantize(g, 1, key, 2), how.quantize(w, 1, key, 3).T)
  dw = how.product(how.quantize(g, 0, key, 5).T, how.quantize(x, 0, key, 4))
  return dx, dw.T, None


_matmul.defvjp(_matmul_forward, _matmul_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _conv(x, w, key, how, window):
  return _conv_forward(x, w, key, how, window)[0]


def _conv_forward(x, w, key, how, window):
  # [kh, kw, Cin, Cout] -> [Cin * kh * kw, Cout]
  kernel = jnp.moveaxis(w, -2, 0).reshape(-1, w.shape[-1])
  out = _correlate(x, kernel, key, how, window, number=0)
  return out, (x, w, key)


def _conv_backward(how, window, kept, g):
  x, w, key = kept
  # [kh, kw, Cin, Cout] -> [Cout * kh * kw, Cin]
  kernel = jnp.moveaxis(w, -1, 0).reshape(-1, w.shape[-2])
  back = _transposed(window, x.shape[1:-1], g.shape[1:-1])
  dx = _correlate(g, kernel, key, how, back, number=2, turned=True)
  dw = _weight_gradient(x, g, key, how, window, number=4)
  return dx, dw.reshape(w.shape), None


_conv.defvjp(_conv_forward, _conv_backward)


def _correlate(x, kernel, key, how, window, number, turned=False):
  """Returns patches of x times a kernel [C * places, M], both quantised.

  `turned` reads the places of a patch from the last one to the first, which
  is the order of the kernel's own in the gradient of the input.
  """
  kernel = how.quantize(kernel, 0, key, number).T
  if key is not None:
    key = jax.random.fold_in(key, number + 1)

  def piece(index, x):
    x = jnp.moveaxis(x, -1, 0)  # channels first: blocks run over rows
    columns = _taps(x, 2, window, axis=1, turned=turned)
    shape = columns.shape
    columns = columns.reshape(shape[0] * shape[1], -1)
    out = how.product(kernel, how.quantize(columns, 0, key, index))
    return out.T.reshape(*shape[2:], -1)

  out = _outputs(x.shape[1:-1], window)
  size = _piece_size(len(x), math.prod(out) * kernel.shape[1], 1)
  _, parts, last = _run(lambda _, index, x: ((), piece(index, x)), (), size, x)
  parts = parts.reshape(-1, *parts.shape[2:])
  return parts if last is None else jnp.concatenate([parts, last])


def _weight_gradient(x, g, key, how, window, number):
  """Returns patches of x, transposed, times g, [places * Cin, Cout]."""
  keys = [
    key if key is None else jax.random.fold_in(key, number + i) for i in (0, 1)
  ]

  def piece(total, index, x, g):
    rows = _taps(x, 1, window, axis=len(window.kernel) + 1).reshape(-1, terms)
    g = g.reshape(-1, g.shape[-1])
    rows = how.quantize(rows, 0, keys[0], index)
    total += how.product(how.quantize(g, 0, keys[1], index).T, rows)
    return total, None

  places = math.prod(g.shape[1:-1])
  terms = math.prod(window.kernel) * x.shape[-1]
  # Blocks run over places and images, and must not be cut between pieces.
  whole = formats.BLOCK // math.gcd(formats.BLOCK, places)
  size = _piece_size(len(x), places * terms, whole)
  total = jnp.zeros((g.shape[-1], terms), jnp.float32)
  return _run(piece, total, size, x, g)[0].T


def _taps(x, first, window, axis, turned=False):
  """Stacks what each place of the kernel meets, in the kernel's order.

  Args:
    x: its spatial axes begin with axis `first`.
    first: see `x`.
    window: what is looked at.
    axis: of the result, for the places.
    turned: whether the last place comes first.
  """
  rank = len(window.kernel)
  edges = [(0, 0, 0)] * x.ndim
  sizes, strides = list(x.shape), [1] * x.ndim
  outputs = _outputs(x.shape[first : first + rank], window)
  for i, (low, high) in enumerate(window.padding):
    edges[first + i] = (low, high, window.lhs_dilation[i] - 1)
    sizes[first + i] = (outputs[i] - 1) * window.strides[i] + 1
    strides[first + i] = window.strides[i]
  x = jax.lax.pad(x, jnp.zeros((), x.dtype), edges)
  places = np.array([*np.ndindex(*window.kernel)]) * window.rhs_dilation
  starts = np.zeros((len(places), x.ndim), np.int32)
  starts[:, first : first + rank] = places[::-1] if turned else places

  def tap(start):
    met = jax.lax.dynamic_slice(x, start, sizes)
    return met[tuple(slice(None, None, stride) for stride in strides)]

  # One gather: it compiles in a fraction of the time of as many slices.
  return jax.vmap(tap, out_axes=axis)(jnp.asarray(starts))


def _outputs(sizes, window) -> tuple[int, ...]:
  spread = _spread(window.kernel, window.rhs_dilation)
  return tuple(
    (size + low + high - taps) // stride + 1
    for size, (low, high), taps, stride in zip(
      _spread(sizes, window.lhs_dilation),
      window.padding,
      spread,
      window.strides,
      strict=True,
    )
  )


def _transposed(window, sizes, outputs) -> _Window:
  """Returns the window over gradients whose outputs are the input's."""
  taps = _spread(window.kernel, window.rhs_dilation)
  low = [
    tap - pad - 1 for tap, (pad, _) in zip(taps, window.padding, strict=True)
  ]
  high = [
    size + tap - 1 - out - before
    for size, tap, out, before in zip(
      _spread(sizes, window.lhs_dilation),
      taps,
      _spread(outputs, window.strides),
      low,
      strict=True,
    )
  ]
  return window._replace(
    strides=window.lhs_dilation,
    padding=tuple(zip(low, high, strict=True)),
    lhs_dilation=window.strides,
  )


def _spread(sizes, dilation) -> tuple[int, ...]:
  return tuple(
    (size - 1) * step + 1 for size, step in zip(sizes, dilation, strict=True)
  )


def _piece_size(images: int, values: int, multiple: int) -> int:
  """Returns how many images, of so many values in patches, make a piece.

  Pieces of equal size where that is not much smaller: what is left over takes a
  program of its own.
  """
  most = _PIECE.get(jax.default_backend())
  if most is None:
    return images
  steps = max(1, most // (values * multiple))
  sizes = [step * multiple for step in range(steps, steps // 2, -1)]
  if sizes[0] >= images:
    return images
  return next((size for size in sizes if images % size == 0), sizes[0])


def _run(fn: Callable[..., Any], total, size: int, *arrays):
  """Runs `fn(total, index, *pieces) -> (total, out)` over pieces of arrays.

  Returns the total, the outputs of whole pieces [pieces, size, ...], and that
  of what is left, None where nothing is.
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
