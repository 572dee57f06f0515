"""The thief scheduler: divides GPUs among serving and retraining.

Bhardwaj et al., "Ekya: Continuous Learning of Video Analytics Models on Edge
Compute Servers", NSDI 2022, https://arxiv.org/abs/2012.10557. Every stream has
two jobs, one that serves its frames and one that retrains its model. All jobs
start from equal shares; then each job in turn steals from every other job the
amount that raises the mean accuracy over the window. Time is continuous and
shares are exact fractions, so that jobs with equal ends end together.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from fractions import Fraction
import functools
import math
from typing import Literal

from jcl.control.drift import allocation

Steals = Literal["every", "until_worse"]

# A gain below this is rounding.
_GAIN = 1e-12

_Shares = tuple[Fraction, ...]


@dataclasses.dataclass(frozen=True)
class Inference:
  """A way to serve a stream."""

  gpus: allocation.Seconds  # needed, 0 or more
  factor: float  # by which the model's accuracy is multiplied, in [0, 1]

  def __post_init__(self) -> None:
    if not 0 <= self.gpus < math.inf or not 0 <= self.factor <= 1:
      raise ValueError(
        f"gpus={self.gpus}, factor={self.factor}: give GPUs of 0 or more, and "
        "a factor of accuracy in [0, 1]"
      )


@dataclasses.dataclass(frozen=True)
class Retraining:
  """A way to retrain a stream's model."""

  accuracy: float  # expected afterwards, in [0, 1]
  gpu_seconds: allocation.Seconds  # on one whole GPU, more than 0

  def __post_init__(self) -> None:
    if not 0 <= self.accuracy <= 1 or not 0 < self.gpu_seconds < math.inf:
      raise ValueError(
        f"accuracy={self.accuracy}, gpu_seconds={self.gpu_seconds}: give an "
        "accuracy in [0, 1] and seconds of more than 0"
      )


@dataclasses.dataclass(frozen=True)
class Stream:
  """A stream of frames, with the ways to serve it and to retrain its model."""

  accuracy: float  # of its present model, in [0, 1]
  inferences: tuple[Inference, ...]
  retrainings: tuple[Retraining, ...] = ()  # not to retrain is always allowed

  def __post_init__(self) -> None:
    if not 0 <= self.accuracy <= 1 or not self.inferences:
      raise ValueError(
        f"accuracy={self.accuracy}, {len(self.inferences)} inferences: give an "
        "accuracy in [0, 1] and at least one way to serve the stream"
      )


@dataclasses.dataclass(frozen=True)
class Choice:
  """The configurations chosen for one stream and its shares."""

  inference: int | None  # index; None: none fits
  retraining: int | None  # index; None: no retraining
  accuracy: float  # expected, mean over the window


@dataclasses.dataclass(frozen=True)
class Plan:
  """Shares and choices of all streams."""

  serve: _Shares  # [streams] GPUs
  train: _Shares  # [streams] GPUs
  choices: tuple[Choice, ...]  # [streams]

  @property
  def accuracy(self) -> float:
    """Expected accuracy, mean over streams and window."""
    return sum(choice.accuracy for choice in self.choices) / len(self.choices)


@dataclasses.dataclass(frozen=True)
class Segment:
  """A part of the window with one plan."""

  start: Fraction  # seconds from the window's start
  end: Fraction
  plan: Plan
  accuracy: float  # mean over streams, during this part


def estimate(
  stream: Stream,
  retraining: Retraining,
  share: allocation.Seconds,
  factor: float,
  seconds: allocation.Seconds,
) -> float | None:
  """Returns the mean accuracy over a window in which a model is retrained.

  With d = gpu_seconds / share, it is factor * (a0 * d + a1 * (T - d)) / T.

  Args:
    stream: its accuracy a0 holds until the retraining ends.
    retraining: its accuracy a1 holds from then on.
    share: GPUs for the retraining.
    factor: of the way to serve, by which accuracies are multiplied.
    seconds: T, of the window.

  Returns:
    The mean accuracy; None if the retraining does not end in the window.

  >>> stream = Stream(0.5, (Inference(0.5, 1.0),))
  >>> estimate(stream, Retraining(0.9, 10), share=0.5, factor=1.0, seconds=40)
  0.7
  """
  given, window = allocation.exact(share), allocation.exact(seconds)
  work = allocation.exact(retraining.gpu_seconds)
  if work > given * window:
    return None
  before = float(work / (given * window))
  return factor * (
    stream.accuracy * before + retraining.accuracy * (1 - before)
  )


