"""A history as a few values, which stand for all that were applied before.

They begin a journal that was written anew. Each is of use without the others.
"""

import base64
from collections.abc import Iterator, Sequence
import dataclasses
import zlib

import numpy as np

from jcl.living.log.columns import GONE, NONE, Part
from jcl.living.log.experiences import End
from jcl.living.log.history import Counts, History, Value

OPS = ("state", "ended", "corrections", "part")


def values(history: History) -> Iterator[Value]:
  """Yields values from which `restore` makes the history again."""
  form = history.form
  yield {
    "op": "state",
    "learned": history.learned,
    "dropped": history.dropped,
    "dropped_count": history.dropped_count,
    "form": form and [list(form.shape), form.dtype],
    "classes": history.classes.in_order(),
  }
  ends = [dataclasses.astuple(end) for end in history.ended]
  yield {"op": "ended", "ends": ends}
  ids = [each for each, _ in history.corrected]
  numbers = np.array([number for _, number in history.corrected], np.int32)
  yield {
    "op": "corrections",
    "forgotten": history.forgotten,
    "ids": ids,
    **_packed(history, numbers),
  }
  for part in history.columns.parts:
    yield {
      "op": "part",
      "first": part.first,
      "experiences": _pack(part.experiences.astype("<i4")),
      **_packed(history, part.labels),
    }


def restore(history: History, values: Sequence[Value]) -> None:
  """Takes the values, where any of them may be lost.

  Args:
    history: of the examples as they were observed; nothing was said of them.
    values: those that are left.
  """
  told = set()
  for value in values:
    match value["op"]:
      case "state":
        history.learned = value["learned"]
        history.dropped = value["dropped"]
        history.dropped_count = value["dropped_count"]
        history.settle(value["form"])
        numbers = history.classes.numbers(value["classes"])
        history.classes.learn(numbers.tolist())
      case "ended":
        history.ended = [End(*end) for end in value["ends"]]
      case "corrections":
        history.forgotten = value["forgotten"]
        by = _unpacked(history, value).tolist()
        history.corrected = list(zip(value["ids"], by, strict=True))
      case "part":
        told.add(value["first"])
        _part(history, value)
  for part in history.columns.parts:
    if part.first not in told:
      _assume(history, part)
  _count(history)


def _assume(history: History, part: Part) -> None:
  """Takes labelled examples for those of the experiences of their time."""
  for index, end in enumerate(history.ended):
    start, stop = max(end.start, part.first), min(end.stop, part.stop)
    for piece, where in history.open(stop):
      piece.put_experience(where[piece.first + where >= start], index)


def _count(history: History) -> None:
  """Counts anew, and makes up for experiences and classes that are lost."""
  history.counts = Counts()
  history.open_from = history.columns.stop
  latest = NONE
  for part in history.columns.parts:
    history.counts.add(part, 1)
    latest = max(latest, int(part.experiences.max(initial=NONE)))
    waiting = (part.experiences == NONE) & (part.labels != NONE)
    if waiting.any():
      first = part.first + int(waiting.argmax())
      history.open_from = min(history.open_from, first)
  history.mend(latest + 1)
  if history.ended and len(history.classes) < history.ended[-1].num_classes:
    history.notes.append("the order of the classes is lost, and made up anew")
    for index, end in enumerate(history.ended):
      for piece in history.columns.between(end.start, end.stop):
        numbers = piece.labels[piece.experiences == index]
        history.classes.learn(history.classes.fresh(numbers))


def _part(history: History, value: Value) -> None:
  for part in history.columns.parts:
    if part.first == value["first"]:
      experiences = np.frombuffer(_unpack(value["experiences"]), "<i4")
      labels = _unpacked(history, value)
      count = min(part.count, len(labels))
      part.put_labels(np.arange(count), labels[:count])
      here = np.flatnonzero(part.experiences[:count] != GONE)
      part.put_experiences(here, experiences[here])


def _packed(history: History, numbers: np.ndarray) -> Value:
  """Returns label numbers [N] with the keys that they stand for."""
  distinct, which = np.unique(numbers, return_inverse=True)
  keys = [history.classes.key(number) for number in distinct.tolist()]
  narrow = "<u1" if len(keys) <= 256 else "<u4"
  return {"keys": keys, "type": narrow, "labels": _pack(which.astype(narrow))}


def _unpacked(history: History, value: Value) -> np.ndarray:
  which = np.frombuffer(_unpack(value["labels"]), value["type"])
  return history.classes.numbers(value["keys"])[which.astype(np.int64)]


def _pack(column: np.ndarray) -> str:
  return base64.b64encode(zlib.compress(column.tobytes(), 1)).decode()


def _unpack(text: str) -> bytes:
  return zlib.decompress(base64.b64decode(text))
