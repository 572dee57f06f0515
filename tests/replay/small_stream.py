"""Batches small enough to follow by hand."""

import numpy as np

from jcl import base

EXAMPLE = base.Batch(
  x=np.zeros(2, np.uint8),
  y=np.int32(0),
  task=np.int32(0),
  ids=np.int32(0),
  weight=np.float32(0),
  extras={},
)


def batch(labels, *, first=0, task=0, weight=None, extras=None) -> base.Batch:
  """Examples numbered from `first`, whose inputs repeat their number."""
  count = len(labels)
  ids = np.arange(first, first + count, dtype=np.int32)
  return base.Batch(
    x=np.repeat(ids[:, None], 2, axis=1).astype(np.uint8),
    y=np.asarray(labels, np.int32),
    task=np.full(count, task, np.int32),
    ids=ids,
    weight=np.ones(count, np.float32)
    if weight is None
    else np.asarray(weight, np.float32),
    extras=extras or {},
  )


def scope(task=0, num_classes=4) -> base.Scope:
  everything = np.ones(num_classes, bool)
  return base.Scope(np.int32(task), everything, everything, everything)


def held(items) -> list[int]:
  """Ids in the filled slots, in slot order."""
  filled = np.asarray(items.weight) > 0
  return np.asarray(items.ids)[filled].tolist()
