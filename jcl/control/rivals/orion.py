"""Orion: batch, replay and optimiser follow one figure of urgency.

Li, Dutt and Liu, "Orion: Enabling Self-adaptive Memory Management for On-device
Online Continual Learning", https://arxiv.org/abs/2605.26473. After each
experience, with plasticity P, stability S, latency L and memory M,
```
URGE = sig(-kp (P - Pth)) sig(-ks (S - Sth))
       * sig(kl (L - Lth)) sig(-km (M - Mmax))
Thr  = Thr0 exp(-delta t)
MB  <- MB (1 + alpha (URGE - Thr)),   batch  = floor(MB / memory of a row)
MR  <- MR (1 + beta (URGE - Thr)),    replay = floor(MR / memory of an example)
```
and the advanced optimiser (GEM and EWC on top of replay) is used where URGE is
above Thr. The slopes k are ranks of the user's preferences, all together 1.

What the paper leaves open, and this project's choice: the units of L and M
(those of the thresholds that the caller gives); t counts the experiences that
are learned, so that the first one has the sizes given; URGE equal to Thr uses
the default optimiser, as in its algorithm and not as in its equation 5; a batch
has one row at least; the advanced optimiser is refused where what it allocates
does not fit into memory, which the paper leaves to URGE. Thr0 and delta are
stated nowhere, and neither are the thresholds.

A product of four asks for all pressures at once: at its thresholds URGE is
1/16, and with slopes of .25 neither P nor S can move it by more than 6.3 % from
there, while memory in MiB saturates its factor. Pressures that are normalised
by their limits and added would do neither.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any, Literal, NamedTuple

from numpy.typing import ArrayLike

from jcl import metrics
from jcl.options import errors
from jcl.options.errors import UsageError

Optimizer = Literal["default", "advanced"]
State = dict[str, Any]

# Keeps what is a whole number but for its rounding from the floor.
_ROUNDING = 1e-9


class Figures(NamedTuple):
  """What Orion looks at; thresholds and slopes of each as well."""

  plasticity: float  # mean accuracy of each experience just after learning it
  stability: float  # 1 less the mean forgetting
  seconds: float  # latency: of the experience's training
  memory: float  # held at once, in the unit of its threshold


BALANCED = Figures(0.25, 0.25, 0.25, 0.25)


@dataclasses.dataclass(frozen=True)
class Settings:
  """All that the rule is given; a report names each of it.

  Args:
    thresholds: of each figure; that of memory is the most allowed.
    threshold: Thr0, of URGE, 0 or more.
    decay: delta, of the threshold with each experience, 0 or more.
    slopes: k of each figure, 0 or more.
    alpha: how fast the memory of batches follows.
    beta: how fast that of replay follows.
  """

  thresholds: Figures
  threshold: float
  decay: float
  slopes: Figures = BALANCED
  alpha: float = 0.1
  beta: float = 0.2

  def __post_init__(self) -> None:
    for name in ("threshold", "decay", "alpha", "beta"):
      value = getattr(self, name)
      if not 0 <= value < math.inf:
        raise UsageError(f"orion: {name}={value}: give 0 or more")
    for name, value in self.slopes._asdict().items():
      if not 0 <= value < math.inf:
        raise UsageError(
          f"orion: a slope of {value} for {name}: give 0 or more"
        )
    for name, value in self.thresholds._asdict().items():
      if not math.isfinite(value):
        raise UsageError(
          f"orion: a threshold of {value} for {name}: give a finite number"
        )


class Step(NamedTuple):
  """What the next experience is trained with, and why."""

  batch: int  # rows of a step
  replay: int  # examples in memory
  optimizer: Optimizer
  urge: float
  threshold: float
  reason: str  # one line


def slopes(order: Sequence[str]) -> Figures:
  """Returns the slopes of an order of importance: .4, .3, .2 and .1.

  Args:
    order: names of all figures, the most important first.

  >>> slopes(["memory", "plasticity", "stability", "seconds"])
  Figures(plasticity=0.3, stability=0.2, seconds=0.1, memory=0.4)
  """
  if sorted(order) != sorted(Figures._fields):
    raise UsageError(
      f"orion: an order of {errors.names(order)}: give "
      f"{', '.join(Figures._fields)}, each once"
    )
  count = len(order)
  total = count * (count + 1) / 2
  return Figures(**{name: (count - i) / total for i, name in enumerate(order)})


def figures(accuracy: ArrayLike, seconds: float, memory: float) -> Figures:
  """Returns the figures after some experiences.

  The paper takes accuracies on test sets, which a controller must not see: give
  those on examples that are stored and set aside.

  Args:
    accuracy: [T, T] in [0, 1], A[i, j] on experience j after learning i.
    seconds: of the last experience's training.
    memory: held at once.
  """
  learned = metrics.learning_accuracy(accuracy)
  forgotten = metrics.forgetting_from_first(accuracy)
  stability = 1.0 if math.isnan(forgotten) else 1.0 - forgotten
  return Figures(float(learned), float(stability), seconds, memory)


def urge(seen: Figures, settings: Settings) -> float:
  """Returns URGE, in [0, 1]: high where performance lacks and memory is spare.

  Args:
    seen: figures after an experience.
    settings: their thresholds and slopes.
  """
  found = 1.0
  for name, value in seen._asdict().items():
    if not math.isfinite(value):
      raise UsageError(f"orion: {name}={value}: give a finite number")
    sign = 1.0 if name == "seconds" else -1.0
    slope = getattr(settings.slopes, name)
    found *= _sigmoid(
      sign * slope * (value - getattr(settings.thresholds, name))
    )
  return found


def threshold(settings: Settings, t: int) -> float:
  """Returns Thr after t experiences."""
  return settings.threshold * math.exp(-settings.decay * t)


def resized(memory: float, rate: float, urge: float, threshold: float) -> float:
  """Returns the memory of batches or of replay for the next experience.

  Args:
    memory: of this experience, in any unit, 0 or more.
    rate: alpha or beta.
    urge: URGE.
    threshold: Thr.

  >>> round(resized(64.0, 0.1, urge=0.6, threshold=0.2), 6)
  66.56
  """
  return max(0.0, memory * (1 + rate * (urge - threshold)))


def fitting(memory: float, each: float, least: int = 0) -> int:
  """Returns how many rows or examples fit into memory.

  Args:
    memory: 0 or more.
    each: memory of one, above 0, in the same unit.
    least: the number to return at least.
  """
  if not 0 < each < math.inf:
    raise UsageError(
      f"orion: {each} of memory for one example: give more than 0"
    )
  return max(least, math.floor(memory / each + _ROUNDING))


def optimizer(
  urge: float, threshold: float, needed: float, room: float = math.inf
) -> Optimizer:
  """Returns which optimiser to use, before it allocates anything.

  Args:
    urge: URGE.
    threshold: Thr.
    needed: memory that the advanced optimiser takes beside the default one's.
    room: memory that is free, in the same unit; infinity where none is limited.
  """
  return "advanced" if urge > threshold and needed <= room else "default"


def init(batch_memory: float, replay_memory: float) -> State:
  """Returns the state before the first experience, JSON-ready.

  Args:
    batch_memory: of batches, 0 or more.
    replay_memory: of the replay memory, 0 or more, in the same unit.
  """
  for value in (batch_memory, replay_memory):
    if not 0 <= value < math.inf:
      raise UsageError(f"orion: memory of {value}: give 0 or more")
  return {"t": 0, "batch": batch_memory, "replay": replay_memory}


def decide(
  state: State,
  seen: Figures,
  settings: Settings,
  row: float,
  example: float,
  needed: float,
  room: float = math.inf,
) -> tuple[Step, State]:
  """Decides at the end of an experience what the next one is trained with.

  Args:
    state: of `init`, or of the last decision.
    seen: figures after the experience.
    settings: of the rule.
    row: memory that a row of a batch takes, in the unit of the state.
    example: memory that an example takes in the replay memory.
    needed: as for `optimizer`.
    room: as for `optimizer`.
  """
  t = state["t"] + 1
  found, limit = urge(seen, settings), threshold(settings, t)
  batch = resized(state["batch"], settings.alpha, found, limit)
  replay = resized(state["replay"], settings.beta, found, limit)
  chosen = optimizer(found, limit, needed, room)
  above = found > limit
  reason = (
    f"URGE {found:.3g} is {'above' if above else 'not above'} {limit:.3g}: "
    f"batches {'grow' if above else 'shrink'}"
  )
  if above and chosen == "default":
    reason += (
      f"; {room:g} of memory are free, the advanced optimiser takes {needed:g}"
    )
  step = Step(
    fitting(batch, row, least=1),
    fitting(replay, example),
    chosen,
    found,
    limit,
    reason,
  )
  return step, {"t": t, "batch": batch, "replay": replay}


def _sigmoid(x: float) -> float:
  if x >= 0:
    return 1 / (1 + math.exp(-x))
  return math.exp(x) / (1 + math.exp(x)) if x > -700 else 0.0
