"""Needs of a composition of programs, found by running it on stand-ins."""

import math
from typing import Any

import jax
import numpy as np

from jcl.cost import program_cost
from jcl.train import background


class _Token:
  """Stands for an array; its bytes count for as long as it is referred to."""

  def __init__(self, meter: "Meter", size: float) -> None:
    self._meter, self._size = meter, size
    meter.live += size

  def __del__(self) -> None:
    self._meter.live -= self._size


class Meter:
  """Follows bytes and operations through calls of compiled programs.

  A composition that takes `run(program, *args)` as an argument runs on tokens
  as it does on arrays. CPython frees a token when its last reference goes, as
  it does an array's buffer.
  """

  def __init__(self) -> None:
    self.live = 0.0  # bytes of all tokens that are referred to
    self._peak = self._given = self._flops = self._moved = 0.0

  def tokens(self, shapes: Any) -> Any:
    """Returns tokens in place of `jax.ShapeDtypeStruct`s."""
    made = jax.tree.map(lambda leaf: _Token(self, _bytes(leaf)), shapes)
    self._given = self._peak = self.live
    return made

  def run(self, program: background.Program, *args: Any) -> Any:
    """Counts a call and returns tokens of what it would return."""
    del args
    cost = program.cost
    new = cost.output_bytes - cost.alias_bytes + cost.temp_bytes
    self._peak = max(self._peak, self.live + new)
    self._flops += cost.flops
    self._moved += cost.bytes_accessed
    return jax.tree.map(lambda leaf: _Token(self, _bytes(leaf)), program.out)

  def cost(self) -> program_cost.ProgramCost:
    """Returns the composition's figures; what it was given counts aliased."""
    return program_cost.ProgramCost(
      flops=self._flops,
      bytes_accessed=self._moved,
      argument_bytes=self._given,
      output_bytes=self._given,
      alias_bytes=self._given,
      temp_bytes=self._peak - self._given,
    )


def _bytes(leaf: Any) -> float:
  dtype = leaf.dtype
  if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
    return 8.0 * math.prod(leaf.shape)
  return float(np.dtype(dtype).itemsize * math.prod(leaf.shape))
