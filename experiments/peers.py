"""The benchmark's networks in PyTorch, and Avalanche's replay over them."""

from collections.abc import Callable
import math
from typing import Any

import torch
from torch import nn


def build(work: Any, classes: int) -> nn.Module:
  """Builds a workload's architecture; it reads images [B, C, H, W]."""
  makers: dict[str, Callable[..., nn.Module]] = {
    "mlp": _mlp,
    "slim_resnet18": lambda shape, out: _resnet(shape, out, 20),
    "resnet18": lambda shape, out: _resnet(shape, out, 64),
    "mobilenet": _mobilenet,
    "vit": _Transformer,
  }
  return makers[work.model](work.shape, classes, **work.options)


def _mlp(shape, classes, *, width, depth):
  sizes = [math.prod(shape), *[width] * depth]
  layers: list[nn.Module] = [nn.Flatten()]
  for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
    layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
  return nn.Sequential(*layers, nn.Linear(width, classes))


def _convolution(ins, outs, size=1, stride=1, groups=1):
  return nn.Sequential(
    nn.Conv2d(ins, outs, size, stride, size // 2, groups=groups, bias=False),
    nn.BatchNorm2d(outs),
  )


class _Residual(nn.Module):
  def __init__(self, ins, outs, stride):
    super().__init__()
    self.body = nn.Sequential(
      _convolution(ins, outs, 3, stride),
      nn.ReLU(inplace=True),
      _convolution(outs, outs, 3),
    )
    same = stride == 1 and ins == outs
    self.skip = nn.Identity() if same else _convolution(ins, outs, 1, stride)

  def forward(self, x):
    return torch.relu(self.body(x) + self.skip(x))


def _resnet(shape, classes, filters):
  layers = [_convolution(shape[-1], filters, 3), nn.ReLU(inplace=True)]
  ins = filters
  for stage in range(4):
    for block in range(2):
      outs = filters * 2**stage
      layers.append(_Residual(ins, outs, 2 if stage and not block else 1))
      ins = outs
  pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
  return nn.Sequential(*layers, *pool, nn.Linear(ins, classes))


class _Inverted(nn.Module):
  def __init__(self, ins, outs, expansion, stride):
    super().__init__()
    width = expansion * ins
    parts = []
    if expansion > 1:
      parts += [_convolution(ins, width), nn.ReLU6(inplace=True)]
    parts += [
      _convolution(width, width, 3, stride, groups=width),
      nn.ReLU6(inplace=True),
      _convolution(width, outs),
    ]
    self.body = nn.Sequential(*parts)
    self.adds = stride == 1 and ins == outs

  def forward(self, x):
    return x + self.body(x) if self.adds else self.body(x)


def _mobilenet(shape, classes, *, width):
  def rounded(channels):
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found

  ins, last = rounded(32 * width), rounded(1280 * max(width, 1.0))
  layers = [_convolution(shape[-1], ins, 3), nn.ReLU6(inplace=True)]
  for expansion, channels, count, stride in (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
  ):
    for index in range(count):
      outs = rounded(channels * width)
      layers.append(_Inverted(ins, outs, expansion, stride if not index else 1))
      ins = outs
  layers += [_convolution(ins, last), nn.ReLU6(inplace=True)]
  pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
  return nn.Sequential(*layers, *pool, nn.Linear(last, classes))


class _Transformer(nn.Module):
  def __init__(self, shape, classes, *, patch, width, depth, heads):
    super().__init__()
    self.embed = nn.Conv2d(shape[-1], width, patch, patch)
    count = (shape[0] // patch) * (shape[1] // patch) + 1
    self.token = nn.Parameter(torch.zeros(1, 1, width))
    self.positions = nn.Parameter(0.02 * torch.randn(1, count, width))
    self.blocks = nn.Sequential(
      *(
        nn.TransformerEncoderLayer(
          width, heads, 4 * width, 0.0, "gelu", batch_first=True,
          norm_first=True,
        )
        for _ in range(depth)
      )
    )  # fmt: skip
    self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

  def forward(self, x):
    x = self.embed(x).flatten(2).transpose(1, 2)
    x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
    return self.head(self.norm(self.blocks(x))[:, 0])


def avalanche(work, data, memory, rate, threads) -> Callable[[int], None]:
  """Returns what makes steps of Avalanche's replay, class-incremental."""
  from avalanche import benchmarks, training
  from avalanche.benchmarks.utils import (
    AvalancheDataset,
    as_classification_dataset,
  )
  from avalanche.training import plugins

  torch.set_num_threads(threads)
  x, y = data
  x = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255.0
  tensors = torch.utils.data.TensorDataset(x, torch.from_numpy(y))
  tensors.targets = y.tolist()
  made = as_classification_dataset(tensors)
  assert isinstance(made, AvalancheDataset)
  stream = benchmarks.benchmark_from_datasets(train=[made, made])
  model = build(work, int(y.max()) + 1)
  strategy = training.Replay(
    model=model,
    optimizer=torch.optim.SGD(model.parameters(), rate),
    criterion=nn.CrossEntropyLoss(),
    mem_size=memory,
    train_mb_size=work.batch,
    train_epochs=1,
    plugins=[],
    evaluator=plugins.EvaluationPlugin(),
  )
  first, second = stream.train_stream
  strategy.train(first)

  whole = len(y) // work.batch

  def run(steps):
    for _ in range(-(-steps // whole)):
      strategy.train(second)

  run.whole = whole
  return run
