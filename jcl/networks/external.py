"""Loads weights of files under the names of PyTorch's libraries.

A network of residual blocks takes torchvision's names (`conv1.weight`,
`layer1.0.bn1.running_mean`, `fc.weight`), a vision transformer timm's names
(`patch_embed.proj.weight`, `blocks.0.attn.qkv.weight`, `head.weight`), an
EfficientNet-Lite those of the package efficientnet_lite_pytorch
(`_conv_stem.weight`, `_blocks.0._bn1.running_mean`, `_fc.weight`). Files are of
safetensors, or PyTorch's own, which `torch_files` reads.

In evaluation mode the outputs then equal the original's: paddings, strides and
the epsilons of normalisers are the same. In training mode a running variance
counts the biased variance of a batch here and the unbiased one in PyTorch,
unless `variance=unbiased` is set. timm's transformers have the exact GELU:
build the network with `vit:gelu=exact`. The weights expect inputs normalised as
in their own training.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import re
import types
from typing import Any, NamedTuple

import jax
import numpy as np

from jcl import base
from jcl.networks import check, pretrained, torch_files
from jcl.options.errors import MissingFileError, MissingPackageError, UsageError

Path = tuple[str, ...]  # unit and keys below it, the last names the array


# The reader's errors for a folder in a file's place and for types NumPy lacks.
_UNREAD = (AttributeError, MemoryError, OSError, TypeError, KeyError)


class Source(NamedTuple):
  """The array of a file that an array of a network is made of."""

  name: str  # in the file
  convert: Callable[[np.ndarray], np.ndarray]  # to the network's layout


def with_file(
  network: base.Network,
  path: str,
  fresh: tuple[str, ...] = ("head",),
  sha256: str | None = None,
) -> base.Network:
  """Returns the network whose `init` gives the weights of a file.

  Args:
    network: a ResNet, a vision transformer or an EfficientNet-Lite.
    path: of a safetensors file, or of one that PyTorch saved.
    fresh: units that `init` draws anew, even if the file has weights for them.
      A head for another number of classes is drawn anew in any case.
    sha256: see `read`.

  Raises:
    FileNotFoundError: where there is no such file.
    ImportError: where the safetensors library is not installed.
    ValueError: where the file cannot be read, or its arrays are not the
      network's; the message lists arrays that are missing, have no place or
      have another shape.
  """
  arrays = read(path, sha256)
  try:
    params, stats, fresh = arrange(network, arrays, fresh)
  except ValueError as error:
    raise UsageError(f"{path}: {error}") from error
  return pretrained.with_weights(network, params, stats, fresh=fresh)


def read(path: str, sha256: str | None = None) -> dict[str, np.ndarray]:
  """Returns the arrays of a file, by name.

  The prefixes "model." and "module.", which wrappers add to all names, are left
  out, and so are PyTorch's counters `num_batches_tracked`.

  Args:
    path: of a safetensors file, or of one that PyTorch saved, `.pth` or `.pt`.
    sha256: digest that a file of PyTorch must have; None: any.

  Raises:
    FileNotFoundError: where there is no such file.
    ImportError: where the safetensors library is not installed.
    ValueError: where the file is of another format, cut short or damaged.
  """
  if str(path).endswith(torch_files.SUFFIXES):
    arrays = torch_files.read(path, sha256)
  else:
    arrays = _from_safetensors(path)
  prefixes = ("module.", "model.")
  while any(all(n.startswith(p) for n in arrays) for p in prefixes if arrays):
    arrays = {name.split(".", 1)[1]: a for name, a in arrays.items()}
  return {
    name: array
    for name, array in arrays.items()
    if not name.endswith("num_batches_tracked")
  }


def safetensors() -> types.ModuleType:
  """Returns the library's functions for NumPy.

  Raises:
    ImportError: where the library is not installed.
  """
  try:
    from safetensors import numpy as library
  except ImportError as error:
    raise MissingPackageError(
      f"safetensors cannot be imported ({error}); install it with "
      'pip install "jcl[weights]"'
    ) from error
  return library


def _from_safetensors(path: str) -> dict[str, np.ndarray]:
  reader = safetensors()
  from safetensors import SafetensorError

  if str(path).endswith((".bin", ".ckpt", ".pkl")):
    raise UsageError(
      f"{path} may hold anything that pickles: give the weights alone, written "
      "with torch.save(model.state_dict(), FILE.pth) or as safetensors"
    )
  try:
    return reader.load_file(path)
  except FileNotFoundError:
    raise MissingFileError(
      f"there is no {path}: give a safetensors file"
    ) from None
  except (SafetensorError, *_UNREAD) as error:
    raise UsageError(
      f"{path} is no safetensors file, or a damaged one ({error}): fetch or "
      "convert it again"
    ) from error


def arrange(
  network: base.Network,
  arrays: Mapping[str, np.ndarray],
  fresh: tuple[str, ...] = ("head",),
) -> tuple[base.Params, base.Stats, tuple[str, ...]]:
  """Sorts a file's arrays into the trees of a network.

  Args:
    network: a ResNet, a vision transformer or an EfficientNet-Lite.
    arrays: by name, as `read` returns them.
    fresh: units to leave out.

  Returns:
    Parameters and statistics in float32, and the units left out: `fresh`, and
    the head if it is for another number of classes.

  Raises:
    ValueError: where the arrays are not the network's.
  """
  check.known(network.name, "unit", fresh, network.units)
  expected = jax.eval_shape(network.init, jax.random.key(0))
  origin = _sources(network, expected)
  head = network.units[-1]
  if _has_other_classes(origin, arrays, network.num_classes, head):
    fresh = tuple(dict.fromkeys((*fresh, head)))
  used = {o.name for path, o in origin.items() if path[0] not in fresh}
  left = {o.name for path, o in origin.items() if path[0] in fresh}
  faults = [f"{name} is missing" for name in sorted(used - set(arrays))]
  faults += [
    f"{name} has no place" for name in sorted(set(arrays) - used - left)
  ]

  def take(path: Sequence[Any], leaf: jax.ShapeDtypeStruct) -> Any:
    keys = _keys(path)
    source = origin[keys]
    if keys[0] in fresh or source.name not in arrays:
      return leaf
    array = source.convert(arrays[source.name])
    if array.shape != leaf.shape:
      faults.append(
        f"{source.name} gives {'/'.join(keys)} the shape {array.shape}, not "
        f"{leaf.shape}"
      )
    return np.asarray(array, np.float32)

  trees = jax.tree_util.tree_map_with_path(take, expected)
  if faults:
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    raise UsageError(
      f"the weights are not those of network {network.name!r}: "
      + "; ".join(faults[:5])
      + f"{more}. Units named in fresh= need none"
    )
  params, stats = (
    {unit: part for unit, part in tree.items() if unit not in fresh}
    for tree in trees
  )
  return params, stats, fresh


def sources(network: base.Network) -> dict[Path, Source]:
  """Returns the source of each array, by its path in the trees of `init`.

  Raises:
    ValueError: for a network of another architecture.
  """
  return _sources(network, jax.eval_shape(network.init, jax.random.key(0)))


def _sources(
  network: base.Network, trees: tuple[base.Params, base.Stats]
) -> dict[Path, Source]:
  paths = [
    _keys(path)
    for tree in trees
    for path, _ in jax.tree_util.tree_leaves_with_path(tree)
  ]
  name_of: Callable[[Path], str | None] = _timm
  if "last" in network.units:
    name_of = _lite
  elif "embed" not in network.units:
    name_of = functools.partial(_torchvision, _stages(paths))
  names = {path: name_of(path) for path in paths}
  unknown = ["/".join(path) for path, name in names.items() if name is None]
  if unknown:
    raise UsageError(
      f"network {network.name!r} has {unknown[0]}, which has no name in files "
      "of torchvision, timm or EfficientNet-Lite: use a model of these"
    )
  return {
    path: Source(str(name), _layout(path)) for path, name in names.items()
  }


def _keys(path: Sequence[Any]) -> Path:
  """Returns the keys of a leaf from its unit on."""
  keys = tuple(str(entry.key) for entry in path if hasattr(entry, "key"))
  return tuple(key for key in keys if key != "batch_stats")


def _has_other_classes(
  origin: Mapping[Path, Source],
  arrays: Mapping[str, np.ndarray],
  num_classes: int,
  head: str,
) -> bool:
  """Tells whether a file's head is for another number of classes."""
  kernels = [
    arrays[source.name].shape[0]
    for path, source in origin.items()
    if path[0] == head and source.name in arrays
  ]
  return any(count != num_classes for count in kernels)


