"""Continual learning under a cost budget, in JAX.

stream = jcl.class_incremental(jcl.load("digits"), tasks=5)
network = jcl.build_network("mlp", stream.example_shape, stream.num_classes)
result = jcl.learn(stream, network, jcl.recipes.er(buffer=200), epochs=5)
print(result.average_accuracy)
"""

from jcl import base, metrics, recipes
from jcl.base import Method, Network, Objective, Predictor, Replay, Selector
from jcl.errors import UsageError
from jcl.networks.catalogue import build as build_network
from jcl.networks.linen import from_linen
from jcl.networks.nnx import from_nnx
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

__all__ = [
  "Method",
  "Network",
  "Objective",
  "Options",
  "Predictor",
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
  "load",
  "load_model",
  "metrics",
  "permuted",
  "recipes",
  "rotated",
  "task_incremental",
  "time_ordered",
]
