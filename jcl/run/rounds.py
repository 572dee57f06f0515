"""Rounds: updates on the memory alone, between those of the stream."""

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base, keys
from jcl.objectives import memory_alone
from jcl.options.errors import UsageError
from jcl.replay import sampling
from jcl.run import finite
from jcl.selection import fixed, mask
from jcl.train import background, chunks
from jcl.train import learner as learner_lib
from jcl.train import optimizer as optimizers

if TYPE_CHECKING:  # a job has breaks
  from jcl.run.cursor import Cursor, Job


def check(method: base.Method, training: base.Training) -> None:
  """Raises UsageError for an interlude that the run's optimiser cannot have."""
  if method.interlude is None:
    return
  if method.predictor.solve is not None or method.consolidation.begins:
    raise UsageError(
      "rounds on the memory move normalisers and biases, and statistics of "
      "features hold only while nothing ahead of the head changes: leave out "
      "either fpf or what is solved"
    )
  if method.replay.on_host:
    raise UsageError(
      "rounds draw from the device's memory, and a memory hierarchy has it on "
      "the host: leave out one of the two"
    )
  if optimizers.is_own(training) or callable(training.learning_rate):
    raise UsageError(
      "rounds on the memory have an optimiser and a schedule of their own: "
      "give optimizer=sgd, adam or adamw, and a number for learning_rate"
    )


class Rounds:
  """Does a method's interlude: a round of updates, then back to the stream.

  A round trains some tensors on draws of the memory, with slots of its own,
  which begin anew; the memory, the run's slots and its count of updates stay.

  Args:
    interlude: of the method.
  """

  def __init__(self, interlude: base.Interlude) -> None:
    self._interlude = interlude
    # A learner of the stream, and the one of its rounds.
    self._learners: tuple[learner_lib.Learner, learner_lib.Learner] | None
    self._learners = None
    # What a round of a learner takes: limits ask ahead of every dispatch.
    self._priced: tuple[learner_lib.Learner, base.Cost] | None = None

  def places(self, job: "Job", at: "Cursor") -> list[int]:
    if self._interlude.every:
      return every(self._interlude.every, _first(at), at.planned)
    starts, index = job.stream.starts, at.experience
    return spread(starts, index, at.planned, self._interlude.times)

  def ahead(self, job: "Job", at: "Cursor", steps: int) -> base.Cost:
    made = at.totals.steps
    if self._interlude.every:
      number = len(every(self._interlude.every, at.step, steps))
    else:
      number = sum(place > made for place in self.places(job, at))
    return number * self.price(job)

  def price(self, job: "Job") -> base.Cost:
    """Returns what a round takes, in operations and bytes."""
    if self._priced is None or self._priced[0] is not job.learner:
      number = self._interlude.phase.updates
      flops, moved = chunks.work(self._program(job.learner), number)
      self._priced = job.learner, base.Cost(flops=flops, bytes=moved)
    return self._priced[1]

  def act(
    self,
    job: "Job",
    state: base.LearnerState,
    at: "Cursor",
    scope: base.Scope,
    number: int,
  ) -> base.LearnerState:
    if not int(state.replay.seen):  # type: ignore[union-attr]
      return state
    updates = self._interlude.phase.updates
    program, inner = self._program(job.learner), self._inner(job.learner)
    scope = inner.timed(scope, 0, updates)
    key = keys.key(
      job.seed, keys.Purpose.ROUNDS, at.experience, at.step, number
    )
    now = self._begun(job.learner, state)
    blank = _blank(inner)
    for start in range(0, updates, inner.steps_per_dispatch):
      count = min(inner.steps_per_dispatch, updates - start)
      chunk = chunks.Chunk(blank, np.array([]), count)
      with job.ledger.timed("replay", *chunks.work(program, count)) as took:
        now, info = chunks.run(program, key, now, chunk, scope)
        losses = np.asarray(info.loss)[:count]
      at.spent += took.cost
      unknown = np.full((count, 1), -1)
      finite.check(job.stream, at.experience, at.step, losses, unknown)
      job.give_way()
    train = state.train._replace(params=now.train.params, stats=now.train.stats)
    return state._replace(train=train, replay=now.replay)

  def _inner(self, learner: learner_lib.Learner) -> learner_lib.Learner:
    """Returns the learner of rounds, for the network as it is now."""
    if self._learners is None or self._learners[0] is not learner:
      phase, stores = self._interlude.phase, learner.method.objective.stores
      method = learner.method._replace(
        objective=memory_alone.on_memory(phase.objective, stores),
        selector=fixed.everything(),
        rewrite=None,
      )
      method = sampling.replaying(method, phase.rows)
      replay = method.replay._replace(when="never", update=None)
      method = method._replace(replay=replay)
      # Of the stream, no more rows than a step can be made of.
      training = dataclasses.replace(
        phase.training, batch_size=learner.spec.accumulate
      )
      inner = learner.rebuilt(
        method=method, training=training.over(learner.training)
      )
      self._learners = learner, inner
    return self._learners[1]

  def _selection(self, learner: learner_lib.Learner) -> base.Selection:
    network, method = learner.network, learner.method
    wanted = self._interlude.phase.select(network).trainable
    may = (method.selector.candidates or mask.everything)(network).trainable
    both = tuple(a and b for a, b in zip(wanted, may, strict=True))
    return mask.check(network, base.Selection(both))

  def _program(self, learner: learner_lib.Learner) -> background.Program:
    return self._inner(learner).step_program(self._selection(learner))

  def _begun(
    self, learner: learner_lib.Learner, state: base.LearnerState
  ) -> base.LearnerState:
    """Returns the state that a round begins with, of the same arrays."""
    inner, selection = self._inner(learner), self._selection(learner)
    network, optimizer = inner.network, inner.spec.optimizer

    def begin(params, stats, replay):
      trained, _ = mask.split(params, network, selection)
      slots = optimizer.init(trained)
      train = base.TrainState(jnp.int32(0), params, stats, slots)
      return base.LearnerState(train, replay, (), ())

    args = state.train.params, state.train.stats, state.replay
    return inner.run("replay", "begin", begin, *args, donate=(0, 1, 2))


