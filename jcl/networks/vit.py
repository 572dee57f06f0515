"""Vision transformers.

Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image
Recognition at Scale", ICLR 2021, section 3.1,
https://arxiv.org/abs/2010.11929.
"""

from typing import Literal

from flax import linen as nn
import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import chain, check, derivatives, layers
from jcl.options import kinds
from jcl.options.errors import UsageError


class _Embed(nn.Module):
  """Cuts the image into patches, embeds them and adds their positions."""

  patch: int
  width: int
  token: bool

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    del training
    side = (self.patch, self.patch)
    x = layers.Conv(
      self.width, side, strides=side, padding="VALID", name="patch"
    )(x)
    x = x.reshape(x.shape[0], -1, self.width)
    if self.token:
      shape = (1, 1, self.width)
      token = self.param("class_token", nn.initializers.zeros, shape)
      token = jnp.broadcast_to(token, (x.shape[0], *shape[1:]))
      x = jnp.concatenate([token.astype(x.dtype), x], axis=1)
    normal = nn.initializers.normal(0.02)
    return x + self.param("positions", normal, (1, *x.shape[1:]))


class _Block(nn.Module):
  """Self-attention and MLP, each normalised first (eq. 2 and 3)."""

  heads: int
  expansion: int
  dropout: float
  exact: bool  # GELU by the error function instead of a tanh

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    width = x.shape[-1]

    def dense(name: str, features: int = width) -> layers.Dense:
      xavier = nn.initializers.xavier_uniform()
      return layers.Dense(features, kernel_init=xavier, name=name)

    def drop(x: jax.Array) -> jax.Array:
      return nn.Dropout(self.dropout, deterministic=not training)(x)

    def heads(x: jax.Array) -> jax.Array:
      return x.reshape(*x.shape[:-1], self.heads, -1)

    h = layers.LayerNorm(name="norm_0")(x)
    query = heads(dense("query")(h))
    key = heads(dense("key")(h))
    value = heads(dense("value")(h))
    h = derivatives.attention(query, key, value).reshape(x.shape)
    x = x + drop(dense("out")(h))
    h = layers.LayerNorm(name="norm_1")(x)
    h = dense("mlp_0", self.expansion * width)(h)
    h = nn.gelu(h, approximate=not self.exact)
    return x + drop(dense("mlp_1")(drop(h)))


class _Norm(nn.Module):
  """Last normalisation, then the class token or the mean over patches."""

  token: bool

  @nn.compact
  def __call__(self, x: jax.Array, training: bool) -> jax.Array:
    del training
    x = layers.LayerNorm(name="norm")(x)
    return x[:, 0] if self.token else x.mean(axis=1)


def vit(
  input_shape: tuple[int, ...],
  num_classes: int,
  *,
  patch: kinds.Count = 4,
  width: kinds.Count = 192,
  depth: kinds.Layers = 6,
  heads: kinds.Count = 3,
  expansion: kinds.Count = 4,
  pooling: Literal["token", "mean"] = "token",
  dropout: kinds.ShareBelowOne = 0.0,
  gelu: Literal["tanh", "exact"] = "tanh",
) -> base.Network:
  """Vision transformer, sized for small images.

  Units are `embed`, `block_0`, `block_1`, ..., `norm` and `head`.

  Args:
    input_shape: [H, W, C] of one image.
    num_classes: width of the logits.
    patch: side in pixels of the square patches, which must tile the image.
    width: of the embeddings; a multiple of `heads`.
    depth: number of blocks.
    heads: attention heads per block.
    expansion: width of a block's MLP, in multiples of `width`.
    pooling: classify from a class token, or from the mean over patches.
    dropout: rate after attention and in the MLP; where the rate is positive,
      units that train need a key.
    gelu: how the MLP's nonlinearity (Hendrycks and Gimpel, "Gaussian Error
      Linear Units", 2016, https://arxiv.org/abs/1606.08415) is computed: "tanh"
      for the approximation by a tanh, or "exact", as weights learned with
      PyTorch expect.

  Raises:
    ValueError: for inputs that are no images, or options that do not fit.
  """
  check.image("vit", input_shape)
  sizes = {"patch": patch, "width": width, "depth": depth, "heads": heads}
  check.at_least("vit", 1, **sizes, expansion=expansion)
  if input_shape[0] % patch or input_shape[1] % patch:
    raise UsageError(
      f"vit: patches of {patch} do not tile images of "
      f"{input_shape[0]}x{input_shape[1]}; give a patch that divides both"
    )
  if width % heads:
    raise UsageError(
      f"vit: width {width} is no multiple of heads {heads}; "
      f"give {width - width % heads + heads}"
    )
  if pooling not in ("token", "mean"):
    raise UsageError(f"vit: pooling must be token or mean, got {pooling!r}")
  if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
    raise UsageError(f"vit: dropout must be in [0, 1), got {dropout!r}")
  if gelu not in ("tanh", "exact"):
    raise UsageError(f"vit: gelu must be tanh or exact, got {gelu!r}")
  token, exact = pooling == "token", gelu == "exact"
  units: list[tuple[str, nn.Module]] = [
    ("embed", _Embed(patch, width, token)),
    *(
      (f"block_{i}", _Block(heads, expansion, dropout, exact))
      for i in range(depth)
    ),
    ("norm", _Norm(token)),
    ("head", layers.Head(num_classes)),
  ]
  return chain.chain("vit", units, input_shape, num_classes)
