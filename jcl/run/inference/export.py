"""Trained models for programs without jcl: scores from raw inputs, in a file.

Formats by name:

- "stablehlo": the program as `jax.export` writes it, its weights and a JSON
  text about it, in one safetensors file. Without jcl, with `pip install jax
  flatbuffers safetensors`, it is read by

      with safetensors.safe_open("model.safetensors", "np") as file:
        about = json.loads(file.metadata()["about"])
        weights = {name: file.get_tensor(name) for name in file.keys()}
      program = jax.export.deserialize(bytearray(weights.pop("program")))
      predict_scores = jax.jit(program.call)
      scores = predict_scores(weights, x)  # x: as about["shape"] says
      names = np.array(about["class_names"])[scores.argmax(axis=-1)]

- "onnx": a graph for ONNX Runtime and others, see `onnx_file`.

A file is replaced as a whole: no reader meets a program with the weights of
another one, as could happen with a file each. Neither format holds code that is
run by reading the file.
"""

from collections.abc import Callable, Mapping
import functools
from importlib import metadata
import itertools
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import export as jax_export
import jax.numpy as jnp
import numpy as np

from jcl.networks import external
from jcl.options import errors
from jcl.options.errors import (
  MissingFileError,
  MissingPackageError,
  UsageError,
)
from jcl.report import lines
from jcl.run.inference import files, model

SUFFIXES: dict[model.Format, str] = {
  "stablehlo": ".safetensors",
  "onnx": ".onnx",
}
PROGRAM = "program"  # its name among the arrays of a safetensors file
_FORMAT = 1
_PLATFORMS = ("cpu", "cuda", "tpu")


class Plain(NamedTuple):
  """A model as a function of arrays by name."""

  scores: Callable[[Mapping[str, Any], Any], jax.Array]  # (weights, x)
  weights: dict[str, np.ndarray]
  about: dict[str, Any]  # JSON-ready


def export(
  made: model.Model,
  path: str | os.PathLike[str],
  *,
  format: model.Format = "stablehlo",
) -> Path:
  """Writes a model as a program that runs without jcl, whole or not at all.

  The program takes raw inputs, normalises them and gives the scores of
  `Model.predict_scores`, minus infinity for classes that were not learned. It
  is run once, and its scores are compared, before the file gets its name.

  Args:
    made: the model; its predictor may be one of your own.
    path: of the file, or of a folder, in which the file is `model.safetensors`
      or `model.onnx`. A file that is there is replaced.
    format: "stablehlo" for JAX and compilers of StableHLO, or "onnx".

  Returns:
    The path of the file.

  Raises:
    OSError: where it cannot be written.
    UsageError: for a network or a predictor that the format cannot express, and
      where a package is missing.
  """
  path = target(path, format)
  plain = of(made)
  if format == "onnx":
    from jcl.run.inference import onnx_file

    content = onnx_file.content(made, plain)
  else:
    content = _stablehlo(made, plain)
  with lines.replacing(path) as file:
    file.write(content)
  return path


def of(made: model.Model) -> Plain:
  """Returns the model as one function of its weights, by name, and inputs."""
  leaves, tree = jax.tree_util.tree_flatten_with_path(
    {"params": made.params, "stats": made.stats, "fitted": made.fitted}
  )
  names = [
    jax.tree_util.keystr(place, simple=True, separator="/")
    for place, _ in leaves
  ]
  scores_fn, seen = made.scores_fn, np.asarray(made.seen, bool)

  def scores(weights: Mapping[str, Any], x: Any) -> jax.Array:
    trees = jax.tree.unflatten(tree, [weights[name] for name in names])
    found = scores_fn(trees["params"], trees["stats"], trees["fitted"], x)
    return jnp.where(seen, found, -jnp.inf)

  weights = {
    name: np.asarray(leaf, order="C")
    for name, (_, leaf) in zip(names, leaves, strict=True)
  }
  return Plain(scores, weights, _about(made))


