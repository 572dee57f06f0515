"""MobileNetV2.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR
2018, table 2, https://arxiv.org/abs/1801.04381. Kernels are drawn He-normal
over the outputs.
"""

from flax import linen as nn
import jax

from jcl import base
from jcl.networks import chain, check, layers
from jcl.options import kinds
from jcl.options.errors import UsageError

# Expansion, output channels, number of blocks and stride of the first: the
# columns t, c, n, s of table 2.
_STAGES = (
  (1, 16, 1, 1),
  (6, 24, 2, 2),
  (6, 32, 3, 2),
  (6, 64, 4, 2),
  (6, 96, 3, 1),
  (6, 160, 3, 2),
  (6, 320, 1, 1),
)
_SMALL = 96  # pixels a side below which the first two halvings are left out


class _Conv(nn.Module):
  """Convolution, batch normalisation and, unless linear, ReLU6."""

  features: int
  size: int = 1
  stride: int = 1
  depthwise: bool = False
  linear: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    x = layers.Conv(
      self.features,
      (self.size, self.size),
      strides=self.stride,
      padding=self.size // 2,
      feature_group_count=self.features if self.depthwise else 1,
      use_bias=False,
      kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
      name="conv",
    )(x)
    x = layers.norm(training, "norm")(x)
    return x if self.linear else nn.relu6(x)


class _Block(nn.Module):
  """Inverted residual: widen, filter each channel, narrow.

  `skip` adds the block's input to its output, which needs equal shapes. It is a
  field, not derived from the shapes, since widths may become equal when
  channels are removed.
  """

  expansion: int
  features: int
  stride: int
  skip: bool

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    inputs, width = x, self.expansion * x.shape[-1]
    if self.expansion > 1:
      x = _Conv(width, name="expand")(x, training)
    x = _Conv(width, 3, self.stride, depthwise=True, name="filter")(x, training)
    x = _Conv(self.features, linear=True, name="project")(x, training)
    return x + inputs if self.skip else x


class _Last(nn.Module):
  """1x1 convolution, averaged over the image."""

  features: int

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    return _Conv(self.features, name="expand")(x, training).mean(axis=(1, 2))


def mobilenet(
  input_shape: tuple[int, ...], num_classes: int, *, width: kinds.Width = 1.0
) -> base.Network:
  """MobileNetV2, for images of any size.

  Units are `stem`, `block_0` to `block_16`, `last` and `head`. Images under 96
  pixels a side shrink by 8 instead of 32: the first two halvings of the
  resolution are left out. There is no dropout ahead of the head.

  Args:
    input_shape: [H, W, C] of one image.
    num_classes: width of the logits.
    width: multiplies the channels, which are rounded to multiples of 8.

  Raises:
    ValueError: for inputs that are no images, or a width that is not positive.
  """
  check.image("mobilenet", input_shape)
  if not isinstance(width, (int, float)) or not width > 0:
    raise UsageError(
      f"mobilenet: width must be a number > 0, such as 0.5, got {width!r}"
    )
  small = min(input_shape[:2]) < _SMALL
  stem = _Conv(layers.rounded(32 * width), 3, 1 if small else 2)
  units: list[tuple[str, nn.Module]] = [("stem", stem)]
  before, side = stem.features, -(-max(input_shape[:2]) // stem.stride)
  for stage, (expansion, channels, count, stride) in enumerate(_STAGES):
    if small and stage == 1:
      stride = 1
    features = layers.rounded(channels * width)
    for index in range(count):
      step = stride if index == 0 else 1
      skip = features == before and (step == 1 or side == 1)
      block = _Block(expansion, features, step, skip)
      before, side = features, -(-side // step)
      units.append((f"block_{len(units) - 1}", block))
  units.append(("last", _Last(layers.rounded(1280 * max(width, 1.0)))))
  units.append(("head", layers.Head(num_classes)))
  return chain.chain("mobilenet", units, input_shape, num_classes)