_ARRAYS = {
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}


def _stages(paths: list[Path]) -> list[int]:
  """Returns the number of the first block of each stage of a ResNet.

  First blocks project their shortcut, but for the first stage of networks
  without bottlenecks, which begins with block 0.
  """
  firsts = [
    int(path[0].removeprefix("block_"))
    for path in paths
    if path[0].startswith("block_") and "conv_shortcut" in path
  ]
  return sorted({0, *firsts})


def _torchvision(stages: list[int], path: Path) -> str | None:
  """Returns torchvision's name of an array of a ResNet."""
  *module, array = path
  fixed = {"stem/conv": "conv1", "stem/norm": "bn1", "head/dense": "fc"}
  name = fixed.get("/".join(module))
  found = re.fullmatch(
    r"block_(\d+)/(conv|norm)_(\d+|shortcut)", "/".join(module)
  )
  if found:
    block, is_norm = int(found[1]), found[2] == "norm"
    if found[3] == "shortcut":
      part = f"downsample.{int(is_norm)}"
    else:
      part = f"{'bn' if is_norm else 'conv'}{int(found[3]) + 1}"
    stage = sum(first <= block for first in stages)
    name = f"layer{stage}.{block - stages[stage - 1]}.{part}"
  return name and f"{name}.{_ARRAYS[array]}"


