"""Opening of a live learner: the first time with settings, then by folder."""

from collections.abc import Mapping
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from jcl import base
from jcl.control import allowance
from jcl.living import ending as ending_lib
from jcl.living import held, logged
from jcl.living import live as live_lib
from jcl.living import settings as settings_lib
from jcl.living.log import log as log_lib
from jcl.options import errors, kinds, parameters, plain, spec
from jcl.options.errors import UsageError
from jcl.report import lines
from jcl.run import arguments, session
from jcl.run import setup as setup_lib
from jcl.run import workdir as workdir_lib
from jcl.streams import stream as stream_lib

_SETTINGS, _LOG = "settings.json", "log"  # of the folder
_FORMAT = 1
_CUSTOM = "custom"  # stands for what no file can hold
_DEFAULTS: dict[str, Any] = {
  "recipe": "er:buffer=500",
  "network": "auto",
  "weights": None,
  "precision": "float32",
  "capacity": 16,
  "normalize": None,
  "scale": 255.0,
  "ordered": False,
  "seed": 0,
  "training": {},
  "options": {},
  # May change from one opening to the next.
  "experience": "call",
  "store": "2GB",
  "budget": None,
}
_MAY_CHANGE = ("experience", "store", "budget")


def live(
  folder: str | os.PathLike[str] | None = None,
  *,
  recipe: str | base.Method | None = None,
  network: str | settings_lib.Build | None = None,
  budget: allowance.Budget | None = None,
  experience: str | int | None = None,
  store: str | int | None = None,
  capacity: int | None = None,
  normalize: stream_lib.Normalization | None = None,
  scale: float | None = None,
  ordered: bool | None = None,
  weights: str | None = None,
  precision: str | None = None,
  seed: int | None = None,
  options: session.Options | None = None,
  **training: Any,
) -> live_lib.Live:
  """Opens a learner that takes data as it arrives.

  The first call makes the folder and keeps the settings there; later ones need
  the folder only, and refuse other settings, but for `experience`, `store` and
  `budget`. `jcl.Reader` opens a folder for predictions alone.

  Args:
    folder: of the learner, one process at a time; None keeps everything in
      memory, for as long as the process lasts.
    recipe: such as "er:buffer=2MB", the default "er:buffer=500", or a method.
    network: such as "mlp:width=100", or a function that builds a network from
      the shape of an example and a number of classes; by default one that
      suits the examples.
    budget: what learning may spend; None: no limit.
    experience: when one ends: after so many examples, a time such as "10min",
      or by "drift"; "call", the default: where `end_experience` says so, and
      where `learn` begins.
    store: bound of the folder's examples, "2GB" by default.
    capacity: classes that the head has room for at first, 16 by default; it
      doubles where more arrive.
    normalize: as for streams; figures are those of the first experience.
    scale: raw value that stands for one, of bytes; 255 by default.
    ordered: whether an experience's examples are shown in time order.
    weights: that the network begins with, as for `run.py --weights`.
    precision: "float32" or "bfloat16".
    seed: decides initialisation, order, replay and augmentation.
    options: how learning is carried out; see `jcl.Options`.
    **training: fields of `base.Training`, such as `epochs=2`.

  Raises:
    UsageError: for settings that do not serve, or are not the folder's.
    StoreError: where the folder is in use, damaged or of a newer version.
  """
  _check_names(training)
  given = {
    "recipe": recipe,
    "network": network,
    "weights": weights,
    "precision": precision,
    "capacity": capacity,
    "normalize": normalize,
    "scale": scale,
    "ordered": ordered,
    "seed": seed,
    "training": training or None,
    "options": None if options is None else dataclasses.asdict(options),
    "experience": experience,
    "store": store,
    "budget": budget,
  }
  arguments.check_folder(folder)
  given = {name: each for name, each in given.items() if each is not None}
  if folder is None:
    return live_lib.Live(held.Held(), *_read({**_DEFAULTS, **given}), None)
  path = Path(folder).expanduser()
  found = _kept(path)
  if found:
    _check_same(path, found, given)
  now = {**_DEFAULTS, **found, **given}
  settings, ending = _read(now)
  size = now["store"]
  log = log_lib.Log.open(
    path / _LOG,
    limit_bytes=plain.parse_size(size) if isinstance(size, str) else size,
  )
  try:
    _keep(path, now)
    return live_lib.Live(logged.Logged(log), settings, ending, path)
  except BaseException:
    log.close()
    raise


