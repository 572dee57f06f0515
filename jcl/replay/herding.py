"""A memory of exemplars whose mean stays close to the mean of their class.

Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning",
CVPR 2017, Algorithms 4 (construct) and 5 (reduce),
https://arxiv.org/abs/1611.07725. Runs on the host.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.replay import memory, sampling


def herding(
  capacity: int | str, num_samples: int, *, current: bool = True
) -> base.Replay:
  """Keeps herded exemplars, chosen at the end of each experience.

  Args:
    capacity: in slots, or in bytes such as "2MB"; at least a slot per class.
    num_samples: examples per draw.
    current: whether draws include examples of the current experience.
  """
  memory.check_sizes(capacity, num_samples)

  def add(
    key: base.Key, state: base.ReplayState, batch: base.Batch
  ) -> base.ReplayState:
    del key, batch
    return state

  return base.Replay(
    capacity,
    num_samples,
    init=functools.partial(memory.start, capacity),
    add=add,
    sample=functools.partial(
      sampling.sample, num_samples=num_samples, current=current
    ),
    when="never",
    rebuild=rebuild,
  )


def herd(features: base.Array, num_exemplars: int) -> np.ndarray:
  """Chooses examples so that the mean of every prefix is near the whole mean.

  Features are scaled to length 1; the means used in the selection are not.

  Args:
    features: [N, D].
    num_exemplars: the most examples to choose.

  Returns:
    [min(N, num_exemplars)] indices into `features`, most valuable first.

  >>> herd(np.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]), 2).tolist()
  [1, 0]
  """
  features = np.asarray(features, np.float64)
  length = np.linalg.norm(features, axis=1, keepdims=True)
  features = features / np.maximum(length, 1e-12)
  mean = features.mean(axis=0)
  total = np.zeros_like(mean)
  chosen: list[int] = []
  left = np.ones(len(features), bool)
  for count in range(1, min(len(features), num_exemplars) + 1):
    distance = np.linalg.norm(mean - (total + features) / count, axis=1)
    best = int(np.argmin(np.where(left, distance, np.inf)))
    left[best] = False
    total += features[best]
    chosen.append(best)
  return np.array(chosen, int)


def rebuild(state: base.ReplayState, batch: base.Batch) -> base.ReplayState:
  """Brings every class to its quota at the end of an experience.

  Each of the K classes seen so far gets M // K slots: an old class keeps its
  first exemplars, in their order; the exemplars of a new class are herded. If a
  class comes back, which iCaRL does not treat, the experiences that brought it
  share its quota equally.

  Args:
    state: the memory [M, ...].
    batch: all examples of the experience [N, ...], with "features" [N, D]
      among the extras.

  Raises:
    ValueError: without features, or for fewer slots than classes.
  """
  if "features" not in batch.extras:
    raise ValueError(
      'herding reads batch.extras["features"] [N, D] and got '
      f"{sorted(batch.extras)}: pass the features of the batch with it"
    )
  items, batch = jax.tree.map(np.asarray, (state.items, batch))
  filled, offered = items.weight > 0, batch.weight > 0
  classes = np.union1d(items.y[filled], batch.y[offered])
  capacity = len(items.y)
  if capacity < len(classes):
    raise UsageError(
      f"{capacity} slots cannot hold an exemplar of each of {len(classes)} "
      f"classes: give a capacity of at least {len(classes)}"
    )
  kept: list[int] = []
  added: list[int] = []
  for label in classes:
    stored = np.flatnonzero(filled & (items.y == label))
    new = np.flatnonzero(offered & (batch.y == label))
    tasks = np.unique(items.task[stored])
    shares = _shares(capacity // len(classes), len(tasks) + (len(new) > 0))
    for task, share in zip(tasks, shares, strict=False):
      kept.extend(stored[items.task[stored] == task][:share])
    if len(new):
      added.extend(new[herd(batch.extras["features"][new], shares[-1])])

  def fill(blank: np.ndarray, old: np.ndarray, rows: np.ndarray) -> jax.Array:
    chosen = np.concatenate([old[kept], rows[added]])
    return jnp.asarray(
      np.concatenate([chosen, blank[len(chosen) :]]), old.dtype
    )

  example = jax.tree.map(lambda leaf: leaf[0], items)
  # On the host, since each length of a slice would compile a new program.
  blank = jax.tree.map(np.asarray, memory.empty(capacity, example))
  rows = batch._replace(
    weight=np.ones_like(batch.weight),
    extras={name: batch.extras[name] for name in items.extras},
  )
  return state._replace(
    items=jax.tree.map(fill, blank, items, rows),
    seen=state.seen + np.int32(offered.sum()),
  )


def _shares(total: int, num_parts: int) -> list[int]:
  """Splits a quota into parts that differ by one at most."""
  return [
    total // num_parts + (part < total % num_parts) for part in range(num_parts)
  ]
