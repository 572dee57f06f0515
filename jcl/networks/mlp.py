"""Fully connected networks."""

from flax import linen as nn
import jax

from jcl import base
from jcl.networks import chain, check, layers
from jcl.options import kinds


class _Dense(nn.Module):
  """Dense layer on flattened inputs, with a ReLU if `activate` is set."""

  features: int
  activate: bool

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    del training
    dense = layers.Dense(
      self.features,
      kernel_init=nn.initializers.xavier_uniform(),
      name="dense",
    )
    x = dense(x.reshape(x.shape[0], -1))
    return nn.relu(x) if self.activate else x


def mlp(
  input_shape: tuple[int, ...],
  num_classes: int,
  *,
  width: kinds.Count = 100,
  depth: kinds.Layers = 2,
) -> base.Network:
  """Fully connected ReLU network for inputs of any shape.

  Units are `dense_0`, `dense_1`, ... and `head`. Kernels are drawn
  Xavier-uniform (Glorot and Bengio, "Understanding the difficulty of training
  deep feedforward neural networks", AISTATS 2010, eq. 16), biases are zero.

  Args:
    input_shape: of one example; examples are flattened.
    num_classes: width of the logits.
    width: of each hidden layer.
    depth: number of hidden layers; with 0 the network is linear.
  """
  check.at_least("mlp", 1, width=width)
  check.at_least("mlp", 0, depth=depth)
  units = [(f"dense_{i}", _Dense(width, True)) for i in range(depth)]
  units.append(("head", _Dense(num_classes, False)))
  return chain.chain("mlp", units, input_shape, num_classes)
