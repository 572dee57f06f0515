"""Scores on held-out data, and the record of an experience."""

from collections.abc import Iterator
import math

from jcl import base
from jcl.cost import program_cost
from jcl.run import solving
from jcl.run.cursor import Cursor, Event, Job
from jcl.selection import mask
from jcl.train import evaluate as evaluation
from jcl.train import scoring
from jcl.train.profiling import learners


def evaluate(
  job: Job, state: base.LearnerState, head: base.Array
) -> evaluation.Scores:
  """Scores every held-out data set.

  Args:
    job: of the run.
    state: only read.
    head: [C] bool, outputs that take part in predictions.
  """
  stream, memory = job.stream, None
  if job.learner.method.predictor.reads_memory:
    memory = job.feed.memory()
  with stream.held_out.open() as test_sets:
    return scoring.evaluate(
      job.learner, state, test_sets, stream.task_classes, head, memory
    )


def midway(
  job: Job, state: base.LearnerState, at: Cursor, scope: base.Scope
) -> Iterator[Event]:
  """Evaluates in the middle of an experience, where that is due."""
  every = job.evaluate_every
  if not every or at.step // every <= at.evaluated // every:
    return
  at.evaluated = at.step
  scores = evaluate(job, state, scope.head)
  scalars = {
    "accuracy": scores.accuracy,
    "accuracy_task": scores.accuracy_task,
  }
  yield Event("evaluated", state, at, scalars)


def record(
  job: Job, state: base.LearnerState, at: Cursor, scope: base.Scope
) -> base.Record:
  """Evaluates the model and returns the record of the experience that ended.

  Args:
    job: of the run; its ledger is drained into the record.
    state: only read.
    at: cursor at the end of the experience.
    scope: of the experience.
  """
  learner, stream, totals = job.learner, job.stream, at.totals
  scores = evaluate(job, state, scope.head)
  network, selection = learner.network, job.trainee.selection
  chosen = selection.trainable
  sizes = [math.prod(tensor.shape) for tensor in network.tensors]
  held = job.feed.summary(state)
  if learner.method.hierarchy is not None:
    held["decisions"] = at.decisions
  statistics = solving.statistics_bytes(learner.method, state)
  if statistics is not None:
    held["statistics_bytes"] = statistics
    held["bytes"] = held.get("bytes", 0) + statistics
  told = learner.method.consolidation.told
  classes = stream.experiences[at.experience].classes
  return base.Record(
    experience=at.experience,
    classes=classes,
    decision=at.decided,
    trained=(sum(chosen), len(chosen)),
    parameters=(
      mask.trained_parameters(network, selection),
      sum(sizes),
    ),
    steps=totals.steps,
    examples=int(totals.examples),
    loss=totals.loss / max(totals.steps, 1),
    online_accuracy=totals.online_correct / max(totals.online_examples, 1),
    accuracy=scores.accuracy,
    accuracy_task=scores.accuracy_task,
    accuracy_class=scores.accuracy_class,
    memory=held,
    costs=job.ledger.drain(),
    peak_bytes=program_cost.peak_rss_bytes(),
    choices=tuple(job.trainee.choices),
    class_names=tuple(stream.class_names[each] for each in classes),
    name=stream.experiences[at.experience].name,
    effective_flops=learners.effective_flops(learner, state),
    judged=told(state.objective) if told is not None else {},
  )
