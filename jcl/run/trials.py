"""Short trainings that tell what sizes of a memory hierarchy are worth.

Ma et al., "Cost-effective On-device Continual Learning over Memory Hierarchy
with Miro", MobiCom 2023: from one checkpoint that has seen the new classes for
a few epochs, every candidate trains on a share of its examples and is judged.
Departures: examples set aside in the store judge, instead of the test set;
candidates begin with the optimiser of the checkpoint and share examples as far
as they have the same number; those that fall behind may be dropped on the way;
and nothing of it is left in model, memory or random keys.
"""

from collections.abc import Callable, Sequence
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base, keys
from jcl.control import choice, sizes, verdict
from jcl.replay.tiers import feed as tier_feed
from jcl.replay.tiers import quotas, ram, sources
from jcl.replay.tiers import tiers as tiers_lib
from jcl.run import judge
from jcl.run.cursor import Cursor, Job
from jcl.selection import mask
from jcl.streams import batching
from jcl.train import choosing, chunks


def run(
  job: Job,
  state: base.LearnerState,
  at: Cursor,
  scope: base.Scope,
  tried: Sequence[choice.Sizes],
  share: float,
  epochs: int,
) -> sizes.Outcome:
  """Tries sizes of memory and stream buffer; the state is only read.

  Args:
    job: of the run, with its tiers.
    state: at the beginning of the experience.
    at: where the run stands.
    scope: what is known of the classes.
    tried: (em, sb) of each candidate, in examples.
    share: of the examples, that a candidate is trained on.
    epochs: that training will make with the sizes chosen.

  Returns:
    A row for each candidate, in their order; the accuracy of one that was not
    tried to the end is None. Energy is what training with it is predicted to
    take, in joules.
  """
  tiers = tier_feed.tiers_of(job.feed)
  asked = tiers.hierarchy.trials
  assert asked is not None  # who has none tries nothing
  _make_room(tiers, tried, share)
  before = job.ledger.total()
  trainer, read = _Trainer(job, at, scope), _Read(job, share)
  with job.ledger.timed("data"):
    aside = judge.set_aside(job)

  def judged(reached: base.LearnerState) -> verdict.Verdict:
    return judge.judged(job, reached, aside, scope)

  start, latest = trainer.fresh(state), _latest(job, at)
  if asked.warmup or latest is None:
    with read.examples(max(tried, key=sum)) as source:
      # No warm-up: one epoch, only to time an update.
      warm = trainer.train(_copied(start), source, asked.warmup or 1, 0)
    start = warm if asked.warmup else start
  joules = trainer.joules / max(trainer.steps, 1)
  if latest is not None:
    joules = latest.joules
  first = judged(start)
  verdicts, scores = _compared(asked, trainer, read, start, tried, judged)
  batch = job.learner.stream_rows
  table = tuple(
    choice.Row(
      em,
      sb,
      scores.get(i),
      choice.joules(em, sb, epochs, batch, joules, 0.0, 0.0, 0.0),
      first.score(asked.judge),
      verdicts[i].noise(first, asked.judge),
    )
    for i, (em, sb) in enumerate(tried)
  )
  exchanged = latest is not None and latest.exchanges > 0
  return sizes.Outcome(
    table,
    joules,
    0.0 if exchanged else read.joules / max(read.count, 1),
    job.ledger.total() - before,
  )


def _compared(
  asked: base.Trials,
  trainer: "_Trainer",
  read: "_Read",
  start: base.LearnerState,
  tried: Sequence[choice.Sizes],
  judged: Callable[[base.LearnerState], verdict.Verdict],
) -> tuple[dict[int, verdict.Verdict], dict[int, float]]:
  """Trains every candidate from one state, in rounds.

  Returns:
    The latest verdict on each candidate, and the scores of those that were
    trained to the end.
  """
  kept = max(1, int(asked.cutline * len(tried) + 1e-9))
  rounds = [(asked.epochs, len(tried))]
  if asked.halving:
    rounds = choice.halving(len(tried), asked.epochs, kept)
  states: dict[int, Any] = dict.fromkeys(range(len(tried)))
  verdicts: dict[int, verdict.Verdict] = {}
  scores: dict[int, float] = {}
  done = 0
  for length, count in rounds:
    best = sorted(states, key=lambda i: (-scores.get(i, 0.0), i))[:count]
    states = {i: states[i] for i in sorted(best)}
    scores = {}
    for i, reached in states.items():
      with read.examples(tried[i]) as source:
        # With the warm-up's optimiser: Adam's first steps without a past go
        # far astray, and the fewer a candidate made the better it would look.
        begun = _copied(start) if reached is None else reached
        trained = trainer.train(begun, source, length - done, done)
      states[i] = trained
      verdicts[i] = judged(trained)
      scores[i] = verdicts[i].score(asked.judge)
    done = length
  return verdicts, scores


def _make_room(
  tiers: tiers_lib.Tiers, tried: Sequence[choice.Sizes], share: float
) -> None:
  """Makes room for examples of trials and their judges beside the memory.

  What leaves the memory can be read again.
  """
  largest = math.ceil(share * max(map(sum, tried)))
  most = largest + len(tiers.earlier()) + len(tiers.archive.aside)
  if len(tiers.em) + most > tiers.room:
    tiers.arrange(max(int(tiers.room) - most, 0), 0)


class _Updates(NamedTuple):
  """Updates of the experience before, as measured."""

  joules: float  # of an update, with what was exchanged meanwhile
  exchanges: int


