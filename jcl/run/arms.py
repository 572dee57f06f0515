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
from jcl.selection import mask
from jcl.train import chunks, consolidation, gather, prices
from jcl.train import learner as learner_lib

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
    way: whose law the accuracy is from, see `control.prior`; None: none.
    accuracy: expected; None where no study says anything.
  """

  limits: Mapping[str, float]
  cost: base.Cost
  held: int
  features: int | None
  updates: int
  passes: float
  memory: int
  way: str | None
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
    fewest: updates that anything is learned by.
    studied: whether a study says anything of such a network.
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
  fewest: int
  studied: bool

  @property
  def least(self) -> base.Cost:
    """What it takes to learn anything."""
    if self.features is not None:
      return self.beside
    return self.beside + self.compiling + self.fewest * self.update

  def point(self, allowed: Mapping[str, float]) -> Point:
    """Returns what a budget buys.

    Args:
      allowed: the budget, by the names of `control.limits.UNITS`.
    """
    updates = self._updates(allowed)
    cost = self.beside
    if updates:
      cost = cost + self.compiling + updates * self.update
    return Point(
      allowed,
      cost,
      self.held,
      self.features,
      updates,
      updates / self.batches,
      self.memory,
      *self._expected(updates, cost),
    )

  def _expected(
    self, updates: int, cost: base.Cost
  ) -> tuple[str | None, prior.Expected | None]:
    """Returns whose law holds for some updates, and what it expects."""
    if not self.studied:
      return None, None
    way = "er" if self.features is None else "auto"
    size = cost.flops / (self.batches * self.update.flops)
    if self.features and not updates:
      way, size = "randumb", float(self.features)
    return way, prior.expected(prior.laws()[way], size, max(self.classes, 2))

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
    return updates if updates >= self.fewest else 0


class Pace(NamedTuple):
  """Speed of a machine, in seconds an operation, and what compiling takes."""

  summing: float  # passes over experiences, and looks
  solving: float
  compiling: float  # seconds, for all but updates


def priced(job: loop.Job, found: estimate.Estimate, pace: Pace) -> Arm:
  """Returns the costs of a run; programs beside its updates are compiled.

  Args:
    job: the run, of which nothing is changed.
    found: estimate of a run with this network, whose updates were timed; what
      stands beside it makes no difference to them.
    pace: of the machine.
  """
  learner, stream, device = job.learner, job.stream, job.ledger.device
  selection = _trained(learner)
  state = learner.template(selection)
  parts = stream, learner, state, loop.scope_of(job, 0), selection
  numbers = range(len(stream.experiences))
  beside = sum((prices.beside(*parts, each) for each in numbers), base.Cost())
  items = program_cost.num_bytes(state.replay.items) if state.replay else 0
  weights = program_cost.num_bytes((state.train.params, state.train.stats))
  sums = solving.statistics_bytes(learner.method, state) or 0
  solved = len(numbers) * _solving(job, state)
  seconds = pace.summing * (beside.flops - solved) + pace.solving * solved

  def timed(cost: base.Cost, seconds: float) -> base.Cost:
    return dataclasses.replace(
      cost, seconds=seconds, joules=device.joules(seconds)
    )

  program, step_seconds = found.program, found.step_seconds
  update = base.Cost(flops=program.flops, bytes=program.bytes_accessed)
  if program_cost.num_parameters(state.train.params) != found.parameters:
    update = prices.update(learner, selection)  # the head is another one
    step_seconds *= update.flops / program.flops
  return Arm(
    timed(beside, seconds + pace.compiling),
    timed(update, step_seconds),
    timed(base.Cost(), found.compile_seconds),
    features(job),
    learner.memory_slots,
    items + sums + weights,
    _batches(job),
    learner.training.epochs or 0,
    int(stream.classes_trained.sum()),
    _fewest(job),
    not learner.network.pretrained,
  )


def _fewest(job: loop.Job) -> int:
  """Returns the updates that a run makes at least, where it makes any."""
  if job.learner.method.consolidation.held is None:  # one an experience
    return len(job.stream.experiences)
  return joint.LEAST_UPDATES


def one_pass(job: loop.Job) -> base.Cost:
  """Returns what training everything on each example once takes.

  That is in operations and bytes, and without what closes experiences.
  """
  selection = _trained(job.learner)
  return _batches(job) * prices.update(job.learner, selection)


def features(job: loop.Job) -> int | None:
  """Returns the features of a run's classifier, see `Point`."""
  method = job.learner.method
  if method.consolidation.told is None and method.predictor.solve is None:
    return None
  return 0 if method.expand is None else method.expand.width


def paced(job: loop.Job, compile_seconds: float = 0.0) -> Pace:
  """Returns how long operations beside updates take.

  A few batches of the first experience are summed up, and a classifier is
  solved of them.

  Args:
    job: the run, of which nothing is changed.
    compile_seconds: of its updates, as far as it has compiled these.
  """
  learner, source = job.learner, gather.Experiences(job.stream, [0])
  state, selection = learner.init(jax.random.key(job.seed))
  scope, key = loop.scope_of(job, 0), jax.random.key(job.seed)
  prices.beside(job.stream, learner, state, scope, selection, 0)  # compiles
  compiled = job.ledger.totals()["compile"].seconds - compile_seconds
  order = np.arange(len(source))
  rows = learner.method.consolidation.rows
  if rows:
    found = chunks.of_rows(learner, source, order, rows)
  else:
    found = chunks.of_order(learner, source, order)
  shown = [[each] for each in itertools.islice(found, _CALLS)]

  def settled(
    state: base.LearnerState, some: list[chunks.Chunk]
  ) -> tuple[base.LearnerState, base.Cost]:
    before = learner.ledger.totals()["train"]
    state = consolidation.settle(learner, key, state, some, scope)
    return state, learner.ledger.totals()["train"] - before

  both, alone = [], []
  for some in (shown[0], *shown):  # the first call is slower
    state, cost = settled(state, some)
    both.append(cost)
    state, cost = settled(state, [])
    alone.append(cost)
  # Others on the machine take time as well, and none of this run's.
  solved, summed = (min(each, key=_seconds) for each in (alone, both))
  return Pace(_each(summed - solved), _each(solved), max(compiled, 0.0))


def _seconds(cost: base.Cost) -> float:
  return cost.seconds


def _trained(learner: learner_lib.Learner) -> base.Selection:
  """Returns all that a method trains."""
  candidates = learner.method.selector.candidates
  return (candidates or mask.everything)(learner.network)


def _each(cost: base.Cost) -> float:
  """Returns the seconds of an operation, 0 where there are none."""
  return max(cost.seconds, 0.0) / cost.flops if cost.flops > 0 else 0.0


def _solving(job: loop.Job, state: base.LearnerState) -> float:
  """Returns the operations of solving a classifier once."""
  price = job.learner.method.consolidation.price
  return 0.0 if price is None else price(state.objective)


def _batches(job: loop.Job) -> int:
  """Returns the updates of one pass over the stream."""
  once = base.Decision(base.Allocation(1))
  return job.expected_steps(cursor.Cursor(decision=once))
