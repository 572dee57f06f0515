"""Chooses held-out rows where a publisher gives no test set."""

import numpy as np

from jcl import base

# Share held out where nobody says otherwise.
TEST_SHARE = 0.2


def strata(dataset: base.Dataset) -> np.ndarray:
  """What a fair split balances [N]: the class, within its group if any."""
  if dataset.group is None:
    return dataset.y
  return dataset.group.astype(np.int64) * dataset.num_classes + dataset.y


def stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
  """Marks `share` of the rows of every label, drawn at random.

  At least one row of every label stays unmarked, so a label with a single row
  is never lost to the other side.

  Args:
    labels: [N] integers.
    share: in [0, 1), of each label's rows, rounded to whole rows.
    seed: of the draw.

  Returns:
    [N] bool.
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

  Neighbours in time are alike, so held-out rows that come in stretches say
  more than rows drawn at random.

  Returns:
    [num_rows] bool.
  """
  marked = np.zeros(num_rows, bool)
  for rows in np.array_split(np.arange(num_rows), parts):
    marked[rows[len(rows) - round(share * len(rows)) :]] = True
  return marked
