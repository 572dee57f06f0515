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


def norm(
  training: bool, name: str, momentum: float = 0.9, epsilon: float = 1e-5
) -> nn.BatchNorm:
  """Batch normalisation with a running mean.

  Args:
    training: whether to use the batch's statistics, and to update the running
      ones.
    name: of the layer.
    momentum: share of the running statistics that a batch leaves; 0.9 averages
      over about ten batches.
    epsilon: added to the variance.
  """
  return nn.BatchNorm(
    use_running_average=not training,
    momentum=momentum,
    epsilon=epsilon,
    name=name,
  )


def rounded(channels: float) -> int:
  """Rounds to a multiple of 8, at most a tenth down.

  >>> rounded(44.0), rounded(26.4)
  (48, 24)
  """
  found = max(8, int(channels + 4) // 8 * 8)
  return found + 8 if found < 0.9 * channels else found
