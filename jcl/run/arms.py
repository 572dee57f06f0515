"""What a run's sizes cost, and what a budget buys of it.

Costs are those by which the run itself decides: what experiences take beside
their updates, and what an update takes. Seconds come from a few timed calls,
joules from seconds and the device's power. Accuracy is what earlier studies
lead one to expect, see `control.prior`.
"""

from collections.abc import Mapping
import dataclasses
import itertools
import math
from typing import NamedTuple

import jax
import numpy as np

from jcl import base
from jcl.control import joint, prior
from jcl.cost import program_cost
from jcl.run import cursor, estimate, loop, solving
from jcl.train import chunks, consolidation, gather, prices

_CALLS = 4  # batches of a pass that are timed


class Point(NamedTuple):
  """What a budget buys, as far as that is known ahead.

  Attributes:
    limits: the budget, by the names of `control.limits.UNITS`; none without.
    cost: of all learning, compilation counted and evaluation left out.
    held: bytes of memory, statistics and weights.
    features: of the classifier; 0 where it reads a trunk's, None without one.
    updates: of the network, about.
    passes: over the stream that these are.
    memory: examples that the memory holds.
    way: whose law the accuracy is from, see `control.prior`.
    accuracy: expected; None where no study says anything.
  """

  limits: Mapping[str, float]
  cost: base.Cost
  held: int
  features: int | None
  updates: int
  passes: float
  memory: int
  way: str
  accuracy: prior.Expected | None

  @property
  def pays(self) -> bool:
    """Whether the budget is enough, and anything is learned of it."""
    learns = self.updates > 0 or self.features is not None
    return learns and all(
      getattr(self.cost, name) <= value * (1 + 1e-9)
      for name, value in self.limits.items()
    )


@dataclasses.dataclass(frozen=True)
class Arm:
  """Costs of a run whose sizes are set.

  Attributes:
    beside: of all experiences, compilation counted, without updates.
    update: of one update.
    compiling: the program of updates.
    features: of the classifier, see `Point`.
    memory: examples that it holds.
    held: bytes, see `Point`.
    batches: updates of one pass over the stream.
    epochs: passes without a budget.
    classes: that train.
    chooses: whether a run of its recipe may have a classifier.
  """

  beside: base.Cost
  update: base.Cost
  compiling: base.Cost
  features: int | None
  memory: int
  held: int
  batches: int
  epochs: int
  classes: int
  chooses: bool

  @property
  def least(self) -> base.Cost:
    """What it takes to learn anything."""
    if self.features is not None:
      return self.beside
    updates = joint.LEAST_UPDATES * self.update
    return self.beside + self.compiling + updates

  def point(self, allowed: Mapping[str, float]) -> Point:
    """Returns what a budget buys.

    Args:
      allowed: the budget, by the names of `control.limits.UNITS`.
    """
    updates = self._updates(allowed)
    cost = self.beside
    if updates:
      cost = cost + self.compiling + updates * self.update
    if updates or self.features is None:
      way = "auto" if self.chooses else "er"
      size = cost.flops / (self.batches * self.update.flops)
    else:
      way, size = "randumb", float(self.features)
    law = prior.laws().get(way) if size > 0 else None
    return Point(
      allowed,
      cost,
      self.held,
      self.features,
      updates,
      updates / self.batches,
      self.memory,
      way,
      None if law is None else prior.expected(law, size, max(self.classes, 2)),
    )

  def _updates(self, allowed: Mapping[str, float]) -> int:
    """Returns how many updates the rest of a budget pays for."""
    passes = self.epochs * (joint.PASSES if allowed else 1)
    fits = [float(passes * self.batches)]
    spent = self.beside + self.compiling
    for name, value in allowed.items():
      each = getattr(self.update, name)
      if each > 0:
        fits.append((value - getattr(spent, name)) / each)
    updates = math.floor(min(fits))
    return updates if updates >= joint.LEAST_UPDATES else 0


