"""EfficientNet-Lite: EfficientNets for small devices.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", ICML 2019, https://arxiv.org/abs/1905.11946, table 1, without
squeeze-and-excitation and with ReLU6, as TensorFlow's EfficientNet-Lite has
them; there stem, last convolution and the numbers of blocks of the first and
the last stage stay as they are at every size. Padding is TensorFlow's SAME,
which depends on the size of the image: at stride 2, an even side gets one more
column behind than ahead.

Published weights read pixels of 0 to 255 as (x - 127) / 128; see `published`.
"""

from collections.abc import Iterator
import math
from typing import Annotated, Literal, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import chain, check, layers, resize
from jcl.options import bounds, kinds
from jcl.options.errors import UsageError

# Expansion, output channels, number of blocks, kernel and stride of the first.
_STAGES = (
  (1, 16, 1, 3, 1),
  (6, 24, 2, 3, 2),
  (6, 40, 2, 5, 2),
  (6, 80, 3, 3, 2),
  (6, 112, 3, 5, 1),
  (6, 192, 4, 5, 2),
  (6, 320, 1, 3, 1),
)
_STEM, _LAST = 32, 1280

Side = Annotated[int, bounds.Range(1, 4096)]


class _Size(NamedTuple):
  """Width, depth and dropout of one size of the network."""

  name: str
  width: float  # multiplies channels
  depth: float  # multiplies numbers of blocks
  dropout: float


_LITE0 = _Size("efficientnet_lite0", 1.0, 1.0, 0.2)
_LITE1 = _Size("efficientnet_lite1", 1.0, 1.1, 0.2)
_LITE2 = _Size("efficientnet_lite2", 1.1, 1.2, 0.3)


def _conv(
  features: int,
  name: str,
  size: int = 1,
  stride: int = 1,
  depthwise: bool = False,
) -> layers.Conv:
  """Returns a convolution; kernels are drawn He-normal over the outputs.

  Of a depthwise kernel, each output is written by its own channel alone.
  """
  fan: Literal["fan_in", "fan_out"] = "fan_in" if depthwise else "fan_out"
  return layers.Conv(
    features,
    (size, size),
    strides=stride,
    padding="SAME",
    feature_group_count=features if depthwise else 1,
    use_bias=False,
    kernel_init=nn.initializers.variance_scaling(2.0, fan, "normal"),
    name=name,
  )


def _norm(training: bool, name: str) -> layers.BatchNorm:
  return layers.norm(training, name, momentum=0.99, epsilon=1e-3)


class _Stem(nn.Module):
  """First convolution; images are brought to a side and three channels."""

  side: int | None  # None: as they come

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    if self.side is not None:
      x = resize.bicubic(x, self.side)
    if x.shape[-1] == 1:
      x = jnp.broadcast_to(x, (*x.shape[:-1], 3))
    x = _conv(_STEM, "conv", 3, 2)(x)
    return nn.relu6(_norm(training, "norm")(x))


class _Block(nn.Module):
  """Inverted residual: widen, filter each channel, narrow.

  `skip` adds the block's input to its output, which needs equal shapes. It is a
  field, not derived from the shapes, since widths may become equal when
  channels are removed. `drop` is the share of examples for which a step in
  training mode leaves the block's own part out: stochastic depth, Huang et al.,
  ECCV 2016, https://arxiv.org/abs/1603.09382.
  """

  expansion: int
  features: int
  kernel: int
  stride: int
  skip: bool
  drop: float

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    inputs = x
    if self.expansion > 1:
      x = _conv(self.expansion * x.shape[-1], "expand_conv")(x)
      x = nn.relu6(_norm(training, "expand_norm")(x))
    x = _conv(
      x.shape[-1], "filter_conv", self.kernel, self.stride, depthwise=True
    )(x)
    x = nn.relu6(_norm(training, "filter_norm")(x))
    x = _norm(training, "project_norm")(_conv(self.features, "project_conv")(x))
    if not self.skip:
      return x
    return inputs + _dropped(self, x, self.drop, training, (1, 2, 3))


class _Last(nn.Module):
  """1x1 convolution, averaged over the image."""

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    x = nn.relu6(_norm(training, "norm")(_conv(_LAST, "conv")(x)))
    return x.mean(axis=(1, 2))