_LITE = {
  "stem/conv": "_conv_stem",
  "stem/norm": "_bn0",
  "last/conv": "_conv_head",
  "last/norm": "_bn1",
  "head/dense": "_fc",
  "expand_conv": "_expand_conv",
  "expand_norm": "_bn0",
  "filter_conv": "_depthwise_conv",
  "filter_norm": "_bn1",
  "project_conv": "_project_conv",
  "project_norm": "_bn2",
}


def _lite(path: Path) -> str | None:
  """Returns the name of an array of an EfficientNet-Lite."""
  unit, *module, array = path
  block = unit.removeprefix("block_")
  if block == unit:
    name = _LITE.get("/".join(path[:-1]))
  else:
    name = _LITE.get("/".join(module))
    name = name and f"_blocks.{block}.{name}"
  return name and f"{name}.{_ARRAYS[array]}"


_TIMM = {
  "patch": "patch_embed.proj",
  "norm_0": "norm1",
  "query": "attn.qkv",
  "key": "attn.qkv",
  "value": "attn.qkv",
  "out": "attn.proj",
  "norm_1": "norm2",
  "mlp_0": "mlp.fc1",
  "mlp_1": "mlp.fc2",
  "norm": "norm",
  "dense": "head",
}
_TIMM_ARRAYS = {"class_token": "cls_token", "positions": "pos_embed"}


def _timm(path: Path) -> str | None:
  """Returns timm's name of an array of a vision transformer."""
  unit, *module, array = path
  if array in _TIMM_ARRAYS:
    return _TIMM_ARRAYS[array]
  name = _TIMM.get("/".join(module))
  block = unit.removeprefix("block_")
  if name and block != unit:
    name = f"blocks.{block}.{name}"
  return name and f"{name}.{_ARRAYS[array]}"


def _layout(path: Path) -> Callable[[np.ndarray], np.ndarray]:
  """Returns a function from a file's order of axes to the network's."""
  parts = ("query", "key", "value")
  if path[-2] in parts:  # one array for all three, outputs first
    return functools.partial(_third, parts.index(path[-2]))
  return _transposed


def _transposed(array: np.ndarray) -> np.ndarray:
  """Returns kernels with outputs last: OIHW as HWIO, OI as IO."""
  if array.ndim == 4:
    return array.transpose(2, 3, 1, 0)
  return array.T if array.ndim == 2 else array


def _third(index: int, array: np.ndarray) -> np.ndarray:
  size = len(array) // 3
  return _transposed(array[index * size : (index + 1) * size])
