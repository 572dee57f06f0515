"""Windows of convolutions: what they meet, where, and when turned round."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Window(NamedTuple):
  """The window of a convolution, along each spatial axis."""

  kernel: tuple[int, ...]
  strides: tuple[int, ...]
  padding: tuple[tuple[int, int], ...]
  lhs_dilation: tuple[int, ...]
  rhs_dilation: tuple[int, ...]


def taps(
  x: jax.Array, first: int, window: Window, axis: int, turned: bool = False
) -> jax.Array:
  """Stacks the inputs of each position of the kernel, in the kernel's order.

  Args:
    x: its spatial axes begin with axis `first`.
    first: see `x`.
    window: of the convolution.
    axis: axis of the result along which the positions lie.
    turned: whether the last position comes first.
  """
  rank = len(window.kernel)
  edges = [(0, 0, 0)] * x.ndim
  sizes, strides = list(x.shape), [1] * x.ndim
  counts = outputs(x.shape[first : first + rank], window)
  for i, (low, high) in enumerate(window.padding):
    edges[first + i] = (low, high, window.lhs_dilation[i] - 1)
    sizes[first + i] = (counts[i] - 1) * window.strides[i] + 1
    strides[first + i] = window.strides[i]
  x = jax.lax.pad(x, jnp.zeros((), x.dtype), edges)
  places = np.array([*np.ndindex(*window.kernel)]) * window.rhs_dilation
  starts = np.zeros((len(places), x.ndim), np.int32)
  starts[:, first : first + rank] = places[::-1] if turned else places

  def tap(start: jax.Array) -> jax.Array:
    met = jax.lax.dynamic_slice(x, start, sizes)
    return met[tuple(slice(None, None, stride) for stride in strides)]

  # One gather compiles in a fraction of the time of as many slices.
  return jax.vmap(tap, out_axes=axis)(jnp.asarray(starts))


def outputs(sizes: Sequence[int], window: Window) -> tuple[int, ...]:
  """Returns the positions of a window along spatial axes of such sizes."""
  extents = spread(window.kernel, window.rhs_dilation)
  return tuple(
    (size + low + high - taps) // stride + 1
    for size, (low, high), taps, stride in zip(
      spread(sizes, window.lhs_dilation),
      window.padding,
      extents,
      window.strides,
      strict=True,
    )
  )


def transposed(
  window: Window, sizes: Sequence[int], places: Sequence[int]
) -> Window:
  """Returns the window by which gradients of outputs give those of inputs.

  Args:
    window: of the convolution.
    sizes: of its input's spatial axes.
    places: sizes of its output's, see `outputs`.
  """
  taps = spread(window.kernel, window.rhs_dilation)
  low = [
    tap - pad - 1 for tap, (pad, _) in zip(taps, window.padding, strict=True)
  ]
  high = [
    size + tap - 1 - out - before
    for size, tap, out, before in zip(
      spread(sizes, window.lhs_dilation),
      taps,
      spread(places, window.strides),
      low,
      strict=True,
    )
  ]
  return window._replace(
    strides=window.lhs_dilation,
    padding=tuple(zip(low, high, strict=True)),
    lhs_dilation=window.strides,
  )


def spread(sizes: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
  """Returns the sizes that axes have once zeros stand between their values."""
  return tuple(
    (size - 1) * step + 1 for size, step in zip(sizes, dilation, strict=True)
  )
