"""Methods from the literature, each a short composition of parts."""

from collections.abc import Callable
import dataclasses

from jcl import base, spec
from jcl.recipes import presets
from jcl.recipes.agem import agem
from jcl.recipes.bounds import finetune, joint
from jcl.recipes.der import der, derpp
from jcl.recipes.er import er
from jcl.recipes.er_ace import er_ace
from jcl.recipes.ewc import ewc
from jcl.recipes.gdumb import gdumb
from jcl.recipes.icarl import icarl
from jcl.recipes.lwf import lwf
from jcl.recipes.si import si

__all__ = [
  "agem",
  "der",
  "derpp",
  "er",
  "er_ace",
  "ewc",
  "finetune",
  "gdumb",
  "icarl",
  "joint",
  "lwf",
  "si",
]

_TRAINING = tuple(field.name for field in dataclasses.fields(base.Training))


def choices() -> dict[str, Callable[..., base.Method]]:
  """Returns the recipes by name."""
  return {name: globals()[name] for name in __all__}


def build(text: str) -> base.Method:
  """Returns the method that a text such as "er:buffer=500" describes.

  Beside a recipe's own options, every field of `base.Training` is one
  (`er:buffer=500,learning_rate=0.03`), and `preset=NAME` fills in published
  values where they are not given.

  Args:
    text: name and options, in the notation of `spec.parse`.

  Raises:
    ValueError: for unknown names, options or values.
  """
  name, options = spec.parse(text)
  recipe = spec.choose("recipe", choices(), name)
  preset = options.pop("preset", None)
  spec.check("recipe", name, recipe, options, (*_TRAINING, "preset"))
  if preset is not None:
    buffer = options.get("buffer", spec.keywords(recipe).get("buffer", 0))
    options = {**presets.options(preset, name, buffer), **options}
  training = {k: options.pop(k) for k in _TRAINING if k in options}
  method = recipe(**options)
  return method._replace(
    training=base.Training(**training).over(method.training)
  )


def describe() -> dict[str, str]:
  """Returns one line about each recipe, by name."""
  return spec.describe(choices())