class _Head(nn.Module):
  """Dropout, then a linear classifier."""

  num_classes: int
  drop: float

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    x = _dropped(self, x, self.drop, training)
    return layers.Dense(self.num_classes, name="dense")(x)


def _dropped(
  module: nn.Module,
  x: jax.Array,
  rate: float,
  training: bool,
  shared: tuple[int, ...] = (),
) -> jax.Array:
  """Drops a share of x in training mode, where there is a key to draw from.

  Args:
    module: that drops.
    x: [B, ...].
    rate: share of the values; the rest grow, so that the mean stays.
    training: whether the unit is in training mode.
    shared: axes along which values go together.
  """
  still = not training or not module.has_rng("dropout")
  return nn.Dropout(rate, shared, deterministic=still)(x)


def efficientnet_lite0(
  input_shape: tuple[int, ...],
  num_classes: int,
  *,
  side: Side | None = None,
  dropout: kinds.ShareBelowOne = _LITE0.dropout,
  drop_path: kinds.ShareBelowOne = 0.2,
) -> base.Network:
  """EfficientNet-Lite0, made for images of 224 pixels a side.

  Units are `stem`, `block_0` to `block_15`, `last` and `head`; the head reads
  1280 features. Grey images become three equal channels.

  Args:
    input_shape: [H, W, C] of one image, of one or three channels.
    num_classes: width of the logits.
    side: pixels a side to which `stem` brings images by bicubic interpolation;
      None leaves them as they come, with `--weights` it is 224.
    dropout: rate ahead of the head, while the head is in training mode and the
      step has a random key.
    drop_path: rate of stochastic depth of the last block, likewise; it grows
      with a block's number, from 0.

  Raises:
    ValueError: for inputs that are no images of one or three channels.
  """
  return _lite(_LITE0, input_shape, num_classes, side, dropout, drop_path)


def efficientnet_lite1(
  input_shape: tuple[int, ...],
  num_classes: int,
  *,
  side: Side | None = None,
  dropout: kinds.ShareBelowOne = _LITE1.dropout,
  drop_path: kinds.ShareBelowOne = 0.2,
) -> base.Network:
  """EfficientNet-Lite1, made for images of 240 pixels a side.

  Its last block is `block_20`; see `efficientnet_lite0`.
  """
  return _lite(_LITE1, input_shape, num_classes, side, dropout, drop_path)


def efficientnet_lite2(
  input_shape: tuple[int, ...],
  num_classes: int,
  *,
  side: Side | None = None,
  dropout: kinds.ShareBelowOne = _LITE2.dropout,
  drop_path: kinds.ShareBelowOne = 0.2,
) -> base.Network:
  """EfficientNet-Lite2, made for images of 260 pixels a side.

  Its last block is `block_20`; see `efficientnet_lite0`.
  """
  return _lite(_LITE2, input_shape, num_classes, side, dropout, drop_path)


def _lite(
  size: _Size,
  input_shape: tuple[int, ...],
  num_classes: int,
  side: int | None,
  dropout: float,
  drop_path: float,
) -> base.Network:
  check.image(size.name, input_shape)
  if input_shape[-1] not in (1, 3):
    raise UsageError(
      f"{size.name} reads images of 1 or 3 channels, got input_shape "
      f"{tuple(input_shape)}: use mobilenet for others"
    )
  made = list(_blocks(size, drop_path))
  units: list[tuple[str, nn.Module]] = [
    ("stem", _Stem(side)),
    *((f"block_{i}", block) for i, block in enumerate(made)),
    ("last", _Last()),
    ("head", _Head(num_classes, dropout)),
  ]
  return chain.chain(size.name, units, input_shape, num_classes)


def _blocks(size: _Size, drop_path: float) -> Iterator[_Block]:
  """Yields the blocks of a size, input side first."""
  ends = (0, len(_STAGES) - 1)
  counts = [
    count if i in ends else math.ceil(size.depth * count)
    for i, (_, _, count, _, _) in enumerate(_STAGES)
  ]
  before, number = _STEM, 0
  for (expansion, channels, _, kernel, stride), count in zip(
    _STAGES, counts, strict=True
  ):
    features = layers.rounded(size.width * channels)
    for index in range(count):
      step = stride if index == 0 else 1
      skip = step == 1 and before == features
      drop = drop_path * number / sum(counts)
      yield _Block(expansion, features, kernel, step, skip, drop)
      before, number = features, number + 1
