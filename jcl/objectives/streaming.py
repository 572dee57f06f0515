"""Streaming discriminant analysis as its authors' program computes it.

Hayes and Kanan, "Lifelong Machine Learning with Deep Streaming Linear
Discriminant Analysis", CVPR Workshops 2020, https://arxiv.org/abs/1909.01520.

The published recursion updates covariance and means row by row, with the count
of all rows where that of the row's class belongs. The first row of a class so
enters with its whole length: the covariance depends on the order of the rows,
and two devices' cannot be merged. It is here for comparison; `statistics` and
`closed_form` are what to use.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.objectives import closed_form, keeping

SHRINK = 1e-4  # the published share of the identity, not of the variance


class Recursion(NamedTuple):
  """State of the recursion over rows of D features and C classes."""

  rows: base.Array  # [C] float32, rows of a class
  mean: base.Array  # [C, D] float32
  covariance: base.Array  # [D, D] float32


def rule() -> keeping.Rule:
  """Keeps the state of the recursion in place of sums."""
  return keeping.Rule(
    zeros, lambda state, x, y, weight, source: add(state, x, y, weight)
  )


def zeros(num_classes: int, width: int) -> Recursion:
  """Returns the state ahead of the first row, which the first row replaces."""
  return Recursion(
    jnp.zeros(num_classes, jnp.float32),
    jnp.zeros((num_classes, width), jnp.float32),
    jnp.ones((width, width), jnp.float32),
  )


def add(
  state: Recursion, x: base.Array, y: base.Array, weight: base.Array
) -> Recursion:
  """Takes in rows one after the other; a pure function.

  Args:
    state: of the rows so far.
    x: [B, D] features.
    y: [B] classes.
    weight: [B]; rows of weight 0 are left out.
  """

  def take(state, row):
    x, y, weight = row
    count = jnp.sum(state.rows)
    apart = x - state.mean[y]
    outer = jnp.outer(apart, apart)
    covariance = state.covariance * count + outer * (count / (count + 1))
    taken = Recursion(
      state.rows.at[y].add(1),
      state.mean.at[y].add(apart / (state.rows[y] + 1)),
      covariance / (count + 1),
    )
    return jax.tree.map(
      lambda new, old: jnp.where(weight != 0, new, old), taken, state
    ), None

  rows = jnp.asarray(x, jnp.float32), jnp.asarray(y), jnp.asarray(weight)
  state, _ = jax.lax.scan(take, state, rows)
  return state


def solve(state: Recursion, shrink: float = SHRINK) -> closed_form.Solved:
  """Returns the classifier (1 - shrink) Sigma + shrink I, without priors.

  The authors' pseudo-inverse is a Cholesky solve here, which is the same where
  the matrix is regular.

  Raises:
    UsageError: where the matrix is singular.
  """
  known = np.asarray(state.rows) > 0
  centres = np.where(known[:, None], np.asarray(state.mean, np.float64), 0.0)
  if not known.any():
    weight = np.zeros_like(centres.T)
    return closed_form.of_known(known, weight, None, 0.0)
  covariance = np.asarray(state.covariance, np.float64)
  covariance = (1 - shrink) * (covariance + covariance.T) / 2
  covariance[np.diag_indices(len(covariance))] += shrink
  least = f"shrink={SHRINK:g} or more"
  return closed_form.discriminant(known, centres, covariance, shrink, least)
