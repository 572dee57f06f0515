"""Profiles kept on disk, one JSON file per key.

A profile belongs to a network, a batch, a device and versions of what compiles
for it; all that makes up the key.
"""

from collections.abc import Callable
import hashlib
from importlib import metadata
import json
import math
import os
from pathlib import Path
import tempfile
from typing import Any
import warnings

import jax
import jaxlib
import numpy as np

from jcl import base
from jcl.selection import times
from jcl.train.kernels import lowering

_FORMAT = 1  # of the files; another number is measured anew


def key(
  network: base.Network,
  batch_size: int,
  device: str,
  method: str,
  **more: Any,
) -> dict[str, Any]:
  """Returns what identifies a profile, fit for JSON.

  Args:
    network: what is profiled; its name and its tensors' shapes count.
    batch_size: examples per step.
    device: a description of what it runs on.
    method: "analytic", "timed" or "calibrated".
    **more: what else decides, such as norms, optimiser or rounds.
  """
  return {
    "network": network.name,
    "tensors": {
      "/".join(tensor.path): list(tensor.shape) for tensor in network.tensors
    },
    "input_shape": list(network.input_shape),
    "batch_size": batch_size,
    "device": device,
    "method": method,
    "jax": jax.__version__,
    "jaxlib": jaxlib.__version__,
    "jcl": _version(),
    "convolutions": lowering.describe(),
    **more,
  }


def load_or_measure(
  folder: str | Path | None,
  key: dict[str, Any],
  measure: Callable[[], times.TensorTimes],
) -> times.TensorTimes:
  """Returns the profile kept under `key`, or measures and keeps it.

  Files are written under another name and moved into place, so that none is
  ever half written. One that cannot be read is measured anew, with a warning;
  where nothing can be written, there is a warning too.

  Args:
    folder: where profiles are kept; made if absent. None keeps none.
    key: as from `key`, or any dict fit for JSON.
    measure: makes the profile.
  """
  if folder is None:
    return measure()
  told = json.loads(json.dumps(key, sort_keys=True, default=_plain))
  path = _path(Path(folder), told)
  try:
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["key"] == told and kept["format"] == _FORMAT:
      return from_json(kept["times"])
  except FileNotFoundError:
    pass
  except (OSError, ValueError, KeyError, TypeError) as error:
    warnings.warn(
      f"the profile in {path.name} is damaged and is measured anew "
      f"({type(error).__name__}: {error})",
      stacklevel=2,
    )
  measured = measure()
  text = json.dumps(
    {"format": _FORMAT, "key": told, "times": to_json(measured)},
    indent=1,
    allow_nan=False,
  )
  try:
    _write(path, text)
  except OSError as error:
    warnings.warn(
      f"the profile could not be kept: {error}; it is measured again next time",
      stacklevel=2,
    )
  return measured


def to_json(profile: times.TensorTimes) -> dict[str, Any]:
  """Returns a profile as JSON has it, NaN as null."""
  return {
    "forward": list(profile.forward),
    "arrival": list(profile.arrival),
    "weight_grad": list(profile.weight_grad),
    "update": list(profile.update),
    "fixed": profile.fixed,
    "method": profile.method,
    "backward_total": _or_none(profile.backward_total),
    "compile_seconds": _or_none(profile.compile_seconds),
    "about": _finite(json.loads(json.dumps(profile.about, default=_plain))),
  }


def from_json(kept: dict[str, Any]) -> times.TensorTimes:
  """Returns the profile that `to_json` wrote.

  Raises:
    ValueError, KeyError, TypeError: for anything else.
  """

  def numbers(name):
    return tuple(float(value) for value in kept[name])

  def number(name):
    return math.nan if kept[name] is None else float(kept[name])

  return times.TensorTimes(
    forward=numbers("forward"),
    arrival=numbers("arrival"),
    weight_grad=numbers("weight_grad"),
    update=numbers("update"),
    fixed=float(kept["fixed"]),
    method=str(kept["method"]),
    backward_total=number("backward_total"),
    compile_seconds=number("compile_seconds"),
    about=dict(kept["about"]),
  )


def _path(folder: Path, told: dict[str, Any]) -> Path:
  text = json.dumps(told, sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()[:20]
  return folder / f"times-{digest}.json"


def _write(path: Path, text: str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, name = tempfile.mkstemp(".tmp", path.stem, path.parent, text=True)
  try:
    with open(handle, "w", encoding="utf-8") as file:
      file.write(text)
    os.replace(name, path)
  except BaseException:
    Path(name).unlink(missing_ok=True)
    raise


def _version() -> str:
  try:
    return metadata.version("jcl")
  except metadata.PackageNotFoundError:  # run from a checkout
    return "unknown"


def _or_none(value: float) -> float | None:
  return value if math.isfinite(value) else None


def _finite(value: Any) -> Any:
  """The value with null for numbers that JSON does not have."""
  if isinstance(value, dict):
    return {name: _finite(each) for name, each in value.items()}
  if isinstance(value, list):
    return [_finite(each) for each in value]
  return _or_none(value) if isinstance(value, float) else value


def _plain(value: Any) -> Any:
  if isinstance(value, (np.generic, np.ndarray)):
    return value.tolist()
  raise TypeError(f"{type(value).__name__} is not fit for JSON")
