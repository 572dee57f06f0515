"""Estimate of what a run needs, before the run starts."""

import dataclasses
import statistics
import time

import jax
import numpy as np

from jcl import base
from jcl.cost import program_cost, step_memory
from jcl.report import table
from jcl.run import deciding, loop, session, solving
from jcl.selection import mask
from jcl.streams import batching
from jcl.train import chunks, gather, hooks, prices, scoring

_TRIALS = 5  # timed dispatches, whose median counts


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Needs of a run; seconds and joules leave evaluation out."""

  parameters: int
  trained: int  # parameters that train at first
  program: program_cost.ProgramCost  # of one update
  memory: step_memory.StepMemory | None  # of an update, where the backend tells
  compile_seconds: float
  step_seconds: float  # measured, median
  steps: int  # of the whole run, at the epochs set
  examples: int  # stream and replayed examples per update
  replay_bytes: int
  joules: float  # of all steps, and of solving
  joules_source: str
  solving: base.Cost = base.Cost()  # of predictions, where they are solved
  solves: int = 0  # in the whole run: one per experience
  # Of the whole run: what solves classifiers, and judges by examples.
  beside: base.Cost = base.Cost()

  def in_all(self) -> base.Cost:
    """Returns the seconds and operations of all steps, and of solving."""
    steps = base.Cost(seconds=self.step_seconds, flops=self.program.flops)
    return self.steps * steps + self.solves * self.solving


def of(job: loop.Job) -> Estimate:
  """Compiles the train step and times a few updates on the first batches.

  A method that selects tensors by a profile trains those of its first choice
  where `session.profiled` has given the job one, and all tensors otherwise.

  Args:
    job: from `session.assemble`; nothing of it is changed but its trainee.
  """
  with session.fed(job) as opened:
    return _of(opened)


def _of(job: loop.Job) -> Estimate:
  learner, ledger = job.learner, job.ledger
  key = jax.random.key(job.seed)
  state, selection = learner.init(key)
  job.trainee.start(selection)
  at = loop.Cursor(control=job.controller.init())
  scope = loop.scope_of(job, 0)
  rows = batching.batch_rows(
    np.arange(len(job.stream.experiences[0].data)), learner.batch_size
  )
  num_steps = learner.steps_per_dispatch
  rows = np.resize(rows, (num_steps, rows.shape[1]))
  source: chunks.Source = gather.Experiences(job.stream, [0])
  job.feed.arrive(0)
  deciding.decide(job, state, at, scope, "experience")
  if learner.method.hierarchy is not None:
    job.feed.open(at.decided.allocation)
    job.feed.show(state)
    source = job.feed.source
    rows = np.where(rows < len(source), rows, -1)
  batches = learner.put_batches(source.batch(rows))
  trainee = job.trainee
  if not learner.updates:
    ids = np.asarray(batches.ids)
    chunk = chunks.Chunk(batches, ids, num_steps)
    return _of_passes(job, state, at, chunk, scope)
  if not learner.method.selector.profile or trainee.times is not None:
    state = trainee.choose(state, at.at, scope, source, at.decided)
  start = time.perf_counter()
  state, program = trainee.ready(state, at.at, at.decided)
  # It may have been compiled to be priced, when the run was decided on.
  compile_seconds = max(time.perf_counter() - start, program.seconds)
  times = []
  for _ in range(_TRIALS):
    start = time.perf_counter()
    state, _ = jax.block_until_ready(
      program.call(
        jax.random.key(job.seed), state, batches, np.int32(num_steps), scope
      )
    )
    times.append((time.perf_counter() - start) / num_steps)
  step_seconds = statistics.median(times)
  steps = job.expected_steps(at)
  return Estimate(
    parameters=program_cost.num_parameters(state.train.params),
    trained=mask.trained_parameters(learner.network, trainee.selection),
    program=program.cost,
    memory=step_memory.split(learner, trainee.selection, trunk=job.trunk),
    compile_seconds=compile_seconds,
    step_seconds=step_seconds,
    steps=steps,
    examples=learner.rows_per_step,
    replay_bytes=_replay_bytes(job, state, at),
    joules=ledger.device.joules(steps * step_seconds),
    joules_source=ledger.device.source,
    beside=_beside(job, state, scope),
  )


def _beside(
  job: loop.Job, state: base.LearnerState, scope: base.Scope
) -> base.Cost:
  """Returns the operations of classifiers that a method solves as it goes."""
  if job.learner.method.consolidation.told is None:
    return base.Cost()
  parts = job.stream, job.learner, state, scope, job.trainee.selection
  numbers = range(len(job.stream.experiences))
  return sum((prices.beside(*parts, index) for index in numbers), base.Cost())


def _of_passes(
  job: loop.Job,
  state: base.LearnerState,
  at: loop.Cursor,
  chunk: chunks.Chunk,
  scope: base.Scope,
) -> Estimate:
  """Returns the needs of a method that makes no updates.

  It sums up statistics in one pass, and solves the predictions behind each
  experience.
  """
  learner, times = job.learner, []
  key = jax.random.key(job.seed)
  program = hooks.accumulation(learner, key, state, chunk, scope)
  for _ in range(_TRIALS):
    start = time.perf_counter()
    state = hooks.accumulate(learner, key, state, chunk, scope)
    times.append((time.perf_counter() - start) / chunk.num_steps)
  seconds = statistics.median(times)
  before = learner.ledger.totals()["train"]
  scoring.fitted(learner, state)
  solving = learner.ledger.totals()["train"] - before
  experiences = [each.data for each in job.stream.experiences]
  steps = sum(
    batching.num_batches(len(each), learner.stream_rows) for each in experiences
  )
  return Estimate(
    parameters=program_cost.num_parameters(state.train.params),
    trained=0,
    program=program.cost,
    memory=None,
    compile_seconds=program.seconds,
    step_seconds=seconds,
    steps=steps,
    examples=learner.stream_rows,
    replay_bytes=_replay_bytes(job, state, at),
    joules=job.ledger.device.joules(
      steps * seconds + len(experiences) * solving.seconds
    ),
    joules_source=job.ledger.device.source,
    solving=solving,
    solves=len(experiences),
  )


def _replay_bytes(
  job: loop.Job, state: base.LearnerState, at: loop.Cursor
) -> int:
  """Returns the bytes of memory and statistics, as records count them."""
  statistics = solving.statistics_bytes(job.learner.method, state) or 0
  held = job.feed.held(None)
  if held is not None:
    allocation = at.decided.allocation
    return statistics + held.row_bytes * (allocation.em + allocation.sb)
  items = program_cost.num_bytes(state.replay.items) if state.replay else 0
  return statistics + items


def text(estimate: Estimate) -> str:
  """Returns the estimate as lines for a terminal."""
  flops = estimate.program.flops
  seconds = estimate.step_seconds
  trained = f"{estimate.trained:,} train at first"
  each = "an update" if estimate.trained else "a batch"
  scratch = _si(estimate.program.temp_bytes, "B")
  whole = estimate.in_all()
  if estimate.trained == estimate.parameters:
    trained = "all of which train at first"
  elif not estimate.trained:
    trained = "none of which train"
  rows = {
    "parameters": f"{estimate.parameters:,}, {trained}",
    "updates" if estimate.trained else "batches": (
      f"{estimate.steps:,}, {estimate.examples} examples each"
    ),
    "operations": (
      f"{_si(flops, 'FLOP')} {each}, {_si(whole.flops, 'FLOP')} in all"
    ),
    **_solving(estimate),
    **_classifiers(estimate.beside),
    "memory": (
      f"{_si(estimate.program.peak_bytes, 'B')} for {each} (compiled "
      f"program), of which {scratch} scratch"
    ),
    **_parts(estimate.memory),
    "replay memory" if estimate.trained else "statistics": _si(
      estimate.replay_bytes, "B"
    ),
    "time": (
      f"{estimate.compile_seconds:.1f} s to compile, then "
      f"{_si(seconds, 's')} {each}, {_si(whole.seconds, 's')} in all, "
      "evaluation not counted"
    ),
    "energy": f"{_si(estimate.joules, 'J')} ({estimate.joules_source})",
  }
  return "\n".join(f"  {name:14} {value}" for name, value in rows.items())


def _solving(estimate: Estimate) -> dict[str, str]:
  """Returns a row that says what solving the predictions takes."""
  if not estimate.solves:
    return {}
  each = estimate.solving
  return {
    "solving": (
      f"{estimate.solves} times, {_si(each.flops, 'FLOP')} and "
      f"{_si(each.seconds, 's')} each"
    )
  }


def _classifiers(beside: base.Cost) -> dict[str, str]:
  """Returns a row that says what classifiers beside updates take."""
  if not beside.flops:
    return {}
  told = f"{_si(beside.flops, 'FLOP')} in all, with what judges them"
  return {"classifiers": told}


def _parts(memory: step_memory.StepMemory | None) -> dict[str, str]:
  """Returns a row that says what an update's memory is made of."""
  if memory is None:
    return {}
  parts = dataclasses.asdict(memory)
  del parts["peak"]
  shown = [
    f"{table.STEP_PARTS[name]} {_si(value, 'B')}"
    for name, value in parts.items()
    if value
  ]
  return {"of it": ", ".join(shown)}


def _si(value: float, unit: str) -> str:
  from matplotlib import ticker

  return ticker.EngFormatter(unit, places=2)(value)
