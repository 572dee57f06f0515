"""Matrix products of the networks in DaCapo's tables, without their weights.

Kim et al., "DaCapo", ISCA 2024, https://arxiv.org/abs/2403.14353, pair a
student with a teacher at images of 224x224: ResNet-18 with Wide ResNet-50-2,
ResNet-34 with Wide ResNet-101-2, ViT-B/32 with ViT-B/16. In "compat" mode, the
times of `systolic` equal the published times of labelling, training and
validating to the digits printed, with one exception: training ResNet-34 takes
2.5 % longer here, because its published time lies below the rule that all
others follow.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from jcl.cost import gemms
from jcl.cost.systolic import Gemm

PAIRS = (
  ("resnet18", "wide_resnet50_2"),
  ("resnet34", "wide_resnet101_2"),
  ("vit_b32", "vit_b16"),
)
_SIDE = 224


def published(
  name: str,
  *,
  mode: Literal["full", "compat"] = "full",
  batch: int = 1,
  pass_: Literal["forward", "train"] = "forward",
  num_classes: int = 9,
) -> list[Gemm]:
  """Returns the products of one pass of a network, in the order of execution.

  Args:
    name: one of `PAIRS`.
    mode: as for `gemms.of`; in "compat" the head has 4 classes.
    batch: examples.
    pass_: "forward", or "train" with the gradients.
    num_classes: of the head in "full" mode.

  Raises:
    ValueError: for another name, mode or pass.

  >>> products = published("resnet18")
  >>> round(sum(g.m * g.k * g.n * g.times for g in products) / 1e9, 2)
  1.81
  """
  if name not in _NETWORKS:
    raise ValueError(f"name={name!r}: choose from {', '.join(_NETWORKS)}")
  if mode not in ("full", "compat"):
    raise ValueError(f"mode={mode!r}: give 'full' or 'compat'")
  if pass_ not in ("forward", "train"):
    raise ValueError(f"pass_={pass_!r}: give 'forward' or 'train'")
  compat = mode == "compat"
  classes = gemms.COMPAT_CLASSES if compat else num_classes
  found = _NETWORKS[name](batch, classes, compat)
  if pass_ == "forward":
    return found
  return gemms.trained(found, transformer=name.startswith("vit"))


def _resnet(
  batch: int, classes: int, stages: Sequence[int], widening: int = 0
) -> list[Gemm]:
  """Returns the products of a residual network.

  He et al., CVPR 2016, https://arxiv.org/abs/1512.03385; for wide ones
  Zagoruyko and Komodakis, BMVC 2016, https://arxiv.org/abs/1605.07146.

  Args:
    batch: examples.
    classes: outputs of the head.
    stages: blocks in each stage.
    widening: factor of the bottlenecks' inner layers; 0: no bottlenecks.
  """
  side, before = _SIDE // 2, 64
  found = [_conv(batch, side, 3, 7, before)]
  side //= 2  # max-pooling
  for stage, count in enumerate(stages):
    for index in range(count):
      filters = 64 * 2**stage
      stride = 2 if stage and not index else 1
      after = side // stride
      inner = filters * widening
      if widening:
        out = 4 * filters
        found += [
          _conv(batch, side, before, 1, inner),
          _conv(batch, after, inner, 3, inner),
          _conv(batch, after, inner, 1, out),
        ]
      else:
        out = filters
        found += [
          _conv(batch, after, before, 3, out),
          _conv(batch, after, out, 3, out),
        ]
      if not index and (stage or widening):
        found.append(_conv(batch, after, before, 1, out))
      side, before = after, out
  return [*found, Gemm(batch, before, classes)]


def _conv(
  batch: int, side: int, channels: int, size: int, filters: int
) -> Gemm:
  rows = batch * side * side
  return Gemm(rows, channels * size * size, filters, kind="conv")


def _vit(batch: int, classes: int, patch: int, compat: bool) -> list[Gemm]:
  """Returns the products of a vision transformer of the base size.

  Dosovitskiy et al., ICLR 2021, https://arxiv.org/abs/2010.11929.
  """
  width, depth, heads = 768, 12, 12
  patches = (_SIDE // patch) ** 2
  tokens = patches + 1  # and the class token
  rows, part = batch * tokens, width // heads
  projection = Gemm(rows, width, width)
  attention = [
    *(projection,) * 3,
    Gemm(tokens, part, tokens, batch * heads, kind="product"),
    Gemm(tokens, tokens, part, batch * heads, kind="product"),
    projection,
  ]
  perceptron = [Gemm(rows, width, 4 * width), Gemm(rows, 4 * width, width)]
  block = perceptron if compat else attention + perceptron
  embed = Gemm(batch * patches, 3 * patch * patch, width, kind="conv")
  return [embed, *block * depth, Gemm(batch, width, classes)]


_NETWORKS: dict[str, Callable[[int, int, bool], list[Gemm]]] = {
  "resnet18": lambda b, c, _: _resnet(b, c, (2, 2, 2, 2)),
  "resnet34": lambda b, c, _: _resnet(b, c, (3, 4, 6, 3)),
  "wide_resnet50_2": lambda b, c, _: _resnet(b, c, (3, 4, 6, 3), 2),
  "wide_resnet101_2": lambda b, c, _: _resnet(b, c, (3, 4, 23, 3), 2),
  "vit_b32": lambda b, c, compat: _vit(b, c, 32, compat),
  "vit_b16": lambda b, c, compat: _vit(b, c, 16, compat),
}
