"""Operations and memory of compiled programs; sizes of trees of arrays."""

import dataclasses
import math
import sys
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class ProgramCost:
  """Cost of one call of a compiled program; NaN where XLA tells none.

  XLA counts the body of a loop once, however often it runs.
  """

  flops: float
  bytes_accessed: float
  argument_bytes: float
  output_bytes: float
  alias_bytes: float  # outputs that reuse donated arguments
  temp_bytes: float  # gradients, kept activations, scratch

  @property
  def peak_bytes(self) -> float:
    """Bytes of arguments, outputs and scratch together."""
    return (
      self.argument_bytes
      + self.output_bytes
      - self.alias_bytes
      + self.temp_bytes
    )


def of_compiled(compiled: Any) -> ProgramCost:
  """Reads the cost of `jax.jit(f).lower(...).compile()`.

  Args:
    compiled: a `jax.stages.Compiled`, or whatever has its two analyses.
  """
  analysis = compiled.cost_analysis()
  if isinstance(analysis, list):  # some backends give one per partition
    analysis = analysis[0] if analysis else None
  # A program without arithmetic has no entry for it.
  missing = math.nan if analysis is None else 0.0
  analysis = analysis or {}
  memory = compiled.memory_analysis()

  def in_bytes(name: str) -> float:
    return float(getattr(memory, f"{name}_size_in_bytes", math.nan))

  return ProgramCost(
    flops=float(analysis.get("flops", missing)),
    bytes_accessed=float(analysis.get("bytes accessed", missing)),
    argument_bytes=in_bytes("argument"),
    output_bytes=in_bytes("output"),
    alias_bytes=in_bytes("alias"),
    temp_bytes=in_bytes("temp"),
  )


def peak_rss_bytes() -> int:
  """Returns the most memory that this process has occupied so far."""
  try:
    # On Linux, the figure of `resource` begins with what the parent occupied.
    with open("/proc/self/status", encoding="ascii") as file:
      for line in file:
        if line.startswith("VmHWM:"):
          return int(line.split()[1]) * 1024
  except OSError:
    pass
  try:
    import resource
  except ImportError:  # Windows
    import psutil

    return psutil.Process().memory_info().peak_wset
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == "darwin" else peak * 1024


def num_parameters(params: Any) -> int:
  """Returns the number of scalars in a tree of arrays.

  >>> import numpy as np
  >>> num_parameters({"kernel": np.zeros((3, 4)), "bias": np.zeros(4)})
  16
  """
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def num_bytes(tree: Any) -> int:
  """Returns the bytes that the arrays of a tree take.

  >>> import numpy as np
  >>> num_bytes([np.zeros((3, 4), np.float32), np.zeros(4, np.uint8)])
  52
  """
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
