"""Turns values of flags into the options that the library takes."""

import dataclasses

from jcl import base
from jcl.cli import definitions, flags, folders
from jcl.run import session
from jcl.run import setup as setups


def recipes() -> list[str]:
  """Returns the recipes to run beside each other, each once."""
  compared = [
    text for text in definitions.COMPARE.value if text not in ("none", "")
  ]
  return list(dict.fromkeys([definitions.RECIPE.value, *compared]))


def setup() -> setups.Setup:
  """Returns the options of runs; a flag has the name of the field it fills."""
  values = flags.values() | {"cache_dir": folders.cache()}

  def filled(kind, **more):
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{k: v for k, v in values.items() if k in names}, **more)

  return filled(
    setups.Setup,
    training=filled(base.Training),
    options=filled(session.Options),
  )
