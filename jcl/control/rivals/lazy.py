"""ETuner's waiting: rounds of training merge where little is to be gained.

Li et al., "ETuner: A Redundancy-Aware Framework for Efficient Continual
Learning Application on Edge Devices", https://arxiv.org/abs/2401.16694 (first
called EdgeOL). Instead of training whenever a batch of data has come, it waits
and trains on several at once, which saves what a round costs beside its steps.
A curve through the accuracies of past rounds (`curves`, c = 1) tells how many
batches it takes to gain as much again as the last round did; inference requests
shorten the wait, and a change of scenario brings it back to its start.

Beyond its abstract the paper is recalled, not re-read. This project's choice:
fewer than three accuracies of a scenario leave the wait as it is; a gain that
the curve never reaches, and one that is not above 0, wait `most` batches; each
doubling of the requests takes a batch off; a first round waits `start`, and the
rounds behind a change of scenario `first`, until three of them tell a curve of
their own. What a change of scenario is, others detect.

It is a rule and no controller: a run cannot gather the examples of several
experiences, and a controller that gives no epochs would lose those it passes.

The state is JSON-ready: `wait`, `gathered`, `requests`, `learned`, `points`.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from jcl.control import curves
from jcl.options.errors import UsageError

State = dict[str, Any]

_ROUNDING = 1e-9
_GRID = (1.0,)  # of the curve's decay


@dataclasses.dataclass(frozen=True)
class Waiting:
  """How long to wait.

  Args:
    first: batches to wait for behind a change of scenario, and at least.
    most: batches to wait for at most.
    start: batches that the first round of all waits for; None for `most`.
    noise: standard error of an accuracy; a curve that rises by less is flat.
  """

  first: int = 1
  most: int = 8
  start: int | None = None
  noise: float = 0.0

  def __post_init__(self) -> None:
    if not 1 <= self.first <= self.most:
      raise UsageError(
        f"lazy: first={self.first}, most={self.most}: give numbers of batches, "
        "1 or more, the first at most the second"
      )
    if self.start is not None and not self.first <= self.start <= self.most:
      raise UsageError(
        f"lazy: start={self.start}: give {self.first} to {self.most}"
      )
    if not 0 <= self.noise < math.inf:
      raise UsageError(f"lazy: noise={self.noise}: give 0 or more")


def init(waiting: Waiting) -> State:
  """Returns the state before the first batch."""
  start = waiting.most if waiting.start is None else waiting.start
  return {
    "wait": start,  # batches that the next round has without requests
    "gathered": 0,  # batches since the last round
    "requests": 0,  # since the last round
    "learned": 0,  # batches of the scenario that are trained on
    "points": [],  # (learned, accuracy) after each round of the scenario
  }


def curve(points: Sequence[curves.Point], noise: float = 0.0) -> curves.Curve:
  """Returns a - b / k through accuracies after k batches.

  Args:
    points: (batches learned, accuracy), at least one.
    noise: standard error of an accuracy.
  """
  return curves.fit(points, noise=noise, grid=_GRID)


def gains(found: curves.Curve, learned: int, more: int, asked: float) -> bool:
  """Tells whether training on more batches gains what is asked.

  Args:
    found: curve of the scenario.
    learned: batches of it that are trained on.
    more: batches that have come since.
    asked: gain in accuracy.
  """
  return found.gain(learned, learned + more) >= asked


def needed(found: curves.Curve, learned: int, asked: float, most: int) -> int:
  """Returns how many batches gain what is asked, `most` where none do.

  Args:
    found: curve of the scenario.
    learned: batches of it that are trained on, 1 or more.
    asked: gain in accuracy; one that is not above 0 is none.
    most: batches at most.

  >>> found = curve([(1, 0.5), (2, 0.6), (4, 0.64)])
  >>> needed(found, 4, asked=0.02, most=8), needed(found, 4, 0.05, most=8)
  (3, 8)
  """
  if asked <= 0:
    return most
  until = found.reaches(found.at(learned) + asked)
  if not until < learned + most:
    return most
  return max(1, math.ceil(until - learned - _ROUNDING))


def shortened(wait: int, requests: int, first: int = 1) -> int:
  """Returns the wait after requests: less one for each time they double.

  Args:
    wait: batches to wait for without requests.
    requests: since the last round.
    first: batches to wait for at least.

  >>> [shortened(8, requests) for requests in (0, 1, 2, 3, 7, 1000)]
  [8, 7, 7, 6, 5, 1]
  """
  if requests < 0:
    raise UsageError(f"lazy: {requests} requests: give 0 or more")
  # floor(log2(1 + requests)), exactly.
  return max(min(first, wait), wait - ((1 + requests).bit_length() - 1))


def arrived(state: State, waiting: Waiting) -> tuple[bool, State]:
  """Takes note of a batch, and tells whether to train on all gathered ones.

  Args:
    state: of `init` or any function here.
    waiting: as for `init`.

  Returns:
    Whether to train now, and the next state, which is the same in either case:
    a round that is trained is told by `trained`.
  """
  state = {**state, "gathered": state["gathered"] + 1}
  return due(state, waiting), state


def due(state: State, waiting: Waiting) -> bool:
  """Tells whether a round is due, such as after a request or a change."""
  wait = shortened(state["wait"], state["requests"], waiting.first)
  return state["gathered"] >= max(1, wait)


def requested(state: State, requests: int = 1) -> State:
  """Returns the state after inference requests."""
  if requests < 0:
    raise UsageError(f"lazy: {requests} requests: give 0 or more")
  return {**state, "requests": state["requests"] + requests}


def changed(state: State, waiting: Waiting) -> State:
  """Returns the state after a change of scenario.

  What is gathered stays; accuracies of the old scenario tell nothing of the new
  one.
  """
  return {**state, "wait": waiting.first, "learned": 0, "points": []}


def trained(state: State, accuracy: float, waiting: Waiting) -> State:
  """Returns the state after a round on all gathered batches.

  Args:
    state: before the round.
    accuracy: after it, in [0, 1], on examples that are stored and set aside.
    waiting: as for `init`.
  """
  if not 0 <= accuracy <= 1:
    raise UsageError(f"lazy: an accuracy of {accuracy}: give a share, 0 to 1")
  if not state["gathered"]:
    raise UsageError("lazy: a round of no batches: wait for one")
  learned = state["learned"] + state["gathered"]
  points = [*state["points"], [learned, accuracy]]
  wait = state["wait"]
  if len(points) >= curves.LEAST_POINTS:
    found = curve([(k, score) for k, score in points], waiting.noise)
    asked = points[-1][1] - points[-2][1]
    wait = max(waiting.first, needed(found, learned, asked, waiting.most))
  return {
    "wait": wait,
    "gathered": 0,
    "requests": 0,
    "learned": learned,
    "points": points,
  }


def cost(rounds: int, fixed: float, steps: int, step: float) -> float:
  """Returns what rounds cost: a fixed part of each, and their steps.

  The gain of merging has to be measured: it is this fixed part alone, what a
  ledger charges outside steps.

  Args:
    rounds: of training.
    fixed: cost of a round beside its steps.
    steps: of all rounds together.
    step: cost of one.

  >>> cost(8, 10.0, 80, 1.0), cost(2, 10.0, 80, 1.0)
  (160.0, 100.0)
  """
  return rounds * fixed + steps * step
