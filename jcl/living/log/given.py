"""Labels and ids as they are given, checked before anything is done."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jcl.living.log import labels as labels_lib
from jcl.living.log.columns import GONE
from jcl.living.log.history import History
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.replay.store import records


def keys(labels: Sequence[labels_lib.Label | None]) -> list[str]:
  """Returns the keys of labels, [N]; UsageError where one cannot be kept."""
  if isinstance(labels, str | bytes) or not np.iterable(labels):
    raise UsageError(
      f"labels is {errors.short(labels)}: give a list of one label for each "
      "example"
    )
  found, texts = [], dict[str, str]()  # most labels are text, and few
  for i, label in enumerate(labels):
    key = texts.get(label) if type(label) is str else None
    if key is None:
      key = labels_lib.key(label, f"labels[{i}]")
      if type(label) is str:
        texts[label] = key
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
