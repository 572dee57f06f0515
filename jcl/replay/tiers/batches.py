"""Batches of rows, as a step reads them."""

from collections.abc import Sequence
import math

import numpy as np

from jcl import base
from jcl.replay.tiers import archive as archive_lib

# Flat places in a batch, [N] int64, and the rows [N] that go there.
Part = tuple[np.ndarray, np.ndarray]


def compose(
  archive: archive_lib.Archive,
  first: int,
  shape: tuple[int, ...],
  parts: Sequence[Part],
) -> base.Batch:
  """Returns a batch of rows at given places; all other places are pads.

  As in `batching.gather`, a pad repeats the first example of its batch.

  Args:
    archive: whose `row_type` the rows have.
    first: id of the run's first example.
    shape: [K, B] of the batch.
    parts: places and rows, no place twice.

  Returns:
    A batch [K, B, ...] whose ids count from the run's first example.
  """
  flat = np.zeros(math.prod(shape), archive.row_type)
  flat["id"] = -1
  for places, rows in parts:
    flat[places] = rows
  found = flat.reshape(shape)
  real = found["id"] >= 0
  pads = np.nonzero(~real)
  for name in ("x", "y"):
    found[name][pads] = found[name][pads[0], 0]
  return base.Batch(
    x=np.ascontiguousarray(found["x"]),
    y=np.ascontiguousarray(found["y"]),
    task=np.ascontiguousarray(found["task"]),
    ids=np.where(real, found["id"] - first, -1).astype(np.int32),
    weight=real.astype(np.float32),
    extras={
      name: np.ascontiguousarray(found[name]) for name in archive.extra_names
    },
  )


def flat(
  archive: archive_lib.Archive, first: int, rows: np.ndarray
) -> base.Batch:
  """Returns rows [M] as one batch [M, ...]; a pad where there are none."""
  shape = 1, max(len(rows), 1)
  found = compose(archive, first, shape, [(np.arange(len(rows)), rows)])
  x, y, task, ids, weight = (np.asarray(leaf)[0] for leaf in found[:-1])
  extras = {name: leaf[0] for name, leaf in found.extras.items()}
  return base.Batch(x, y, task, ids, weight, extras)
