"""Which convolutions are worth a kernel of their own."""

from jcl.kernels import problem as problem_lib

# Below this many operations the call itself is what takes the time.
_LEAST = 1e4
# From here on all threads work at one; below, two may run side by side.
_SHARED = 5e7


def shares(problem: problem_lib.Problem) -> bool:
  """Whether a problem is worth all threads at once."""
  return problem.flops >= _SHARED


def pays(problem: problem_lib.Problem) -> bool:
  """Whether oneDNN is faster than XLA at a problem."""
  return problem.flops >= _LEAST