def pick(
  stream: Stream,
  serve: allocation.Seconds,
  train: allocation.Seconds,
  seconds: allocation.Seconds,
  least: float = 0.4,
) -> Choice:
  """Picks the best configurations of a stream for its shares (PickConfigs).

  First the most accurate way to serve that fits its share and keeps accuracy at
  `least` or above; then the retraining of the highest estimate, or none. A
  stream without such a way to serve has accuracy 0. If the model is so bad that
  every way to serve stays below `least`, there is no minimum.

  Args:
    stream: with its configurations.
    serve: GPUs for serving.
    train: GPUs for retraining.
    seconds: of the window, without those of labelling.
    least: accuracy below which a stream is not served.
  """
  if max(each.factor for each in stream.inferences) * stream.accuracy < least:
    least = 0.0
  given = allocation.exact(serve)
  best: int | None = None
  for i, each in enumerate(stream.inferences):
    if (
      allocation.exact(each.gpus) <= given
      and each.factor * stream.accuracy >= least
      and (best is None or each.factor > stream.inferences[best].factor)
    ):
      best = i
  if best is None:
    return Choice(None, None, 0.0)
  factor = stream.inferences[best].factor
  choice = Choice(best, None, factor * stream.accuracy)
  for i, retraining in enumerate(stream.retrainings):
    value = estimate(stream, retraining, train, factor, seconds)
    if value is not None and value > choice.accuracy:
      choice = Choice(best, i, value)
  return choice


def thief(
  streams: Sequence[Stream],
  gpus: allocation.Seconds,
  seconds: allocation.Seconds,
  *,
  delta: allocation.Seconds = 0.1,
  least: float = 0.4,
  steals: Steals = "every",
) -> Plan:
  """Divides GPUs among the jobs of a window by stealing.

  Args:
    streams: at least one. A stream without retrainings has one job, to serve.
    gpus: to divide.
    seconds: of the window, without those of labelling.
    delta: GPUs that are stolen at a time.
    least: as for `pick`.
    steals: the amounts that a thief tries. "until_worse", as in the published
      listing, steals `delta` again as long as accuracy rises; it steals nothing
      if a retraining needs several `delta` to end in the window at all. "every"
      tries all multiples of `delta` and, last, all that the victim has, and
      keeps the best; for one stream this finds the optimum. In the published
      listing the jobs that serve come before those that retrain, each in the
      order of the streams; with "every", as in the public program, those that
      retrain come first.

  Returns:
    Shares of 0 or more whose sum is `gpus`; equal shares are never better.

  Raises:
    ValueError: for no streams, or numbers that are not positive.

  >>> stream = Stream(0.5, (Inference(0.25, 1.0),), (Retraining(0.9, 30),))
  >>> plan = thief([stream], gpus=1, seconds=60, delta=0.25)
  >>> plan.serve, plan.train, round(plan.accuracy, 3)
  ((Fraction(1, 4),), (Fraction(3, 4),), 0.633)
  """
  if steals not in ("every", "until_worse"):
    raise ValueError(f"steals={steals!r}: give 'every' or 'until_worse'")
  named = {"gpus": gpus, "seconds": seconds, "delta": delta}
  for name, value in named.items():
    if not 0 < value < math.inf:
      raise ValueError(f"{name}={value}: give more than 0")
  if not streams:
    raise ValueError("streams is empty: give at least one")
  serving = [(i, "serve") for i in range(len(streams))]
  retraining = [(i, "train") for i, s in enumerate(streams) if s.retrainings]
  jobs = serving + retraining
  if steals == "every":
    jobs = retraining + serving
  step = allocation.exact(delta)

  @functools.cache
  def choose(stream: int, serve: Fraction, train: Fraction) -> Choice:
    return pick(streams[stream], serve, train, seconds, least)

  def plan(shares: Sequence[Fraction]) -> Plan:
    given = dict(zip(jobs, shares, strict=True))
    serve, train = (
      tuple(given.get((i, what), Fraction(0)) for i in range(len(streams)))
      for what in ("serve", "train")
    )
    choices = map(choose, range(len(streams)), serve, train)
    return Plan(serve, train, tuple(choices))

  best = [allocation.exact(gpus) / len(jobs)] * len(jobs)
  found = plan(best)
  for taker in range(len(jobs)):
    for victim in range(len(jobs)):
      if taker == victim:
        continue
      for shares in _steal(best, taker, victim, step, steals):
        tried = plan(shares)
        if tried.accuracy > found.accuracy + _GAIN:
          best, found = shares, tried
        elif steals == "until_worse":
          break
  return found


