"""Chooses held-out rows where a publisher gives no test set."""

import numpy as np

from jcl import base

TEST_SHARE = 0.2  # held out by default


def strata(dataset: base.Dataset) -> np.ndarray:
  """Returns the strata [N] of a fair split: the class within its group."""
  if dataset.group is None:
    return dataset.y
  return dataset.group.astype(np.int64) * dataset.num_classes + dataset.y


def stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
  """Marks `share` of the rows of every label, drawn at random.

  At least one row of every label stays unmarked, so that a label with a single
  row is never held out.

  Args:
    labels: [N] integers.
    share: in [0, 1), of each label's rows, rounded to whole rows.
    seed: of the draw.

  Returns:
    [N] bool.

  >>> stratified(np.array([0, 0, 1, 1, 2]), share=0.5, seed=0).sum()
  np.int64(2)
  """
  rng = np.random.default_rng(seed)
  marked = np.zeros(len(labels), bool)
  for label in np.unique(labels):
    rows = np.flatnonzero(labels == label)
    count = min(round(share * len(rows)), len(rows) - 1)
    marked[rng.permutation(rows)[:count]] = True
  return marked


def last(num_rows: int, share: float, parts: int = 1) -> np.ndarray:
  """Marks the last `share` of each of `parts` equal stretches of time.

  Neighbours in time are alike, so that rows held out in stretches say more than
  rows drawn at random.

  Returns:
    [num_rows] bool.

  >>> np.flatnonzero(last(10, share=0.2, parts=2)).tolist()
  [4, 9]
  """
  marked = np.zeros(num_rows, bool)
  for rows in np.array_split(np.arange(num_rows), parts):
    marked[rows[len(rows) - round(share * len(rows)) :]] = True
  return marked
