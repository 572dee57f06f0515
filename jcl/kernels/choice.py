"""Which convolutions are worth a kernel, by `experiments/convolutions.py`.

On two cores with AVX-512. Others may find otherwise; only time depends on it.
"""

from jcl.kernels import problem as problem_lib

# Below this many operations the call itself is what takes the time.
_LEAST = 1e4
# From here on all threads work at one; below, two may run side by side.
_SHARED = 5e7
# Channels from which the gradient of a strided convolution's inputs pays: its
# kernel fills whole vectors with them, for every place between the strides.
_STRIDED = 32


def shares(problem: problem_lib.Problem) -> bool:
  """Whether a problem is worth all threads at once."""
  return problem.flops >= _SHARED


def pays(problem: problem_lib.Problem) -> bool:
  """Whether oneDNN is faster than XLA at a problem."""
  is_strided = problem.kind == "inputs" and max(problem.strides) > 1
  if is_strided and problem.groups == 1 and problem.x.sizes[1] < _STRIDED:
    return False
  return problem.flops >= _LEAST