def _steal(
  shares: list[Fraction],
  taker: int,
  victim: int,
  step: Fraction,
  steals: Steals,
) -> Iterator[list[Fraction]]:
  """Yields the shares after stealing `step`, twice `step`, and so on."""
  held = shares[victim]
  count = held / step
  amounts = [step * i for i in range(1, math.floor(count) + 1)]
  if steals == "every" and count.denominator != 1:
    amounts.append(held)
  for amount in amounts:
    after = list(shares)
    after[taker] += amount
    after[victim] -= amount
    yield after


def window(
  streams: Sequence[Stream],
  gpus: allocation.Seconds,
  seconds: allocation.Seconds,
  *,
  delta: allocation.Seconds = 0.1,
  least: float = 0.4,
  steals: Steals = "every",
) -> Iterator[Segment]:
  """Runs the scheduler at the start of a window and whenever a retraining ends.

  A retraining that has begun keeps its configuration and its progress; the next
  plan may pause it. A model serves from the end of its retraining.

  Args:
    streams: as for `thief`.
    gpus: as for `thief`.
    seconds: as for `thief`.
    delta: as for `thief`.
    least: as for `thief`.
    steals: as for `thief`.

  Yields:
    The window's parts in order; together they last `seconds`.

  Raises:
    ValueError: as `thief`.
  """
  now = list(streams)
  start, end = Fraction(0), allocation.exact(seconds)
  while start < end:
    plan = thief(
      now, gpus, end - start, delta=delta, least=least, steals=steals
    )
    running = {
      i: (now[i].retrainings[choice.retraining], plan.train[i])
      for i, choice in enumerate(plan.choices)
      if choice.retraining is not None
    }
    lasts = min(
      (
        allocation.exact(job.gpu_seconds) / gpu for job, gpu in running.values()
      ),
      default=end - start,
    )
    yield Segment(start, start + lasts, plan, _accuracy(now, plan))
    for i, (job, gpu) in running.items():
      left = allocation.exact(job.gpu_seconds) - gpu * lasts
      if left > 0:
        rest = dataclasses.replace(job, gpu_seconds=left)
        now[i] = dataclasses.replace(now[i], retrainings=(rest,))
      else:
        now[i] = dataclasses.replace(
          now[i], accuracy=job.accuracy, retrainings=()
        )
    start += lasts


def mean_accuracy(segments: Sequence[Segment]) -> float:
  """Returns the mean accuracy over the parts of a window."""
  whole = sum(part.accuracy * float(part.end - part.start) for part in segments)
  return whole / float(segments[-1].end - segments[0].start)


def _accuracy(streams: Sequence[Stream], plan: Plan) -> float:
  served = [
    stream.inferences[choice.inference].factor * stream.accuracy
    for stream, choice in zip(streams, plan.choices, strict=True)
    if choice.inference is not None
  ]
  return sum(served) / len(streams)
