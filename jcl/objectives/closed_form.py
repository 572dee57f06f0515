"""Classifiers solved from statistics, on the host and in float64.

A regularised symmetric matrix is factored by Cholesky once, D^3/3 operations,
and solved for all C classes, 2 D^2 C; nothing is ever inverted. A factor in
float32 that is refined once in float64 takes about as long at these sizes, and
twice the code.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from jcl import base
from jcl.objectives import statistics
from jcl.options.errors import UsageError

Shrink = float | Literal["oas"]
Lam = float | Literal["prior", "gcv"]

PRIOR = 2.0  # times the trace of the covariance: the default of ridge
# Strengths that cross-validation tries, over that trace: half decades.
_GRID = 10.0 ** np.arange(-2, 3.01, 0.5)
# A smaller share of the scatter within classes is rounding of the sums.
_NOISE = 1e-6
_LEAST_SHRINK = 1e-4  # that a message proposes


class Linear(NamedTuple):
  """Scores x W + b of the classes that are known."""

  weight: base.Array  # [D, C] float32
  bias: base.Array  # [C] float32
  known: base.Array  # [C] bool, classes that were learned


class Solved(NamedTuple):
  """A classifier, and the floating-point operations that solving took."""

  linear: Linear
  flops: float


def mean(sums: statistics.Statistics, cosine: bool = False) -> Solved:
  """Returns what scores classes by how near their means are.

  Args:
    sums: of the rows.
    cosine: compares directions; rows are to have unit length then.
  """
  centres = statistics.means(sums)
  if cosine:
    length = np.linalg.norm(centres, axis=1, keepdims=True)
    return _solved(sums, (centres / np.maximum(length, 1e-12)).T, None, 0.0)
  bias = -0.5 * np.square(centres).sum(axis=1)
  return _solved(sums, centres.T, bias, 0.0)


def shared_covariance(
  sums: statistics.Statistics, shrink: Shrink = "oas"
) -> Solved:
  """Returns linear discriminant analysis: one covariance for all classes.

  Scores are those of the nearest mean in Mahalanobis distance. All classes are
  equally likely ahead of the data, however many rows they have. Without any
  scatter within classes, the distance is Euclidean.

  Args:
    sums: of the rows.
    shrink: share in [0, 1] of the mean variance, on the diagonal, in the
      covariance; "oas" estimates it, see `oas`.

  Raises:
    UsageError: where the covariance is singular, with a share that would do.
  """
  rows, classes, width = _sizes(sums)
  if not classes:
    return _blank(sums)
  free = rows - classes
  if shrink == 0 and free < width:
    raise UsageError(
      f"shrink=0 with {rows:g} rows of {classes} classes: {width} features "
      f"need {width + classes} rows or more; give shrink={_LEAST_SHRINK:g} or "
      "more, or shrink=oas"
    )
  scatter = statistics.within(sums)
  if free <= 0 or not _varies(sums, scatter):
    return mean(sums)
  covariance = scatter / free
  average = np.trace(covariance) / width
  share = oas(covariance, rows) if shrink == "oas" else float(shrink)
  covariance *= 1 - share
  covariance[np.diag_indices(width)] += share * average
  least = f"shrink={_LEAST_SHRINK:g} or more, or shrink=oas"
  known, centres = statistics.seen(sums), statistics.means(sums)
  return discriminant(known, centres, covariance, share, least)


def discriminant(
  known: np.ndarray,
  centres: np.ndarray,
  covariance: np.ndarray,
  shrink: float,
  instead: str,
) -> Solved:
  """Returns linear discriminant analysis with one covariance, without priors.

  Args:
    known: [C] bool, classes that there are rows of.
    centres: [C, D] their means.
    covariance: [D, D], shrunk; it is overwritten.
    shrink: share that it was shrunk by, for a message.
    instead: what a message proposes.

  Raises:
    UsageError: where the covariance is singular.
  """
  try:
    weight, flops = cholesky(covariance, centres.T)
  except np.linalg.LinAlgError as error:
    raise UsageError(
      f"shrink={shrink:g} leaves the covariance singular: give {instead}"
    ) from error
  bias = -0.5 * np.sum(centres * weight.T, axis=1)
  return of_known(known, weight, bias, flops)


def ridge(
  sums: statistics.Statistics,
  lam: Lam = "prior",
  balanced: bool = True,
  prior: float = PRIOR,
) -> Solved:
  """Returns ridge regression onto the classes, without an intercept.

  Balanced, all classes weigh the same: N / (C n_c) each. Weighting rows would
  take a Gram matrix per class; with the scatter that is common to all, of LDA,
  G = (N/C) (C Sigma + sum of mean mean^T) and Q = (N/C) mean take none, and are
  exact where classes share their scatter.

  Args:
    sums: of the rows.
    lam: strength of the pull to zero, absolute: it does not grow with the rows.
      "prior" is `prior` times the trace of the within-class covariance, "gcv"
      the best of a grid by generalised cross-validation, see `gcv`.
    balanced: whether every class weighs the same.
    prior: see `lam`.

  Raises:
    UsageError: where the matrix is singular, with a strength that would do.
  """
  rows, classes, width = _sizes(sums)
  if not classes:
    return _blank(sums)
  matrix, target, spread = _normal_equations(sums, balanced)
  if lam == "gcv":
    return _by_gcv(sums, matrix, target, spread)
  strength = prior * spread if lam == "prior" else float(lam)
  if strength == 0 and rows < width:
    raise UsageError(
      f"lam=0 with {rows:g} rows: {width} features need {width} rows or more; "
      f"give lam={prior * spread:.3g}, or lam=prior or lam=gcv"
    )
  matrix[np.diag_indices(width)] += strength
  try:
    weight, flops = cholesky(matrix, target)
  except np.linalg.LinAlgError as error:
    raise UsageError(
      f"lam={strength:g} leaves the matrix singular: give "
      f"lam={prior * spread:.3g}, or lam=prior or lam=gcv"
    ) from error
  return _solved(sums, weight, None, flops)


def oas(covariance: np.ndarray, rows: float) -> float:
  """Returns the share of the mean variance that OAS shrinks a covariance by.

  Chen et al., "Shrinkage Algorithms for MMSE Covariance Estimation", IEEE
  Transactions on Signal Processing 2010, https://doi.org/10.1109/TSP.2010.2053029.

  Args:
    covariance: [D, D].
    rows: from which it was estimated.

  >>> round(oas(np.diag([4.0, 1.0]), 100), 6)
  0.092409
  """
  width = len(covariance)
  squares = float(np.square(covariance).mean())
  mean_squared = (np.trace(covariance) / width) ** 2
  apart = squares - mean_squared / width
  if apart <= 0:
    return 1.0
  return min(1.0, float((squares + mean_squared) / ((rows + 1) * apart)))


class Validation(NamedTuple):
  """Generalised cross-validation of a strength."""

  residual: float  # sum of squared errors on the rows
  freedom: float  # effective number of parameters of a class
  score: float  # N RSS / (N - df)^2; infinite where nothing is left to judge


def gcv(
  values: np.ndarray, projected: np.ndarray, rows: float, lam: float
) -> Validation:
  """Judges a strength of ridge regression by the statistics alone.

  Golub, Heath and Wahba, "Generalized Cross-Validation as a Method for Choosing
  a Good Ridge Parameter", Technometrics 1979,
  https://doi.org/10.1080/00401706.1979.10489751.

  Args:
    values: [D] eigenvalues of the Gram matrix.
    projected: [D, C], the cross product in the basis of the eigenvectors.
    rows: N, the squared norm of the one-hot targets.
    lam: above 0.
  """
  regular = values + lam
  squares = np.square(projected).sum(axis=1)
  freedom = float(np.sum(values / regular))
  residual = float(
    rows
    - 2 * np.sum(squares / regular)
    + np.sum(values * squares / np.square(regular))
  )
  left = rows - freedom
  score = rows * residual / left**2 if left > 0 else math.inf
  return Validation(residual, freedom, score)


def solve_flops(width: int, num_classes: int) -> float:
  """Operations of a Cholesky factor and its solves for all classes."""
  return width**3 / 3 + 2 * width**2 * num_classes


def gcv_flops(width: int, num_classes: int) -> float:
  """Operations where cross-validation chooses the strength.

  The decomposition takes about 9 D^3, and two products stand for the solves.
  """
  return 9.0 * width**3 + 4.0 * width**2 * num_classes


def _by_gcv(
  sums: statistics.Statistics,
  matrix: np.ndarray,
  target: np.ndarray,
  spread: float,
) -> Solved:
  """Returns the ridge regression whose strength validates best."""
  rows, _, width = _sizes(sums)
  values, vectors = np.linalg.eigh(matrix)
  values = np.maximum(values, 0.0)
  projected = vectors.T @ target
  strength = min(
    (spread * each for each in _GRID),
    key=lambda lam: gcv(values, projected, rows, lam).score,
  )
  weight = vectors @ (projected / (values + strength)[:, None])
  return _solved(sums, weight, None, gcv_flops(width, target.shape[1]))


def _normal_equations(
  sums: statistics.Statistics, balanced: bool
) -> tuple[np.ndarray, np.ndarray, float]:
  """Returns matrix [D, D], targets [D, C] and the trace of the covariance.

  The trace is the mean square of a row where nothing varies within classes.
  """
  rows, classes, _ = _sizes(sums)
  known, free = statistics.seen(sums), rows - classes
  plain, scatter = statistics.gram(sums), statistics.within(sums)
  if free > 0 and _varies(sums, scatter):
    spread = float(np.trace(scatter)) / free
  else:
    spread = float(np.trace(plain)) / rows or 1.0
  if not balanced:
    return plain, statistics.cross(sums), spread
  centres = np.where(known[:, None], statistics.means(sums), 0.0)
  common = scatter * (classes / max(free, 1.0))
  each = rows / classes
  return each * (common + centres.T @ centres), each * centres.T, spread


def _varies(sums: statistics.Statistics, scatter: np.ndarray) -> bool:
  """Tells whether rows of a class differ by more than rounding."""
  whole = float(np.trace(np.asarray(sums.moment, np.float64)))
  return float(np.trace(scatter)) > _NOISE * whole


def cholesky(
  matrix: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, float]:
  """Solves a symmetric matrix [D, D] for all targets [D, C] at once.

  The matrix is overwritten.

  Returns:
    The solution [D, C], and the operations that it took.

  Raises:
    LinAlgError: where the matrix is not positive definite.
  """
  from scipy import linalg  # not where a model only predicts

  # Transposed, a symmetric matrix lies as LAPACK wants it: no copy is made.
  factor = linalg.cho_factor(
    matrix.T, lower=True, overwrite_a=True, check_finite=False
  )
  weight = linalg.cho_solve(factor, target, check_finite=False)
  return weight, solve_flops(*target.shape)


def _sizes(sums: statistics.Statistics) -> tuple[float, int, int]:
  """Returns the weight of all rows, classes seen, and features."""
  known = statistics.seen(sums)
  rows = float(np.asarray(sums.rows, np.float64)[known].sum())
  return rows, int(known.sum()), sums.total.shape[1]


def _solved(
  sums: statistics.Statistics,
  weight: np.ndarray,
  bias: np.ndarray | None,
  flops: float,
) -> Solved:
  """Returns a classifier in which classes without rows have no part."""
  return of_known(statistics.seen(sums), weight, bias, flops)


def of_known(
  known: np.ndarray,
  weight: np.ndarray,
  bias: np.ndarray | None,
  flops: float,
) -> Solved:
  """Returns a classifier in which classes that are not known have no part.

  Args:
    known: [C] bool.
    weight: [D, C].
    bias: [C]; None: 0.
    flops: operations that solving took.
  """
  bias = np.zeros(len(known)) if bias is None else bias
  linear = Linear(
    np.where(known, weight, 0.0).astype(np.float32),
    np.where(known, bias, 0.0).astype(np.float32),
    known,
  )
  return Solved(linear, flops)


def _blank(sums: statistics.Statistics) -> Solved:
  """Returns the classifier of no rows, which knows no class."""
  classes, width = sums.total.shape
  return _solved(sums, np.zeros((width, classes)), None, 0.0)
