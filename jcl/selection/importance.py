"""What training a tensor is worth: scores that a selection adds up.

The score of Huang et al., "ElasticTrainer: Speeding Up On-Device Training with
Runtime Elastic Tensor Selection", MobiSys 2023 (section 4), is how much the
loss would rise, to first order, if the latest update of a tensor were undone:
I_k = -sum_i g_i dw_i over its entries. It adds over entries and over tensors,
as a knapsack needs; large where training the tensor lowers the loss, negative
where it raises it. The other two are those it is compared with (section 8.4).

Scores are not divided by their largest: a selection asks for ratios only.

Tensors are named by their paths from the root of the parameters, because the
order of a tree's leaves is that of sorted keys and not that of execution.
"""

from collections.abc import Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.errors import UsageError

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
  """Returns how far an update of each tensor lowers the loss, to first order.

  That is I_k = -sum_i g_i dw_i, averaged over the probe's batches. Each batch
  makes an update of its own from the parameters as they are; nothing of it
  stays. A batch's two gradients see the same random key, hence the same noise.

  Args:
    probe: parameters, batches, and what makes gradients and updates. Called
      from the host: one or two gradients a batch.
    key: consumed.
    tensors: [W] paths, in the order wanted.
    point: where `g` is taken. "after" the update, as the authors' program
      does, sees an update that overshoots; "before" it, as the paper writes,
      costs one gradient instead of two and sees only the slope.
    step: what makes `dw`. "optimizer" is the run's own, with its momentum:
      tensors that have been training move up to 1 / (1 - momentum) times as
      far as others and so tend to stay. "sgd" is -learning_rate * gradient,
      the same for all. It is also the more exact one: `dw` is not read off
      as a difference of parameters, which rounds.
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
  # (what makes the update, what judges it)
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
      # Not within the program: rates differ between runs, programs need not.
      lowered.append(rate * _product(grads, slope, wanted))
  return _mean(lowered, wanted)


def gradient_magnitude(
  probe: base.Probe, key: base.Key, tensors: Sequence[Path]
) -> np.ndarray:
  """Returns sum_i |g_i| of each tensor, averaged over the probe's batches.

  "Grad" in the paper's section 8.4. Arguments, result and errors as those of
  `update_times_gradient`.
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
  """Returns sum_i |w_i| of each tensor: [W] float64.

  "Weight" in the paper's section 8.4; it needs no data. Raises a ValueError
  where a sum is not finite.
  """
  wanted = tuple(tensors)
  return _mean([_magnitude(params, wanted)], wanted)


def _has_batches(probe) -> None:
  if not probe.batches:
    raise ValueError("the probe has no batch: ask for one or more")


def _keys(key, probe):
  return jax.random.split(key, len(probe.batches))


def _mean(rows: Sequence[Any], tensors: Sequence[Path]) -> np.ndarray:
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


def _wide(leaf):
  """Casts to a type in which sums over many entries are worth something."""
  return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def _sums(function, tensors, *trees) -> jax.Array:
  """Returns [W] sums over the entries of `function(*leaves)`."""
  found = [_by_path(tree) for tree in trees]
  return jnp.stack(
    [
      jnp.sum(function(*(_wide(leaves[path]) for leaves in found)))
      for path in tensors
    ]
  )


@functools.partial(jax.jit, static_argnames="tensors")
def _moved(after, before, slope, tensors):
  return _sums(lambda a, b, g: (a - b) * g, tensors, after, before, slope)


@functools.partial(jax.jit, static_argnames="tensors")
def _product(first, second, tensors):
  return _sums(lambda a, b: a * b, tensors, first, second)


@functools.partial(jax.jit, static_argnames="tensors")
def _magnitude(tree, tensors):
  return _sums(jnp.abs, tensors, tree)


@jax.jit
def _descend(params, grads, rate):
  return jax.tree.map(
    lambda p, g: (p - rate * g).astype(p.dtype), params, grads
  )
