"""The filter masks of LightCL's published program, on residual networks.

Wang et al., "LightCL: Compact Continual Learning with Low Memory Footprint For
Edge Device", ASP-DAC 2025, https://arxiv.org/abs/2407.10545. These masks are
for comparisons with the published figures. They treat layers whose outputs are
added apart, so that one path may read channels that another one has lost.
`structured` has masks for every other purpose.
"""

import jax
import numpy as np

from jcl import base
from jcl.networks import channels
from jcl.networks.sparsity import ranking, structured
from jcl.options.errors import UsageError


def filters(kernel: base.Array, sparsity: float) -> np.ndarray:
  """Marks the filters that stay, [C] bool.

  The importance of a filter is the signed mean of its weights. With
  n = floor(C (1 - s) + 1/2), the filters that reach the max(1, C - n)-th
  smallest mean stay: n + 1 filters where n < C, more where means are equal.

  Args:
    kernel: [..., C].
    sparsity: s in [0, 1).

  >>> filters(np.array([[1.0, 2.0, 3.0, 4.0]]), sparsity=0.5).tolist()
  [False, True, True, True]
  """
  kernel = np.asarray(kernel, np.float32)
  means = kernel.mean(axis=tuple(range(kernel.ndim - 1)))
  gone = len(means) - ranking.num_kept(len(means), sparsity)
  return means >= np.sort(means)[max(1, gone) - 1]


def masks(
  network: base.Network,
  params: base.Params,
  sparsity: structured.Sparsity,
) -> base.Params:
  """Marks the weights that stay, for `masked.apply` and `masked.hold`.

  Layers are taken in order, a shortcut after its block's other layers. Let v be
  the filters kept by the convolution before: kernels larger than 1x1 keep the
  inputs v, 1x1 shortcuts keep all inputs, normalisers keep v, and the head
  reads v. After a block with a shortcut, v is the shortcut's alone.

  Args:
    network: a chain of a stem, residual blocks of two convolutions, and a
      linear head, such as `resnet18`.
    params: its parameters, such as those of a pre-trained network.
    sparsity: share in [0, 1) of the filters to take out, by unit; see
      `structured.by_stage`.

  Returns:
    bool arrays of the shapes and in the tree of `params`.

  Raises:
    ValueError: for a network of another form.
  """
  _check(network)
  arrays = dict(channels.named(params))
  found: dict[channels.Path, np.ndarray] = {}
  last = None
  for tensor in network.tensors:
    shape = tensor.shape
    mask = np.ones(shape, bool)
    if tensor.kind == "kernel":
      if last is not None and _layer(tensor) != "shortcut":
        mask &= last[:, None]
      if tensor.unit != network.units[-1]:
        share = structured.sparsity_of(sparsity, tensor.unit)
        last = filters(arrays[tensor.path], share)
        mask &= last
    elif tensor.kind in ("scale", "shift"):
      mask &= last
    found[tensor.path] = mask
  return jax.tree.unflatten(
    jax.tree.structure(params), [found[path] for path in arrays]
  )


def _check(network: base.Network) -> None:
  """Raises UsageError for a network of another form."""
  stem, *blocks, head = network.units
  forms = {
    stem: ("conv",),
    **dict.fromkeys(blocks, ("conv", "conv")),
    head: ("linear",),
  }
  for unit, form in forms.items():
    tensors = [tensor for tensor in network.tensors if tensor.unit == unit]
    found = tuple(_layer(t) for t in tensors if t.kind == "kernel")
    allowed = {"bias"} if unit == head else {"scale", "shift"}
    others = {tensor.kind for tensor in tensors} - {"kernel"}
    shortcut = (*form, "shortcut") if unit in blocks else form
    if found not in (form, shortcut) or not others <= allowed:
      raise UsageError(
        f"unit {unit!r} of {network.name!r} is not of the published form: give "
        "a network such as resnet18, or use jcl.networks.sparsity.structured"
      )


def _layer(kernel: base.Tensor) -> str:
  if len(kernel.shape) == 2:
    return "linear"
  return "shortcut" if kernel.shape[:-2] == (1, 1) else "conv"