def check(
  made: model.Model,
  run: Callable[[np.ndarray], Any],
  format: model.Format,
  rows: int | None = None,
) -> None:
  """Raises UsageError where an exported program gives other scores.

  Args:
    made: the model.
    run: computes the scores of inputs.
    format: of the program.
    rows: that it takes; None for any number.
  """
  probe = files.probe(made.inputs)
  expected = made.predict_scores(probe)
  x = probe if rows is None else np.resize(probe, (rows, *probe.shape[1:]))
  if not files.near(np.asarray(run(x))[: len(probe)], expected[: len(x)]):
    raise UsageError(
      f"{told(made)} gives other scores as {format} than in jcl, so nothing "
      "was written: give another format, or save the model for jcl.load_model"
    )


def told(made: model.Model) -> str:
  """Returns what a message calls a model."""
  predictor = made.predictor.name or "a predictor of its own"
  return f"network {made.inputs.network.name!r} with {predictor}"


def target(path: str | os.PathLike[str], format: model.Format) -> Path:
  """Returns the path of the file to be written."""
  if format not in SUFFIXES:
    raise UsageError(
      f"format={errors.short(format)} is not known: give one of "
      f"{', '.join(SUFFIXES)}"
    )
  path = Path(path).expanduser()
  if path.is_dir():
    path = path / f"model{SUFFIXES[format]}"
  if path.suffix != SUFFIXES[format]:
    raise UsageError(
      f"cannot export {format} to {path}: give a name that ends in "
      f"{SUFFIXES[format]}"
    )
  if not path.parent.is_dir():
    raise MissingFileError(
      f"cannot export to {path}: there is no folder {path.parent}; make it, or "
      "give a file in one that is there"
    )
  return path


def _about(made: model.Model) -> dict[str, Any]:
  """Returns what a program without jcl has to know of a model; JSON-ready."""
  names = list(made.class_names)
  try:
    version = metadata.version("jcl")
  except metadata.PackageNotFoundError:  # run from a checkout
    version = "unknown"
  return {
    "format": _FORMAT,
    "input_shape": list(made.inputs.network.input_shape),
    "dtype": str(made.inputs.dtype),
    "class_names": names,
    "learned": [n for n, seen in zip(names, made.seen, strict=True) if seen],
    "network": made.inputs.network.name,
    "predictor": made.predictor.name,
    "jcl": version,
    "jax": jax.__version__,
  }


def _stablehlo(made: model.Model, plain: Plain) -> bytes:
  """Returns the content of a safetensors file."""
  library = external.safetensors()
  programs = _programs(made, plain)
  about = {
    **plain.about,
    # Of the programs' inputs; null where one program takes any number.
    "rows": None if None in programs else list(programs),
    "platforms": list(next(iter(programs.values())).platforms),
  }
  arrays = dict(plain.weights)
  for rows, program in programs.items():
    try:
      written = program.serialize()
    except ImportError as error:
      raise MissingPackageError(
        f"programs cannot be written ({error}); install it with "
        'pip install "jcl[export]"'
      ) from error
    run = jax.jit(jax_export.deserialize(written).call)
    check(made, functools.partial(run, plain.weights), "stablehlo", rows)
    name = PROGRAM if rows is None else f"{PROGRAM}.{rows}"
    arrays[name] = np.frombuffer(written, np.uint8)
  return library.save(arrays, {"about": json.dumps(about)})


def _programs(
  made: model.Model, plain: Plain
) -> dict[int | None, jax_export.Exported]:
  """Returns one program for any number of rows, or several of fixed numbers.

  Each is for all platforms that JAX can lower the model to.
  """
  shape, dtype = made.inputs.network.input_shape, made.inputs.dtype
  weights = {
    name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    for name, leaf in plain.weights.items()
  }
  sizes: tuple[int | None, ...]
  reasons = []
  for sizes, platforms in itertools.product(
    ((None,), model.ROWS), (_PLATFORMS, None)
  ):
    found = {}
    try:
      for size in sizes:
        rows = jax_export.symbolic_shape("rows")[0] if size is None else size
        x = jax.ShapeDtypeStruct((rows, *shape), dtype)
        lower = jax_export.export(jax.jit(plain.scores), platforms=platforms)
        found[size] = lower(weights, x)
      return found
    except Exception as error:  # whatever a user's network raises
      reasons.append(error)
  raise UsageError(
    f"{told(made)} cannot be exported as stablehlo "
    f"({errors.reason(reasons[-1])}): save the model for jcl.load_model"
  ) from reasons[0]
