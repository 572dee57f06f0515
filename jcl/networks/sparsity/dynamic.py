"""Sparse kernels whose live weights change while they learn.

Wang et al., "SparCL: Sparse Continual Learning on the Edge", NeurIPS 2022,
https://arxiv.org/abs/2209.09476: masks of the weights that move with the task,
and masks of their gradients. As in the authors' program, the importance of a
weight is its magnitude plus half the magnitude of its gradient. Departures: the
gradient is that of the batch about to be learned, for every live weight, where
the authors take the one that the batch before was learned with, most of it set
to zero (`Schedule.published` does so); exactly the number of weights asked for
stays; arrays that begin with zeros, such as shifts, are never masked; which
gradients are let through is chosen anew every so many updates of a task, there
of an epoch; and weights grow among those that are not alive, there among those
that are zero. Arrays stay dense, so that time and memory are saved only by
kernels that skip zeros; `train.profiling.effective` counts the saving.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jcl import base
from jcl.networks import channels
from jcl.networks.sparsity import ranking
from jcl.options.errors import UsageError

_GRADIENT = 0.5  # weight of the gradient's magnitude in a weight's importance


@dataclasses.dataclass(frozen=True)
class Schedule:
  """Sparsity of kernels over the updates of a task.

  Every `period` updates a kernel is pruned to the first sparsity of the phase
  and grows back at random to the second.
  """

  sparsity: float  # share of zeros at the start of a run, in [0, 1)
  phases: tuple[tuple[float, float], ...]  # of a task; the last one repeats
  period: int  # updates
  gradient_sparsity: float = 0.8  # share of each kernel's gradient left out
  gradient_period: int = 30  # updates that leave out the same weights
  # Whether importance goes by the gradient that the update before has used.
  published: bool = False

  def __post_init__(self) -> None:
    for name in ("period", "gradient_period"):
      if getattr(self, name) < 1:
        raise UsageError(f"{name}={getattr(self, name)}: give 1 update or more")
    if not self.phases:
      raise UsageError("phases=(): give (pruned to, grown to) of one at least")
    for pruned, grown in self.phases:
      if pruned < grown:
        raise UsageError(
          f"a kernel pruned to {pruned} cannot grow to {grown}: the second "
          "sparsity must not exceed the first"
        )
    for share in (self.sparsity, self.gradient_sparsity, *sum(self.phases, ())):
      ranking.num_kept(1, share)  # raises for shares out of range


class Kernel(NamedTuple):
  """State of one sparse kernel."""

  slot: Any  # of the optimiser
  step: jax.Array  # [] int32, updates of the present task
  key: jax.Array  # [2] uint32, of random growth
  mask: jax.Array  # bool, weights that are alive
  pattern: jax.Array  # bool, gradients that are let through
  past: Any = ()  # gradient of the update before, where importance goes by it


def schedule(
  sparsity: float,
  period: int,
  steps_per_task: int,
  margin: float = 0.01,
) -> Schedule:
  """Returns SparCL's schedule: expand, then shrink and swap, then settle.

  At a task's first update kernels grow to `sparsity - margin`. At each later
  change but the last they are pruned to `sparsity + margin` and grow to
  `sparsity`. At the last change they are pruned to `sparsity` and do not grow.

  Args:
    sparsity: share of zeros, in [0, 1) with the margin added.
    period: updates between changes; five epochs in the paper.
    steps_per_task: updates of a task.
    margin: share of a kernel's weights that moves; the paper has 0.01.

  Raises:
    ValueError: for numbers out of range.

  >>> schedule(0.5, period=10, steps_per_task=30, margin=0.25).phases
  ((0.5, 0.25), (0.75, 0.5), (0.5, 0.5))
  """
  if not 0 <= margin <= sparsity:
    raise UsageError(f"margin={margin}: give a share from 0 to {sparsity}")
  if steps_per_task < 1 or period < 1:
    raise UsageError(
      f"period={period} and steps_per_task={steps_per_task}: give 1 or more"
    )
  changes = math.ceil(steps_per_task / period)
  expand = (sparsity, sparsity - margin)
  swap = (sparsity + margin, sparsity)
  phases = ((expand,) + (swap,) * (changes - 2))[: changes - 1]
  phases += ((sparsity, sparsity),)
  return Schedule(sparsity, phases, period)


def kernels(network: base.Network) -> tuple[channels.Path, ...]:
  """Lists the convolutions' kernels that SparCL makes sparse.

  These are the kernels larger than 1x1 outside the first unit and the head.

  Raises:
    ValueError: where the network has no such kernel.
  """
  ends = network.units[0], network.units[-1]
  found = tuple(
    tensor.path
    for tensor in network.tensors
    if tensor.kind == "kernel"
    and math.prod(tensor.shape[:-2]) > 1
    and tensor.unit not in ends
  )
  if not found:
    raise UsageError(
      f"network {network.name!r} has no convolution larger than 1x1 between "
      "its first unit and its head: give a network such as resnet18"
    )
  return found


def start(
  params: base.Params, kernels: Sequence[channels.Path], sparsity: float
) -> base.Params:
  """Sets each kernel's smallest weights to zero; a second time changes nothing.

  Args:
    params: of the network.
    kernels: paths of the arrays to make sparse.
    sparsity: share of zeros, in [0, 1).
  """
  changed = [
    jnp.where(_strongest(leaf, sparsity), leaf, 0) if path in kernels else leaf
    for path, leaf in channels.named(params)
  ]
  return jax.tree.unflatten(jax.tree.structure(params), changed)


def sparse(
  optimizer: optax.GradientTransformation,
  kernels: Sequence[channels.Path],
  schedule: Schedule,
  seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
  """Returns an optimiser that keeps kernels sparse and moves live weights.

  Its state is a dict by the path of each array, joined by "/": a `Kernel` for
  arrays that are sparse, the optimiser's own state for all others. Masks are
  values of that state, so that nothing is compiled anew when they change.
  `init` masks the smallest weights, as `start` does; the first update takes
  masked weights to zero where they are not zero yet.

  Args:
    optimizer: a rule that acts element by element, run on every array alone.
    kernels: paths of the arrays to keep sparse, such as `kernels(network)`.
    schedule: when masks change.
    seed: of random growth.

  Raises:
    ValueError: from `update`, where no parameters are given.
  """
  order = {path: index for index, path in enumerate(kernels)}
  rule = optax.with_extra_args_support(optimizer)

  def init(params: base.Params) -> dict[str, Any]:
    state = {}
    for path, leaf in channels.named(params):
      slot = optimizer.init(leaf)
      if path in order:
        key = jax.random.fold_in(jax.random.key(seed), order[path])
        slot = Kernel(
          slot,
          jnp.int32(0),
          jax.random.key_data(key),
          _strongest(leaf, schedule.sparsity),
          jnp.ones(jnp.shape(leaf), bool),
          jnp.zeros_like(leaf) if schedule.published else (),
        )
      state["/".join(path)] = slot
    return state

  def update(grads, state, params=None, **extra):
    if params is None:
      raise ValueError("sparse kernels need their values: give update params")
    updates, after = [], {}
    pairs = zip(channels.named(params), jax.tree.leaves(grads), strict=True)
    for (path, leaf), grad in pairs:
      name = "/".join(path)
      entry = state[name]
      if path in order:
        entry = _changed(entry, leaf, grad, schedule)
        grad = jnp.where(entry.mask & entry.pattern, grad, 0)
        change, slot = rule.update(grad, entry.slot, leaf, **extra)
        change = jnp.where(entry.mask, change, -leaf)
        past = grad if schedule.published else ()
        after[name] = entry._replace(slot=slot, step=entry.step + 1, past=past)
      else:
        change, after[name] = rule.update(grad, entry, leaf, **extra)
      updates.append(change)
    return jax.tree.unflatten(jax.tree.structure(params), updates), after

  return optax.GradientTransformationExtraArgs(init, update)


def restart(state: dict[str, Any]) -> dict[str, Any]:
  """Returns the state at the start of a task: masks stay, counts begin anew."""
  return {
    name: slot._replace(step=jnp.zeros_like(slot.step))
    if isinstance(slot, Kernel)
    else slot
    for name, slot in state.items()
  }


def densities(state: dict[str, Any]) -> dict[str, tuple[float, float]]:
  """Returns shares of live weights and of gradients let through, by name."""
  found = {}
  for name, slot in state.items():
    if isinstance(slot, Kernel):
      mask, pattern = np.asarray(slot.mask), np.asarray(slot.pattern)
      found[name] = float(mask.mean()), float((mask & pattern).mean())
  return found


def _strongest(leaf: jax.Array, sparsity: float) -> jax.Array:
  count = ranking.num_kept(leaf.size, sparsity)
  return ranking.largest(jnp.abs(leaf), count)


def _changed(
  entry: Kernel, leaf: jax.Array, grad: jax.Array, schedule: Schedule
) -> Kernel:
  """Returns the kernel with the masks of this update."""
  sizes = np.array(
    [[ranking.num_kept(leaf.size, s) for s in p] for p in schedule.phases],
    np.int32,
  )
  phase = jnp.minimum(entry.step // schedule.period, len(sizes) - 1)
  pruned, grown = jnp.asarray(sizes)[phase]

  def move(mask: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    slope = entry.past if schedule.published else grad
    importance = jnp.abs(leaf) + _GRADIENT * jnp.abs(slope)
    # Dead weights rank last, so that growth alone brings weights back.
    alive = mask & ranking.largest(jnp.where(mask, importance, -1.0), pruned)
    key, draw = jax.random.split(jax.random.wrap_key_data(key))
    # Drawn flat: the same numbers as in the kernel's shape, compiled in a fifth
    # of the time.
    lots = jax.random.uniform(draw, (leaf.size,)).reshape(leaf.shape)
    mask = ranking.largest(jnp.where(alive, 2.0, lots), grown)
    return mask, jax.random.key_data(key)

  mask, key = jax.lax.cond(
    entry.step % schedule.period == 0,
    move,
    lambda mask, key: (mask, key),
    entry.mask,
    entry.key,
  )
  let_through = ranking.num_kept(leaf.size, schedule.gradient_sparsity)
  pattern = jax.lax.cond(
    entry.step % schedule.gradient_period == 0,
    lambda old: ranking.largest(jnp.where(mask, jnp.abs(grad), 0), let_through),
    lambda old: old,
    entry.pattern,
  )
  return entry._replace(key=key, mask=mask, pattern=pattern)
