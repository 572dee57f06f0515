"""Bicubic interpolation of images within compiled programs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

_SHARP = -0.5  # Keys' parameter, as Pillow and jax.image have it


def bicubic(x: jax.Array, side: int) -> jax.Array:
  """Stretches images to a square.

  Keys, "Cubic Convolution Interpolation for Digital Image Processing", IEEE
  Transactions on Acoustics, Speech, and Signal Processing 29(6), 1981,
  https://doi.org/10.1109/TASSP.1981.1163711. Where images shrink, the kernel
  widens, so that every pixel counts. Next to edges within an image, values may
  leave the range of its pixels.

  Args:
    x: [B, H, W, C] float.
    side: pixels a side.

  Returns:
    [B, side, side, C] of the same dtype.

  >>> bicubic(jnp.ones((1, 2, 3, 1)), 4).shape
  (1, 4, 4, 1)
  """
  # Columns last: there are fewer rows to go through where images shrink, and no
  # more where they grow.
  return _along(_along(x, 1, side), 2, side)


def _along(x: jax.Array, axis: int, side: int) -> jax.Array:
  size = x.shape[axis]
  if size == side:
    return x
  if size < side:  # few pixels: a product is faster than to look them up
    product = "oh,bhwc->bowc" if axis == 1 else "pw,bowc->bopc"
    return jnp.einsum(product, jnp.asarray(matrix(size, side), x.dtype), x)
  index, weights = taps(size, side)
  shape = [side if i == axis else 1 for i in range(x.ndim)]
  parts = [
    jnp.take(x, index[:, i], axis=axis)
    * jnp.asarray(weights[:, i].reshape(shape), x.dtype)
    for i in range(index.shape[1])
  ]
  return functools.reduce(jnp.add, parts)


@functools.cache
def matrix(size: int, side: int) -> np.ndarray:
  """Returns the weights of `size` pixels in `side`, [side, size] float32.

  Rows add up to 1; pixels beyond an edge are left out.
  """
  scale = size / side
  centres = (np.arange(side) + 0.5) * scale
  distances = np.arange(size) + 0.5 - centres[:, None]
  weights = _kernel(np.abs(distances) / max(scale, 1.0))
  return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def taps(size: int, side: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns `matrix` without most of its zeros.

  Returns:
    Numbers of pixels that follow each other, and their weights, [side, T] each.
  """
  full = matrix(size, side)
  count = int((full != 0).sum(axis=1).max())
  first = np.minimum((full != 0).argmax(axis=1), size - count)
  index = first[:, None] + np.arange(count)
  return index, np.take_along_axis(full, index, axis=1)


def _kernel(t: np.ndarray) -> np.ndarray:
  near = ((_SHARP + 2) * t - (_SHARP + 3)) * t * t + 1
  far = ((_SHARP * t - 5 * _SHARP) * t + 8 * _SHARP) * t - 4 * _SHARP
  return np.where(t < 1, near, np.where(t < 2, far, 0.0))
