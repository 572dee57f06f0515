"""How hard XLA works on the code of a program for the CPU."""

import functools
import os

import jax

_LEVEL = "xla_backend_optimization_level"


@functools.cache
def options(*, once: bool = False) -> dict[str, int]:
  """Returns what XLA is told of a program, as options of its compilation.

  Products and convolutions are calls of libraries, which no level makes faster.
  Steps of an MLP, a ResNet and a ViT take as long with the first level as with
  XLA's own, the third, and a sixth less is spent on compiling them. Numbers
  drawn for a network take a fifth as long to compile with none.

  Args:
    once: whether the program runs once, so that its own speed is no matter.

  Returns:
    Nothing on other devices, or where `XLA_FLAGS` says a level.
  """
  if _LEVEL in os.environ.get("XLA_FLAGS", ""):
    return {}
  if jax.default_backend() != "cpu":
    return {}
  return {_LEVEL: 0 if once else 1}
