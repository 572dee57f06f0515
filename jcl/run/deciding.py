"""Deciding: asks a run's controller, and carries out its decisions."""

from collections.abc import Callable
import functools

from jcl import base
from jcl.control import verdict
from jcl.run import judge, together, trials
from jcl.run.cursor import Cursor, Job
from jcl.train import prices


def decide(
  job: Job,
  state: base.LearnerState,
  at: Cursor,
  scope: base.Scope,
  moment: base.Moment,
  spent: base.Cost | None = None,
) -> bool:
  """Has the controller decide, where it wants to at this moment.

  Args:
    job: the run.
    state: only read; trials train copies of it.
    at: cursor of the run, which files the decision.
    scope: what is known of the classes.
    moment: of the run; a controller is asked at those that it names.
    spent: cost since the start of the run; None: as the ledger has it.

  Returns:
    Whether the epoch has other examples from here on, or ends early.
  """
  if moment not in job.controller.moments:
    return False
  before = at.decision
  seen = observation(job, state, at, scope, moment, spent)
  decision, at.control = together.decided(
    *job.controller.decide(at.control, seen)
  )
  at.decide(decision)
  if before is None or moment in ("experience", "end"):
    return False
  if decision.epochs < before.epochs:
    return True
  return job.feed.apply(decision.allocation, moment == "epoch")


def observation(
  job: Job,
  state: base.LearnerState,
  at: Cursor,
  scope: base.Scope,
  moment: base.Moment,
  spent: base.Cost | None = None,
) -> base.Observation:
  """Returns what the controller may look at; arguments as for `decide`."""
  experiences = job.stream.experiences
  held = job.feed.held(at.records[-1].examples if at.records else None)
  compares = job.learner.method.consolidation.told is not None
  return base.Observation(
    experience=at.experience,
    num_experiences=len(experiences),
    num_examples=len(experiences[at.experience].data),
    spent=job.ledger.total() if spent is None else spent,
    moment=moment,
    epoch=at.epoch,
    decision=at.decision,
    used=at.spent,
    updates=at.totals.steps,
    planned=at.planned,
    recorded=job.ledger.recorded(),
    pending=job.ledger.pending(),
    closing=functools.partial(
      prices.closing,
      job.stream,
      job.learner,
      state,
      at.experience,
      scope,
      job.trainee.selection,
    ),
    held=held,
    trial=held and functools.partial(trials.run, job, state, at, scope),
    judge=_judge(job, state, scope, held is not None),
    compare=functools.partial(judge.compared, job, state, at.experience, scope)
    if compares
    else None,
    comparison=functools.partial(prices.comparison, job.learner, state, scope)
    if compares
    else None,
    beside=functools.partial(
      prices.beside,
      job.stream,
      job.learner,
      state,
      scope,
      job.trainee.selection,
    ),
    update=functools.partial(prices.update, job.learner, job.trainee.selection),
  )


def _judge(
  job: Job, state: base.LearnerState, scope: base.Scope, stored: bool
) -> Callable[[], verdict.Verdict] | None:
  """Returns what judges the network by examples set aside, if there are any.

  Args:
    job: the run.
    state: only read.
    scope: what is known of the classes.
    stored: whether examples are in a store on the host.
  """
  if stored:
    return functools.partial(judge.looked, job, state, scope)
  if job.learner.method.consolidation.held is None:
    return None

  def looked() -> verdict.Verdict:
    with job.ledger.timed("data"):
      aside = judge.kept_aside(job, state)
    return judge.judged(job, state, aside, scope)

  return looked
