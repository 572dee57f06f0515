"""Models in files: arrays and JSON; loading a model executes none of it."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import json
import os
from pathlib import Path
import types
from typing import Any
import zipfile

import jax
import numpy as np

from jcl import base
from jcl.networks import origin
from jcl.objectives import named as predictors_by_name
from jcl.options import errors, spec
from jcl.options.errors import MissingFileError, UsageError
from jcl.report import lines
from jcl.run.inference import model

NAME = "model.npz"  # of the file in a run's folder
FILES = (NAME,)
_FORMAT = 1
_ABOUT = "about"
# Devices round differently: scores of a model on another machine may differ by
# this share of the largest score.
_NEAR = 0.05
_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}
_CHECKED = 8  # generated examples whose scores the file keeps


def save(made: model.Model, path: str | os.PathLike[str]) -> Path:
  """Writes a model to a file, as a whole or not at all.

  Args:
    made: the model.
    path: of the file, or of a folder, in which the file is `NAME`.

  Returns:
    The path of the file.

  Raises:
    OSError: where it cannot be written.
    ValueError: for a predictor of one's own, which no file can hold.
  """
  path, name = Path(path).expanduser(), made.predictor.name
  if not name:
    raise UsageError(
      "the method reads scores by a predictor of its own, which is code and "
      "cannot be kept in a file: keep result.state, or use one of "
      f"jcl.objectives: {', '.join(predictors_by_name.NAMED)}"
    )
  if path.is_dir():
    path = path / NAME
  if not path.parent.is_dir():
    raise MissingFileError(
      f"cannot save to {path}: there is no folder {path.parent}; make it, or "
      "give a file in one that is there"
    )
  leaves = _leaves((made.params, made.stats, made.fitted))
  examples = probe(made.inputs)
  arrays = {f"a{i}": _plain(leaf) for i, (_, leaf) in enumerate(leaves)}
  arrays |= {
    "mean": np.asarray(made.inputs.mean),
    "std": np.asarray(made.inputs.std),
    "seen": np.asarray(made.seen, bool),
    "scores": made.predict_scores(examples),
  }
  network = made.inputs.network
  about = {
    "format": _FORMAT,
    "network": network.name,
    "origin": _json_ready(network.origin),
    "input_shape": list(network.input_shape),
    "dtype": str(made.inputs.dtype),
    "class_names": list(made.class_names),
    "predictor": name,
    "arrays": [[key, str(leaf.dtype)] for key, leaf in leaves],
  }
  arrays[_ABOUT] = np.frombuffer(json.dumps(about).encode(), np.uint8)
  with lines.replacing(path) as file:
    np.savez(file, **arrays)  # type: ignore[arg-type]
  return path


Build = Callable[[tuple[int, ...], int], base.Network]
# A module of Flax can be called too, but builds no network.
_NETWORKS = (
  base.Network,
  types.FunctionType,
  types.MethodType,
  functools.partial,
  types.NoneType,
)


def load(
  path: str | os.PathLike[str],
  network: base.Network | Build | None = None,
  before: model.Model | None = None,
) -> model.Model:
  """Reads a model that `Result.save` or a run has left; runs no code from it.

  Args:
    path: of the file, or the folder of a run that has ended.
    network: built as for the run, where it was a network of your own, or what
      builds it from the shape of an example and a number of classes; None
      builds networks of `jcl.build_network` anew.
    before: read from the file when another model was there, built as this one;
      what is compiled for it serves on where it can.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where the file is no model, damaged or of a newer version, or
      the network is not the one that was trained.
  """
  if not isinstance(network, _NETWORKS):
    raise UsageError(
      f"network={errors.short(network)}: give a network as the run had, of "
      "jcl.from_linen, jcl.from_nnx or jcl.build_network"
    )
  path = _found(Path(path).expanduser())
  try:
    arrays = _read(path)
    about = json.loads(arrays.pop(_ABOUT).tobytes())
    number = about["format"]
  except (
    *(KeyError, TypeError, ValueError, EOFError, RecursionError),
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, MemoryError),
  ) as error:
    raise _damaged(path, error) from error
  if number != _FORMAT:
    raise UsageError(
      f"{path} is a model of format {errors.short(number)}, and this version "
      f"of jcl reads {_FORMAT}: load it with the version that saved it"
    )
  if not isinstance(network, base.Network):
    known = None if before is None else _known(about, before, network)
    network = known or _built(path, about, network)
  try:
    made = _assembled(arrays, about, network)
  except (KeyError, IndexError, TypeError, AttributeError) as error:
    raise _damaged(path, error) from error
  except ValueError as error:
    raise UsageError(f"{path}: {error}") from error
  if before is not None and made.computes_like(before):
    made = dataclasses.replace(made, programs=before.programs)
  _check(path, made, arrays["scores"])
  return made


def _found(path: Path) -> Path:
  if path.is_dir():
    below = [path / NAME] if (path / NAME).is_file() else []
    below = (
      below
      or sorted(path.glob(f"*/{NAME}"))
      or sorted(path.glob(f"*/*/{NAME}"))
    )
    if len(below) == 1:
      return below[0]
    if below:
      raise UsageError(
        f"{path} holds {len(below)} models: give one, such as {below[0].parent}"
      )
    raise MissingFileError(
      f"{path} holds no {NAME}: a run writes it when it has ended; run the "
      "same command again to end it"
    )
  if not path.is_file():
    raise MissingFileError(
      f"there is no {path}: give a file of result.save(path), or the folder of "
      "a run"
    )
  return path


def _damaged(path: Path, error: Exception) -> UsageError:
  told = errors.short(str(error) or type(error).__name__, 90)
  return UsageError(
    f"{path} is no model of jcl, or a damaged one ({told}): save it again"
  )


def _read(path: Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a file, in no more memory than the file takes."""
  most = path.stat().st_size
  with zipfile.ZipFile(path) as archive:
    for info in archive.infolist():
      if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
        raise ValueError(f"{info.filename} is packed")
      with archive.open(info) as file:
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
      if dtype.hasobject or np.prod(shape, dtype=float) * dtype.itemsize > most:
        raise ValueError(f"{info.filename} holds other things than it says")
  with np.load(path, allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def _known(
  about: Mapping[str, Any], before: model.Model, build: Build | None
) -> base.Network | None:
  """Returns the network of an earlier model, if a file's model has it too."""
  network = before.inputs.network
  sizes = list(network.input_shape), network.num_classes
  alike = about.get("input_shape"), len(about.get("class_names", ()))
  same = build is not None or about.get("origin") == _json_ready(network.origin)
  return network if same and sizes == alike else None


def _built(
  path: Path, about: Mapping[str, Any], build: Build | None
) -> base.Network:
  if build is None and about.get("origin") is None:
    raise UsageError(
      f"{path} was trained with a network of your own, "
      f"{errors.short(about.get('network'))}: build it again and give it, "
      "jcl.load_model(path, network=...)"
    )
  try:
    shape = tuple(int(size) for size in about["input_shape"])
    classes = len(about["class_names"])
    if build is not None:
      return build(shape, classes)
    return origin.build(about["origin"], shape, classes)
  except (KeyError, TypeError, ValueError) as error:
    raise UsageError(
      f"{path}: its network cannot be built "
      f"({errors.short(str(error), 120)}); give it, "
      "jcl.load_model(path, network=...)"
    ) from error


def _assembled(
  arrays: Mapping[str, np.ndarray],
  about: Mapping[str, Any],
  network: base.Network,
) -> model.Model:
  name, options = spec.parse(about["predictor"])
  named = predictors_by_name.NAMED[name]
  trees = jax.eval_shape(network.init, jax.random.key(0))
  keys = [key for key, _ in _leaves(trees)]
  told = [key for key, _ in about["arrays"]]
  own = [key for key in told if not key.startswith("[2]")]
  if own != keys:
    odd = sorted(set(own) ^ set(keys)) or keys
    raise UsageError(
      f"the weights are not those of network {network.name!r}: "
      f"{errors.some(odd, 3)} is in one of them only"
    )
  shape = tuple(about["input_shape"])
  if tuple(network.input_shape) != shape or network.num_classes != len(
    about["class_names"]
  ):
    raise UsageError(
      f"network {network.name!r} takes {network.input_shape} and has "
      f"{network.num_classes} classes; the model was trained with {shape} and "
      f"{len(about['class_names'])}"
    )
  leaves = [
    arrays[f"a{i}"].view(_dtype(dtype)).reshape(arrays[f"a{i}"].shape)
    for i, (_, dtype) in enumerate(about["arrays"])
  ]
  put = [jax.device_put(leaf) for leaf in leaves]
  params, stats = jax.tree.unflatten(
    jax.tree.structure(trees), put[: len(keys)]
  )
  return model.of(
    model.Inputs(
      network, arrays["mean"], arrays["std"], np.dtype(about["dtype"])
    ),
    params,
    stats,
    named.build(**options),
    named.fitted(*put[len(keys) :]),
    [str(name) for name in about["class_names"]],
    arrays["seen"],
  )


def _check(path: Path, made: model.Model, expected: np.ndarray) -> None:
  """Raises ValueError where the scores are not those of the saved model."""
  try:
    found = made.predict_scores(probe(made.inputs))
  except Exception as error:  # whatever a user's network raises
    raise UsageError(
      f"{path}: its network {made.inputs.network.name!r} does not run with the "
      f"weights ({errors.short(str(error), 120)}); build it as for the run"
    ) from error
  if not near(found, expected):
    raise UsageError(
      f"{path}: network {made.inputs.network.name!r} takes the weights, but "
      "computes other scores than the one that was trained: build it with the "
      "same options, such as activations and normalisers"
    )


def probe(inputs: model.Inputs) -> np.ndarray:
  """Returns generated examples, the same on every machine."""
  shape = (_CHECKED, *inputs.network.input_shape)
  generator = np.random.Generator(np.random.PCG64(0))
  if inputs.dtype == np.uint8:
    return generator.integers(0, 256, shape, dtype=np.uint8)
  drawn = generator.normal(size=shape)
  return np.asarray(inputs.mean + inputs.std * drawn, np.float32)


def near(found: np.ndarray, expected: np.ndarray) -> bool:
  """Tells whether scores [N, C] differ by no more than devices round."""
  if found.shape != expected.shape:
    return False
  known = np.isfinite(expected)
  if not np.array_equal(np.isfinite(found), known):
    return False
  most = _NEAR * np.abs(expected[known]).max(initial=1e-3)
  return np.allclose(found[known], expected[known], rtol=0, atol=most)


def _leaves(tree: Any) -> list[tuple[str, Any]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def _plain(leaf: Any) -> np.ndarray:
  """Returns the array; integers of its bits where NumPy lacks its dtype."""
  array = np.ascontiguousarray(leaf)
  if array.dtype.kind in "biufc":
    return array.reshape(np.shape(leaf))
  whole = np.dtype(f"u{array.dtype.itemsize}")
  return array.view(whole).reshape(np.shape(leaf))


def _dtype(name: str) -> np.dtype:
  return np.dtype(jax.numpy.dtype(name))


def _json_ready(value: Any) -> Any:
  """Returns the value, or None where JSON cannot hold it."""
  try:
    return json.loads(json.dumps(value, allow_nan=False))
  except (TypeError, ValueError):
    return None
