"""Where commands write: names of work directories, and the cache."""

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
import re

from jcl.cli import definitions, flags
from jcl.options import spec
from jcl.run import surroundings


def slug(text: str) -> str:
  """Returns a text with what file names do not take replaced by "-"."""
  return re.sub(r"[^A-Za-z0-9_.=+-]+", "-", text).strip("-")


def work(name: str, settings: object) -> Path:
  """Returns the work directory: that of --workdir, or one by its settings.

  Args:
    name: begins the folder's name.
    settings: JSON-ready; a digest of them ends it.
  """
  if definitions.WORKDIR.value:
    return Path(definitions.WORKDIR.value).expanduser()
  told = json.dumps(settings, sort_keys=True)
  digest = hashlib.sha256(told.encode()).hexdigest()[:8]
  return Path("runs") / f"{name}-{digest}"


def chosen(shared: Mapping[str, object]) -> dict[str, object]:
  """Returns the settings that name a work directory: those not at defaults.

  The name stays the same where a file moves or a later version has more flags.
  """
  defaults = flags.defaults()
  found = {k: v for k, v in shared.items() if v != defaults.get(k)}
  name, options = spec.parse(definitions.DATA_SET.value)
  options.pop("path", None)
  return {**found, "data": [name, options]}


def cache() -> str | None:
  """Returns the folder of profiles and compiled programs; None for nowhere."""
  told = definitions.CACHE_DIR.value
  if told == "none":
    return None
  if told:
    return str(Path(told).expanduser())
  home = surroundings.cache_folder()
  return None if home is None else str(home / "jcl")
