"""Methods from the literature, each a short composition of parts."""

from collections.abc import Callable
import re
from typing import Any

from jcl import base
from jcl.options import parameters, spec
from jcl.options.errors import UsageError
from jcl.recipes import presets
from jcl.recipes.agem import agem
from jcl.recipes.auto import auto
from jcl.recipes.averaged import average, wa, wsc
from jcl.recipes.bic import bic
from jcl.recipes.bounds import finetune, joint
from jcl.recipes.closed_form import ncm, randumb, ranpac, ridge, slda
from jcl.recipes.der import der, derpp
from jcl.recipes.elastic import (
  bn_bias,
  elastic,
  freeze,
  full,
  grad_norm,
  head_only,
  magnitude,
  pruning,
)
from jcl.recipes.er import er
from jcl.recipes.er_ace import er_ace
from jcl.recipes.ewc import ewc
from jcl.recipes.fdr import fdr
from jcl.recipes.fpf import fpf, k_fpf
from jcl.recipes.gdumb import gdumb
from jcl.recipes.icarl import icarl
from jcl.recipes.lars import lars
from jcl.recipes.lightcl import lightcl
from jcl.recipes.lwf import lwf
from jcl.recipes.memory import (
  carm,
  frugal,
  miro,
  over,
  ram_only,
  storage_only,
)
from jcl.recipes.naive import naive
from jcl.recipes.pnn import pnn
from jcl.recipes.si import si
from jcl.recipes.solved import solved
from jcl.recipes.sparse import lightcl_sparse, sparcl

__all__ = [
  "agem",
  "auto",
  "average",
  "bic",
  "bn_bias",
  "carm",
  "der",
  "derpp",
  "elastic",
  "er",
  "er_ace",
  "ewc",
  "fdr",
  "finetune",
  "fpf",
  "freeze",
  "frugal",
  "full",
  "gdumb",
  "grad_norm",
  "head_only",
  "icarl",
  "joint",
  "k_fpf",
  "lars",
  "lightcl",
  "lightcl_sparse",
  "lwf",
  "magnitude",
  "miro",
  "naive",
  "ncm",
  "pnn",
  "pruning",
  "ram_only",
  "randumb",
  "ranpac",
  "ridge",
  "si",
  "slda",
  "solved",
  "sparcl",
  "storage_only",
  "wa",
  "wsc",
]

# Recipes that select the tensors that train; they can follow any other and "+".
SELECTIONS = (
  "bn_bias",
  "elastic",
  "freeze",
  "full",
  "grad_norm",
  "head_only",
  "magnitude",
)

# Recipes of a memory hierarchy; after a "+", they hold the memory of the first.
HIERARCHIES = ("carm", "frugal", "miro", "ram_only")

# Recipes that go on from another one after a "+": those that read the features
# which it leaves frozen, the one that decides how much of it to do, and those
# that do something between its updates.
READERS = (
  "auto",
  "average",
  "fpf",
  "lars",
  "ncm",
  "ridge",
  "slda",
  "solved",
  "wa",
  "wsc",
)

# Options of every recipe, beside its own.
_TRAINING = parameters.fields(base.Training)

# Errors about a value name recipe and option, however the recipe is called.
for _name in __all__:
  globals()[_name] = spec.checked("recipe")(globals()[_name])


def choices() -> dict[str, Callable[..., base.Method]]:
  """Returns the recipes by name."""
  return {name: globals()[name] for name in __all__}


def parse(text: str) -> tuple[str, dict[str, Any]]:
  """Returns name and options of a recipe, those of both parts if it has two.

  "er:buffer=500+elastic:rho=0.4" is named "er+elastic" and has the options of
  both.

  Raises:
    ValueError: for an option without a value, or given to two parts.

  >>> parse("er:buffer=500+elastic:rho=0.4")
  ('er+elastic', {'buffer': 500, 'rho': 0.4})
  """
  parts = [spec.parse(part) for part in _parts(text)]
  options: dict[str, Any] = {}
  for _, own in parts:
    for twice in options.keys() & own.keys():
      raise UsageError(f"{text!r}: option {twice!r} is given to two parts")
    options |= own
  return "+".join(name for name, _ in parts), options


def build(text: str) -> base.Method:
  """Returns the method that a text such as "er:buffer=500" describes.

  Beside a recipe's own options, every field of `base.Training` is an option
  (`er:buffer=500,learning_rate=0.03`), and `preset=NAME` fills in published
  values for options that are not given. After a "+" comes one of `SELECTIONS`,
  which selects the tensors that train (`er:buffer=500+elastic:rho=0.4`), one of
  `HIERARCHIES`, which holds the memory (`derpp+carm:em=500,sb=1000`), or one of
  `READERS`, which goes on from there (`er+head_only+slda`, `er+fpf`).

  Args:
    text: name and options, in the notation of `spec.parse`.

  Raises:
    ValueError: for unknown names, options or values.

  >>> method = build("er:buffer=500,learning_rate=0.03+freeze:until=2")
  >>> method.replay.capacity, method.training.learning_rate, method.trunk
  (500, 0.03, 2)
  """
  parse(text)
  first, *more = _parts(text)
  method = _build(first)
  for part in more:
    if spec.read(part)[0] in READERS:
      method = _build(part, behind=method)
      continue
    chosen = _build(part, method.trunk)
    if chosen.hierarchy is not None:
      if method.hierarchy is not None:
        raise UsageError(f"{text!r}: one memory hierarchy is enough")
      method = over(method, chosen)
      continue
    trunk = method.trunk if chosen.trunk is None else chosen.trunk
    method = method._replace(
      selector=chosen.selector,
      trunk=trunk,
      training=chosen.training.over(method.training),
    )
  return method


def _parts(text: str) -> list[str]:
  behind = "|".join((*SELECTIONS, *HIERARCHIES, *READERS))
  return re.split(rf"\+(?=(?:{behind})\b)", text)


def _build(
  text: str,
  trunk: str | int | float | None = None,
  behind: base.Method | None = None,
) -> base.Method:
  name, given = spec.read(text)
  recipe = spec.choose("recipe", choices(), name)
  also = {**_TRAINING, "preset": str}
  options = spec.check("recipe", name, recipe, given, also)
  if trunk is not None and "trunk" in parameters.keywords(recipe):
    options = {"trunk": trunk, **options}  # selects among the other units
  preset = options.pop("preset", None)
  if preset is not None:
    buffer = options.get("buffer", parameters.keywords(recipe).get("buffer", 0))
    options = {**presets.options(preset, name, buffer), **options}
  training = {k: options.pop(k) for k in _TRAINING if k in options}
  method = recipe(*(() if behind is None else (behind,)), **options)
  return method._replace(
    training=base.Training(**training).over(method.training)
  )


def describe() -> dict[str, str]:
  """Returns one line about each recipe, by name, with its own defaults."""
  lines = parameters.describe(choices())
  for name, recipe in choices().items():
    method = recipe()
    brings = []
    if method.defaults.batch_size is not None:
      brings.append(f"batches of {method.defaults.batch_size}")
    if method.convolutional:
      brings.append("a model that convolves")
    if method.columns:
      brings.append("a column of the model for each experience")
    if brings:
      lines[name] += f" [unless told otherwise: {', '.join(brings)}]"
  return lines
