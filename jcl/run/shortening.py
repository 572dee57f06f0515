"""Records of a learner that lives for long: the oldest are summed up."""

from collections.abc import Sequence
import dataclasses

from jcl import base
from jcl.report import summarising

KEPT = 32  # records of the latest experiences, at least


def shorten(records: list[base.Record], kept: int = KEPT) -> None:
  """Sums all records up but the latest, once there are twice as many."""
  if len(records) > 2 * kept:
    records[:-kept] = [summed(records[:-kept])]


def summed(records: Sequence[base.Record]) -> base.Record:
  """Returns one record of several, in their order: the last one, with sums.

  Losses and accuracies are means; choices and decisions of a memory are left
  out.
  """
  last, steps = records[-1], sum(record.steps for record in records)
  names: dict[int, str] = {}
  for record in records:
    names.update(zip(record.classes, record.class_names, strict=False))
  classes = sorted({each for record in records for each in record.classes})
  return dataclasses.replace(
    last,
    classes=tuple(classes),
    class_names=tuple(names.get(each, "") for each in classes),
    steps=steps,
    examples=sum(record.examples for record in records),
    loss=sum(r.steps * r.loss for r in records if r.steps) / max(steps, 1),
    online_accuracy=summarising.online_accuracy(records),
    memory={k: v for k, v in last.memory.items() if k != "decisions"},
    costs=summarising.costs_by_account(records),
    peak_bytes=max(record.peak_bytes for record in records),
    choices=(),
    stands_for=summarising.count(records),
  )
