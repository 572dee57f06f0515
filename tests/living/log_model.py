"""A log as plain lists, which a real one must agree with."""

import copy

import numpy as np


def inputs(ids, features=16):
  """The examples that have these ids: uint8 [N, features], all different."""
  ids = np.asarray(ids, np.int64)
  x = ids[:, None] * 31 + np.arange(features) * 7
  x[:, :8] = ids[:, None] >> (8 * np.arange(8))
  return (x % 256).astype(np.uint8)


class Model:
  """What was acknowledged, and what follows from it."""

  def __init__(self):
    self.labels = []  # by id: of open examples the latest, of ended ones frozen
    self.ended = []  # lists of ids
    self.classes = []
    self.num_classes = []
    self.corrected = []
    self.learned = 0
    self.taken = set()

  def then(self, op):
    """Returns a model after one more operation, [name, *arguments]."""
    after = copy.deepcopy(self)
    getattr(after, op[0])(*op[1:])
    return after

  def observe(self, labels):
    self.labels += labels

  def label(self, ids, labels):
    for each, label in zip(ids, labels, strict=True):
      if each in self.taken:
        self.corrected.append((each, label))
      else:
        self.labels[each] = label

  def end(self):
    ids = [
      each
      for each, label in enumerate(self.labels)
      if label is not None and each not in self.taken
    ]
    self.ended.append(ids)
    self.taken |= set(ids)
    self.classes += [
      label
      for label in dict.fromkeys(self.labels[each] for each in ids)
      if label not in self.classes
    ]
    self.num_classes.append(len(self.classes))

  def drop(self, learned):
    self.learned = max(self.learned, learned)

  def differs(self, log):
    """Returns in what a log differs from this, "" where it agrees.

    Learned examples, and those without a label, may have left the log.
    """
    open_ids = [
      each
      for each, label in enumerate(self.labels)
      if label is not None and each not in self.taken
    ]
    corrections = log.corrections()
    expected = {
      "notes": ((), log.notes),
      "len": (len(self.labels), len(log)),
      "open": (len(open_ids), log.open_count),
      "classes": (tuple(self.classes), log.classes),
      "learned": (self.learned, log.learned),
      "ended": (len(self.ended), len(log.experiences)),
      "corrections": (
        self.corrected,
        list(zip(corrections.ids.tolist(), corrections.labels, strict=True)),
      ),
    }
    for what, (wanted, found) in expected.items():
      if wanted != found:
        return f"{what}: {found} instead of {wanted}"
    needed = list(open_ids)
    for ids, number, each in zip(
      self.ended, self.num_classes, log.experiences, strict=True
    ):
      found, labels = each.ids.tolist(), each.labels.tolist()
      named = [log.classes[label] for label in labels]
      if each.count != len(ids) or each.num_classes != number:
        return f"experience {each.index} counts {each.count}"
      if each.index >= self.learned and found != ids:
        return f"experience {each.index} consists of {found}"
      if not set(found) <= set(ids) or found != sorted(found):
        return f"experience {each.index} has {found} of {ids}"
      if named != [self.labels[i] for i in found]:
        return f"experience {each.index} is labelled {named}"
      needed += found
    if needed and (log.read(needed) != inputs(needed)).any():
      return "inputs"
    return ""
