"""Chooses the tensors to train within a backward time: a knapsack per depth.

The time of a set of tensors is modelled as in Huang et al., "ElasticTrainer:
Speeding Up On-Device Training with Runtime Elastic Tensor Selection", MobiSys
2023 (section 3.3), https://doi.org/10.1145/3581791.3596852: the set pays
`weight_grad` for each of its tensors, and `arrival` for every tensor from the
output down to its deepest one, trained or not. `arrival[k]` is the time of all
that runs between "the gradient has reached tensor k + 1" and "the gradient has
reached tensor k". Where costs are given as times `past` to carry the gradient
past each tensor, use `arrival = past` if the deepest tensor's own share is
needed to form its gradient, and `arrival = [*past[1:], 0]` if it is not.

Arrays are in execution order outside, and reversed inside: index 0 is then the
output side, and a set's depth is its greatest index.
"""

from collections.abc import Callable
import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from jcl.options.errors import UsageError

# Share by which a set may exceed the budget. It is far below the resolution of
# timings, and above the rounding error of sums, so that a budget can be met
# exactly, such as the whole backward pass.
_TOLERANCE = 1e-9

_MAX_BRUTE = 20


@dataclasses.dataclass(frozen=True)
class Solution:
  """A set of tensors, its worth and the time of its backward pass."""

  mask: tuple[bool, ...]  # [N] execution order, input side first
  value: float  # sum of the importances
  time: float  # in the unit of the arrays, not rounded to a table's grid
  slack: float  # budget - time


@dataclasses.dataclass(frozen=True)
class _Problem:
  """Arrays [N] float64, output side first."""

  budget: float
  arrival: np.ndarray
  weight_grad: np.ndarray
  importance: np.ndarray

  @property
  def limit(self) -> float:
    """The budget with its tolerance."""
    return self.budget + _TOLERANCE * abs(self.budget)

  @property
  def total(self) -> float:
    """Time of the whole backward pass."""
    return float(self.arrival.sum() + self.weight_grad.sum())

  @property
  def useful(self) -> np.ndarray:
    """[N] bool, the tensors worth training at all."""
    return self.importance > 0

  @property
  def alone(self) -> np.ndarray:
    """[N] time of each tensor as the deepest and only one."""
    return np.cumsum(self.arrival) + self.weight_grad

  def value(self, mask: np.ndarray) -> float:
    """Returns the sum of importances of a mask [N]."""
    # Added from the output side on, as in the table of `_exact`, so that equal
    # sets have equal bits.
    return float(np.cumsum(np.append(0.0, self.importance[mask]))[-1])

  def time(self, mask: np.ndarray) -> float:
    """Returns the backward time of a mask [N]."""
    depth = np.flatnonzero(mask).max(initial=-1) + 1
    return float(self.arrival[:depth].sum() + self.weight_grad[mask].sum())

  def rank(self, mask: np.ndarray) -> tuple:
    """Returns a key by which the best mask comes first."""
    return -self.value(mask), self.time(mask), mask[::-1].tolist()


def select(
  arrival: ArrayLike,
  weight_grad: ArrayLike,
  importance: ArrayLike,
  budget: float,
  *,
  mode: str = "exact",
  resolution: int = 10_000,
) -> Solution:
  """Chooses the most important set of tensors whose time fits the budget.

  Tensors of importance 0 or less are never chosen; where all are such, the
  mask is empty and its value 0.

  Modes:
    "exact": the best set on a grid of times. One knapsack over `weight_grad`
      serves all depths, as the chain's time is a constant once the deepest
      tensor is fixed. Times are rounded up to the grid, and what chain and
      deepest tensor leave of the budget is rounded down, so that the real time
      fits too. Integer times whose total is at most `resolution` are not
      rounded: the set is then the best. Otherwise it is worth at least the
      best set within `budget` less one grid unit per tensor, and no less than
      the "greedy" one. All useful tensors are returned where they fit, whatever
      the grid. O(N * resolution) time and as many bytes.
    "brute": the best set in real times, by enumeration; N is 20 at most.
    "greedy": for each depth, the deepest tensor and then the others by
      importance per time, as long as they fit; the best of these sets.
    "reference": the programme of the paper's section 6 as published, for
      comparisons. It is not optimal: it rounds times down, so that the real
      time may exceed the budget; it shrinks the budget twice for that; it
      forgets cheap sets at depths where a better one fits; it never chooses the
      tensor nearest the input where the whole chain fits. It may choose nothing
      at all. The paper's resolution is 1,000.

  Among sets of equal value (sums in float64, from the output side on), the one
  of less time is chosen, then the one whose mask is lexicographically smaller
  (False first, input side first), hence the shallower. In "exact" mode, times
  of sets of one depth are compared on the grid. "greedy" applies the rule to
  the sets it builds; "reference" does not.

  Args:
    arrival: [N] time for the gradient to reach each tensor from the one after
      it, in execution order, input side first.
    weight_grad: [N] time to form each tensor's gradient (and to update it).
    importance: [N] worth of training each tensor; only ratios matter.
    budget: time for the backward pass, in the unit of the arrays. Exceeding it
      by a share of 1e-9 counts as rounding error.
    mode: how to search.
    resolution: grid units in the whole backward pass, for "exact" and
      "reference".

  Raises:
    ValueError: where an argument is out of range, or the budget is too small
      for every tensor of positive importance; the message then gives the least
      budget.

  >>> found = select([3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [9.0, 5.0, 4.0], 5.0)
  >>> found.mask, found.value, found.time
  ((False, True, True), 9.0, 5.0)
  """
  if mode not in _MODES:
    raise ValueError(f"mode={mode!r}: give one of {', '.join(_MODES)}")
  if not resolution >= 1:
    raise ValueError(f"resolution={resolution}: give 1 or more")
  problem = _problem(arrival, weight_grad, importance, budget)
  num_tensors = len(problem.importance)
  if mode == "brute" and num_tensors > _MAX_BRUTE:
    raise UsageError(
      f"mode='brute' enumerates {_MAX_BRUTE} tensors at most, not "
      f"{num_tensors}: give mode='exact'"
    )
  mask = np.zeros(num_tensors, bool)
  if problem.useful.any():
    least = float(problem.alone[problem.useful].min())
    if least > problem.limit:
      raise UsageError(
        f"budget={problem.budget}: no tensor of positive importance fits; give "
        f"{least} or more"
      )
    mask = _MODES[mode](problem, resolution)
  time = problem.time(mask)
  return Solution(
    mask=tuple(mask[::-1].tolist()),
    value=problem.value(mask),
    time=time,
    slack=problem.budget - time,
  )