def priced(
  job: loop.Job, found: estimate.Estimate, chooses: bool = True
) -> Arm:
  """Returns the costs of a run, whose programs are compiled.

  Args:
    job: the run; nothing of it is changed but its trainee.
    found: estimate of a run with the same network, whose updates were timed.
    chooses: see `Arm`.
  """
  learner, stream, device = job.learner, job.stream, job.ledger.device
  job.trainee.start(None)
  state, selection = learner.init(jax.random.key(job.seed))
  job.trainee.start(selection)
  scope = loop.scope_of(job, 0)
  numbers = range(len(stream.experiences))
  parts = stream, learner, state, scope, selection
  beside = sum((prices.beside(*parts, each) for each in numbers), base.Cost())
  before = _compiling(job)
  update = prices.update(learner, selection)
  # Zero where the estimate is this run's, whose program is compiled already.
  own = _compiling(job) - before or found.compile_seconds
  items = program_cost.num_bytes(state.replay.items) if state.replay else 0
  weights = program_cost.num_bytes((state.train.params, state.train.stats))
  sums = solving.statistics_bytes(learner.method, state) or 0
  seconds = _seconds(job, state, scope, beside.flops)

  def timed(cost: base.Cost, seconds: float) -> base.Cost:
    return dataclasses.replace(
      cost, seconds=seconds, joules=device.joules(seconds)
    )

  return Arm(
    timed(beside, seconds + max(_compiling(job) - own, 0.0)),
    timed(update, found.step_seconds),
    timed(base.Cost(), own),
    features(job),
    learner.memory_slots,
    items + sums + weights,
    _batches(job),
    learner.training.epochs or 0,
    int(stream.classes_trained.sum()),
    chooses,
  )


def one_pass(job: loop.Job) -> base.Cost:
  """Returns what training everything on each example once takes.

  That is in operations and bytes, and without what closes experiences.
  """
  job.trainee.start(None)
  _, selection = job.learner.init(jax.random.key(job.seed))
  job.trainee.start(selection)
  return _batches(job) * prices.update(job.learner, selection)


def _batches(job: loop.Job) -> int:
  """Returns the updates of one pass over the stream."""
  once = base.Decision(base.Allocation(1))
  return job.expected_steps(cursor.Cursor(decision=once))


def _compiling(job: loop.Job) -> float:
  """Returns the seconds that compiling has taken."""
  return job.ledger.totals()["compile"].seconds


def features(job: loop.Job) -> int | None:
  """Returns the features of a run's classifier, see `Point`."""
  method = job.learner.method
  if method.consolidation.told is None:
    return None
  return 0 if method.expand is None else method.expand.width


def _seconds(
  job: loop.Job, state: base.LearnerState, scope: base.Scope, flops: float
) -> float:
  """Returns how long operations beside updates take.

  A few batches of the first experience are summed up and a classifier is
  solved; all other operations are taken to be as fast as those of the sums.

  Args:
    job: the run.
    state: as it begins; its arrays are not valid any more afterwards.
    scope: of the first experience.
    flops: of all experiences.
  """
  learner, source = job.learner, gather.Experiences(job.stream, [0])
  order = np.arange(len(source))
  rows = learner.method.consolidation.rows
  if rows:
    found = chunks.of_rows(learner, source, order, rows)
  else:
    found = chunks.of_order(learner, source, order)
  first, *rest = itertools.islice(found, _CALLS + 1)
  key = jax.random.key(job.seed)

  def settled(
    state: base.LearnerState, shown: list[chunks.Chunk]
  ) -> tuple[base.LearnerState, base.Cost]:
    before = learner.ledger.totals()["train"]
    state = consolidation.settle(learner, key, state, shown, scope)
    return state, learner.ledger.totals()["train"] - before

  state, _ = settled(state, [first])  # compiles, and warms up
  state, both = settled(state, rest or [first])
  state, solved = settled(state, [])
  summed = both - solved
  pace = summed.seconds / summed.flops if summed.flops > 0 else 0.0
  solves = len(job.stream.experiences)
  return solves * solved.seconds + pace * max(
    flops - solves * solved.flops, 0.0
  )
