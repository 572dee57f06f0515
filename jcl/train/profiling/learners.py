"""The profile of a learner's own step, by any of the methods."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.errors import UsageError
from jcl.selection import times
from jcl.train import slots
from jcl.train.profiling import analytic, calibrated, store, timed

METHODS = ("analytic", "timed", "calibrated")


def profile(
  learner: Any,
  method: str,
  batches: base.Batch,
  scope: base.Scope,
  *,
  folder: Path | None = None,
  device: str = "",
  count: int = 16,
  rounds: int = 20,
) -> times.TensorTimes:
  """Profiles the steps that a learner makes, or reads the profile kept.

  The time is charged to "probe", compiling to "compile".

  Args:
    learner: whose step it is.
    method: "analytic" counts and runs nothing; "timed" times units one by one;
      "calibrated" times whole steps, replay and augmentation included.
    batches: a dispatch [K, B, ...] of real examples, on the device.
    scope: what is known of the classes.
    folder: where profiles are kept between runs; None for nowhere.
    device: what it runs on, as part of the profile's key.
    count: selections that "calibrated" times.
    rounds: timed runs of each program.

  Raises:
    ValueError: for another method, or one that the network does not allow.
  """
  if method not in METHODS:
    raise UsageError(f"profile={method!r}: choose from {', '.join(METHODS)}")
  training = learner.training
  key = store.key(
    learner.network,
    learner.rows_per_step,
    device,
    method,
    training={
      name: getattr(training, name)
      for name in ("optimizer", "momentum", "weight_decay", "clip", "norms")
    },
    dtype=str(learner.example.x.dtype),
    pieces=learner.takes_pieces,
    steps_per_dispatch=learner.steps_per_dispatch,
    stream_rows=learner.stream_rows,
    count=count,
    rounds=rounds,
  )

  def measure():
    with learner.ledger.timed("probe"):
      return _measure(learner, method, batches, scope, count, rounds)

  # An analytic profile costs less than a file.
  return store.load_or_measure(
    None if method == "analytic" else folder, key, measure
  )


def _measure(learner, method, batches, scope, count, rounds):
  state, _ = learner.init(jax.random.key(0))
  options = {
    "norms": learner.norms,
    "optimizer": learner.single_optimizer,
  }
  train = state.train
  shape = (learner.rows_per_step, *learner.network.input_shape)
  if method == "timed":
    x = learner.preprocess.normalise(jnp.asarray(batches.x[0]))
    rows = np.resize(np.arange(len(x)), shape[0])
    return timed.profile(
      learner.network,
      train.params,
      train.stats,
      x[rows],
      rounds=rounds,
      **options,
    )
  prior = analytic.profile(
    learner.network,
    train.params,
    train.stats,
    jax.ShapeDtypeStruct(shape, jnp.float32),
    **options,
  )
  if method == "analytic":
    return prior
  run_step = stepper(learner, state, batches, scope)
  found = calibrated.profile(
    learner.network, prior, run_step, count=count, rounds=rounds
  )
  return times.scaled(found, 1 / learner.steps_per_dispatch)


def stepper(
  learner, state, batches, scope
) -> Callable[[base.Selection], Callable[[], None]]:
  """Returns what makes dispatches of any selection, on one copy of the state.

  All selections share parameters and memory; each has slots of its own.
  """
  names = [slots.name(tensor) for tensor in learner.network.tensors]
  blank = jax.tree.map(np.asarray, state.train.opt_state)
  key, steps = jax.random.key(0), np.int32(learner.steps_per_dispatch)
  shared = [state]

  def run_step(selection):
    program = learner.step_program(selection)
    chosen = dict(zip(names, selection.trainable, strict=True))
    # What is no tensor's, such as a count of updates, goes with any selection.
    kept = {name: own for name, own in blank.items() if chosen.get(name, True)}
    held = [learner.put(kept)]

    def run():
      now = shared[0]
      now = now._replace(train=now.train._replace(opt_state=held[0]))
      now, info = program.call(key, now, batches, steps, scope)
      jax.block_until_ready((now, info))
      shared[0], held[0] = now, now.train.opt_state

    return run

  return run_step
