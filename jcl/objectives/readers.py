"""Predictors that are solved from statistics instead of trained.

They read what `keeping.statistics` keeps, by the solutions of `closed_form`,
and score features linearly. Classes without rows score `NEVER`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import closed_form, predictors, statistics, streaming


def mean(*, cosine: bool = False) -> base.Predictor:
  """Scores classes by how near the mean of all their examples is.

  Args:
    cosine: compares directions instead of distances.
  """

  def solve(sums: statistics.Statistics) -> closed_form.Solved:
    return closed_form.mean(sums, cosine)

  return _linear(solve, f"mean:cosine={cosine}", cosine, price=lambda _: 0.0)


def shared_covariance(
  *, shrink: closed_form.Shrink = "oas", published: bool = False
) -> base.Predictor:
  """Scores classes by linear discriminant analysis.

  Args:
    shrink: see `closed_form.shared_covariance`; of the published recursion, a
      share of the identity.
    published: reads the state of `streaming`, not sums.
  """
  if not published:

    def solve(sums: statistics.Statistics) -> closed_form.Solved:
      return closed_form.shared_covariance(sums, shrink)

    return _linear(solve, f"shared_covariance:shrink={shrink}")

  def recursion(state: streaming.Recursion) -> closed_form.Solved:
    share = streaming.SHRINK if shrink == "oas" else float(shrink)
    return streaming.solve(state, share)

  name = f"shared_covariance:shrink={shrink},published=True"
  return _linear(recursion, name, price=_of_recursion)


def ridge(
  *,
  lam: closed_form.Lam = "prior",
  balanced: bool = True,
  prior: float = closed_form.PRIOR,
) -> base.Predictor:
  """Scores classes by ridge regression onto them.

  Args:
    lam: see `closed_form.ridge`.
    balanced: whether every class weighs the same.
    prior: what "prior" stands for, times the covariance's trace.
  """

  def solve(sums: statistics.Statistics) -> closed_form.Solved:
    return closed_form.ridge(sums, lam, balanced, prior)

  name = f"ridge:lam={lam},balanced={balanced}"
  if prior != closed_form.PRIOR:
    name += f",prior={prior:g}"
  return _linear(solve, name, price=_by_gcv if lam == "gcv" else _by_cholesky)


def _by_cholesky(state: Any) -> float:
  """Operations of one factor, and of its solves for all classes."""
  classes, width = state.total.shape
  return closed_form.solve_flops(width, classes)


def _of_recursion(state: streaming.Recursion) -> float:
  """The same, for the state of `streaming`."""
  classes, width = state.mean.shape
  return closed_form.solve_flops(width, classes)


def _by_gcv(state: Any) -> float:
  """Operations of an eigendecomposition, and of two products for the solves."""
  classes, width = state.total.shape
  return closed_form.gcv_flops(width, classes)


def _linear(
  solve: Callable[[Any], closed_form.Solved],
  name: str,
  unit: bool = False,
  *,
  price: Callable[[Any], float] = _by_cholesky,
) -> base.Predictor:
  """Returns the predictor of a linear classifier on the features.

  Args:
    solve: makes the classifier of what the objective keeps.
    name: of the predictor, with its options.
    unit: whether features are brought to unit length.
    price: operations that solving takes at most.
  """

  def fit(network_apply, params, stats, memory, sums):
    del network_apply, params, stats, memory
    return solve(sums).linear

  def scores(network_apply, params, stats, x, fitted):
    out = network_apply(params, stats, x, ("features",))
    rows = jnp.asarray(out.taps["features"], jnp.float32)
    if unit:
      rows = predictors.unit_length(rows)
    found = jnp.matmul(rows, fitted.weight, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(fitted.known, found + fitted.bias, predictors.NEVER)

  def recalls(state):
    return (state.sums,)

  return base.Predictor(
    fit, scores, recalls=recalls, name=name, solve=solve, price=price
  )
