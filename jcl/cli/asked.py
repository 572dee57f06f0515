"""Turns values of flags into the options that the library takes."""

import dataclasses

from jcl import base
from jcl.cli import flags, folders
from jcl.run import session
from jcl.run import setup as setups


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
