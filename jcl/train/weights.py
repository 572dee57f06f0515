"""Weights that are rewritten between updates, as pure functions.

Tensors are dicts by path, such as "head/kernel", of those that may ever train;
what is rewritten of others stays as it is, to the bit.
"""

from collections.abc import Mapping
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.networks.sparsity import ranking
from jcl.options.errors import UsageError
from jcl.train import slots

Flat = dict[str, Any]  # tensors, or state of them, by path

_FIRST, _SECOND = 0.9, 0.999  # decay of moments, per update
ALIGN = "align"  # stage that scales the head's rows
_LAST = "last"  # stage of an experience's last place
_ROUNDING = 1e-9  # so that a whole share does not lose one to rounding


def flat(tree: base.Params) -> Flat:
  """Returns the arrays of a tree by path."""
  return dict(zip(slots.names(tree), jax.tree.leaves(tree), strict=True))


def average(visits: int, start: float) -> base.Rewrite:
  """Takes the mean of the weights at places of an experience.

  Args:
    visits: places, evenly spread over an experience's updates.
    start: share of the experience ahead of the first place that counts.

  Raises:
    UsageError: where fewer than two places count.
  """
  first = _first(visits, start)
  return base.Rewrite(
    visits=visits,
    stage=lambda experience, number: _stage(number, first, visits),
    init=lambda params: _no_mean(params),
    begin=lambda state, params: _no_mean(params),
    visit=_averaged,
    settles=True,
  )


def reset_and_average(
  visits: int,
  warm: float,
  keep: float,
  blend: float,
  signed: bool = False,
  ties: bool = False,
) -> base.Rewrite:
  """Resets what a new experience did not need, then averages.

  At the end of a warm-up, once, the weights of each tensor that score lowest
  move back towards those that the experience began with. From there on the mean
  of the weights at all later places is taken, with the reset ones as the first.
  The first experience is left alone.

  Args:
    visits: places, evenly spread over an experience's updates.
    warm: share of the experience that is the warm-up.
    keep: share of each tensor's weights that stay.
    blend: share of the new weight in what the others become.
    signed: scores by the mean gradient, not by that of magnitudes.
    ties: whether weights that score as the last one to stay do stay as well.
  """
  first = _first(visits, warm)

  def stage(experience: int, number: int) -> str:
    if not experience:
      return ""
    return "reset" if number == first else _stage(number, first, visits)

  def begin(state: Flat, params: Flat) -> Flat:
    del state
    zeros = {name: jnp.zeros_like(leaf) for name, leaf in params.items()}
    return {
      **_no_mean(params),
      "before": params,
      "first": zeros,
      "second": zeros,
      "updates": jnp.float32(0),
    }

  def track(state: Flat, traced: base.Traced) -> Flat:
    return tracked(state, flat(traced.grads), signed)

  def visit(
    stage: str,
    network: base.Network,
    state: Flat,
    params: Flat,
    scope: base.Scope,
  ) -> tuple[Flat, Flat]:
    if stage == "reset":
      found = scores(state)
      params = {
        name: trim(leaf, state["before"][name], found[name], keep, blend, ties)
        for name, leaf in params.items()
      }
    return _averaged(stage, network, state, params, scope)

  return base.Rewrite(
    visits=visits,
    stage=stage,
    init=lambda params: begin({}, params),
    begin=begin,
    track=track,
    visit=visit,
    settles=True,
  )


def aligned() -> base.Rewrite:
  """Scales the head's rows of an experience's classes to the norm of others.

  Bias and kernel of a class are multiplied by the mean norm of the rows of
  other classes seen over that of the experience's. Where there are no others,
  nothing changes.
  """

  def visit(
    stage: str,
    network: base.Network,
    state: Any,
    params: Flat,
    scope: base.Scope,
  ) -> tuple[Any, Flat]:
    del stage
    new, old = scope.current, scope.seen & ~scope.current
    kernel, *bias = head(network)
    if kernel not in params:
      return state, params
    norms = jnp.sqrt(jnp.sum(jnp.square(params[kernel]), axis=0))
    ratio = _mean(norms, old) / jnp.maximum(_mean(norms, new), 1e-12)
    ratio = jnp.where(jnp.any(old), ratio, 1.0)
    scaled = {
      name: jnp.where(new, params[name] * ratio, params[name])
      for name in (kernel, *bias)
      if name in params
    }
    return state, {**params, **scaled}

  return base.Rewrite(
    visits=1, stage=lambda experience, number: ALIGN, visit=visit
  )


