"""Profiles saved on disk, one JSON file per key.

A profile depends on network, batch size, device and the versions of compiler
and libraries; together they are its key.
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

_FORMAT = 1  # of the files; a file of another format is not read


def key(
  network: base.Network,
  batch_size: int,
  device: str,
  method: str,
  **more: Any,
) -> dict[str, Any]:
  """Returns the key of a profile, ready for JSON.

  Args:
    network: the profiled model; its name and its tensors' shapes count.
    batch_size: examples per step.
    device: name of the device.
    method: "analytic", "timed" or "calibrated".
    **more: other settings that matter, such as norms, optimiser or rounds.
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
  """Loads the profile of `key`, or measures and saves it.

  A file is written under another name and then moved, so that no file is ever
  incomplete. A file that cannot be read causes a warning and a new measurement;
  a file that cannot be written causes a warning.

  Args:
    folder: where profiles are saved; made if absent. None: nowhere.
    key: from `key`, or any dict for JSON.
    measure: makes the profile.
  """
  if folder is None:
    return measure()
  told = json.loads(json.dumps(key, default=_plain))
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
  """Encodes a profile for JSON, NaN as null."""
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
  """Decodes a profile that `to_json` encoded.

  Raises:
    ValueError, KeyError, TypeError: for anything else.
  """

  def numbers(name: str) -> tuple[float, ...]:
    return tuple(float(value) for value in kept[name])

  def number(name: str) -> float:
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
  """Replaces numbers that JSON does not have by null."""
  if isinstance(value, dict):
    return {name: _finite(each) for name, each in value.items()}
  if isinstance(value, list):
    return [_finite(each) for each in value]
  return _or_none(value) if isinstance(value, float) else value


def _plain(value: Any) -> Any:
  if isinstance(value, (np.generic, np.ndarray)):
    return value.tolist()
  raise TypeError(f"{type(value).__name__} is not fit for JSON")
