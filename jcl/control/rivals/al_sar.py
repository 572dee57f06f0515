"""aL-SAR: freezes the blocks whose information is not worth its operations.

Seo et al., "Budgeted Online Continual Learning by Adaptive Layer Freezing and
Frequency-based Sampling", ICLR 2025, https://arxiv.org/abs/2410.15143, and its
published program. Before each batch the first n blocks are frozen such that
```
(I/C)_n = TC / (TC - sum over i <= n of BF_i) * (1 - cumF_n / F)
n* = argmax over n of  r (1 - cumF_n / F) + (cumBF_n / TC) max over m of (I/C)_m
```
where TC is the cost of a full step, BF_i the backward cost of block i, F_i the
trace of its squared gradient (F their sum, cumF_n that of the first n), and r
the squared gradient of the last layer over its running mean: a batch from which
more than usual is to be learned trains more. Blocks go from the input to the
head. The last one always trains.

As in the program: traces of gradients clipped to [-1, 1] move by .001, only
with batches that train everything; nothing is frozen in the first three
updates; of equal n the smaller is taken. What is this project's own: running
means start at their first value (the program's start at 0, so that r is far
above 1 for its first thousand updates), and n may be one of a few, as each is a
compiled program. The share of batches that train everything is an option of the
program without a default.

The state is JSON-ready: `fisher` [blocks], `norm`, `updates`.
"""

from collections.abc import Iterable, Sequence
import math
from typing import Any

from jcl.options.errors import UsageError

RATE = 0.001  # of running means
WARMUP = 3  # updates that train everything

State = dict[str, Any]


def init(blocks: int) -> State:
  """Returns the state before the first update.

  Args:
    blocks: of the network, the head included.
  """
  if blocks < 1:
    raise UsageError(f"blocks={blocks}: give 1 or more")
  return {"fisher": [0.0] * blocks, "norm": None, "updates": 0}


def information_per_cost(
  fisher: Sequence[float], backward: Sequence[float], total: float
) -> list[float]:
  """Returns (I/C)_n for n = 0, ..., blocks - 1 frozen blocks.

  Args:
    fisher: F_i of each block, 0 or more.
    backward: BF_i of each block, above 0, in the unit of `total`.
    total: TC, above the sum of all BF_i.

  Raises:
    UsageError: for numbers that do not fit.

  >>> found = information_per_cost([0.1, 0.3, 0.6], [1, 1, 2], 8)
  >>> [round(value, 6) for value in found]
  [1.0, 1.028571, 0.8]
  """
  left, saved = _shares(fisher, backward, total)
  return [rest / (1 - part) for rest, part in zip(left, saved, strict=True)]


def objective(
  fisher: Sequence[float],
  backward: Sequence[float],
  total: float,
  ratio: float,
) -> list[float]:
  """Returns what n* maximises, for n = 0, ..., blocks - 1.

  Args:
    fisher: as for `information_per_cost`.
    backward: as for `information_per_cost`.
    total: as for `information_per_cost`.
    ratio: r, 0 or more.
  """
  if not 0 <= ratio < math.inf:
    raise UsageError(f"ratio={ratio} of gradients: give 0 or more")
  best = max(information_per_cost(fisher, backward, total))
  left, saved = _shares(fisher, backward, total)
  return [
    ratio * rest + part * best for rest, part in zip(left, saved, strict=True)
  ]


def frozen(
  fisher: Sequence[float],
  backward: Sequence[float],
  total: float,
  ratio: float,
  allowed: Sequence[int] | None = None,
) -> int:
  """Returns n*, how many of the first blocks to freeze for a batch.

  Args:
    fisher: as for `information_per_cost`; where all are 0, nothing is known and
      nothing is frozen.
    backward: as for `information_per_cost`.
    total: as for `information_per_cost`.
    ratio: as for `objective`.
    allowed: numbers to choose from; None for all.

  >>> frozen([0.1, 0.3, 0.6], [1, 1, 2], 8, ratio=1.0)
  1
  """
  values = objective(fisher, backward, total, ratio)
  numbers = range(len(values)) if allowed is None else sorted(set(allowed))
  if not numbers or min(numbers) < 0 or max(numbers) >= len(values):
    raise UsageError(
      f"allowed={list(numbers)}: give numbers of blocks to freeze, 0 to "
      f"{len(values) - 1}"
    )
  if not any(fisher):
    return min(numbers)
  return max(numbers, key=lambda n: (values[n], -n))


