"""Continual learning under a cost budget, in JAX.

stream = jcl.class_incremental(jcl.load("digits"), tasks=5)
network = jcl.build_network("mlp", stream.example_shape, stream.num_classes)
result = jcl.learn(stream, network, jcl.recipes.er(buffer=200), epochs=5)
print(result.average_accuracy)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from jcl import base, metrics, recipes
  from jcl.base import Method, Network, Objective, Predictor, Replay, Selector
  from jcl.control.allowance import Budget
  from jcl.living.opening import live
  from jcl.living.reader import Reader
  from jcl.networks.catalogue import build as build_network
  from jcl.networks.linen import from_linen
  from jcl.networks.nnx import from_nnx
  from jcl.options.errors import UsageError
  from jcl.run.inference.files import load as load_model
  from jcl.run.session import Options, Result, learn
  from jcl.streams.scenarios import (
    blurry,
    class_incremental,
    domain_by_group,
    permuted,
    rotated,
    task_incremental,
    time_ordered,
  )
  from jcl.streams.sources import arrays, load

__version__ = "0.2.0"

# Modules of the names below, which are imported when they are first used: the
# command line starts without JAX.
_HOMES = {
  "Budget": "jcl.control.allowance",
  "Method": "jcl.base",
  "Network": "jcl.base",
  "Objective": "jcl.base",
  "Predictor": "jcl.base",
  "Replay": "jcl.base",
  "Selector": "jcl.base",
  "UsageError": "jcl.options.errors",
  "build_network": "jcl.networks.catalogue",
  "from_linen": "jcl.networks.linen",
  "from_nnx": "jcl.networks.nnx",
  "live": "jcl.living.opening",
  "load_model": "jcl.run.inference.files",
  "Options": "jcl.run.session",
  "Reader": "jcl.living.reader",
  "Result": "jcl.run.session",
  "learn": "jcl.run.session",
  "blurry": "jcl.streams.scenarios",
  "class_incremental": "jcl.streams.scenarios",
  "domain_by_group": "jcl.streams.scenarios",
  "permuted": "jcl.streams.scenarios",
  "rotated": "jcl.streams.scenarios",
  "task_incremental": "jcl.streams.scenarios",
  "time_ordered": "jcl.streams.scenarios",
  "arrays": "jcl.streams.sources",
  "load": "jcl.streams.sources",
}
_NAMES = {"build_network": "build", "load_model": "load"}  # where they differ

__all__ = [
  "Budget",
  "Method",
  "Network",
  "Objective",
  "Options",
  "Predictor",
  "Reader",
  "Replay",
  "Result",
  "Selector",
  "UsageError",
  "arrays",
  "base",
  "blurry",
  "build_network",
  "class_incremental",
  "domain_by_group",
  "from_linen",
  "from_nnx",
  "learn",
  "live",
  "load",
  "load_model",
  "metrics",
  "permuted",
  "recipes",
  "rotated",
  "task_incremental",
  "time_ordered",
]


def __getattr__(name: str) -> Any:
  """Returns a public name, or a module of jcl, at its first use."""
  home = _HOMES.get(name, "")
  if home:
    found = getattr(importlib.import_module(home), _NAMES.get(name, name))
  elif name.startswith("_"):
    raise AttributeError(f"module 'jcl' has no attribute {name!r}")
  else:
    try:
      return importlib.import_module(f"jcl.{name}")
    except ModuleNotFoundError as error:
      if error.name != f"jcl.{name}":
        raise
      raise AttributeError(f"module 'jcl' has no attribute {name!r}") from None
  globals()[name] = found
  return found


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
