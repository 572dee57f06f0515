"""Pruning: a trainee whose network loses channels on the way, for good.

Lym et al., "PruneTrain: Fast Neural Network Training by Dynamic Sparse Model
Reconfiguration", SC 2019, https://doi.org/10.1145/3295500.3356156: every few
epochs, channels whose weights a group lasso has driven to zero are taken out,
and training goes on with the smaller network, whose program is compiled anew.
"""

from typing import Any

import numpy as np

from jcl import base
from jcl.networks import shrink
from jcl.run import trainee
from jcl.train import background, chunks
from jcl.train import learner as learner_lib


class Pruned(trainee.Trainee):
  """Trainee that takes channels out every few epochs, before the next update.

  Args:
    learner: whose method has a `pruning`, with the whole network.
    seed: of the run.
  """

  def __init__(self, learner: learner_lib.Learner, seed: int) -> None:
    self._whole = learner  # with the network before any pruning
    super().__init__(learner, seed)

  def start(self, selection: base.Selection | None) -> None:
    super().start(selection)
    self.learner = self._whole
    # Prunings so far: "at" [experience, epoch], and "kept" masks by group.
    self.pruned: list[dict[str, Any]] = []

  def program(
    self,
    state: base.LearnerState,
    at: trainee.At,
    scope: base.Scope,
    source: chunks.Source,
    decision: base.Decision,
  ) -> tuple[base.LearnerState, background.Program]:
    if self._prunes(at):
      state = self._prune(state, at)
    return super().program(state, at, scope, source, decision)

  def _prunes(self, at: trainee.At) -> bool:
    pruning = self.learner.method.pruning
    if pruning is None or at.batch or not at.epoch:
      return False
    last = self.pruned[-1]["at"] if self.pruned else None
    return at.epoch % pruning.every == 0 and last != [at.experience, at.epoch]

  def _prune(
    self, state: base.LearnerState, at: trainee.At
  ) -> base.LearnerState:
    learner = self.learner
    network, train = learner.network, state.train
    pruning = learner.method.pruning
    assert pruning is not None
    with learner.ledger.timed("probe"):
      groups = shrink.groups(network)
      kept = shrink.keep(groups, train.params, pruning.threshold)
      kept = {group: mask for group, mask in kept.items() if not mask.all()}
      self.pruned.append(
        {
          "at": [at.experience, at.epoch],
          "kept": {group.name: mask.tolist() for group, mask in kept.items()},
        }
      )
      if not kept:
        return state
      smaller, params, stats = shrink.shrink(
        network, train.params, train.stats, kept
      )
      rest = shrink.shrink_slots(
        network, (train.opt_state, state.parked, state.objective), kept
      )
      self.learner, self._by_share = learner.rebuilt(smaller), {}
      train = train._replace(params=params, stats=stats, opt_state=rest[0])
      state = state._replace(train=train, parked=rest[1], objective=rest[2])
      return self.learner.put(state)

  def state(self) -> dict[str, Any]:
    return {**super().state(), "pruned": self.pruned}

  def _restore(self, state: dict[str, Any]) -> None:
    super()._restore(state)
    self.pruned, self.learner = list(state["pruned"]), self._whole
    self._by_share = {}
    for noted in self.pruned:
      network = self.learner.network
      masks = _masks(shrink.groups(network), noted["kept"])
      self.learner = self.learner.rebuilt(shrink.narrow(network, masks))


def _masks(groups: Any, kept: dict[str, list[bool]]) -> dict[Any, np.ndarray]:
  return {
    group: np.asarray(kept[group.name], bool)
    for group in groups
    if group.name in kept
  }
