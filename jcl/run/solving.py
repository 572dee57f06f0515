"""Methods whose predictions are solved from statistics, within a run."""

import jax
import numpy as np

from jcl import base, keys
from jcl.cost import program_cost
from jcl.networks import expand
from jcl.options.errors import UsageError
from jcl.selection import mask
from jcl.streams import batching
from jcl.streams import stream as stream_lib


def check(
  network: base.Network, method: base.Method, training: base.Training
) -> None:
  """Raises UsageError where a method cannot be solved, or has to be trained.

  Args:
    network: as the run has it.
    method: the recipe.
    training: complete hyper-parameters.
  """
  cut = method.consolidation.begins
  beside = cut is None and method.consolidation.told is not None
  if method.predictor.solve is None:
    if training.epochs == 0 and not beside:
      raise UsageError(
        "epochs=0: the recipe learns by updates, so give epochs=1 or more; "
        "ncm, slda, ridge, ranpac and randumb are solved without any"
      )
    if cut is None:
      return
  if training.epochs and may_train(network, method) == ():
    raise UsageError(
      f"epochs={training.epochs}: the recipe is solved from one pass over each "
      "experience and makes no updates; leave epochs out"
    )
  if network.features is None:
    raise UsageError(
      f"the recipe reads features, but network {network.name!r} names none: "
      "give `features`, the unit whose output feeds the head"
    )
  last = network.units.index(str(network.features).split("/")[0])
  ahead = network.units[: last + 1]
  if cut is not None:
    if method.hierarchy is not None:
      raise UsageError(
        "+solved judges by examples in the device's memory, and a memory "
        "hierarchy keeps them on the host: leave out one of the two"
      )
    ahead = network.units[: cut(network)]
    if not ahead:
      raise UsageError(
        f"unit {network.units[0]!r} of network {network.name!r} may train, and "
        "nothing ahead of it is frozen that sums could be taken of: freeze a "
        "trunk, as er+freeze:until=0.7+solved does"
      )
  if training.epochs:
    _check_frozen(network, ahead, method, training)


def check_aside(stream: stream_lib.Stream, method: base.Method) -> None:
  """Raises UsageError where an experience has no example to judge by."""
  held = method.consolidation.held
  if held is None:
    return
  for each in stream.experiences:
    first = int(stream.starts[each.index])
    ids = np.arange(first, first + len(each.data), dtype=np.int32)
    if not np.asarray(held(ids)).any():
      raise UsageError(
        f"of the {len(ids)} examples of experience {each.index} none is set "
        "aside to judge by: give the recipe a larger share of them, such as "
        f"share={min(0.5, 4 / (len(ids) + 4)):.2g}, or larger experiences"
      )


def statistics_bytes(
  method: base.Method, state: base.LearnerState
) -> int | None:
  """Returns the bytes of the statistics that predictions are solved from.

  Args:
    method: the recipe.
    state: as it stands.

  Returns:
    The bytes of what the predictor recalls of the objective's state, or of
    what a consolidation keeps there; None for a method with neither.
  """
  kept = method.consolidation.kept
  if method.predictor.solve is not None:
    kept = method.predictor.recalls
  return None if kept is None else program_cost.num_bytes(kept(state.objective))


def _check_frozen(
  network: base.Network,
  ahead: tuple[str, ...],
  method: base.Method,
  training: base.Training,
) -> None:
  """Raises UsageError where the features of units ahead may move."""
  moving = [unit for unit in may_train(network, method) if unit in ahead]
  if method.restart:
    moving, why = list(ahead), "is drawn anew for every experience"
  elif not moving and training.norms == "moving":
    _, stats = jax.eval_shape(network.init, jax.random.key(0))
    moving = [unit for unit in ahead if unit in stats]
    why = "moves its running statistics"
  else:
    why = "may train"
  where, example = "the head", "er+head_only+slda"
  if method.consolidation.begins is not None:
    where, example = "what trains", "er+freeze:until=0.7+solved"
  if moving:
    raise UsageError(
      f"unit {moving[0]!r} of network {network.name!r} {why}, and statistics "
      f"of features hold only while nothing ahead of {where} changes: freeze "
      f"it, as {example} does, or leave the statistics out"
    )


def may_train(network: base.Network, method: base.Method) -> tuple[str, ...]:
  """Returns the units of which something may ever train."""
  candidates = method.selector.candidates or mask.everything
  return mask.trained_units(network, candidates(network))


def expanded(
  stream: stream_lib.Stream,
  network: base.Network,
  method: base.Method,
  training: base.Training,
  seed: int,
) -> base.Network:
  """Returns the network with the random unit that a method asks for.

  A kernel's width that is not given comes from the first batch of the run, and
  stays.
  """
  if method.expand is None:
    return network
  gamma = kernel_width(stream, network, method.expand, training, seed)
  return expand.expanded(network, method.expand, seed, gamma or 0.0)


def kernel_width(
  stream: stream_lib.Stream,
  network: base.Network,
  wanted: base.Expansion,
  training: base.Training,
  seed: int,
) -> float | None:
  """Returns the gamma of a random unit's kernel, None for one without.

  What is not given is measured on the first batch of the run.
  """
  if wanted.kind != "fourier" or wanted.gamma is not None:
    return wanted.gamma
  assert training.batch_size is not None
  first = stream.experiences[0].data
  order = batching.epoch_order(len(first), seed, 0, 0, ordered=stream.ordered)
  x = np.asarray(first.x[order[: training.batch_size]], np.float32)
  x = (x - stream.mean) / stream.std
  if wanted.trunk and network.features is not None:
    tap = str(network.features)
    params, stats = network.init(keys.key(seed, keys.Purpose.INIT))
    out = network.apply(params, stats, x, taps=(tap,))
    x = np.asarray(out.taps[tap], np.float32)
  return expand.bandwidth(np.reshape(x, (len(x), -1)))
