"""Features: outputs of a network's units for given examples."""

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.train import learner as learner_lib


def read(
  learner: learner_lib.Learner,
  weights: tuple[base.Params, base.Stats],
  x: np.ndarray,
  units: tuple[str, ...],
  batch_size: int,
) -> tuple[np.ndarray, ...]:
  """Returns the outputs of some units in evaluation mode.

  One compiled program reads all units; the ledger files its work under "probe".

  Args:
    learner: with the network.
    weights: parameters and statistics of the network.
    x: [n, ...] raw inputs, uint8 or float32.
    units: names of the units.
    batch_size: rows of each call; the last one is padded.

  Returns:
    For every unit [n, D] float32: averaged over all axes between the first
    and the last, which are an image's rows and columns, or tokens.
  """

  def build(params, stats, x):
    x = learner.preprocess.normalise(x)
    taps = learner.network.apply(params, stats, x, taps=units).taps
    return tuple(_pooled(taps[unit]) for unit in units)

  parts = []
  for start in range(0, len(x), batch_size):
    part = np.asarray(x[start : start + batch_size])
    missing = batch_size - len(part)
    whole = np.pad(part, ((0, missing), *((0, 0),) * (part.ndim - 1)))
    out = learner.run(
      "probe", ("features", units), build, *weights, learner.put(whole)
    )
    parts.append([np.asarray(array)[: len(part)] for array in out])
  return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _pooled(tap: jax.Array) -> jax.Array:
  between = tuple(range(1, tap.ndim - 1))
  return tap.astype(jnp.float32).mean(axis=between)