def backward_budget(share: float, forward: float, backward: float) -> float:
  """Returns the backward time that keeps a step within `share` of a full one.

  That is `share * (forward + backward) - forward`: rho_b * T_bwd with
  rho_b = rho * (1 + r) - r and r = T_fwd / T_bwd. The published program sets
  r = 1/2 without a measurement.

  Args:
    share: of the time of a step that trains everything, at most 1.
    forward: time that every step pays: the forward pass, and loading if any.
    backward: time of the full backward pass, in the same unit.

  Raises:
    ValueError: where a time is negative or not finite, or `share` is above 1
      or too small for `forward`; the message then gives the least share.

  >>> backward_budget(0.5, forward=1.0, backward=3.0)
  1.0
  """
  for name, time in (("forward", forward), ("backward", backward)):
    if not 0 <= time < np.inf:
      raise ValueError(f"{name}={time}: give a finite time of 0 or more")
  if not forward + backward > 0:
    raise ValueError("forward and backward are both 0: give measured times")
  least = forward / (forward + backward)
  if not least <= share <= 1:
    raise UsageError(
      f"share={share}: a step that trains something takes between {least} "
      "(the forward pass) and 1 of a full one"
    )
  # Written so that a share of 1 gives `backward` without rounding.
  return max(0.0, backward - (1 - share) * (forward + backward))


def _problem(
  arrival: ArrayLike,
  weight_grad: ArrayLike,
  importance: ArrayLike,
  budget: float,
) -> _Problem:
  """Checks the arguments of `select` and reverses the arrays."""
  named = {
    "arrival": np.asarray(arrival, np.float64),
    "weight_grad": np.asarray(weight_grad, np.float64),
    "importance": np.asarray(importance, np.float64),
  }
  shapes = [array.shape for array in named.values()]
  if len(set(shapes)) > 1 or len(shapes[0]) != 1:
    raise ValueError(
      "{} have shapes {}: give arrays [N], an entry per tensor each".format(
        ", ".join(named), ", ".join(map(str, shapes))
      )
    )
  for name, array in named.items():
    bad = ~np.isfinite(array)
    if name != "importance":
      bad |= array < 0
    if bad.any():
      index = int(np.argmax(bad))
      wanted = "number" if name == "importance" else "time of 0 or more"
      raise ValueError(
        f"{name}[{index}]={array[index]}: give a finite {wanted}"
      )
  if not np.isfinite(budget):
    raise ValueError(f"budget={budget}: give a finite time")
  reversed_arrays = (array[::-1] for array in named.values())
  return _Problem(float(budget), *reversed_arrays)


