"""Linen layers shared by several architectures."""

from flax import linen as nn
import jax


class Head(nn.Module):
  """Linear classifier, with Flax's default initialisers."""

  num_classes: int

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    del training
    return nn.Dense(self.num_classes, name="dense")(x)


def norm(training: bool, name: str) -> nn.BatchNorm:
  """Batch normalisation with a running mean over about ten batches."""
  return nn.BatchNorm(
    use_running_average=not training, momentum=0.9, epsilon=1e-5, name=name
  )
