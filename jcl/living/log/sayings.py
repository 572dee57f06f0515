"""Values that change a history: made first, made durable, then applied.

A value is made of what the history knows, so that a history without a part of
it, since damaged or deleted, ends up the same when the value is applied again.
"""

from collections.abc import Sequence

import numpy as np

from jcl.living.log.columns import GONE, NONE, Part
from jcl.living.log.history import History, Value
from jcl.options import errors
from jcl.options.errors import UsageError


def label(history: History, ids: np.ndarray, keys: Sequence[str]) -> Value:
  """Returns the value that labels examples, or corrects their labels.

  Args:
    history: of the examples.
    ids: [N] int64.
    keys: [N] of labels.

  Raises:
    UsageError: for ids that were never given, or whose examples are lost.
  """
  numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
  which = np.array([numbers[key] for key in keys], np.int64)
  states = history.columns.states(ids)
  unknown = (states == GONE) & ~history.has_left(ids)
  if unknown.any():
    raise UsageError(
      f"no example has the id {errors.some(ids[unknown].tolist())}, or it is "
      "lost: give ids that observe returned; no label has changed"
    )
  is_open = states == NONE
  return {
    "op": "label",
    "keys": list(numbers),
    "ids": ids[is_open].tolist(),
    "which": which[is_open].tolist(),
    "corrected": ids[~is_open].tolist(),
    "by": which[~is_open].tolist(),
  }


def end(history: History, time: float, count: int | None = None) -> Value:
  """Returns the value that ends the open experience.

  Args:
    history: of the examples.
    time: of the end, in seconds since 1970.
    count: labelled examples, above 0, that it has; None: all that there are.
      Later ones belong to the next experience.

  Raises:
    UsageError: where it has no labelled example.
  """
  if not history.counts.labelled:
    raise UsageError(
      "the open experience has no labelled example: observe some, or label "
      f"some of the {history.counts.unlabelled} without a label, before its end"
    )
  until = history.columns.stop if count is None else history.stop(count)
  start, count, fresh = history.scan(until)
  return {
    "op": "end",
    "index": len(history.ended),
    "start": start,
    "until": until,
    "before": history.until(),
    "count": count,
    "classes": [history.classes.key(number) for number in fresh],
    "time": time,
  }


def learned(history: History, count: int, corrections: int) -> Value:
  """Returns the value by which experiences are needed no more.

  Args:
    history: of the examples.
    count: leading experiences.
    corrections: leading corrections that are needed no more either.

  Raises:
    UsageError: for more of them than there are.
  """
  ended, corrected = len(history.ended), history.corrections(0).until
  if not 0 <= count <= ended:
    raise UsageError(
      f"learned={count}, but {errors.count(ended, 'experience')} ended: give "
      "their number or less"
    )
  if not 0 <= corrections <= corrected:
    raise UsageError(
      f"corrections={corrections}, but there are {corrected}: give their "
      "number or less"
    )
  return {
    "op": "learned",
    "count": int(count),
    "corrections": int(corrections),
  }


def drop(history: History, part: Part) -> Value:
  """Returns the value with which a part of the columns leaves."""
  return {
    "op": "drop",
    "first": part.first,
    "stop": part.stop,
    "count": int((part.experiences != GONE).sum()),
    "form": history.form and [list(history.form.shape), history.form.dtype],
  }