def _exact(problem: _Problem, resolution: int) -> np.ndarray:
  useful, importance = problem.useful, problem.importance
  if problem.time(useful) <= problem.limit:
    return useful
  times = np.concatenate([problem.arrival, problem.weight_grad])
  unit = problem.total / resolution
  if unit <= 1 and (times == np.rint(times)).all():
    unit = 1.0
  costs = np.ceil(problem.weight_grad / unit).astype(int)
  left = np.floor((problem.limit - problem.alone) / unit).astype(int)

  depths = np.flatnonzero(useful & (left >= 0))
  capacity = left[depths].max()
  # values[t]: the best sum of importances over the tensors so far within t.
  values = np.zeros(capacity + 1)
  taken = np.zeros((depths[-1], capacity + 1), bool)
  best = 0.0
  ends: list[tuple[int, int]] = []  # deepest tensor, units the others use
  for k in np.flatnonzero(useful[: depths[-1] + 1]).tolist():
    if left[k] >= 0:
      within = values[: left[k] + 1]
      value = within[-1] + importance[k]
      if value > best:
        best, ends = value, []
      if value == best:
        ends.append((k, int(np.searchsorted(within, within[-1]))))
    cost = costs[k]
    if k < depths[-1] and cost <= capacity:
      offered = values[: capacity + 1 - cost] + importance[k]
      np.greater(offered, values[cost:], out=taken[k, cost:])
      np.maximum(offered, values[cost:], out=values[cost:])

  def trace_back(deepest: int, units: int) -> np.ndarray:
    mask = np.zeros(len(importance), bool)
    mask[deepest] = True
    for k in range(deepest - 1, -1, -1):
      if taken[k, units]:
        mask[k] = True
        units -= costs[k]
    return mask

  # Rounding up wastes about half a unit per tensor, so that a greedy set on
  # real times is sometimes worth more. Without rounding it never is.
  found = [trace_back(*end) for end in ends]
  return min(*found, _greedy(problem, resolution), key=problem.rank)


def _brute(problem: _Problem, _resolution: int) -> np.ndarray:
  # Entry i is the set of the binary digits of i: adding tensor k doubles the
  # list, and of two sets the one of smaller i has the smaller mask.
  values = weight_grads = chains = np.zeros(1)
  for k, chain in enumerate(np.cumsum(problem.arrival)):
    values = np.append(values, values + problem.importance[k])
    weight_grads = np.append(
      weight_grads, weight_grads + problem.weight_grad[k]
    )
    chains = np.append(chains, np.full(len(chains), chain))
  times = chains + weight_grads
  values[times > problem.limit] = -np.inf
  ties = np.flatnonzero(values == values.max())
  best = ties[np.argmin(times[ties])]
  return (best >> np.arange(len(problem.importance)) & 1).astype(bool)


def _greedy(problem: _Problem, _resolution: int) -> np.ndarray:
  useful = np.flatnonzero(problem.useful)
  with np.errstate(divide="ignore", over="ignore"):  # free tensors come first
    worth = problem.importance[useful] / problem.weight_grad[useful]
  order = useful[np.argsort(-worth, kind="stable")].tolist()
  costs, alone = problem.weight_grad.tolist(), problem.alone.tolist()

  def fill(deepest: int) -> np.ndarray:
    mask = np.zeros(len(costs), bool)
    mask[deepest] = True
    left = problem.limit - alone[deepest]
    for k in order:
      if k < deepest and costs[k] <= left:
        mask[k] = True
        left -= costs[k]
    return mask

  depths = [k for k in useful.tolist() if alone[k] <= problem.limit]
  return min(map(fill, depths), key=problem.rank)


def _reference(problem: _Problem, resolution: int) -> np.ndarray:
  # Row k of a table holds sets of the first k tensors; row 0 the empty set.
  total = problem.total or 1.0
  arrival = np.floor(problem.arrival * resolution / total).astype(int)
  costs = np.floor(problem.weight_grad * resolution / total).astype(int)
  importance = problem.importance.astype(np.float32)
  units = int(arrival.sum() + costs.sum())
  kept = units / resolution
  # `units` holds the discount `kept` already: it is applied twice.
  capacity = int(problem.budget / total * kept * units)
  chain = np.append(0, np.cumsum(arrival))
  # One short of N where the whole chain fits.
  depth = min(int(np.sum(chain[1:] <= capacity)), len(costs) - 1)

  shape = (depth + 1, capacity + 1)
  values = np.zeros(shape, np.float32)
  # Only cells that end in their own tensor can be extended to a deeper one.
  extensible = np.full(shape, -np.inf, np.float32)
  extensible[0] = 0
  previous = np.full(shape, -1)  # row of the tensor before; -1 where skipped
  for k in range(1, depth + 1):
    values[k] = values[k - 1]
    for p in range(k - 1, -1, -1):
      cost = costs[k - 1] + chain[k] - chain[p]
      if cost > capacity:
        break
      offered = extensible[p, : capacity + 1 - cost] + importance[k - 1]
      better = offered > values[k, cost:]
      values[k, cost:][better] = offered[better]
      previous[k, cost:][better] = p
    extensible[k] = np.where(previous[k] >= 0, values[k], -np.inf)

  mask = np.zeros(len(costs), bool)
  k, t = map(int, np.unravel_index(np.argmax(values), shape))
  while k > 0:
    p = int(previous[k, t])
    if p < 0:
      k -= 1
      continue
    mask[k - 1] = True
    t -= costs[k - 1] + chain[k] - chain[p]
    k = p
  return mask


_MODES: dict[str, Callable[[_Problem, int], np.ndarray]] = {
  "exact": _exact,
  "reference": _reference,
  "brute": _brute,
  "greedy": _greedy,
}
