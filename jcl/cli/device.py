"""`jcl device`: a learner that is asked over HTTP, and watches a folder."""

from pathlib import Path
import signal
import time
from typing import Any

from jcl import base
from jcl.cli import definitions, flags, folders, show
from jcl.control import amounts
from jcl.living import interpreter
from jcl.living.face import device, guard, kept
from jcl.options import parameters
from jcl.options.errors import UsageError
from jcl.run import interrupts
from jcl.run import setup as setups

_POLL = 0.1  # seconds between looks at what has happened
# Flags that are arguments of `jcl.live`, by name.
_ARGUMENTS = {
  "recipe": "recipe",
  "model": "network",
  "weights": "weights",
  "precision": "precision",
  "experience": "experience",
  "store": "store",
}


def command(arguments: list[str]) -> int:
  """Serves a learner's folder until a signal; returns the exit status."""
  if len(arguments) != 1:
    raise UsageError(
      "device takes the folder of one learner, which it makes where there is "
      f"none, such as `jcl device box`; got {len(arguments)}"
    )
  folder = Path(arguments[0]).expanduser()
  token = guard.token(definitions.TOKEN.value, definitions.TOKEN_FILE.value)
  cache = folders.cache()
  if cache is not None:
    setups.keep_programs(cache)
  made = device.Device(
    folder,
    _options(),
    _settings(),
    definitions.HOST.value,
    definitions.PORT.value,
    token,
    show.line,
  )
  with interrupts.signals() as signals:
    with made:
      interpreter.answer_soon()
      show.served(
        made.address, folder, made.watched, len(made.box.learner), token
      )
      while not signals and not made.failed:
        time.sleep(_POLL)
      if signals:
        show.line(f"{signal.Signals(signals[0]).name}: saving")
  if not signals:
    raise UsageError(
      f"the server at {made.address} stopped by itself; everything is saved in "
      f"{folder}: start it again"
    )
  show.line(f"saved in {folder}: `jcl device {folder}` goes on")
  return 0


def _options() -> dict[str, Any]:
  """Returns the arguments of `jcl.live` that the command line gives."""
  values, given = flags.values(), set(flags.given())
  found = {
    argument: values[name]
    for name, argument in _ARGUMENTS.items()
    if name in given
  }
  for name in parameters.fields(base.Training):
    if name in given:
      found[name] = values[name]
  if "seed" in given:
    seeds = flags.seeds()
    if len(seeds) > 1:
      raise UsageError("--seed names several: a learner has one")
    found["seed"] = seeds[0]
  if definitions.BUDGET.value is not None:
    found["budget"] = amounts.read(definitions.BUDGET.value)
  return found


def _settings() -> kept.Settings:
  """Returns how examples come in, as far as the command line says it."""
  return kept.Settings(
    definitions.WATCH.value,
    definitions.LABEL.value,
    definitions.IMAGE_SIZE.value,
    definitions.COLOR.value,
  )
