"""Linen layers shared by several architectures."""

from typing import Any

from flax import errors
from flax import linen as nn
import jax
import jax.numpy as jnp

from jcl.networks import derivatives


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
  """`nn.BatchNorm` over the last axis, whose derivative takes fewer passes."""

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    use_running_average: bool | None = None,
    *,
    mask: jax.Array | None = None,
  ) -> jax.Array:
    running = nn.merge_param(
      "use_running_average", self.use_running_average, use_running_average
    )
    if running or mask is not None:
      return super().__call__(x, use_running_average, mask=mask)
    shape, axes = x.shape[-1:], tuple(range(x.ndim - 1))
    kept_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
    kept_var = self.variable("batch_stats", "var", jnp.ones, shape)
    scale = self.param("scale", self.scale_init, shape, self.param_dtype)
    bias = self.param("bias", self.bias_init, shape, self.param_dtype)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, square = wide.mean(axes), (wide * wide).mean(axes)
    # Rounding may leave the variance of a constant channel below zero.
    var = jnp.maximum(0.0, square - mean * mean)
    if not self.is_initializing():
      kept_mean.value = _moved(kept_mean.value, mean, self.momentum)
      kept_var.value = _moved(kept_var.value, var, self.momentum)
    return derivatives.batch_normalised(x, mean, var, scale, bias, self.epsilon)


class LayerNorm(_Known, nn.LayerNorm):
  """`nn.LayerNorm`, traced in less time."""


def _moved(kept: jax.Array, new: jax.Array, momentum: float) -> jax.Array:
  return momentum * kept + (1 - momentum) * new


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
