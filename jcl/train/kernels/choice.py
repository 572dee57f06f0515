"""Which convolutions are worth a kernel, by `experiments/convolutions.py`.

On two cores with AVX-512. Others may find otherwise; only time depends on it.
"""

import math

from jcl.train.kernels import problem as problem_lib

# Below this many operations the call itself is what takes the time.
_LEAST = 1e4
# From here on all threads work at one; below, two may run side by side.
_SHARED = 5e7
# Channels of which the gradient of a strided convolution's inputs wants a
# multiple: for each place between the strides its kernel fills vectors anew.
_STRIDED = 64


def shares(problem: problem_lib.Problem) -> bool:
  """Whether a problem is worth all threads at once."""
  return problem.flops >= _SHARED


def pays(problem: problem_lib.Problem) -> bool:
  """Whether oneDNN is faster than XLA at a problem."""
  if problem.flops < _LEAST:
    return False
  if problem.groups > 1 or max(problem.strides) == 1:
    return True
  # Strided ones. One pixel wide, they are matrix products, which XLA has.
  taps = math.prod(problem.w.sizes[2:])
  if problem.kind == "inputs":
    return taps > 1 and not problem.x.sizes[1] % _STRIDED
  return taps > 1 or problem.kind == "weights"