def spread(
  starts: np.ndarray, index: int, planned: int, count: int
) -> list[int]:
  """Returns the updates of an experience behind which rounds come.

  The j-th of `count` rounds comes where the share j / count of the stream is
  learned, whatever the experiences; none comes ahead of the first update.

  Args:
    starts: [T + 1] positions at which experiences begin, the stream's end last.
    index: of the experience.
    planned: updates of the experience.
    count: rounds of the stream.

  >>> spread(np.array([0, 500, 1000]), 0, 50, 3)
  [33]
  """
  begin, end, total = (int(starts[i]) for i in (index, index + 1, -1))
  found = []
  for j in range(1, count + 1):
    if begin * count < j * total <= end * count:
      done = (j * total - begin * count) * planned // ((end - begin) * count)
      found.append(max(done, 1))
  return found


def every(between: int, first: int, planned: int) -> list[int]:
  """Returns the updates of an experience behind which rounds come.

  Args:
    between: updates of the run from one round to the next.
    first: updates of the run ahead of those of the experience.
    planned: updates of the experience.

  >>> every(10, 25, 20)
  [5, 15]
  """
  return list(range(between - first % between, planned + 1, between))


def _first(at: "Cursor") -> int:
  return at.step - at.totals.steps


def _blank(inner: learner_lib.Learner) -> base.Batch:
  """Returns batches of the stream that hold nothing, on the device."""
  shape = inner.steps_per_dispatch, inner.batch_size
  example = inner.example._replace(extras={}, ids=np.full((), -1, np.int32))
  return inner.put_batches(
    jax.tree.map(
      lambda leaf: np.broadcast_to(leaf, (*shape, *np.shape(leaf))), example
    )
  )
