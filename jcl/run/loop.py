"""The host loop: where feed, trainee, controller and ledger meet.

`run` is a generator. It never prints, writes or saves; progress bars, files
and checkpoints are consumers of the events it yields. All it needs to go on
after a stop is in the last event, once `Job.save` has filled its cursor: a
`LearnerState` and a `Cursor`.
"""

from collections.abc import Generator, Iterator
import functools
import math
import time

import numpy as np

from jcl import base, keys
from jcl.run import deciding, dispatch, evaluation, together
from jcl.run.cursor import Cursor, Event, Job
from jcl.run.finite import NonFiniteLossError as NonFiniteLossError
from jcl.train.hooks import BatchHook

_WAIT = 0.5  # seconds between looks at what the host allows

Events = Generator[Event, None, base.LearnerState]


def start(job: Job) -> tuple[base.LearnerState, Cursor]:
  """Returns the state and cursor of a run that has done nothing yet."""
  key = keys.key(job.seed, keys.Purpose.INIT)
  job.trainee.start(None)
  state, selection = job.learner.init(key)
  job.trainee.start(selection)
  at = Cursor(control=job.controller.init())
  scores = evaluation.evaluate(job, state, job.stream.classes_trained)
  at.initial = (scores.accuracy, scores.accuracy_task)
  return state, at


def run(job: Job, state: base.LearnerState, at: Cursor) -> Iterator[Event]:
  """Learns the rest of the stream from `at` on.

  The same job and seed give the same states, wherever the run was stopped.

  Args:
    job: the parts of the run.
    state: of the learner at the cursor `at`, which the loop moves on.

  Yields:
    An event at the start and end of every experience, after every dispatch of
    steps and every evaluation mid-way, and twice a second while training waits.

  Raises:
    NonFiniteLossError: names the step and the examples of its batch.
  """
  for index in range(at.experience, len(job.stream.experiences)):
    scope = scope_of(job, index)
    job.give_way()
    if not at.begun:
      state = _open(job, state, at, scope)
      yield Event("begin", state, at, {})
    state = yield from _epochs(job, state, at, scope)
    state = _close(job, state, at, scope)
    at.records.append(evaluation.record(job, state, at, scope))
    at.close()
    yield Event("experience", state, at, {})


def scope_of(job: Job, index: int) -> base.Scope:
  """Returns what is known of the classes in experience `index`."""
  stream = job.stream
  current = np.zeros(stream.num_classes, bool)
  current[list(stream.experiences[index].classes)] = True
  seen = stream.classes_seen(index)
  everything = job.learner.training.head == "all"
  head = stream.classes_trained if everything else seen
  return job.learner.put(
    base.Scope(np.asarray(index, np.int32), current, seen, head)
  )


def _open(
  job: Job, state: base.LearnerState, at: Cursor, scope: base.Scope
) -> base.LearnerState:
  """Prepares learner and feed for an experience, and decides about it."""
  spent, hooks = job.ledger.total(), job.hooks
  at.open()
  state = hooks.open(
    job.learner, state, at.experience, job.trainee.selection, scope
  )
  job.give_way()
  job.feed.arrive(at.experience)
  job.trainee.open()
  deciding.decide(job, state, at, scope, "experience", spent)
  job.feed.open(at.decided.allocation)
  at.begun = True
  return state


def _epochs(
  job: Job, state: base.LearnerState, at: Cursor, scope: base.Scope
) -> Events:
  """Trains until the decision's epochs or limit are reached."""
  feed, trainee = job.feed, job.trainee
  feed.show(state)
  if not at.totals.steps:
    at.planned = at.decided.epochs * feed.num_batches
  feed.plan(at.planned)
  scope = _timed(job, at, scope)
  # A kill may have prevented it.
  yield from evaluation.midway(job, state, at, scope)
  yield from _ready(job, state, at, scope)
  with job.ledger.timed("data"):
    chunk = dispatch.again(job, at)
  job.give_way()
  while chunk is not None and not _ends(job, at):
    if (yield from _ready(job, state, at, scope)):
      chunk = dispatch.again(job, at)
      continue
    state, program = trainee.program(
      state, at.at, scope, feed.source, at.decided
    )
    job.give_way()
    if not at.totals.steps:
      most = job.steps_to_limit(at, program.cost)
      at.planned = int(min(at.planned, most))
      if feed.plan(at.planned):
        chunk = dispatch.again(job, at) or chunk
      scope = _timed(job, at, scope)
      batch = functools.partial(job.batch_of, at.decided.epochs)
      hook = BatchHook("first_batch", trainee.selection)
      state = job.hooks.show_batch(
        job.learner, state, at.experience, hook, scope, batch
      )
    most = job.steps_to_limit(at, program.cost)
    if not most:
      break
    break_in = job.breaks.until(job, at)
    chunk = chunk.first(min(most, trainee.until_switch(at.step), break_in))
    state, following, scalars = dispatch.dispatch(
      job, state, at, scope, program, chunk
    )
    state = job.breaks.take(job, state, at, scope)
    moment: base.Moment = "dispatch" if at.batch else "epoch"
    changed = deciding.decide(job, state, at, scope, moment)
    chunk = dispatch.again(job, at) if changed else following
    job.give_way()
    yield Event("steps", state, at, scalars)
    yield from evaluation.midway(job, state, at, scope)
  return state


def _ends(job: Job, at: Cursor) -> bool:
  """Tells whether a limit is reached, for all processes at the same step."""
  limit, reached = at.decided.limit, job.limit_reached(at)
  if min(limit.seconds, limit.joules) == math.inf:
    return reached
  return together.first_of(reached)


def _ready(
  job: Job, state: base.LearnerState, at: Cursor, scope: base.Scope
) -> Generator[Event, None, bool]:
  """Waits while a decision says so; tells whether the examples have changed."""
  changed = deciding.decide(job, state, at, scope, "dispatch")
  while at.decided.wait:
    yield Event("paused", state, at, {})  # who must not block stops here
    time.sleep(_WAIT)
    changed |= deciding.decide(job, state, at, scope, "dispatch")
  return changed


def _timed(job: Job, at: Cursor, scope: base.Scope) -> base.Scope:
  """Tells steps when the experience began, and how long it is to be."""
  return job.learner.timed(scope, at.step - at.totals.steps, at.planned)


def _close(
  job: Job, state: base.LearnerState, at: Cursor, scope: base.Scope
) -> base.LearnerState:
  """Closes an experience for the objective and all memories."""
  learner, index, hooks = job.learner, at.experience, job.hooks
  state = job.breaks.take(job, state, at, _timed(job, at, scope), last=True)
  batch = functools.partial(job.batch_of, at.decided.epochs + 1)
  hook = BatchHook("last_batch", job.trainee.selection)
  state = hooks.show_batch(learner, state, index, hook, scope, batch)
  state = hooks.close(learner, state, index, scope)
  deciding.decide(job, state, at, scope, "end")
  job.feed.close(state, at.decided.allocation.em)
  state = hooks.rebuild(learner, state, index)
  return hooks.review(learner, state, index, scope, job.feed.memory)
