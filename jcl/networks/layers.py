"""Linen layers shared by several architectures."""

from typing import Any

from flax import errors
from flax import linen as nn
import jax


class _Known(nn.Module):
  """Reads parameters that are there without asking what would be drawn.

  Linen traces the initialiser of a parameter wherever a layer is applied, to
  compare shapes: that is a quarter of the time in which a step is traced. The
  layers below name the shape as the initialiser's first argument.
  """

  @nn.nowrap
  def param(
    self, name: str, init_fn: Any, *init_args: Any, **init_kwargs: Any
  ) -> Any:
    if not self.has_variable("params", name):
      return super().param(name, init_fn, *init_args, **init_kwargs)
    value: Any = self.get_variable("params", name)
    shape = tuple(init_args[0])
    if value.shape != shape:
      path = "/".join(self.path)
      raise errors.ScopeParamShapeError(name, path, value.shape, shape)
    return value


class Dense(_Known, nn.Dense):
  """`nn.Dense`, traced in less time."""


class Conv(_Known, nn.Conv):
  """`nn.Conv`, traced in less time."""


class BatchNorm(_Known, nn.BatchNorm):
  """`nn.BatchNorm`, traced in less time."""


class LayerNorm(_Known, nn.LayerNorm):
  """`nn.LayerNorm`, traced in less time."""


class Head(nn.Module):
  """Linear classifier, with Flax's default initialisers."""

  num_classes: int

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    del training
    return Dense(self.num_classes, name="dense")(x)


def norm(
  training: bool, name: str, momentum: float = 0.9, epsilon: float = 1e-5
) -> BatchNorm:
  """Batch normalisation with a running mean.

  Args:
    training: whether to use the batch's statistics, and to update the running
      ones.
    name: of the layer.
    momentum: share of the running statistics that a batch leaves; 0.9 averages
      over about ten batches.
    epsilon: added to the variance.
  """
  return BatchNorm(
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
