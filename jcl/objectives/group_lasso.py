"""Group lasso: drives whole channels to zero, so that they can be taken out.

Lym et al., "PruneTrain: Fast Neural Network Training by Dynamic Sparse Model
Reconfiguration", SC 2019, https://arxiv.org/abs/1901.09290. The penalty is the
sum of the L2 norms of slices of kernels, each holding the weights of one output
or of one input. Because the penalty has a kink where a norm is zero, slices
that the loss does not need end at zero.
"""

from collections.abc import Mapping, Sequence
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import supervised
from jcl.options.errors import UsageError

_CROSS_ENTROPY = supervised.cross_entropy()

# Path of a kernel, and the axis along which its slices lie.
Slices = Sequence[tuple[tuple[str, ...], int]]


class Lasso(NamedTuple):
  """State of `group_lasso`."""

  coefficient: jax.Array  # [] float32, weight of the penalty; 0: not yet chosen


def group_lasso(
  slices: Slices | None = None,
  ratio: float = 0.2,
  strength: float | None = None,
  first_loss: float | None = None,
  inner: base.Objective = _CROSS_ENTROPY,
) -> base.Objective:
  """Adds coefficient * sum over slices of their L2 norms to a loss.

  As in the paper there is one coefficient for all slices, whatever their size.
  It is chosen once, when the first experience begins, so that the penalty is
  `ratio` of penalty and loss together. Departure: the loss at the start is not
  measured on the first batch. It is taken to be the logarithm of the number of
  classes in play, since no prediction is better than chance yet, or
  `first_loss`.

  Tensors that do not train have no part in the penalty's gradient.

  Args:
    slices: slices to drive to zero; None: outputs and inputs of every kernel,
      the last two axes in Flax's layout. The network's own inputs and outputs
      are among them although they can never go.
    ratio: share of the penalty in penalty and loss at the start, in [0, 1).
    strength: the coefficient itself, from 0, instead of a ratio.
    first_loss: value of the inner loss at the start, above 0, where it is not
      a mean cross-entropy of a classifier without experience.
    inner: the loss to add to; it must remember nothing.

  Raises:
    ValueError: for settings out of range, or an `inner` that remembers.
  """
  _check(inner, ratio, strength, first_loss)
  if slices is not None:
    slices = tuple((tuple(path), int(axis)) for path, axis in slices)

  def init(params: base.Params, stats: base.Stats) -> Lasso:
    del stats
    penalty(params, slices)  # raises early for slices of another network
    return Lasso(jnp.float32(0 if strength is None else strength))

  def begin(
    state: Lasso, params: base.Params, stats: base.Stats, scope: base.Scope
  ) -> Lasso:
    del stats
    if strength is not None:
      return state
    if first_loss is None:
      num_classes = jnp.sum(jnp.asarray(scope.head, jnp.float32))
      at_start = jnp.log(jnp.maximum(num_classes, 2.0))
    else:
      at_start = jnp.float32(first_loss)
    chosen = coefficient(at_start, penalty(params, slices), ratio)
    first = state.coefficient == 0
    return Lasso(jnp.where(first, chosen, state.coefficient))

  def loss(
    forward: base.Forward, inputs: base.LossInputs
  ) -> tuple[jax.Array, base.Aux]:
    value, aux = inner.loss(forward, inputs._replace(state=()))
    term = inputs.state.coefficient * penalty(inputs.params, slices)
    return value + term, aux._replace(info={**aux.info, "penalty": term})

  return inner._replace(loss=loss, init=init, begin=begin)


def penalty(params: base.Params, slices: Slices | None = None) -> jax.Array:
  """Returns the sum of the L2 norms of all slices, [] float32.

  The gradient of a slice of zeros is zero.

  Args:
    params: nested dict of arrays.
    slices: as in `group_lasso`.

  Raises:
    ValueError: for a path or an axis that the parameters do not have.

  >>> params = {"dense": {"kernel": jnp.array([[3.0, 0.0], [4.0, 0.0]])}}
  >>> float(penalty(params, [(("dense", "kernel"), 1)]))
  5.0
  """
  arrays = _named(params)
  total = jnp.float32(0)
  for path, axis in _kernels(arrays) if slices is None else slices:
    if path not in arrays or not 0 <= axis < arrays[path].ndim:
      raise ValueError(
        f"the parameters have no {'/'.join(path)} with an axis {axis}: list "
        "the slices of this network"
      )
    kernel = jnp.asarray(arrays[path], jnp.float32)
    others = tuple(i for i in range(kernel.ndim) if i != axis)
    squares = jnp.sum(jnp.square(kernel), axis=others)
    # The root has no gradient at zero, and `where` passes on NaN from a branch
    # not taken: zeros are replaced ahead of the root.
    norms = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
    total += jnp.sum(jnp.where(squares > 0, norms, 0.0))
  return total


def coefficient(
  loss: base.Array, total: base.Array, ratio: float = 0.2
) -> jax.Array:
  """Returns c such that c * total is `ratio` of c * total + loss, [] float32.

  Args:
    loss: [] without the penalty.
    total: [] from `penalty`; where it is 0 there is nothing to penalise.
    ratio: in [0, 1).

  >>> float(coefficient(loss=3.0, total=2.0, ratio=0.25))
  0.5
  """
  wanted = ratio / (1 - ratio) * jnp.asarray(loss, jnp.float32)
  return jnp.where(total > 0, wanted / total, 0.0)


def _named(params: base.Params) -> dict[tuple[str, ...], jax.Array]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  return {
    tuple(jax.tree_util.keystr((k,), simple=True) for k in path): leaf
    for path, leaf in leaves
  }


def _kernels(arrays: Mapping[tuple[str, ...], jax.Array]) -> Slices:
  """Lists output and input axes of all kernels, but for axes of size 1."""
  return [
    (path, leaf.ndim - back)
    for path, leaf in arrays.items()
    if path[-1] == "kernel"
    for back in (1, 2)
    if leaf.ndim >= 2 and leaf.shape[-back] > 1
  ]


def _check(
  inner: base.Objective,
  ratio: float,
  strength: float | None,
  first_loss: float | None,
) -> None:
  """Raises UsageError for an argument of `group_lasso` out of range."""
  supervised.without_state(inner)
  if not 0 <= ratio < 1:
    raise UsageError(f"ratio is {ratio}: give a number in [0, 1), such as 0.2")
  if strength is not None and not 0 <= strength < math.inf:
    raise UsageError(f"strength is {strength}: give a number from 0")
  if first_loss is not None and not 0 < first_loss < math.inf:
    raise UsageError(f"first_loss is {first_loss}: give a number above 0")