def decide(
  state: State,
  norm: float,
  backward: Sequence[float],
  total: float,
  draw: float,
  full: float,
  allowed: Sequence[int] | None = None,
) -> tuple[int, State]:
  """Returns how many blocks to freeze for a batch, and the next state.

  Args:
    state: see the module.
    norm: squared gradient of the batch's loss with respect to the last layer's
      input, which a forward pass gives.
    backward: as for `information_per_cost`.
    total: as for `information_per_cost`.
    draw: uniform in [0, 1), of the batch.
    full: share of batches that train everything.
    allowed: as for `frozen`.
  """
  if not 0 <= norm < math.inf:
    raise UsageError(f"norm={norm} of a gradient: give 0 or more")
  if not 0 <= full <= 1:
    raise UsageError(f"full={full}: give the share of batches, 0 to 1")
  mean = state["norm"]
  ratio = norm / mean if mean else 1.0
  after = norm if mean is None else mean + RATE * (norm - mean)
  number = 0
  if state["updates"] >= WARMUP and draw >= full:
    number = frozen(state["fisher"], backward, total, ratio, allowed)
  return number, {**state, "norm": after}


def learned(state: State, squares: Sequence[float], number: int) -> State:
  """Returns the state after an update.

  Args:
    state: that `decide` returned.
    squares: of each block the sum of its squared gradient, every entry of which
      is clipped to [-1, 1] before; not read where blocks were frozen.
    number: of blocks that were frozen.
  """
  state = {**state, "updates": state["updates"] + 1}
  if number == 0:
    if len(squares) != len(state["fisher"]):
      raise UsageError(
        f"squared gradients of {len(squares)} blocks, and there are "
        f"{len(state['fisher'])}: give one for each"
      )
    state["fisher"] = [
      mean + RATE * (square - mean)
      for mean, square in zip(state["fisher"], squares, strict=True)
    ]
  return state


def updates(limit: float, costs: Iterable[float]) -> int:
  """Returns how many updates fit a limit, so that savings become updates.

  Args:
    limit: in the unit of the costs.
    costs: of the updates in their order; may be endless, each above 0.
  """
  made, spent = 0, 0.0
  for cost in costs:
    if not cost > 0:
      raise UsageError(f"an update's cost of {cost}: give more than 0")
    spent += cost
    if spent > limit:
      break
    made += 1
  return made


def cost(backward: Sequence[float], total: float, number: int) -> float:
  """Returns what a step costs with its first blocks frozen.

  Args:
    backward: as for `information_per_cost`.
    total: as for `information_per_cost`.
    number: of frozen blocks.
  """
  return total - math.fsum(backward[:number])


def retrieval(uses: Sequence[float], temperature: float) -> list[float]:
  """Returns the probability of each stored example to be replayed.

  softmax(-uses / temperature): what was used little is drawn more often. The
  program counts uses of similar classes in part; that is up to the caller.

  Args:
    uses: effective number of each example's uses, 0 or more.
    temperature: above 0.
  """
  if not 0 < temperature < math.inf:
    raise UsageError(f"temperature={temperature}: give more than 0")
  least = min(uses, default=0.0)
  weights = [math.exp((least - use) / temperature) for use in uses]
  total = math.fsum(weights)
  return [weight / total for weight in weights]


def used(
  uses: Sequence[float], drawn: Iterable[int], decay: float
) -> list[float]:
  """Returns the uses after a draw: all decay, and the drawn ones grow by 1.

  Args:
    uses: of each example.
    drawn: indices of examples.
    decay: share of the uses that is forgotten, in [0, 1].
  """
  if not 0 <= decay <= 1:
    raise UsageError(f"decay={decay} of uses: give a share, 0 to 1")
  found = [use * (1 - decay) for use in uses]
  for i in drawn:
    found[i] += 1
  return found


def _shares(
  fisher: Sequence[float], backward: Sequence[float], total: float
) -> tuple[list[float], list[float]]:
  """Returns what is left of F and what is saved of TC, for each n."""
  if len(fisher) != len(backward) or not fisher:
    raise UsageError(
      f"information of {len(fisher)} blocks and costs of {len(backward)}: give "
      "both of each block"
    )
  for what, values in (("information", fisher), ("backward cost", backward)):
    for value in values:
      if not 0 <= value < math.inf:
        raise UsageError(f"{what} of {value}: give 0 or more")
  if not math.fsum(backward) < total < math.inf:
    raise UsageError(
      f"a full step of {total} and backward passes of "
      f"{math.fsum(backward)}: the step costs more"
    )
  every = math.fsum(fisher)
  numbers = range(len(fisher))
  left = [math.fsum(fisher[n:]) / every if every else 1.0 for n in numbers]
  return left, [math.fsum(backward[:n]) / total for n in numbers]
