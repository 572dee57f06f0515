"""The memory and operations in LightCL's table of results, recomputed.

Wang et al., "LightCL: Compact Continual Learning with Low Memory Footprint For
Edge Device", ASP-DAC 2025, https://arxiv.org/abs/2407.10545. The paper gives no
formula; the formulas here give its columns for dense networks to 0.5 %
(memory) and 1 % (operations). They are arithmetic, not a measured peak: of all
activations they count the outputs of convolutions wider than a pixel, once, and
nothing that normalisers, rectifiers or shortcuts keep. `step_memory` has the
memory that a step really takes.
"""

from collections.abc import Collection
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.base import jaxprs

_MIB = 2**20
_FLOAT = 4  # bytes
# Per row of the table: copies of the weights (the network, its gradient,
# importances or older columns) and passes of the replayed images.
ROWS = {
  "sgd": (2, 0),
  "joint": (2, 0),
  "ewc": (3, 0),
  "er": (2, 1),
  "fdr": (2, 1),
  "derpp": (2, 2),
  "pnn": (6, 0),
}
_NO_FLOPS = ("pnn",)  # no formula was found for its growing columns


class Layer(NamedTuple):
  """A convolution or matrix product, for one image."""

  unit: str
  window: int  # pixels that the kernel covers; 1 for a matrix product
  outputs: int  # numbers in its output
  macs: int  # multiply-accumulates, those with padding included


def layers(network: base.Network) -> tuple[Layer, ...]:
  """Returns the layers of a network in execution order, traced only.

  Raises:
    ValueError: for a network that does not use each of its kernels once, in
      their order.
  """
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  x = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
  program = jaxprs.trace(
    lambda *args: network.apply(*args).logits, params, stats, x
  )
  found = [
    _layer(equation)
    for equation in jaxprs.equations(program)
    if equation.name in ("conv_general_dilated", "dot_general")
  ]
  kernels = [t for t in network.tensors if t.kind == "kernel"]
  used = [shape for shape, _ in found]
  if used != [tensor.shape for tensor in kernels]:
    raise ValueError(
      f"network {network.name!r} has kernels of shapes "
      f"{[tensor.shape for tensor in kernels]} and multiplies by {used}: give "
      "a network that uses each of its kernels once, such as resnet18"
    )
  return tuple(
    layer._replace(unit=tensor.unit)
    for tensor, (_, layer) in zip(kernels, found, strict=True)
  )


def activations(
  network: base.Network, units: Collection[str] | None = None
) -> int:
  """Returns the floats per image that the table counts as activations.

  Args:
    network: its convolutions wider than one pixel count.
    units: names of the units that count; None: all.
  """
  return sum(
    layer.outputs
    for layer in layers(network)
    if layer.window > 1 and (units is None or layer.unit in units)
  )


def macs(network: base.Network, units: Collection[str] | None = None) -> int:
  """Returns the multiply-accumulates per image of some units; None: all."""
  return sum(
    layer.macs
    for layer in layers(network)
    if units is None or layer.unit in units
  )


def memory_mib(
  row: str, weights: int, activations: int, *, batch: int = 32, buffer: int = 15
) -> float:
  """Returns the memory of a row of the table in MiB, which it calls MB.

  The table takes the weights of the ten-class network for both data sets.

  >>> round(memory_mib("er", weights=44_695_848, activations=557_056), 1)
  185.1

  Args:
    row: "sgd", "joint", "ewc", "er", "fdr", "derpp" or "pnn".
    weights: bytes of the parameters.
    activations: floats per image, by `activations`.
    batch: images of the stream in a step.
    buffer: images replayed in a step.

  Raises:
    ValueError: for any other row.
  """
  copies, passes = _row(row, ROWS)
  images = batch + passes * buffer
  return (copies * weights + images * activations * _FLOAT) / _MIB


def lightcl_mib(
  weights: int,
  gradients: int,
  activations: int,
  anchors: int,
  *,
  batch: int = 32,
  buffer: int = 15,
) -> float:
  """Returns the memory in MiB of LightCL without sparsity.

  The table's figures need the last block of the third stage counted as trained,
  and the anchors of 32x32 images for both data sets.

  Args:
    weights: bytes of the parameters.
    gradients: bytes of the parameters that train.
    activations: floats per image, of the units that train.
    anchors: floats of feature maps that are held per image.
    batch: images of the stream in a step.
    buffer: images that are held, and shown in each step.
  """
  floats = (batch + buffer) * activations + buffer * anchors
  return (weights + gradients + floats * _FLOAT) / _MIB


def flops(
  row: str,
  macs: int,
  images: int,
  epochs: int,
  *,
  tasks: int = 1,
  batch: int = 32,
  buffer: int = 15,
) -> float:
  """Returns the floating-point operations of a row's whole run.

  Two for each multiply-accumulate, in one forward and two backward passes.

  Args:
    row: "sgd", "joint", "ewc", "er", "fdr" or "derpp".
    macs: multiply-accumulates per image, by `macs`.
    images: in the stream's training set.
    epochs: of each task.
    tasks: of the stream; "joint" learns all images once per task.
    batch: images of the stream in a step.
    buffer: images replayed in a step.

  Raises:
    ValueError: for any other row.
  """
  rows = {name: ROWS[name] for name in ROWS if name not in _NO_FLOPS}
  _, passes = _row(row, rows)
  shown = images * epochs * (batch + passes * buffer) / batch
  return 2.0 * macs * 3 * shown * (tasks if row == "joint" else 1)


def lightcl_flops(
  macs: int,
  trained: int,
  images: int,
  epochs: int,
  *,
  batch: int = 32,
  buffer: int = 15,
) -> float:
  """Returns LightCL's operations of a whole run, without sparsity.

  Like `flops`, but the two backward passes go through the part that trains.

  Args:
    macs: multiply-accumulates per image, of the whole network.
    trained: multiply-accumulates per image, of the units that train.
    images: in the stream's training set.
    epochs: of each task.
    batch: images of the stream in a step.
    buffer: images that are held, and shown in each step.
  """
  shown = images * epochs * (batch + buffer) / batch
  return 2.0 * (macs + 2 * trained) * shown


def _row(name: str, rows: dict[str, tuple[int, int]]) -> tuple[int, int]:
  if name not in rows:
    raise ValueError(f"row={name!r}: choose from {', '.join(rows)}")
  return rows[name]


def _layer(equation: jaxprs.Equation) -> tuple[tuple[int, ...], Layer]:
  kernel = equation.takes[1].shape
  outputs = math.prod(equation.gives[0].shape)
  if equation.name == "dot_general":
    (_, contracted), _ = equation.params["dimension_numbers"]
    terms = math.prod(kernel[axis] for axis in contracted)
    return kernel, Layer("", 1, outputs, terms * outputs)
  spec = equation.params["dimension_numbers"].rhs_spec
  window = math.prod(kernel[axis] for axis in spec[2:])
  return kernel, Layer("", window, outputs, window * kernel[spec[1]] * outputs)