def _latest(job: Job, at: Cursor) -> _Updates | None:
  """Returns what updates took, where those to come train the same tensors.

  That is more to go by than the few of a warm-up, and has all that a run does
  beside them.
  """
  if not at.records or not at.records[-1].steps:
    return None
  *_, last = at.records
  network = job.learner.network
  if last.parameters[0] != mask.trained_parameters(
    network, job.trainee.selection
  ):
    return None
  joules = sum(last.costs[name].joules for name in ("train", "replay"))
  counts = [r.memory["exchanges"]["applied"] for r in at.records[-2:]]
  before = counts[0] if len(counts) > 1 else 0
  return _Updates(joules / last.steps, counts[-1] - before)


def _copied(state: base.LearnerState) -> base.LearnerState:
  """Returns a state of its own, as updates take the memory of theirs."""
  return jax.tree.map(jnp.copy, state)


class _Trainer:
  """Trains copies of a state by the run's own steps."""

  def __init__(self, job: Job, at: Cursor, scope: base.Scope) -> None:
    self._job, self._scope = job, scope
    self._selection, self._experience = job.trainee.selection, at.experience
    self._key = keys.key(job.seed, keys.Purpose.TRIAL, at.experience)
    self.steps, self.joules = 0, 0.0

  def fresh(self, state: base.LearnerState) -> base.LearnerState:
    """Returns a copy of a state, whose optimiser knows nothing."""
    copied = _copied(state)
    blank = choosing.blank(self._job.learner, copied.train.params)
    slots = {name: blank[name] for name in copied.train.opt_state}
    return copied._replace(train=copied.train._replace(opt_state=slots))

  def train(
    self,
    state: base.LearnerState,
    source: sources.Source,
    epochs: int,
    first: int,
  ) -> base.LearnerState:
    """Makes some epochs, the first of them being the trial's `first`."""
    learner, ledger = self._job.learner, self._job.ledger
    program = learner.step_program(self._selection)
    # So that the trial goes through the whole schedule of the learning rate.
    updates = epochs * batching.num_batches(len(source), learner.stream_rows)
    scope = learner.timed(self._scope, state.train.step, updates)
    for epoch in range(first, first + epochs):
      generator = keys.rng(
        self._job.seed, keys.Purpose.TRIAL, self._experience, epoch
      )
      order = generator.permutation(len(source)).astype(np.int32)
      if self._job.stream.ordered and source.own:
        order = np.sort(order)  # training will show them in this order
      following = chunks.of_order(learner, source, order)
      while True:
        with ledger.timed("data") as read:
          chunk = next(following, None)
        if chunk is None:
          break
        work = chunks.work(program, chunk.num_steps)
        with ledger.timed("probe", *work) as took:
          state, info = chunks.run(program, self._key, state, chunk, scope)
          jax.block_until_ready(info)
        self.steps += chunk.num_steps
        self.joules += read.cost.joules + took.cost.joules
    return state


class _Read:
  """Reads the examples of candidates, and counts what that takes."""

  def __init__(self, job: Job, share: float) -> None:
    self._job, self._share = job, share
    self.joules, self.count = 0.0, 0

  def examples(self, pair: choice.Sizes) -> "_Examples":
    """Returns a share of the examples that a candidate would train on."""
    with self._job.ledger.timed("data") as took:
      found = _Examples(self._job, *pair, self._share)
    self.joules += took.cost.joules
    self.count += found.count
    return found


class _Examples:
  """A share of what a candidate would train on, in memory of its own.

  They are drawn from the store, as with exchanges a memory of any size goes
  through all of it. A larger candidate has those of a smaller one, and more: so
  there is less chance in how they compare.
  """

  def __init__(self, job: Job, em: int, sb: int, share: float) -> None:
    tiers, method = tier_feed.tiers_of(job.feed), job.learner.method
    earlier, fresh = tiers.earlier(), tiers.fresh()
    subset = quotas.trial_subset(em, sb, share, len(earlier), len(fresh))
    generator = keys.rng(tiers.seed, keys.Purpose.TRIAL, tiers.experience)
    self._tiers: tiers_lib.Tiers = tiers
    self._draws = method.objective.num_draws if method.replay.on_host else 0
    self._size = method.replay.num_samples
    self._memory = self._drawn(earlier, subset.em, generator, "trial-memory")
    self._stream = self._drawn(
      fresh, subset.sb, generator, "trial-stream", job.stream.ordered
    )

  @property
  def count(self) -> int:
    return self._memory.count + self._stream.count

  def __enter__(self) -> sources.Source:
    through = self._tiers.hierarchy.trains in ("both", "memory")
    spans = self._memory.count if through else 0, self._stream.count
    return self._tiers.source_of(
      self._memory, self._stream, lambda: spans, self._draws, self._size
    )

  def __exit__(self, *_: object) -> None:
    self._memory.close()
    self._stream.close()

  def _drawn(
    self,
    pools: dict[int, np.ndarray],
    counts: Sequence[int],
    generator: np.random.Generator,
    name: str,
    ordered: bool = False,
  ) -> ram.Ram:
    ids = [
      generator.permutation(pool)[:count]
      for pool, count in zip(pools.values(), counts, strict=True)
    ]
    chosen = np.concatenate([*ids, np.zeros(0, np.int64)])
    rows = self._tiers.archive.intact(np.sort(chosen) if ordered else chosen)
    held = ram.Ram(rows.dtype, len(rows), name)
    held.append(rows)
    return held
