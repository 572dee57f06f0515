"""Residual networks.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
https://arxiv.org/abs/1512.03385, with 1x1 convolutions on the shortcuts that
change shape (option B). Convolutions have no bias; their kernels are drawn
He-normal over the outputs, as in He et al., "Delving Deep into Rectifiers",
ICCV 2015, eq. 14, https://arxiv.org/abs/1502.01852.
"""

from collections.abc import Sequence

from flax import linen as nn
import jax

from jcl import base
from jcl.networks import chain, check, layers
from jcl.options import kinds


def _conv(features: int, size: int, stride: int, name: str) -> layers.Conv:
  return layers.Conv(
    features,
    (size, size),
    strides=stride,
    padding=size // 2,
    use_bias=False,
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    name=name,
  )


class _Stem(nn.Module):
  """First convolution; `large` is the form for ImageNet, which shrinks by 4."""

  filters: int
  large: bool

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    size, stride = (7, 2) if self.large else (3, 1)
    x = _conv(self.filters, size, stride, "conv")(x)
    x = nn.relu(layers.norm(training, "norm")(x))
    if self.large:
      x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
    return x


class _Block(nn.Module):
  """Residual block: two 3x3 convolutions, or a bottleneck of three.

  The bottleneck widens fourfold and has its stride on the 3x3 convolution.
  `project` puts a 1x1 convolution on the shortcut, for blocks that change the
  shape. It is a field, not derived from the shapes, since widths may become
  equal when channels are removed. `pool` averages the result over the image.
  Places: `hidden`, the input of the second convolution, and `map`, the result
  before pooling.
  """

  filters: int
  stride: int
  bottleneck: bool
  project: bool
  pool: bool

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    filters, stride = self.filters, self.stride
    if self.bottleneck:  # width, size and stride of each convolution
      convs = [(filters, 1, 1), (filters, 3, stride), (4 * filters, 1, 1)]
    else:
      convs = [(filters, 3, stride), (filters, 3, 1)]
    shortcut = x
    for i, conv in enumerate(convs):
      if i > 0:
        x = nn.relu(x)
      if i == 1:
        self.sow("intermediates", "hidden", x)
      x = _conv(*conv, f"conv_{i}")(x)
      x = layers.norm(training, f"norm_{i}")(x)
    if self.project:
      width = x.shape[-1]
      shortcut = _conv(width, 1, stride, "conv_shortcut")(shortcut)
      shortcut = layers.norm(training, "norm_shortcut")(shortcut)
    x = nn.relu(x + shortcut)
    self.sow("intermediates", "map", x)
    return x.mean(axis=(1, 2)) if self.pool else x


def _resnet(
  name: str,
  input_shape: tuple[int, ...],
  num_classes: int,
  stages: Sequence[int],
  filters: int,
  bottleneck: bool = False,
  large: bool = False,
) -> base.Network:
  """Builds a ResNet of units `stem`, `block_0`, `block_1`, ..., `head`.

  `stages` counts the blocks of each stage; a stage has twice the filters and
  half the resolution of the stage before.
  """
  check.image(name, input_shape)
  check.at_least(name, 1, filters=filters)
  units: list[tuple[str, nn.Module]] = [("stem", _Stem(filters, large))]
  for stage, count in enumerate(stages):
    for index in range(count):
      stride = 2 if stage > 0 and index == 0 else 1
      project = index == 0 and (stage > 0 or bottleneck)
      is_last = len(units) == sum(stages)
      block = _Block(filters * 2**stage, stride, bottleneck, project, is_last)
      units.append((f"block_{len(units) - 1}", block))
  units.append(("head", layers.Head(num_classes)))
  return chain.chain(name, units, input_shape, num_classes)


def resnet18(
  input_shape: tuple[int, ...], num_classes: int, *, filters: kinds.Count = 64
) -> base.Network:
  """ResNet-18 for small images: 3x3 first convolution, no max-pooling.

  Args:
    input_shape: [H, W, C] of one image.
    num_classes: width of the logits.
    filters: of the first stage; the other three have 2, 4 and 8 times as many.

  Raises:
    ValueError: for inputs that are no images.
  """
  return _resnet("resnet18", input_shape, num_classes, (2, 2, 2, 2), filters)


def slim_resnet18(
  input_shape: tuple[int, ...], num_classes: int, *, filters: kinds.Count = 20
) -> base.Network:
  """ResNet-18 with about a third of the filters.

  Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning",
  NeurIPS 2017, section 5.1, https://arxiv.org/abs/1706.08840. Arguments as in
  `resnet18`.
  """
  name = "slim_resnet18"
  return _resnet(name, input_shape, num_classes, (2, 2, 2, 2), filters)


def resnet32(
  input_shape: tuple[int, ...], num_classes: int, *, filters: kinds.Count = 16
) -> base.Network:
  """ResNet-32 for small images: three stages of five blocks.

  Arguments as in `resnet18`; He et al., section 4.2, n = 5.
  """
  return _resnet("resnet32", input_shape, num_classes, (5, 5, 5), filters)


def resnet50(
  input_shape: tuple[int, ...], num_classes: int, *, filters: kinds.Count = 64
) -> base.Network:
  """ResNet-50 for large images: 7x7 first convolution, max-pooling.

  Arguments as in `resnet18`.
  """
  return _resnet(
    "resnet50",
    input_shape,
    num_classes,
    (3, 4, 6, 3),
    filters,
    bottleneck=True,
    large=True,
  )
