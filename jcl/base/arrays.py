"""Arrays that cross `jax.jit`: examples, and what a step changes."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax

Array = jax.Array | np.ndarray
Key = jax.Array
# A nested dict of arrays whose top-level keys are the network's units.
Params = Any
# Running statistics and other arrays that a network updates by itself, never
# differentiated; nested by unit like the parameters, {} where there are none.
Stats = Any


class Batch(NamedTuple):
  """Labelled examples, as a step reads them and as a memory stores them."""

  x: Array  # [B, ...] as stored: uint8 or float32, not normalised
  y: Array  # [B] int32 class
  task: Array  # [B] int32, the experience that brought the example
  ids: Array  # [B] int32, position in the stream's training set; -1 pads
  weight: Array  # [B] float32; 0 marks padding and empty memory slots
  extras: dict[str, Array]  # more per example, such as "logits" [B, C]


class Scope(NamedTuple):
  """Knowledge of the classes that a learner may have by now."""

  task: Array  # [] int32, index of the current experience
  current: Array  # [C] bool, classes of the current experience
  seen: Array  # [C] bool, classes of this and all earlier experiences
  head: Array  # [C] bool, outputs that take part in losses and predictions
  first: Array = np.zeros((), np.int32)  # step at which the experience began
  planned: Array = np.ones((), np.int32)  # updates that it is to make


class TrainState(NamedTuple):
  """The part of a learner that a step updates: arrays only, saved as is."""

  step: jax.Array  # [] int32, updates made since the start of the run
  params: Params  # every unit, trained or frozen
  stats: Stats
  opt_state: optax.OptState  # slots of the selected tensors only


class ReplayState(NamedTuple):
  """An episodic memory in fast memory."""

  items: Batch  # [M, ...]; weight 1 where a slot is filled, 0 where empty
  seen: jax.Array  # [] int32, examples offered so far
  policy: Any  # what the insertion rule remembers, () where nothing


class LearnerState(NamedTuple):
  """All that learning changes on the device: one pytree, saved as is."""

  train: TrainState
  replay: ReplayState | tuple[()]
  objective: Any  # what the objective remembers, () where nothing
  selector: Any  # what the selector remembers, () where nothing
  parked: Any = ()  # optimiser slots of tensors that do not train
  weights: Any = ()  # what a method remembers that rewrites weights
