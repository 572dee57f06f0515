"""Runs what a method writes between updates, and sets running statistics."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.selection import mask
from jcl.train import background, executors, slots
from jcl.train import weights as weights_lib

if TYPE_CHECKING:  # it imports this module
  from jcl.train import chunks
  from jcl.train import learner as learner_lib

# Ends of the names of running means, and of the variances that go with them.
_SIBLINGS = (("mean", "var"), ("mean", "variance"))


def tensors(
  method: base.Method, network: base.Network, params: base.Params
) -> dict[str, Any]:
  """Returns the tensors by path that a method may ever train."""
  candidates = method.selector.candidates or mask.everything
  trained, _ = mask.split(params, network, candidates(network))
  return weights_lib.flat(trained)


def fresh(
  method: base.Method, network: base.Network, params: base.Params
) -> Any:
  """Returns what a rewrite remembers ahead of any update, () without one."""
  if method.rewrite is None:
    return ()
  return method.rewrite.init(tensors(method, network, params))


def begin(
  learner: "learner_lib.Learner", state: base.LearnerState
) -> base.LearnerState:
  """Opens an experience for what a method writes between updates."""
  method = learner.method
  if method.rewrite is None or method.rewrite.begin is None:
    return state
  opens = method.rewrite.begin

  def opened(weights, params):
    return opens(weights, tensors(method, learner.network, params))

  weights = learner.run(
    "train", "opened", opened, state.weights, state.train.params
  )
  return state._replace(weights=weights)


def visit(
  learner: "learner_lib.Learner",
  stage: str,
  state: base.LearnerState,
  scope: base.Scope,
) -> base.LearnerState:
  """Writes weights anew, filed as training."""
  args = state.weights, state.train.params, scope
  weights, params = learner.run(
    "train", ("rewrite", stage), _writing(learner, stage), *args
  )
  train = state.train._replace(params=params)
  return state._replace(train=train, weights=weights)


def price(
  learner: "learner_lib.Learner", stage: str, selection: base.Selection
) -> base.Cost:
  """Returns what a visit takes, in operations and bytes.

  Args:
    learner: whose method writes.
    stage: of the visit.
    selection: that trains.
  """
  _, state, _, _, scope = executors.shapes(learner, selection, 1)
  args = state.weights, state.train.params, scope
  name = ("rewrite", stage)
  return _cost(learner.compiled((name,), _writing(learner, stage), args))


def _writing(
  learner: "learner_lib.Learner", stage: str
) -> Callable[..., tuple[Any, base.Params]]:
  method, network = learner.method, learner.network
  assert method.rewrite is not None
  writes = method.rewrite.visit

  def write(weights, params, scope):
    held = tensors(method, network, params)
    weights, held = writes(stage, network, weights, held, scope)
    every = weights_lib.flat(params).items()
    leaves = [held.get(name, leaf) for name, leaf in every]
    return weights, jax.tree.unflatten(jax.tree.structure(params), leaves)

  return write


class Sums(NamedTuple):
  """Sums over batches of statistics, each a tree like the network's."""

  count: Any  # [] float32, examples
  value: base.Stats  # of a batch's statistics
  square: base.Stats  # and of their squares


def settle(
  learner: "learner_lib.Learner",
  key: base.Key,
  state: base.LearnerState,
  batches: "Iterable[chunks.Chunk]",
  selection: base.Selection,
) -> base.LearnerState:
  """Sets running statistics to those of one pass over a training set.

  Means are those of all examples, and variances theirs around these means,
  whatever the batches; examples that fill no whole batch are left out, unless
  there are no others. Statistics stay where the unit does not train, and where
  they are no running mean and variance.

  Args:
    learner: makes the pass, which is filed as training.
    key: [] of augmentation.
    state: whose statistics are set.
    batches: of the training set, once.
    selection: that trains.
  """
  if not _pairs(state.train.stats):
    return state
  program = _pass(learner, selection)
  sums: Any = None
  for chunk in batches:
    for i in range(chunk.num_steps):
      batch = jax.tree.map(
        lambda leaf, i=i: leaf[i, : learner.batch_size],
        chunk.batches._replace(extras={}),
      )
      whole = bool((chunk.ids[i] >= 0).all())
      if not whole and sums is not None:
        continue
      args = jax.random.fold_in(key, int(chunk.ids[i][0])), batch
      found = learner.run(
        "train", ("settle", selection), program, state.train, *args
      )
      sums = found if sums is None else jax.tree.map(jnp.add, sums, found)
  if sums is None:
    return state
  stats = _pooled(sums, state.train.stats)
  return state._replace(train=state.train._replace(stats=stats))


def settling(
  learner: "learner_lib.Learner", selection: base.Selection
) -> base.Cost:
  """Returns what a batch of `settle` takes; arguments as for `price`."""
  key, state, batches, _, _ = executors.shapes(learner, selection, 1)
  if not _pairs(state.train.stats):
    return base.Cost()
  batch = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
    batches._replace(extras={}),
  )
  args = state.train, key, batch
  name = ("settle", selection)
  return _cost(learner.compiled((name,), _pass(learner, selection), args))


def _cost(program: background.Program) -> base.Cost:
  cost = program.cost
  return base.Cost(flops=cost.flops, bytes=cost.bytes_accessed)


def _pass(
  learner: "learner_lib.Learner", selection: base.Selection
) -> Callable[..., Sums]:
  """Returns (train, key, batch) -> sums of a batch's own statistics."""
  spec = learner.spec
  units = mask.trained_units(spec.network, selection)

  def sums(train, key, batch):
    x = spec.preprocess.augment(key, jnp.asarray(batch.x))
    x = spec.preprocess.normalise(x)

    def after(value):
      stats = jax.tree.map(lambda leaf: jnp.full_like(leaf, value), train.stats)
      return spec.network.apply(
        train.params, stats, x, training=units, key=key
      ).stats

    # A running statistic is what was there, times the momentum, and the rest of
    # a batch's own: two beginnings tell both apart.
    zero, one = after(0), after(1)
    own = jax.tree.map(_own, zero, one, train.stats)
    return Sums(jnp.float32(1), own, jax.tree.map(jnp.square, own))

  return sums


def _own(zero: jax.Array, one: jax.Array, there: jax.Array) -> jax.Array:
  """Returns a batch's own statistic, or what is there where none is kept."""
  rest = 1 - (one - zero)
  running = (rest > 1e-6) & (rest <= 1)
  return jnp.where(running, zero / jnp.where(running, rest, 1), there)


def _pairs(stats: base.Stats) -> dict[str, str]:
  """Returns paths of variances, each with that of its mean."""
  names = slots.names(stats)
  return {
    name: at
    for name in names
    for mean, variance in _SIBLINGS
    if name.endswith(variance)
    and (at := name.removesuffix(variance) + mean) in names
  }


def _pooled(sums: Sums, stats: base.Stats) -> base.Stats:
  """Returns statistics of all batches together."""
  pairs, count = _pairs(stats), sums.count
  means = set(pairs.values())
  values, squares = map(weights_lib.flat, (sums.value, sums.square))

  def pooled(name: str, there: Any) -> Any:
    value = values[name] / count
    if name in pairs:
      mean = pairs[name]
      spread = squares[mean] / count - (values[mean] / count) ** 2
      return (value + jnp.maximum(spread, 0.0)).astype(there.dtype)
    return value.astype(there.dtype) if name in means else there

  leaves = [pooled(*each) for each in weights_lib.flat(stats).items()]
  return jax.tree.unflatten(jax.tree.structure(stats), leaves)
