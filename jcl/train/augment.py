"""Augmentation and normalisation of raw inputs on the device."""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from jcl import base
from jcl.options.errors import UsageError

# (key, x [B, H, W, ...]) -> x of the same shape and dtype
Augment = Callable[[base.Key, jax.Array], jax.Array]


def none(key: base.Key, x: jax.Array) -> jax.Array:
  """Returns the batch as it is."""
  del key
  return x


@dataclasses.dataclass(frozen=True)
class Preprocess:
  """Augments and normalises raw inputs inside a step."""

  mean: base.Array  # broadcastable to one example
  std: base.Array
  augment: Augment = none

  def normalise(self, x: base.Array) -> jax.Array:
    """Returns `(x - mean) / std` in float32."""
    x = jnp.asarray(x, jnp.float32)
    return (x - jnp.asarray(self.mean)) / jnp.asarray(self.std)


def flip(key: base.Key, x: jax.Array) -> jax.Array:
  """Mirrors each image left to right with probability one half."""
  mirrored = jax.random.bernoulli(key, shape=x.shape[:1])
  return jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)


def crop(key: base.Key, x: jax.Array, padding: int = 4) -> jax.Array:
  """Shifts each image by up to `padding` pixels, filling with zeros."""
  height, width = x.shape[1:3]
  widths = ((0, 0), (padding, padding), (padding, padding), (0, 0))
  offsets = jax.random.randint(key, (x.shape[0], 2), 0, 2 * padding + 1)

  def window(image, offset):
    start = (offset[0], offset[1], 0)
    size = (height, width, image.shape[-1])
    return jax.lax.dynamic_slice(image, start, size)

  return jax.vmap(window)(jnp.pad(x, widths), offsets)


def crop_flip(key: base.Key, x: jax.Array) -> jax.Array:
  """The usual augmentation of CIFAR: a padded crop, then a flip."""
  crop_key, flip_key = jax.random.split(key)
  return flip(flip_key, crop(crop_key, x))


CHOICES: dict[str, Augment] = {
  "none": none,
  "flip": flip,
  "crop": crop,
  "crop_flip": crop_flip,
}


def build(name: str, example_shape: tuple[int, ...]) -> Augment:
  """Returns the augmentation called `name`.

  Raises:
    ValueError: for an unknown name, or for one that needs images [H, W, C]
      where examples have another shape.
  """
  if name not in CHOICES:
    raise UsageError(
      f"augment={name!r} is not known: choose from {', '.join(CHOICES)}"
    )
  if name != "none" and len(example_shape) != 3:
    raise UsageError(
      f"augment={name!r} needs images [H, W, C], but an example has shape "
      f"{example_shape}: use augment='none'"
    )
  return CHOICES[name]