def is_begun(folder: str | os.PathLike[str]) -> bool:
  """Tells whether a folder is a learner's already."""
  return (Path(folder).expanduser() / _SETTINGS).exists()


def _check_names(training: Mapping[str, Any]) -> None:
  arguments.check_names(
    live,
    training,
    parameters.fields(base.Training),
    parameters.fields(session.Options),
  )


def _read(
  found: Mapping[str, Any],
) -> tuple[settings_lib.Settings, ending_lib.Ending]:
  """Returns settings of what was given and kept, and what ends experiences."""
  return settings_of(found), ending_lib.read(found["experience"])


def settings_of(given: Mapping[str, Any]) -> settings_lib.Settings:
  """Returns settings of what was given, each checked.

  Args:
    given: arguments of `live`, `training` and `options` as mappings; all that
      is absent is as by default.

  Raises:
    UsageError: for a setting that does not serve.
  """
  found = {**_DEFAULTS, **given}
  capacity = spec.value("capacity", found["capacity"], kinds.Count)
  training = spec.checked_fields(base.Training(**found["training"]))
  options = session.Options(**found["options"])
  network = found["network"]
  setup = setup_lib.Setup(
    model=network if isinstance(network, str) else "auto",
    weights=found["weights"],
    precision=found["precision"],
    training=training,
    options=dataclasses.replace(options, progress=False),
  )
  made = settings_lib.Settings(
    found["recipe"],
    network,
    setup,
    arguments.seed(found["seed"]),
    capacity,
    found["normalize"],
    spec.value("scale", found["scale"], kinds.Positive),
    bool(found["ordered"]),
    options.checkpoint_seconds,
    found["budget"],
  )
  settings_lib.check(made)
  return made


def _kept(path: Path) -> dict[str, Any]:
  """Returns the settings that a folder keeps, {} where it is new."""
  file = path / _SETTINGS
  if not file.exists():
    return {}
  try:
    found = json.loads(file.read_text(encoding="utf-8"))
    number = found.pop("format")
    if found["budget"] is not None:
      found["budget"] = allowance.Budget(**found["budget"])
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UsageError(
      f"{file} is damaged ({errors.reason(error, 90)}): bring it back, or give "
      "another folder"
    ) from error
  if number != _FORMAT:
    raise UsageError(
      f"{file} has format {number}, and this version of jcl reads {_FORMAT}: "
      "use the version that wrote it, or another folder"
    )
  return found


def _keep(path: Path, found: Mapping[str, Any]) -> None:
  """Writes settings into a folder; what no file can hold as `_CUSTOM`."""
  shown: dict[str, Any] = {
    name: each if name == "budget" or _holds(each) else _CUSTOM
    for name, each in found.items()
  }
  if isinstance(shown["budget"], allowance.Budget):
    shown["budget"] = dataclasses.asdict(shown["budget"])
  text = json.dumps({"format": _FORMAT, **shown}, indent=2)
  with workdir_lib.explained(path):
    lines.write_atomically(path / _SETTINGS, text)


def _check_same(
  path: Path, found: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
  """Raises UsageError where a folder was made with other settings."""
  for name in _DEFAULTS.keys() - set(_MAY_CHANGE):
    kept, now = found.get(name, _DEFAULTS[name]), given.get(name)
    if now is None and kept == _CUSTOM:
      raise UsageError(
        f"{path} was made with a {name} of your own, which no file holds: give "
        f"{name}= again"
      )
    if now is not None and kept != (now if _holds(now) else _CUSTOM):
      raise UsageError(
        f"{path} was made with {name}={kept!r}: leave out {name}="
        f"{errors.short(now)}, or give another folder"
      )


def _holds(value: Any) -> bool:
  """Tells whether JSON holds a setting as it is."""
  try:
    return json.loads(json.dumps(value)) == value
  except (TypeError, ValueError):
    return False
