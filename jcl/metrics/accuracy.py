"""Accuracy, forgetting and transfer, as functions of an accuracy matrix.

Throughout, `accuracy[i, j]` is the accuracy in [0, 1] on test set `j` after
learning experience `i`, where test set `j` holds what experience `j` taught;
`T` counts both. The scores of the network as initialised, before any learning,
are a separate row `initial` [T].

A missing test set is NaN and is left out of every mean. A mean over nothing is
NaN: so are forgetting and both transfers where `T` is 1, since no earlier
experience exists that could be forgotten or built upon.

>>> accuracy = [[0.9, 0.1], [0.6, 0.8]]  # after experience 0, after 1
>>> round(final_average_accuracy(accuracy), 3)
0.7
>>> round(forgetting_from_maximum(accuracy), 3)  # of test set 0
0.3
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from jcl.options import errors


def macro_average(values: ArrayLike) -> float:
  """Mean over test sets or classes [N], each counted once; NaN left out.

  >>> macro_average([0.5, 1.0, float("nan")])
  0.75
  """
  array = np.asarray(values, float).ravel()
  present = array[~np.isnan(array)]
  return float(present.mean()) if present.size else math.nan


def micro_average(values: ArrayLike, sizes: ArrayLike) -> float:
  """Mean over test sets or classes [N], weighted by their `sizes` [N].

  The accuracy of one test set that joins them all; NaN left out.

  Raises:
    ValueError: for another number of sizes, or negative ones.

  >>> micro_average([0.5, 1.0], sizes=[30, 10])
  0.625
  """
  array = np.asarray(values, float).ravel()
  weights = np.asarray(sizes, float).ravel()
  if array.shape != weights.shape:
    raise ValueError(
      f"{array.size} accuracies cannot be weighted by {weights.size} sizes: "
      "give one size per test set"
    )
  if not np.all(weights >= 0):
    raise ValueError(
      f"sizes count examples, so none is negative: "
      f"{errors.some(weights[~(weights >= 0)])}"
    )
  present = ~np.isnan(array)
  total = weights[present].sum()
  return float(array[present] @ weights[present] / total) if total else math.nan


def final_average_accuracy(accuracy: ArrayLike) -> float:
  """Mean of the last row: (1/T) sum_j A[T-1, j].

  Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning",
  NeurIPS 2017 (ACC), https://arxiv.org/abs/1706.08840. Any number of rows
  [>=1, T] will do.

  >>> final_average_accuracy([[0.9, 0.1], [0.5, 0.75]])
  0.625
  """
  return macro_average(_rows(accuracy)[-1])


def average_incremental_accuracy(accuracy: ArrayLike) -> float:
  """Mean over i of the mean over the test sets j <= i of A[i, j], [T, T].

  Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning",
  CVPR 2017, https://arxiv.org/abs/1611.07725, with test sets of equal weight.

  >>> average_incremental_accuracy([[1.0, 0.1], [0.5, 0.75]])
  0.8125
  """
  return macro_average(accuracy_on_seen(accuracy))


def accuracy_on_seen(accuracy: ArrayLike) -> np.ndarray:
  """Mean over the test sets j <= i of A[i, j], for each i: [T, T] to [T].

  >>> accuracy_on_seen([[1.0, 0.1], [0.5, 0.75]])
  array([1.   , 0.625])
  """
  matrix = _square(accuracy)
  return np.array([macro_average(row[: i + 1]) for i, row in enumerate(matrix)])


def learning_accuracy(accuracy: ArrayLike) -> float:
  """Mean of the diagonal: (1/T) sum_j A[j, j], just after learning each.

  Riemer et al., "Learning to Learn without Forgetting by Maximizing Transfer
  and Minimizing Interference", ICLR 2019 (LA),
  https://arxiv.org/abs/1810.11910.

  >>> learning_accuracy([[1.0, 0.1], [0.5, 0.75]])
  0.875
  """
  return macro_average(np.diagonal(_square(accuracy)))


def forgetting_per_test(accuracy: ArrayLike) -> np.ndarray:
  """Fall of each earlier test set from its best: [T, T] to [T-1].

  max over i < T-1 of A[i, j], minus A[T-1, j]; Chaudhry et al., "Riemannian
  Walk for Incremental Learning", ECCV 2018, https://arxiv.org/abs/1801.10112.
  Negative where the last row is the best.

  >>> forgetting_per_test([[1.0, 0.1], [0.25, 0.75]])
  array([0.75])
  """
  matrix = _square(accuracy)
  if len(matrix) == 1:
    return np.empty(0)
  return np.fmax.reduce(matrix[:-1, :-1]) - matrix[-1, :-1]


def forgetting_from_maximum(accuracy: ArrayLike) -> float:
  """Mean over j < T-1 of (max over i < T-1 of A[i, j]) - A[T-1, j].

  Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018,
  https://arxiv.org/abs/1801.10112. NaN for T = 1.

  >>> forgetting_from_maximum([[1.0, 0.1], [0.25, 0.75]])
  0.75
  """
  return macro_average(forgetting_per_test(accuracy))


def forgetting_from_first(accuracy: ArrayLike) -> float:
  """Mean over j < T-1 of A[j, j] - A[T-1, j]: the fall since just learned.

  Never above `forgetting_from_maximum`, and the negative of
  `backward_transfer`, under which name most papers give it. NaN for T = 1.

  >>> forgetting_from_first([[1.0, 0.1], [0.25, 0.75]])
  0.75
  """
  matrix = _square(accuracy)
  return macro_average(np.diagonal(matrix)[:-1] - matrix[-1, :-1])


def backward_transfer(accuracy: ArrayLike) -> float:
  """Mean over j < T-1 of A[T-1, j] - A[j, j]; NaN for T = 1.

  Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning",
  NeurIPS 2017 (BWT), https://arxiv.org/abs/1706.08840.

  >>> backward_transfer([[1.0, 0.1], [0.25, 0.75]])
  -0.75
  """
  matrix = _square(accuracy)
  return macro_average(matrix[-1, :-1] - np.diagonal(matrix)[:-1])


def forward_transfer(accuracy: ArrayLike, initial: ArrayLike) -> float:
  """Mean over j >= 1 of A[j-1, j] - initial[j]; NaN for T = 1.

  The accuracy that earlier experiences gave a test set ahead of its own.
  Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning",
  NeurIPS 2017 (FWT), https://arxiv.org/abs/1706.08840. Where outputs of unseen
  classes take no part in predictions, A[j-1, j] is 0 by construction and the
  number says nothing.

  Args:
    accuracy: [T, T].
    initial: [T] accuracies before any learning.

  Raises:
    ValueError: for shapes that do not fit.

  >>> forward_transfer([[1.0, 0.5], [0.5, 0.75]], initial=[0.25, 0.25])
  0.25
  """
  matrix = _square(accuracy)
  row = np.asarray(initial, float)
  if row.shape != matrix.shape[1:]:
    raise ValueError(
      f"initial has shape {row.shape} where {matrix.shape[1:]} fits the "
      f"accuracy matrix {matrix.shape}: give one accuracy per test set"
    )
  return macro_average(np.diagonal(matrix, offset=1) - row[1:])


def worst_case(accuracy: ArrayLike) -> float:
  """The lowest accuracy of the last row: min over j of A[T-1, j].

  >>> worst_case([[1.0, 0.5], [0.25, 0.75]])
  0.25
  """
  return float(np.fmin.reduce(_rows(accuracy)[-1]))


def worst_case_accuracy(evaluations: ArrayLike, experience: ArrayLike) -> float:
  """WC-ACC: the last experience's accuracy joined with past minima.

  (1/k) A[last, k-1] + (1 - 1/k) mean over j < k-1 of the minimum accuracy on
  test set j over all evaluations made once experience j was over, k being
  the number of experiences begun. De Lange et al., "Continual Evaluation for
  Lifelong Learning: Identifying the Stability Gap", ICLR 2023,
  https://arxiv.org/abs/2205.13452. The more often one evaluates, the lower and
  the truer WC-ACC is; NaN where the newest test set is missing.

  Args:
    evaluations: [N, T] accuracies in the order they were measured.
    experience: [N] index of the experience that was being learned, or had
      just been learned, at each evaluation; never falling.

  Raises:
    ValueError: for another number of indices, or indices that fall or name no
      test set.

  >>> worst_case_accuracy([[1.0, 0.0], [0.25, 0.5], [0.5, 1.0]], [0, 1, 1])
  0.625
  """
  rows = _rows(evaluations)
  course = np.asarray(experience, int)
  if course.shape != rows.shape[:1]:
    raise ValueError(
      f"{len(rows)} evaluations come with {course.size} experience "
      "indices: give one per evaluation"
    )
  if np.any(np.diff(course) < 0):
    raise ValueError(
      f"experience must not fall over time: {errors.some(course)}"
    )
  last = int(course[-1])
  if course[0] < 0 or last >= rows.shape[1]:
    raise ValueError(
      f"experience must lie in [0, {rows.shape[1]}), the test sets: "
      f"{errors.some(course)}"
    )
  if last == 0:
    return float(rows[-1, 0])
  minima = [np.fmin.reduce(rows[course > j, j]) for j in range(last)]
  share = 1 / (last + 1)
  return float(share * rows[-1, last] + (1 - share) * macro_average(minima))


def anytime_average(steps: ArrayLike, accuracies: ArrayLike) -> float:
  """Area under accuracy over steps by trapezoids, over the steps' range.

  Koh et al., "Online Continual Learning on Class Incremental Blurry Task
  Configuration with Anytime Inference", ICLR 2022 (A_AUC),
  https://arxiv.org/abs/2110.10031, sum rectangles instead. One point [1] is its
  own average; points that are NaN are left out.

  Args:
    steps: [N] updates made, strictly rising.
    accuracies: [N] on the test sets seen so far.

  Raises:
    ValueError: for lists of two lengths, or steps that do not rise.

  >>> anytime_average([0, 10, 20], [0.0, 1.0, 1.0])
  0.75
  """
  x = np.asarray(steps, float)
  y = np.asarray(accuracies, float)
  if x.ndim != 1 or x.shape != y.shape:
    raise ValueError(
      f"steps {x.shape} and accuracies {y.shape} must be two lists of one "
      "length"
    )
  if np.any(np.diff(x) <= 0):
    raise ValueError(
      f"steps must rise strictly: {errors.some(x)}; sort the points and "
      "keep one each"
    )
  present = ~np.isnan(y)
  x, y = x[present], y[present]
  if len(x) < 2:
    return macro_average(y)
  area = np.trapezoid(y, x)
  return float(area / (x[-1] - x[0]))


def accuracy_per_joule(accuracy: float, joules: float) -> float:
  """Accuracy in [0, 1] over the energy spent on it, per joule.

  NaN where no energy was accounted for: then nobody knows what was spent.

  Raises:
    ValueError: for negative energy.

  >>> accuracy_per_joule(0.5, joules=4.0)
  0.125
  """
  if joules < 0:
    raise ValueError(f"energy cannot be negative: {joules} joules")
  return accuracy / joules if joules else math.nan


def confidence_interval(
  values: ArrayLike, level: float = 0.95
) -> tuple[float, float]:
  """Mean of independent runs and the half-width of its interval.

  Student's t with n - 1 degrees of freedom over the `n` values that are not
  NaN: half-width NaN for one value, both NaN for none.

  Raises:
    ValueError: for a level that is not between 0 and 1.

  >>> mean, half_width = confidence_interval([0.5, 0.6, 0.7])
  >>> round(mean, 3), round(half_width, 3)
  (0.6, 0.248)
  """
  if not 0 < level < 1:
    raise ValueError(f"level must lie between 0 and 1: {level}; 0.95 is usual")
  array = np.asarray(values, float).ravel()
  array = array[~np.isnan(array)]
  if len(array) < 2:
    return macro_average(array), math.nan
  from scipy import stats

  quantile = stats.t.ppf((1 + level) / 2, len(array) - 1)
  error = array.std(ddof=1) / math.sqrt(len(array))
  return float(array.mean()), float(quantile * error)


def _rows(accuracy: ArrayLike) -> np.ndarray:
  matrix = np.asarray(accuracy, float)
  if matrix.ndim != 2 or not matrix.size:
    raise ValueError(
      f"accuracy has shape {matrix.shape}: give a matrix with one row per "
      "experience and one column per test set, at least one of each"
    )
  return matrix


def _square(accuracy: ArrayLike) -> np.ndarray:
  matrix = _rows(accuracy)
  if matrix.shape[0] != matrix.shape[1]:
    raise ValueError(
      f"accuracy has shape {matrix.shape}, which is not square: of an "
      f"unfinished run give accuracy[:, :{matrix.shape[0]}]"
    )
  return matrix
