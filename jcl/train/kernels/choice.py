"""Choice of the convolutions that use a kernel of oneDNN.

The choice follows `experiments/convolutions.py` on two cores with AVX-512.
Other processors may have other optima; only speed depends on the choice.
"""

import math

from jcl.train.kernels import problem as problem_lib

# With fewer operations, the call itself takes most of the time.
_LEAST = 1e4
# From this number of operations on, all threads work on one convolution; with
# fewer operations, two convolutions may run side by side.
_SHARED = 5e7
# The kernel for the input gradient of a strided convolution loads vectors again
# for each position between strides, so channels should be a multiple of this.
_STRIDED = 64


def shares(problem: problem_lib.Problem) -> bool:
  """Returns whether all threads should work on a problem."""
  return problem.flops >= _SHARED


def pays(problem: problem_lib.Problem) -> bool:
  """Returns whether oneDNN is faster than XLA at a problem."""
  if problem.flops < _LEAST:
    return False
  if problem.groups > 1 or max(problem.strides) == 1:
    return True
  # Strided convolutions of one pixel are matrix products, where XLA is fast.
  taps = math.prod(problem.w.sizes[2:])
  if problem.kind == "inputs":
    return taps > 1 and not problem.x.sizes[1] % _STRIDED
  return taps > 1 or problem.kind == "weights"
