"""Codecs of latents: float32, 8 bits for a value, or codewords.

A codec is fitted once, on latents of the first experience. It encodes on the
host and decodes inside compiled programs. There codes arrive as float32, since
a step first converts all inputs, which is exact for the values 0 to 255.
"""

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jcl.options.errors import UsageError

_CODEWORDS = 256  # as many as one byte can name
_SUBVECTORS = 16_384  # the most that a codebook is fitted on
_ZEROS = 0.1  # with a larger share of zeros, there is a bitmap


class Codec(Protocol):
  """Encodes latents [N, ...] float32 as rows [N, *row_shape] of equal size."""

  @property
  def name(self) -> str: ...  # as `fit` reads it

  @property
  def row_shape(self) -> tuple[int, ...]: ...

  @property
  def dtype(self) -> np.dtype: ...

  @property
  def bytes_per_example(self) -> int: ...

  @property
  def table_bytes(self) -> int: ...  # of tables that all rows share

  @property
  def lossless(self) -> bool: ...

  def encode(self, z: np.ndarray) -> np.ndarray: ...  # [N, *row_shape]

  def decode(self, codes: jax.Array) -> jax.Array: ...  # [N, ...] float32

  def clipped(self, z: np.ndarray) -> int: ...  # rows outside the fitted range


def fit(name: str, z: np.ndarray, seed: int = 0) -> Codec:
  """Fits the codec called `name` to latents.

  Args:
    name: "raw", unchanged float32; "uint8", 8 bits for a value, see `Affine`;
      or "pq:S" with sub-vectors of S values, such as "pq:8", see `Product`.
    z: [N, ...] latents; "raw" reads only their shape.
    seed: of the clustering.

  Raises:
    ValueError: for another name, no latents, or latents that are not finite.

  >>> codec = fit("uint8", np.array([[0.0, 1.0], [5.1, 3.0]], np.float32))
  >>> codes = codec.encode(np.array([[1.02, 2.2]], np.float32))
  >>> codes.tolist(), codes.dtype.name, codec.bytes_per_example
  ([[51, 153]], 'uint8', 2)
  """
  check(name)
  kind, _, size = name.partition(":")
  if kind == "raw":
    return Raw(tuple(z.shape[1:]))
  if not len(z) or not np.isfinite(z).all():
    raise UsageError(
      f"codec {name!r} cannot be fitted to {len(z)} latents, not all of them "
      "finite: give the trunk's outputs for a part of the training set"
    )
  if kind == "uint8":
    return _fit_affine(z)
  return _fit_product(z, int(size), seed)


def check(name: str) -> None:
  """Raises UsageError where no codec has this name."""
  kind, _, size = name.partition(":")
  if kind not in ("raw", "uint8", "pq") or bool(size) != (kind == "pq"):
    raise UsageError(
      f"no codec is called {name!r}: write raw, uint8, or pq:S for sub-vectors "
      "of S values, such as pq:8, pq:32 or pq:128"
    )
  if kind == "pq" and (not size.isdecimal() or int(size) < 1):
    raise UsageError(
      f"{name!r}: sub-vectors hold a whole number of values from 1; write "
      "pq:8, pq:32 or pq:128"
    )


@dataclasses.dataclass(frozen=True)
class Raw:
  """Latents as float32, without loss."""

  row_shape: tuple[int, ...]
  name: str = "raw"
  lossless: bool = True
  table_bytes: int = 0

  @property
  def dtype(self) -> np.dtype:
    return np.dtype(np.float32)

  @property
  def bytes_per_example(self) -> int:
    return 4 * math.prod(self.row_shape)

  def encode(self, z: np.ndarray) -> np.ndarray:
    return np.asarray(z, np.float32)

  def decode(self, codes: jax.Array) -> jax.Array:
    return codes

  def clipped(self, z: np.ndarray) -> int:
    return 0


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
  """Eight bits for a value: `low + code * step`, by channel (the last axis).

  Within the fitted range, the error of a value is at most half a step; a value
  outside becomes the nearest end of the range.
  """

  row_shape: tuple[int, ...]
  low: np.ndarray  # [C] float32
  step: np.ndarray  # [C] float32, positive
  name: str = "uint8"
  lossless: bool = False

  @property
  def dtype(self) -> np.dtype:
    return np.dtype(np.uint8)

  @property
  def bytes_per_example(self) -> int:
    return math.prod(self.row_shape)

  @property
  def table_bytes(self) -> int:
    return self.low.nbytes + self.step.nbytes

  def encode(self, z: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(self._codes(z)), 0, 255).astype(np.uint8)

  def decode(self, codes: jax.Array) -> jax.Array:
    return jnp.asarray(self.low) + jnp.asarray(codes, jnp.float32) * self.step

  def clipped(self, z: np.ndarray) -> int:
    codes = self._codes(z).reshape(len(z), -1)
    # Up to half a code outside, a value still rounds to the end of the range.
    return int(((codes < -0.5) | (codes > 255.5)).any(axis=1).sum())

  def _codes(self, z: np.ndarray) -> np.ndarray:
    return (np.asarray(z, np.float32) - self.low) / self.step


