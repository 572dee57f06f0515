"""Runs whose network loses channels on the way, for good.

Lym et al., "PruneTrain: Fast Neural Network Training by Dynamic Sparse Model
Reconfiguration", SC 2019: every few epochs, channels whose weights a group
lasso has driven to zero are taken out, and training goes on with the smaller
network. Each time is a new network and thus a new compile.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any

import numpy as np

from jcl import base
from jcl.networks import shrink
from jcl.run import loop


def run(
  setting: loop.Setting, state: base.LearnerState, place: loop.Place
) -> Iterator[loop.Event]:
  """Is `loop.run`, with pruning where the method asks for it.

  Args:
    setting: of the run, with the network as it was before any pruning.
    state: as it stands, of the network as pruned so far.
    place: notes what was taken out, so that a run can be taken up again.
  """
  setting = rebuilt(setting, place)
  while True:
    if _due(setting, place):
      setting, state = _prune(setting, state, place)
    for event in loop.run(setting, state, place):
      state = event.state
      yield event
      if event.kind == "steps" and _due(setting, place):
        break
    else:
      return


def rebuilt(setting: loop.Setting, place: loop.Place) -> loop.Setting:
  """Returns the setting with the network that a place's state is of."""
  for noted in place.pruned:
    network = setting.learner.network
    masks = _masks(shrink.groups(network), noted["kept"])
    network = shrink.narrow(network, masks)
    setting = _with(setting, network)
  return setting


def _due(setting, place) -> bool:
  pruning = setting.learner.method.pruning
  if pruning is None or place.batch or not place.epoch or not place.begun:
    return False
  last = place.pruned[-1]["at"] if place.pruned else None
  return (
    place.epoch % pruning.every == 0
    and place.epoch < place.decision.epochs
    and last != [place.experience, place.epoch]
  )


def _prune(setting, state, place):
  learner = setting.learner
  network, train = learner.network, state.train
  with setting.ledger.timed("probe"):
    groups = shrink.groups(network)
    kept = shrink.keep(groups, train.params, learner.method.pruning.threshold)
    kept = {group: mask for group, mask in kept.items() if not mask.all()}
    place.pruned.append(
      {
        "at": [place.experience, place.epoch],
        "kept": {group.name: mask.tolist() for group, mask in kept.items()},
      }
    )
    if not kept:
      return setting, state
    smaller, params, stats = shrink.shrink(
      network, train.params, train.stats, kept
    )
    rest = shrink.shrink_slots(
      network, (train.opt_state, state.parked, state.objective), kept
    )
    setting = _with(setting, smaller)
    train = train._replace(params=params, stats=stats, opt_state=rest[0])
    state = state._replace(train=train, parked=rest[1], objective=rest[2])
    return setting, setting.learner.put(state)


def _with(setting, network) -> loop.Setting:
  learner = setting.learner.rebuilt(network)
  return dataclasses.replace(setting, learner=learner)


def _masks(groups, kept: dict[str, Any]) -> dict[Any, np.ndarray]:
  return {
    group: np.asarray(kept[group.name], bool)
    for group in groups
    if group.name in kept
  }
