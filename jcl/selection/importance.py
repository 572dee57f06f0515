"""Importance of tensors: the worth of training each, as a selection adds up.

The score of Huang et al., "ElasticTrainer: Speeding Up On-Device Training with
Runtime Elastic Tensor Selection", MobiSys 2023 (section 4),
https://doi.org/10.1145/3581791.3596852, is the rise of the loss, to first
order, if the latest update of a tensor were undone: I_k = -sum_i g_i dw_i over
its entries. The score adds over entries and over tensors, as a knapsack needs.
It is large where training the tensor lowers the loss, and negative where
training raises it. The paper compares it with two others (section 8.4), which
are here too.

Scores are not divided by their largest, as a selection uses their ratios only.

Tensors are named by their paths from the root of the parameters, because the
leaves of a tree are ordered by their sorted keys, not by execution.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.options.errors import UsageError

Path = tuple[str, ...]


def paths(params: base.Params) -> tuple[Path, ...]:
  """Returns the paths of all tensors, sorted, whatever order dicts have."""
  return tuple(sorted(_by_path(params)))


def update_times_gradient(
  probe: base.Probe,
  key: base.Key,
  tensors: Sequence[Path],
  *,
  point: str = "after",
  step: str = "optimizer",
  fresh_pair: bool = False,
) -> np.ndarray:
  """Computes how far an update of each tensor lowers the loss, to first order.

  That is I_k = -sum_i g_i dw_i, averaged over the probe's batches. Each batch
  makes an update of its own from the present parameters, which stay as they
  are. A batch's two gradients see the same random key, hence the same noise.

  Args:
    probe: parameters, batches, and functions that make gradients and updates;
      one or two gradients are computed for each batch.
    key: consumed.
    tensors: [W] paths, in the order wanted.
    point: where `g` is taken. "after" the update, as the authors' program
      does, sees an update that overshoots; "before" it, as the paper writes,
      costs one gradient instead of two and sees only the slope.
    step: which update gives `dw`. "optimizer" is the run's own, with its
      momentum: tensors that have been training move up to 1 / (1 - momentum)
      times as far as others and so tend to stay. "sgd" is -learning_rate *
      gradient for all tensors alike. "sgd" is also more exact, since its `dw`
      is not a difference of parameters, which rounds.
    fresh_pair: take `dw` from one batch and `g` from the next one, under
      another key, in disjoint pairs. On one batch, the score holds the noise
      of a squared gradient, which is positive on average even where there is
      nothing to learn; on two batches it does not.

  Returns:
    [W] float64, in units of the loss.

  Raises:
    ValueError: for an unknown option, no batch, an odd number of batches under
      `fresh_pair`, or scores that are not finite.
  """
  if point not in ("after", "before"):
    raise UsageError(f"point={point!r}: give 'after' or 'before'")
  if step not in ("optimizer", "sgd"):
    raise UsageError(f"step={step!r}: give 'optimizer' or 'sgd'")
  _has_batches(probe)
  batches = list(zip(probe.batches, _keys(key, probe), strict=True))
  if fresh_pair and len(batches) % 2:
    raise UsageError(
      f"fresh_pair needs two different batches for each score, got "
      f"{len(batches)}: give an even number"
    )
  # Each pair: the batch that makes the update, and the batch that judges it.
  pairs = (
    zip(batches[::2], batches[1::2], strict=True)
    if fresh_pair
    else zip(batches, batches, strict=True)
  )
  wanted, params, rate = tuple(tensors), probe.params, probe.learning_rate
  lowered = []
  for maker, judge in pairs:
    grads = probe.gradient(params, *maker)
    if step == "optimizer":
      updated = probe.advance(grads, params)
    elif point == "after":
      updated = _descend(params, grads, rate)
    if point == "after":
      slope = probe.gradient(updated, *judge)
    else:
      slope = probe.gradient(params, *judge) if fresh_pair else grads
    if step == "optimizer":
      lowered.append(-_moved(updated, params, slope, wanted))
    else:
      # The rate stays out of the compiled program, which all rates share.
      lowered.append(rate * _product(grads, slope, wanted))
  return _mean(lowered, wanted)


def gradient_magnitude(
  probe: base.Probe, key: base.Key, tensors: Sequence[Path]
) -> np.ndarray:
  """Computes sum_i |g_i| of each tensor, averaged over the probe's batches.

  "Grad" in the paper's section 8.4.

  Args:
    probe: parameters, batches, and a function that makes gradients.
    key: consumed.
    tensors: [W] paths, in the order wanted.

  Returns:
    [W] float64.

  Raises:
    ValueError: for no batch, or scores that are not finite.
  """
  _has_batches(probe)
  wanted = tuple(tensors)
  sums = [
    _magnitude(probe.gradient(probe.params, batch, batch_key), wanted)
    for batch, batch_key in zip(probe.batches, _keys(key, probe), strict=True)
  ]
  return _mean(sums, wanted)


def weight_magnitude(
  params: base.Params, tensors: Sequence[Path]
) -> np.ndarray:
  """Computes sum_i |w_i| of each tensor: [W] float64.

  "Weight" in the paper's section 8.4; it needs no data.

  Raises:
    ValueError: for a sum that is not finite.

  >>> params = {"head": {"kernel": jnp.array([1.0, -2.0])}}
  >>> weight_magnitude(params, [("head", "kernel")])
  array([3.])
  """
  wanted = tuple(tensors)
  return _mean([_magnitude(params, wanted)], wanted)


def _has_batches(probe: base.Probe) -> None:
  if not probe.batches:
    raise UsageError("the probe has no batch: ask for one or more")


def _keys(key: base.Key, probe: base.Probe) -> base.Key:
  return jax.random.split(key, len(probe.batches))


def _mean(rows: Sequence[base.Array], tensors: Sequence[Path]) -> np.ndarray:
  scores = np.stack([np.asarray(row, np.float64) for row in rows]).mean(0)
  bad = [
    "/".join(path)
    for path, score in zip(tensors, scores, strict=True)
    if not np.isfinite(score)
  ]
  if bad:
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    raise UsageError(
      f"the importance of {', '.join(bad[:5])}{more} is not finite: "
      "training, or the probing update, left the finite numbers; lower the "
      "learning rate, or clip gradients"
    )
  return scores


def _by_path(tree: Any) -> dict[Path, Any]:
  return {
    tuple(str(getattr(entry, "key", entry)) for entry in path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _wide(leaf: jax.Array) -> jax.Array:
  """Casts to float32 or wider, so that sums over many entries keep digits."""
  return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def _sums(
  function: Callable[..., jax.Array],
  tensors: Sequence[Path],
  *trees: base.Params,
) -> jax.Array:
  """Returns [W] sums over the entries of `function(*leaves)`."""
  found = [_by_path(tree) for tree in trees]
  return jnp.stack(
    [
      jnp.sum(function(*(_wide(leaves[path]) for leaves in found)))
      for path in tensors
    ]
  )


@functools.partial(jax.jit, static_argnames="tensors")
def _moved(
  after: base.Params,
  before: base.Params,
  slope: base.Params,
  tensors: tuple[Path, ...],
) -> jax.Array:
  return _sums(lambda a, b, g: (a - b) * g, tensors, after, before, slope)


@functools.partial(jax.jit, static_argnames="tensors")
def _product(
  first: base.Params, second: base.Params, tensors: tuple[Path, ...]
) -> jax.Array:
  return _sums(lambda a, b: a * b, tensors, first, second)


@functools.partial(jax.jit, static_argnames="tensors")
def _magnitude(tree: base.Params, tensors: tuple[Path, ...]) -> jax.Array:
  return _sums(jnp.abs, tensors, tree)


@jax.jit
def _descend(
  params: base.Params, grads: base.Params, rate: float
) -> base.Params:
  return jax.tree.map(
    lambda p, g: (p - rate * g).astype(p.dtype), params, grads
  )
