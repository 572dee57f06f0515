"""Convolutional networks over time, for series from sensors."""

from flax import linen as nn
import jax

from jcl import base
from jcl.networks import chain, check, layers
from jcl.options import kinds
from jcl.options.errors import UsageError


class _Block(nn.Module):
  """Convolution, batch normalisation, ReLU and pooling."""

  features: int
  kernel: int
  is_last: bool

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    x = layers.Conv(self.features, (self.kernel,), use_bias=False, name="conv")(
      x
    )
    x = nn.relu(layers.norm(training, "norm")(x))
    return x.mean(axis=1) if self.is_last else nn.max_pool(x, (2,), (2,))


def conv1d(
  input_shape: tuple[int, ...],
  num_classes: int,
  *,
  width: kinds.Count = 64,
  depth: kinds.Layers = 3,
  kernel: kinds.Count = 5,
) -> base.Network:
  """Convolutional network for series.

  Units are `conv_0`, `conv_1`, ... and `head`. Each convolution is followed by
  batch normalisation, ReLU and a halving of the resolution, the last one by
  the mean over time.

  Args:
    input_shape: [T, C] of one series: time steps, channels.
    num_classes: width of the logits.
    width: channels of every convolution.
    depth: number of convolutions.
    kernel: length of the kernels in time steps.

  Raises:
    ValueError: for inputs that are no series, or too short for the depth.
  """
  check.series("conv1d", input_shape)
  check.at_least("conv1d", 1, width=width, depth=depth, kernel=kernel)
  if input_shape[0] < 2 ** (depth - 1):
    raise UsageError(
      f"conv1d: {input_shape[0]} time steps cannot be halved {depth - 1} "
      f"times; give depth <= {input_shape[0].bit_length()}"
    )
  units: list[tuple[str, nn.Module]] = [
    (f"conv_{i}", _Block(width, kernel, i == depth - 1)) for i in range(depth)
  ]
  units.append(("head", layers.Head(num_classes)))
  return chain.chain("conv1d", units, input_shape, num_classes)
