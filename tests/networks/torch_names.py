"""PyTorch's definitions of two networks in NumPy, arrays under its names.

Written from the definitions of torchvision (He et al., CVPR 2016) and timm
(Dosovitskiy et al., ICLR 2021), channels first, in float64.
"""

import numpy as np
from scipy import special


class Weights:
  """Arrays by name, drawn when they are first asked for."""

  def __init__(self, seed=0):
    self.arrays = {}
    self._generator = np.random.default_rng(seed)

  def take(self, name, *shape, spread=0.3, mean=0.0):
    if name not in self.arrays:
      drawn = mean + spread * self._generator.normal(size=shape)
      self.arrays[name] = drawn.astype(np.float32)
    assert self.arrays[name].shape == shape
    return self.arrays[name].astype(np.float64)

  def conv(self, x, name, filters, size, stride=1, padding=0):
    channels = x.shape[1]
    spread = (channels * size * size) ** -0.5
    shape = (filters, channels, size, size)
    kernel = self.take(f"{name}.weight", *shape, spread=spread)
    x = np.pad(x, ((0, 0), (0, 0), *((padding, padding),) * 2))
    cut = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    cut = cut[:, :, ::stride, ::stride]
    return np.einsum("nchwij,ocij->nohw", cut, kernel, optimize=True)

  def batch_norm(self, x, name):
    count = x.shape[1]
    scale, variance = (
      self.take(f"{name}.{part}", count, spread=0.1, mean=1.0)
      for part in ("weight", "running_var")
    )
    shift, mean = (
      self.take(f"{name}.{part}", count) for part in ("bias", "running_mean")
    )
    self.arrays[f"{name}.num_batches_tracked"] = np.array(7)
    scale = scale / np.sqrt(variance + 1e-5)
    return x * scale[:, None, None] + (shift - mean * scale)[:, None, None]

  def linear(self, x, name, width):
    spread = x.shape[-1] ** -0.5
    shape = (width, x.shape[-1])
    kernel = self.take(f"{name}.weight", *shape, spread=spread)
    return x @ kernel.T + self.take(f"{name}.bias", width)

  def layer_norm(self, x, name):
    scale = self.take(f"{name}.weight", x.shape[-1], spread=0.1, mean=1.0)
    shift = self.take(f"{name}.bias", x.shape[-1])
    x = x - x.mean(axis=-1, keepdims=True)
    return (
      x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6) * (scale) + shift
    )


def resnet(weights, x, classes, stages, filters, bottleneck=False, large=False):
  """Logits of a residual network for images [N, C, H, W]."""
  x = weights.conv(x, "conv1", filters, *((7, 2, 3) if large else (3, 1, 1)))
  x = np.maximum(weights.batch_norm(x, "bn1"), 0)
  if large:
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    cut = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    x = cut[:, :, ::2, ::2].max(axis=(-1, -2))
  for stage, count in enumerate(stages):
    width = filters * 2**stage
    for index in range(count):
      name = f"layer{stage + 1}.{index}"
      stride = 2 if stage and not index else 1
      convs = [(width, 3, stride, 1), (width, 3, 1, 1)]
      if bottleneck:
        convs = [(width, 1), (width, 3, stride, 1), (4 * width, 1)]
      shortcut = x
      for i, conv in enumerate(convs, start=1):
        x = weights.conv(x, f"{name}.conv{i}", *conv)
        x = weights.batch_norm(x, f"{name}.bn{i}")
        x = x if i == len(convs) else np.maximum(x, 0)
      if stride > 1 or x.shape[1] != shortcut.shape[1]:
        part = f"{name}.downsample"
        shortcut = weights.conv(shortcut, f"{part}.0", x.shape[1], 1, stride)
        shortcut = weights.batch_norm(shortcut, f"{part}.1")
      x = np.maximum(x + shortcut, 0)
  return weights.linear(x.mean(axis=(2, 3)), "fc", classes)


def vit(weights, x, classes, patch, width, depth, heads):
  """Logits of a vision transformer for images [N, C, H, W]."""
  count, channels = x.shape[:2]
  kernel = weights.take(
    "patch_embed.proj.weight", width, channels, patch, patch, spread=0.2
  )
  cut = np.lib.stride_tricks.sliding_window_view(x, (patch, patch), (2, 3))
  cut = cut[:, :, ::patch, ::patch]
  x = np.einsum("nchwij,ocij->nhwo", cut, kernel).reshape(count, -1, width)
  x = x + weights.take("patch_embed.proj.bias", width)
  token = weights.take("cls_token", 1, 1, width)
  x = np.concatenate([np.repeat(token, count, axis=0), x], axis=1)
  tokens = x.shape[1]
  x = x + weights.take("pos_embed", 1, tokens, width)
  for index in range(depth):
    name = f"blocks.{index}"
    h = weights.layer_norm(x, f"{name}.norm1")
    h = weights.linear(h, f"{name}.attn.qkv", 3 * width)
    h = h.reshape(count, tokens, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    scores = h[0] @ h[1].swapaxes(-1, -2) / np.sqrt(width / heads)
    h = (special.softmax(scores, axis=-1) @ h[2]).swapaxes(1, 2)
    h = h.reshape(count, tokens, width)
    x = x + weights.linear(h, f"{name}.attn.proj", width)
    h = weights.layer_norm(x, f"{name}.norm2")
    h = weights.linear(h, f"{name}.mlp.fc1", 4 * width)
    h = h * 0.5 * (1 + special.erf(h / np.sqrt(2)))
    x = x + weights.linear(h, f"{name}.mlp.fc2", width)
  return weights.linear(weights.layer_norm(x, "norm")[:, 0], "head", classes)