def _fit_affine(z: np.ndarray) -> Affine:
  axes = tuple(range(z.ndim - 1))
  low, high = (f(z, axis=axes).astype(np.float32) for f in (np.min, np.max))
  step = (high - low) / np.float32(255)
  return Affine(
    tuple(z.shape[1:]), low, np.where(step > 0, step, 1).astype(np.float32)
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Product:
  """A bitmap of the non-zeros, and codewords for runs of non-zeros.

  Kwon et al., "LifeLearner", SenSys 2023, https://arxiv.org/abs/2311.11420: one
  bit for each activation tells whether it is zero. The others, packed in order,
  are cut into sub-vectors, and each sub-vector is written as the number of the
  nearest of 256 codewords, one byte (product quantisation: Jegou et al., TPAMI
  2011, https://doi.org/10.1109/TPAMI.2010.57). Zeros are exact.

  All sub-vectors share one codebook, since a place among the non-zeros belongs
  to another activation in every example. For rows of equal size there is room
  for `capacity` non-zeros, the largest number in the fitted latents, rounded up
  to whole sub-vectors; if an example has more, the last ones become zero.
  Latents with almost no zeros, as after a layer without ReLU, have no bitmap,
  and their sub-vectors are runs of all values.
  """

  shape: tuple[int, ...]  # of one latent
  capacity: int  # values, a multiple of the sub-vectors' size
  codebook: np.ndarray  # [at most 256, S] float32
  bitmap: bool
  lossless: bool = False

  @property
  def name(self) -> str:
    return f"pq:{self.codebook.shape[1]}"

  @property
  def row_shape(self) -> tuple[int, ...]:
    return (self._bitmap_bytes + self.capacity // self.codebook.shape[1],)

  @property
  def dtype(self) -> np.dtype:
    return np.dtype(np.uint8)

  @property
  def bytes_per_example(self) -> int:
    return self.row_shape[0]

  @property
  def table_bytes(self) -> int:
    return self.codebook.nbytes

  def encode(self, z: np.ndarray) -> np.ndarray:
    from sklearn import metrics

    flat = np.asarray(z, np.float32).reshape(len(z), -1)
    values, held = _packed(flat, self.capacity, self.bitmap)
    vectors, used = _cut(values, held, self.codebook.shape[1])
    codes = np.zeros(used.shape, np.uint8)
    if used.any():
      codes[used] = metrics.pairwise_distances_argmin(vectors, self.codebook)
    if not self.bitmap:
      return codes
    return np.concatenate([np.packbits(held, axis=1), codes], axis=1)

  def decode(self, codes: jax.Array) -> jax.Array:
    codes, size = jnp.asarray(codes).astype(jnp.int32), math.prod(self.shape)
    head = self._bitmap_bytes
    values = jnp.asarray(self.codebook)[codes[:, head:]]
    values = values.reshape(len(codes), -1)  # [N, capacity]
    if self.bitmap:
      bits = codes[:, :head, None] >> jnp.arange(7, -1, -1) & 1
      held = bits.reshape(len(codes), -1)[:, :size]
      places = jnp.maximum(jnp.cumsum(held, axis=1) - 1, 0)
      found = jnp.take_along_axis(values, places, axis=1)
      values = jnp.where(held == 1, found, 0.0)
    return values[:, :size].reshape(-1, *self.shape)

  def clipped(self, z: np.ndarray) -> int:
    if not self.bitmap:
      return 0
    counts = np.count_nonzero(z.reshape(len(z), -1), axis=1)
    return int((counts > self.capacity).sum())

  @property
  def _bitmap_bytes(self) -> int:
    return -(-math.prod(self.shape) // 8) if self.bitmap else 0


def _fit_product(z: np.ndarray, size: int, seed: int) -> Product:
  flat = np.asarray(z, np.float32).reshape(len(z), -1)
  counts = np.count_nonzero(flat, axis=1)
  bitmap = bool(counts.mean() <= (1 - _ZEROS) * flat.shape[1])
  most = max(int(counts.max()), 1) if bitmap else flat.shape[1]
  capacity = -(-most // size) * size
  vectors, _ = _cut(*_packed(flat, capacity, bitmap), size)
  if len(vectors) > _SUBVECTORS:
    chosen = np.random.default_rng(seed).permutation(len(vectors))
    vectors = vectors[np.sort(chosen[:_SUBVECTORS])]
  return Product(
    tuple(z.shape[1:]), capacity, _codebook(vectors, size, seed), bitmap
  )


def _codebook(vectors: np.ndarray, size: int, seed: int) -> np.ndarray:
  """Returns codewords [at most 256, S] for sub-vectors [N, S]."""
  from sklearn import cluster

  if not len(vectors):  # latents of zeros only
    return np.zeros((1, size), np.float32)
  different = np.unique(vectors, axis=0)
  if len(different) <= _CODEWORDS:
    return different
  found = cluster.MiniBatchKMeans(_CODEWORDS, random_state=seed, n_init=1)
  return found.fit(vectors).cluster_centers_.astype(np.float32)


def _packed(
  flat: np.ndarray, capacity: int, bitmap: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Returns values [N, capacity] in order, and their places [N, D] bool."""
  held = (flat != 0) if bitmap else np.ones(flat.shape, bool)
  places = np.cumsum(held, axis=1) - 1
  held &= places < capacity
  values = np.zeros((len(flat), capacity), np.float32)
  values[np.nonzero(held)[0], places[held]] = flat[held]
  return values, held


def _cut(
  values: np.ndarray, held: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the sub-vectors [U, S] that are not empty, and their places.

  The second array, [N, capacity / S] bool, marks them among all sub-vectors.
  """
  starts = np.arange(0, values.shape[1], size)
  used = starts < held.sum(axis=1, keepdims=True)
  return values.reshape(len(values), len(starts), size)[used], used
