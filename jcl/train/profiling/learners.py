"""The profile of a learner's own step, by any of the methods."""

from collections.abc import Callable
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jcl import base
from jcl.networks.sparsity import dynamic
from jcl.options.errors import UsageError
from jcl.selection import times
from jcl.train import learner as learner_lib
from jcl.train import slots
from jcl.train.profiling import analytic, calibrated, effective, store, timed

METHODS = ("analytic", "timed", "calibrated")


class Kept(NamedTuple):
  """Where profiles are kept between runs."""

  folder: Path | None = None  # None: nowhere
  device: str = ""  # its name, a part of a profile's key


class Effort(NamedTuple):
  """How much a measured profile times."""

  selections: int = 16  # for "calibrated"
  rounds: int = 20  # runs of each program


NOWHERE, EFFORT = Kept(), Effort()


def profile(
  learner: learner_lib.Learner,
  method: str,
  batches: base.Batch,
  scope: base.Scope,
  kept: Kept = NOWHERE,
  effort: Effort = EFFORT,
) -> times.TensorTimes:
  """Profiles the steps of a learner, or loads a profile saved earlier.

  The time is charged to "probe", compiling to "compile".

  Args:
    learner: makes the steps.
    method: "analytic" counts operations and runs nothing; "timed" times units
      one by one; "calibrated" times whole steps, replay and augmentation
      included.
    batches: a dispatch [K, B, ...] of real examples, on the device.
    scope: the classes that are known.
    kept: where profiles are saved between runs.
    effort: how much is timed.

  Raises:
    ValueError: for another method, or one that the network does not allow.
  """
  if method not in METHODS:
    raise UsageError(f"profile={method!r}: choose from {', '.join(METHODS)}")
  training = learner.training
  key = store.key(
    learner.network,
    learner.rows_per_step,
    kept.device,
    method,
    training={
      name: getattr(training, name)
      for name in ("optimizer", "momentum", "weight_decay", "clip", "norms")
    },
    dtype=str(learner.example.x.dtype),
    pieces=learner.takes_pieces,
    steps_per_dispatch=learner.steps_per_dispatch,
    stream_rows=learner.stream_rows,
    count=effort.selections,
    rounds=effort.rounds,
  )

  def measure() -> times.TensorTimes:
    with learner.ledger.timed("probe"):
      return _measure(learner, method, batches, scope, effort)

  # An analytic profile costs less than a file.
  return store.load_or_measure(
    None if method == "analytic" else kept.folder, key, measure
  )


def effective_flops(
  learner: learner_lib.Learner, state: base.LearnerState
) -> tuple[float, ...]:
  """Counts a step's operations, dense and without products with zeros.

  Args:
    learner: makes the steps.
    state: after a step; its optimiser's state holds the masks of kernels.

  Returns:
    (dense, effective) operations of a step of every tensor, counted as in
    `effective.effective_flops`; () for a learner whose kernels have no masks.
  """
  if learner.spec.sparsity is None:
    return ()
  densities = dynamic.densities(state.train.opt_state)
  if not densities:
    return ()
  dense = _dense_flops(
    learner.network,
    learner.rows_per_step,
    "frozen" if learner.spec.norms == "frozen" else "batch",
    learner.spec.rule,
  )
  return tuple(effective.effective_flops(learner.network, dense, densities))


@functools.lru_cache(maxsize=8)
def _dense_flops(
  network: base.Network,
  rows: int,
  norms: str,
  optimizer: optax.GradientTransformation,
) -> times.TensorTimes:
  """Counts the operations of a step of `rows` examples, by tensor."""
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  x = jax.ShapeDtypeStruct((rows, *network.input_shape), jnp.float32)
  return analytic.flops(
    network, params, stats, x, norms=norms, optimizer=optimizer
  )


def _measure(
  learner: learner_lib.Learner,
  method: str,
  batches: base.Batch,
  scope: base.Scope,
  effort: Effort,
) -> times.TensorTimes:
  state, _ = learner.init(jax.random.key(0))
  options: dict[str, Any] = {
    "norms": learner.spec.norms,
    "optimizer": learner.spec.rule,
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
      rounds=effort.rounds,
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
    learner.network,
    prior,
    run_step,
    count=effort.selections,
    rounds=effort.rounds,
  )
  return times.scaled(found, 1 / learner.steps_per_dispatch)


def stepper(
  learner: learner_lib.Learner,
  state: base.LearnerState,
  batches: base.Batch,
  scope: base.Scope,
) -> calibrated.RunStep:
  """Returns a function from a selection to a function that runs a dispatch.

  All selections share parameters and memory; each has its own optimiser slots.

  Args:
    learner: compiles and runs the steps.
    state: the first state; it is donated to the first dispatch.
    batches: a dispatch [K, B, ...] of examples, on the device.
    scope: the classes that are known.
  """
  names = [slots.name(tensor) for tensor in learner.network.tensors]
  blank = jax.tree.map(np.asarray, state.train.opt_state)
  key, steps = jax.random.key(0), np.int32(learner.steps_per_dispatch)
  shared = [state]

  def run_step(selection: base.Selection) -> Callable[[], None]:
    program = learner.step_program(selection)
    chosen = dict(zip(names, selection.trainable, strict=True))
    # Slots that belong to no tensor, such as a count, are in every selection.
    kept = {name: own for name, own in blank.items() if chosen.get(name, True)}
    held = [learner.put(kept)]

    def run() -> None:
      now = shared[0]
      now = now._replace(train=now.train._replace(opt_state=held[0]))
      now, info = program.call(key, now, batches, steps, scope)
      jax.block_until_ready((now, info))
      shared[0], held[0] = now, now.train.opt_state

    return run

  return run_step