def head(network: base.Network) -> tuple[str, ...]:
  """Returns the paths of the head's kernel [D, C], and of its bias, if any.

  Raises:
    UsageError: for a head that is no kernel and bias.
  """
  classes = network.num_classes
  found = {
    tensor.kind: "/".join(tensor.path)
    for tensor in network.tensors
    if tensor.unit == network.units[-1] and tensor.shape[-1:] == (classes,)
  }
  shapes = {"/".join(tensor.path): tensor.shape for tensor in network.tensors}
  if len(shapes.get(found.get("kernel", ""), ())) != 2:
    raise UsageError(
      f"the head of network {network.name!r} has no kernel with a row for each "
      "class, whose norms could be aligned: leave wa out"
    )
  return tuple(found[kind] for kind in ("kernel", "bias") if kind in found)


def tracked(state: Flat, grads: Flat, signed: bool) -> Flat:
  """Returns a state with the moments of one more gradient, by path."""
  first, second = dict(state["first"]), dict(state["second"])
  for name, grad in grads.items():
    seen = grad if signed else jnp.abs(grad)
    first[name] = _FIRST * first[name] + (1 - _FIRST) * seen
    second[name] = _SECOND * second[name] + (1 - _SECOND) * jnp.square(grad)
  updates = state["updates"] + 1
  return {**state, "first": first, "second": second, "updates": updates}


def scores(state: Flat) -> Flat:
  """Returns the importance of every weight: the product of its moments.

  Both are divided by what a constant gradient of 1 would have made of them.
  """
  count = jnp.maximum(state["updates"], 1)
  scale = (1 - _FIRST**count) * (1 - _SECOND**count)
  return {
    name: jnp.abs(first) * state["second"][name] / scale
    for name, first in state["first"].items()
  }


def trim(
  weights: jax.Array,
  before: jax.Array,
  score: jax.Array,
  keep: float,
  blend: float,
  ties: bool = False,
) -> jax.Array:
  """Moves all but the weights that score highest back towards earlier ones.

  Args:
    weights: of a tensor.
    before: earlier weights of it.
    score: of each.
    keep: share of the weights that stay, one at least; of equal scores those of
      lower index do.
    blend: share of `weights` in the others.
    ties: whether all weights stay that score as the last one to stay.

  >>> trim(*map(jnp.array, ([1.0, 2.0], [0.0, 0.0], [2.0, 1.0])), 0.5, 0.5)
  Array([1., 1.], dtype=float32)
  """
  size = math.prod(np.shape(weights))
  count = max(1, math.floor(keep * size + _ROUNDING))
  stays = ranking.largest(score, count)
  if ties:
    stays = score >= jnp.min(jnp.where(stays, score, jnp.inf))
  return jnp.where(stays, weights, blend * weights + (1 - blend) * before)


def _averaged(
  stage: str,
  network: base.Network,
  state: Flat,
  params: Flat,
  scope: base.Scope,
) -> tuple[Flat, Flat]:
  """Adds weights to the mean, which takes their place at the last stage."""
  del network, scope
  count = state["count"] + 1
  mean = {
    name: state["mean"][name]
    + (jnp.asarray(leaf, jnp.float32) - state["mean"][name]) / count
    for name, leaf in params.items()
  }
  if stage == _LAST:
    params = {n: mean[n].astype(leaf.dtype) for n, leaf in params.items()}
  return {**state, "mean": mean, "count": count}, params


def _stage(number: int, first: int, visits: int) -> str:
  if number < first:
    return ""
  return _LAST if number == visits - 1 else "average"


def _no_mean(params: Mapping[str, Any]) -> Flat:
  zeros = {n: jnp.zeros(jnp.shape(p), jnp.float32) for n, p in params.items()}
  return {"mean": zeros, "count": jnp.float32(0)}


def _first(visits: int, share: float) -> int:
  """Returns the number of the first place behind a share of an experience."""
  first = max(math.floor(share * visits + 0.5) - 1, 0)
  if visits - first < 2:
    raise UsageError(
      f"visits={visits}, of which {visits - first} would be averaged: give "
      "more of them, or a smaller share of the experience ahead of the first"
    )
  return first


def _mean(values: jax.Array, where: base.Array) -> jax.Array:
  return jnp.sum(jnp.where(where, values, 0.0)) / jnp.maximum(jnp.sum(where), 1)
