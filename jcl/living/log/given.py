"""Labels and ids as they are given, checked before anything is done."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jcl.living.log import inputs
from jcl.living.log import labels as labels_lib
from jcl.living.log.columns import GONE
from jcl.living.log.history import History
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.replay.store import records


class Batch(NamedTuple):
  """Checked examples, each with the key of its label."""

  x: np.ndarray  # [N, ...] uint8 or float32
  keys: Sequence[str]  # [N], `labels.NONE` for an example without a label


def batch(x: Any, labels: Sequence[labels_lib.Label | None]) -> Batch:
  """Returns examples [N, ...] and labels [N], None where not known, as checked.

  Raises:
    UsageError: for what cannot be kept.
  """
  x, found = inputs.check(x), keys(labels)
  if len(found) != len(x):
    raise UsageError(
      f"x has {errors.count(len(x), 'example')} and labels has {len(found)}: "
      "give a label, or None, for each example"
    )
  return Batch(x, found)


def keys(
  labels: Sequence[labels_lib.Label | None] | np.ndarray, name: str = "labels"
) -> list[str]:
  """Returns the keys of labels, [N]; UsageError where one cannot be kept.

  Args:
    labels: [N], None where not known.
    name: of the argument, for the message.
  """
  if isinstance(labels, str | bytes) or not np.iterable(labels):
    raise UsageError(
      f"{name} is {errors.short(labels)}: give a list of one label for each "
      "example"
    )
  if isinstance(labels, np.ndarray) and labels.ndim == 1:
    labels = labels.tolist() if labels.dtype.kind in "iuU" else labels
  found, known = [], dict[Any, str]()  # most labels are plain, and few
  for i, label in enumerate(labels):
    plain = type(label) is str or type(label) is int
    key = known.get(label) if plain else None
    if key is None:
      key = labels_lib.key(label, f"{name}[{i}]")
      if plain:
        known[label] = key
    found.append(key)
  return found


def ids(values: Any) -> np.ndarray:
  """Returns ids, [N] int64; UsageError for what is no flat list of them."""
  array = np.asarray(values)
  if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
    raise UsageError(
      f"ids of shape {array.shape} and dtype {array.dtype}: give integers in a "
      "flat list"
    )
  return array.astype(np.int64)


def check_held(ids: np.ndarray, history: History, folder: Path) -> None:
  """Raises an error unless a log holds examples of all these ids, [N].

  Raises:
    UsageError: for ids that were never given, or whose examples have left.
    DamageError: for examples that are lost.
  """
  gone = ids[history.columns.states(ids) == GONE]
  left = gone[history.has_left(gone)]
  if len(left):
    raise UsageError(
      f"{errors.count(len(left), 'example')} had to leave the log: "
      f"{errors.some(left.tolist())}; read those of experiences that are not "
      "learned yet"
    )
  unknown = gone[(gone < 0) | (gone >= history.known())]
  if len(unknown):
    raise UsageError(
      f"no example has the id {errors.some(unknown.tolist())}: give ids that "
      "observe returned"
    )
  if len(gone):
    raise records.DamageError(
      f"{errors.count(len(gone), 'example')} of {folder} cannot be read "
      f"any more: {errors.some(gone.tolist())}; leave them out",
      gone.tolist(),
    )
