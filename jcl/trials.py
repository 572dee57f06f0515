"""Short trainings that tell what sizes of a memory hierarchy are worth.

Ma et al., "Cost-effective On-device Continual Learning over Memory Hierarchy
with Miro", MobiCom 2023: from one checkpoint that has seen the new classes for
a few epochs, every candidate trains on a share of its examples and is judged.
Departures: examples set aside in the store judge, instead of the test set;
candidates that fall behind may be dropped on the way; and nothing of it is left
in model, memory or random keys.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.control import choice
from jcl.hierarchy import quotas, ram, sources
from jcl.hierarchy import tiers as tiers_lib
from jcl.progress import Place, Setting
from jcl.streams import batching
from jcl.train import choosing

_PURPOSE = 11  # of random draws


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What the trials of an experience showed, and took."""

  table: tuple[choice.Row, ...]
  step_joules: float  # of one update
  spent: base.Cost  # on all of it


def run(
  setting: Setting,
  state: base.LearnerState,
  place: Place,
  scope: base.Scope,
  sizes: Sequence[choice.Sizes],
) -> Outcome:
  """Tries sizes of memory and stream buffer; the state is only read.

  Args:
    setting: of the run, with its tiers.
    state: at the beginning of the experience.
    place: where the run stands; its decision says how long training is.
    scope: what is known of the classes.
    sizes: (em, sb) of each candidate, in examples.

  Returns:
    A row for each candidate, in their order; the accuracy of one that was not
    tried to the end is None. Energy is what training with it is predicted to
    take, in joules.
  """
  tiers = setting.tiers
  plan = tiers.hierarchy.plan
  assert place.decision is not None
  before = setting.ledger.total()
  trainer = _Trainer(setting, place, scope)
  judges = _judges(tiers, setting.stream)
  start = state
  largest = max(sizes, key=lambda pair: pair[0] + pair[1])
  with _Examples(setting, *largest, plan.share, 0) as source:
    if plan.warmup:
      start = trainer.train(trainer.copy(state), source, plan.warmup, 0)
    else:
      trainer.train(trainer.copy(state), source, 1, 0)  # for what a step takes
  joules = trainer.joules / max(trainer.steps, 1)
  kept = max(1, int(plan.cutline * len(sizes) + 1e-9))
  rounds = [(plan.epochs, len(sizes))]
  if plan.halving:
    rounds = choice.halving(len(sizes), plan.epochs, kept)
  states: dict[int, Any] = dict.fromkeys(range(len(sizes)))
  scores: dict[int, float] = {}
  done = 0
  for epochs, count in rounds:
    best = sorted(states, key=lambda i: (-scores.get(i, 0.0), i))[:count]
    states = {i: states[i] for i in sorted(best)}
    scores = {}
    for i, reached in states.items():
      with _Examples(setting, *sizes[i], plan.share, i) as source:
        begun = trainer.copy(start) if reached is None else reached
        trained = trainer.train(begun, source, epochs - done, done)
      states[i] = trained
      scores[i] = _accuracy(setting, trained, judges, scope)
    done = epochs
  epochs, batch = place.decision.epochs, setting.learner.stream_rows
  table = tuple(
    choice.Row(
      em,
      sb,
      scores.get(i),
      choice.joules(em, sb, epochs, batch, joules, 0.0, 0.0, 0.0),
    )
    for i, (em, sb) in enumerate(sizes)
  )
  return Outcome(table, joules, setting.ledger.total() - before)


class _Trainer:
  """Trains copies of a state by the run's own steps, with a fresh optimiser."""

  def __init__(self, setting: Setting, place: Place, scope: base.Scope):
    self._setting, self._scope = setting, scope
    assert place.selection is not None
    self._selection, self._experience = place.selection, place.experience
    self._key = setting.key_for(_PURPOSE, place.experience)
    self.steps, self.joules = 0, 0.0

  def copy(self, state: base.LearnerState) -> base.LearnerState:
    """Returns a state of its own, whose optimiser knows nothing."""
    copied = jax.tree.map(jnp.copy, state)
    blank = choosing.blank(self._setting.learner, copied.train.params)
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
    learner, ledger = self._setting.learner, self._setting.ledger
    program = learner.step_program(self._selection)
    most = learner.steps_per_dispatch
    for epoch in range(first, first + epochs):
      generator = np.random.default_rng(
        (self._setting.seed, _PURPOSE, self._experience, epoch)
      )
      order = generator.permutation(len(source)).astype(np.int32)
      rows = batching.batch_rows(order, learner.stream_rows)
      for start in range(0, len(rows), most):
        part = rows[start : start + most]
        padded = batching.padded(part, most, learner.batch_size)
        with ledger.timed("data") as read:
          batches = learner.put_batches(source.batch(padded))
        count = len(part)
        flops = count * program.cost.flops
        moved = count * program.cost.bytes_accessed
        with ledger.timed("probe", flops, moved) as took:
          state, info = program.call(
            self._key, state, batches, np.int32(count), self._scope
          )
          jax.block_until_ready(info)
        self.steps += count
        self.joules += read.cost.joules + took.cost.joules
    return state


class _Examples:
  """A share of what a candidate would train on, in memory of its own.

  The old examples are drawn from the store anew for each candidate: with
  swapping, a memory of any size goes through all of them.
  """

  def __init__(
    self, setting: Setting, em: int, sb: int, share: float, number: int
  ):
    tiers, method = setting.tiers, setting.learner.method
    earlier, fresh = tiers.earlier(), tiers.fresh()
    subset = quotas.trial_subset(em, sb, share, len(earlier), len(fresh))
    generator = np.random.default_rng(
      (tiers.seed, _PURPOSE, tiers.experience, number)
    )
    self._tiers: tiers_lib.Tiers = tiers
    self._draws = method.objective.num_draws if method.replay.fed else 0
    self._size = method.replay.num_samples
    self._memory = self._drawn(earlier, subset.em, generator, "trial-memory")
    self._stream = self._drawn(fresh, subset.sb, generator, "trial-stream")

  def __enter__(self) -> sources.Source:
    through = self._tiers.hierarchy.trains in ("both", "memory")
    spans = self._memory.count if through else 0, self._stream.count
    return self._tiers.source_of(
      self._memory, self._stream, lambda: spans, self._draws, self._size
    )

  def __exit__(self, *_) -> None:
    self._memory.close()
    self._stream.close()

  def _drawn(self, pools, counts, generator, name) -> ram.Ram:
    ids = [
      generator.permutation(pool)[:count]
      for pool, count in zip(pools.values(), counts, strict=True)
    ]
    rows = self._tiers.archive.intact(
      np.concatenate([*ids, np.zeros(0, np.int64)])
    )
    held = ram.Ram(rows.dtype, len(rows), name)
    held.append(rows)
    return held


def _judges(tiers: tiers_lib.Tiers, stream) -> base.Dataset:
  """Returns the examples that were set aside of the classes seen."""
  aside = tiers.archive.held_out
  ids = np.concatenate([*aside.values(), np.zeros(0, np.int64)])
  rows = tiers.archive.intact(ids)
  return base.Dataset("set aside", rows["x"], rows["y"], stream.class_names)


def _accuracy(setting, state, judges: base.Dataset, scope) -> float:
  """Returns the share of right answers among all classes seen, in percent."""
  everything = tuple(range(setting.stream.num_classes))
  scores = setting.learner.evaluate(
    state, [judges], [everything], np.asarray(scope.head)
  )
  return 100 * scores.accuracy[0]
