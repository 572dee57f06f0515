"""Opens and closes an experience for objective and memory on the device."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jcl import base, keys
from jcl.selection import mask
from jcl.streams import batching
from jcl.streams import stream as stream_lib
from jcl.train import (
  chunks,
  consolidation,
  gather,
  hooks,
  rewriting,
  scoring,
  slots,
)
from jcl.train import learner as learner_lib

_EXTRACT = 500  # examples per batch when features are read for a memory


class Hooks:
  """The hooks of an experience, of the method that a learner follows.

  Args:
    stream: of the run.
    seed: of the run.
  """

  def __init__(self, stream: stream_lib.Stream, seed: int) -> None:
    self._stream, self._seed = stream, seed

  def open(
    self,
    learner: learner_lib.Learner,
    state: base.LearnerState,
    index: int,
    selection: base.Selection,
    scope: base.Scope,
  ) -> base.LearnerState:
    """Opens experience `index`, ahead of any decision about it."""
    method = learner.method
    if method.restart and index:
      key = keys.key(self._seed, keys.Purpose.RESTART, index)
      state = learner.restart(key, state, selection)
    if method.renew and index:
      state = _renewed(learner, state, selection)
    state = rewriting.begin(learner, state)
    if method.replay.when == "before":
      state = self._offer(learner, state, index)
    state = hooks.begin(learner, state, scope)
    key = keys.key(self._seed, keys.Purpose.SETTLE, index)
    examples = self._whole(learner, index, method.consolidation.rows)
    return consolidation.settle(learner, key, state, examples, scope)

  def show_batch(
    self,
    learner: learner_lib.Learner,
    state: base.LearnerState,
    index: int,
    hook: hooks.BatchHook,
    scope: base.Scope,
    batch: Callable[[], base.Batch],
  ) -> base.LearnerState:
    """Shows the objective a batch, if it has the hook for it.

    Args:
      learner: whose method has the objective.
      state: as it stands.
      index: of the experience.
      hook: of the objective.
      scope: what is known of the classes.
      batch: reads a batch [K, B, ...] onto the device.
    """
    if getattr(learner.method.objective, hook.when) is None:
      return state
    behind = int(hook.when == "last_batch")
    key = keys.key(self._seed, keys.Purpose.HOOKS, index, behind)
    return hooks.show_batch(learner, hook, key, state, batch(), scope)

  def close(
    self,
    learner: learner_lib.Learner,
    state: base.LearnerState,
    index: int,
    scope: base.Scope,
  ) -> base.LearnerState:
    """Closes experience `index`: objective first, then a memory's examples."""
    if learner.method.objective.accumulate is not None:
      key = keys.key(self._seed, keys.Purpose.ACCUMULATE, index)
      for chunk in self._whole(learner, index):
        state = hooks.accumulate(learner, key, state, chunk, scope)
    state = hooks.finish(learner, state, scope)
    if learner.method.replay.when == "after":
      state = self._offer(learner, state, index)
    return state

  def rebuild(
    self, learner: learner_lib.Learner, state: base.LearnerState, index: int
  ) -> base.LearnerState:
    """Has a memory that chooses on the host take in all of an experience."""
    rebuild = learner.method.replay.rebuild
    if rebuild is None:
      return state
    examples = self._with_features(learner, state, index)
    assert state.replay  # a method that rebuilds a memory has one
    with learner.ledger.timed("replay"):
      rebuilt = rebuild(state.replay, examples)
      return state._replace(replay=learner.put(rebuilt))

  def review(
    self,
    learner: learner_lib.Learner,
    state: base.LearnerState,
    index: int,
    scope: base.Scope,
    memory: Callable[[], base.Batch | None],
  ) -> base.LearnerState:
    """Shows the objective the memory, if it has the hook for it.

    Args:
      learner: whose method has the objective.
      state: behind experience `index`.
      index: of the experience.
      scope: what is known of the classes.
      memory: reads the memory [M, ...] onto the device; None: the state's.
    """
    if learner.method.objective.review is None:
      return state
    key = keys.key(self._seed, keys.Purpose.REVIEW, index)
    return hooks.review(learner, key, state, scope, memory())

  def _offer(
    self, learner: learner_lib.Learner, state: base.LearnerState, index: int
  ) -> base.LearnerState:
    """Offers every example of an experience to the memory, in one pass."""
    key = keys.key(self._seed, keys.Purpose.MEMORY, index)
    for chunk in self._whole(learner, index):
      state = hooks.add(learner, key, state, chunk)
    return state

  def _whole(
    self, learner: learner_lib.Learner, index: int, rows: int = 0
  ) -> Iterator[chunks.Chunk]:
    """Yields every example of an experience once, as in its first epoch.

    Args:
      learner: whose device they go to.
      index: of the experience.
      rows: in a chunk; 0: the batches of a dispatch.
    """
    source = gather.Experiences(self._stream, [index])
    order = batching.epoch_order(
      len(source), self._seed, index, 0, ordered=self._stream.ordered
    )
    if rows:
      return chunks.of_rows(learner, source, order, rows)
    return chunks.of_order(learner, source, order)

  def _with_features(
    self, learner: learner_lib.Learner, state: base.LearnerState, index: int
  ) -> base.Batch:
    """Returns all examples of an experience [N, ...] with their features."""
    source = gather.Experiences(self._stream, [index])
    rows = np.arange(len(source), dtype=np.int32)
    rows = np.pad(rows, (0, -len(rows) % _EXTRACT), constant_values=-1)
    parts = []
    for chunk in rows.reshape(-1, 1, _EXTRACT):
      part = jax.tree.map(lambda leaf: leaf[0], source.batch(chunk))
      features = scoring.outputs(learner, state, part.x, "features")
      parts.append(part._replace(extras={"features": features}))
    return jax.tree.map(
      lambda *leaves: np.concatenate(leaves)[: len(source)], *parts
    )


def _renewed(
  learner: learner_lib.Learner,
  state: base.LearnerState,
  selection: base.Selection,
) -> base.LearnerState:
  """Returns the state with the optimiser's slots as they were at first."""
  spec = learner.spec

  def fresh(params: base.Params) -> tuple[Any, Any]:
    trained, _ = mask.split(params, spec.network, selection)
    policy = learner.method.selector.slots
    parked = slots.park(policy, spec.network, spec.optimizer, params)
    return spec.optimizer.init(trained), parked

  params = state.train.params
  opt_state, parked = learner.run("train", ("renew", selection), fresh, params)
  train = state.train._replace(opt_state=opt_state)
  return state._replace(train=train, parked=parked)
