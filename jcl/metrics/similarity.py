"""Similarity of two sets of features, up to rotation and scale."""

import numpy as np

LEAST_ROWS = 4  # fewer leave the debiased estimate undefined

# Share of a Gram matrix's sum of squares below which lies only rounding.
_ROUNDING = 1e-24


def debiased_cka(x: np.ndarray, y: np.ndarray, *, clip: bool = True) -> float:
  """Returns the debiased linear centred kernel alignment of two feature sets.

  With K = XX' and L = YY', both with zeros on the diagonal,
  ```
  H(K, L) = (tr(KL) + (1'K1)(1'L1) / ((n-1)(n-2)) - 2 (1'KL1) / (n-2))
            / (n (n-3))
  CKA = H(K, L) / sqrt(H(K, K) H(L, L))
  ```
  CKA does not change when features are rotated, scaled or shifted, or when the
  rows of both sets are put in another order. For independent features, however
  many there are, its expectation is about 0.

  Kornblith et al., "Similarity of Neural Network Representations Revisited",
  ICML 2019, section 3, https://arxiv.org/abs/1905.00414; H is the unbiased
  estimator of Song et al., "Feature Selection via Dependence Maximization",
  JMLR 2012, equation 5, https://jmlr.org/papers/v13/song12a.html.

  Args:
    x: [n, d] features of n examples.
    y: [n, e] other features of the same examples.
    clip: whether values outside [0, 1], which chance alone brings about,
      become 0 or 1.

  Returns:
    The alignment, computed in float64; 0 where the features of one set do not
    vary.

  Raises:
    ValueError: for other shapes, fewer than four rows, or values that are not
      finite.

  >>> x = np.random.default_rng(0).normal(size=(8, 3))
  >>> round(debiased_cka(x, -2 * x[:, ::-1] + 1), 6)
  1.0
  """
  x, y = _checked("x", x), _checked("y", y)
  if len(x) != len(y):
    raise ValueError(
      f"x has {len(x)} rows and y has {len(y)}: give features of the same "
      "examples"
    )
  k, l = _centred_gram(x), _centred_gram(y)  # noqa: E741
  # The factor 1 / (n (n - 3)) of H stands above and below the line.
  squares = (k * k).sum() * (l * l).sum()
  value = (k * l).sum() / np.sqrt(squares) if squares > 0 else 0.0
  return float(np.clip(value, 0, 1) if clip else value)


def _checked(name: str, features: np.ndarray) -> np.ndarray:
  features = np.asarray(features, np.float64)
  if features.ndim != 2:
    raise ValueError(
      f"{name} has shape {features.shape}: give features [examples, channels]"
    )
  if len(features) < LEAST_ROWS:
    raise ValueError(
      f"{name} has {len(features)} rows: give {LEAST_ROWS} examples or more"
    )
  if not np.isfinite(features).all():
    raise ValueError(f"{name} holds values that are not finite")
  return features


def _centred_gram(x: np.ndarray) -> np.ndarray:
  """Returns K [n, n], centred so that H(K, L) is the mean of products.

  Szekely and Rizzo, "Partial Distance Correlation with Methods for
  Dissimilarities", Annals of Statistics 2014, section 3,
  https://doi.org/10.1214/14-AOS1255: H(K, L) n (n - 3) is the sum over all
  entries of the product of U-centred matrices. H(K, K) is then a sum of squares
  and cannot be negative.
  """
  n = len(x)
  # Neither shift changes H. The first makes constant channels exactly 0, the
  # second keeps large means from costing digits.
  x = x - x[0]
  x = x - x.mean(axis=0)
  gram = x @ x.T
  np.fill_diagonal(gram, 0)
  rows = gram.sum(axis=0) / (n - 2)
  centred = gram - rows - rows[:, None] + rows.sum() / (n - 1)
  np.fill_diagonal(centred, 0)
  if (centred**2).sum() <= _ROUNDING * (gram**2).sum():
    return np.zeros_like(gram)
  return centred
