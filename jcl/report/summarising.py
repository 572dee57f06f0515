"""Computes the summary of a run, finished or not, from its records."""

from collections.abc import Iterable, Mapping, Sequence
import itertools
import math
from typing import Any

import numpy as np

from jcl import base, metrics
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.report import encoding

SCENARIOS = {
  "class_incremental": "accuracy",
  "task_incremental": "accuracy_task",
}

# Parts of a summary that `summarise` computes; all others are context.
COMPUTED = (
  *SCENARIOS,
  "experiences",
  "finished",
  "initial",
  "test_sizes",
  "online_accuracy",
  "accuracy_class",
  "macro_class_accuracy",
  "costs",
  "total",
  "closing",
  "accuracy_per_joule",
  "steps",
  "examples",
  "memory",
  "peak_bytes",
)

# Context with bytes by part of `cost.step_memory.StepMemory`: of the last step
# that trained, and of the step of all tensors if it was compiled as well.
STEP_MEMORY = ("step_memory", "step_memory_full")

# Parts of each scenario beside its matrix.
METRICS = (
  "final_average_accuracy",
  "micro_average_accuracy",
  "average_incremental_accuracy",
  "learning_accuracy",
  "forgetting_from_maximum",
  "forgetting_from_first",
  "backward_transfer",
  "forward_transfer",
  "worst_case",
  "worst_case_accuracy",
  "anytime_average",
)


def summarise(
  records: Sequence[base.Record],
  *,
  initial: Mapping[str, Sequence[float]] | None,
  test_sizes: Sequence[int] | None,
  anytime: Sequence[Mapping[str, Any]],
  context: Mapping[str, Any],
  closing: Mapping[str, base.Cost] | None = None,
) -> dict[str, Any]:
  """Summarises a run, finished or not, as a value for `json.dump`.

  Metrics of an unfinished run cover the experiences so far and their test sets.
  Metrics that compare experience `i` with test set `i` are null if the two do
  not belong together, as for one experience with many test sets.

  Args:
    records: of the experiences so far, in order; may be empty.
    initial: rows [T] under "accuracy" and "accuracy_task", of the network as
      initialised; None leaves forward transfer null.
    test_sizes: [T] examples per test set; None leaves micro averages null.
    anytime: the points of the curve that hold "step" and the rows "accuracy"
      and "accuracy_task"; may be empty.
    context: values that are kept and shown unchanged; a function stands for
      the value that it returns now, if that changes during the run. The report
      reads "recipe" and "stream" (`{"name", "options"}` each),
      "num_experiences", "seed", the keys in `STEP_MEMORY` and "joules_source"
      ("measured (name)", "partly measured (name)" or "modelled (how)"; see
      `cost.ledger.Ledger`). Runs that agree in "recipe", "stream", "network",
      "training" and "options" are averaged as seeds of one recipe; "device",
      "git_revision" and "versions" under "environment" are compared.
      "class_names" [C] and "notes", on data that was left out or converted, are
      shown.
    closing: cost of each account since the last record was made, which no
      record holds, mostly for writing that record. "total" is without it.

  Raises:
    UsageError: for context under a name in `COMPUTED`.
    ValueError: for records that are not those of experiences 0, 1, ...
  """
  context = {k: v() if callable(v) else v for k, v in context.items()}
  _check_parts(records, context)
  total = sum((_spent(record) for record in records), base.Cost())
  last = records[-1] if records else None
  seen = sorted({each for record in records for each in record.classes})
  num_experiences = context.get("num_experiences")
  if num_experiences is None:
    num_experiences = len(last.accuracy) if last else 1
  finished = count(records) >= num_experiences
  summary: dict[str, Any] = {
    **context,
    "num_experiences": num_experiences,
    "experiences": count(records),
    "finished": finished,
    "initial": initial,
    "test_sizes": test_sizes,
    "online_accuracy": online_accuracy(records),
    "accuracy_class": last.accuracy_class if last else (),
    "macro_class_accuracy": metrics.macro_average(
      [last.accuracy_class[each] for each in seen] if last else ()
    ),
    "costs": costs_by_account(records),
    "total": total,
    "closing": closing or {},
    "steps": sum(record.steps for record in records),
    "examples": sum(record.examples for record in records),
    "memory": last.memory if last else {},
    "peak_bytes": max((record.peak_bytes for record in records), default=0),
  }
  for scenario, name in SCENARIOS.items():
    summary[scenario] = _scenario(
      np.array([getattr(record, name) for record in records], float),
      None if initial is None else initial.get(name),
      test_sizes,
      evaluations(records, anytime, name),
      finished,
    )
  summary["accuracy_per_joule"] = metrics.accuracy_per_joule(
    summary["class_incremental"]["final_average_accuracy"], total.joules
  )
  return encoding.encode(summary)


def count(records: Sequence[base.Record]) -> int:
  """Returns the number of experiences that records stand for."""
  return sum(record.stands_for for record in records)


def online_accuracy(records: Sequence[base.Record]) -> float:
  """Returns the mean over all experiences that records stand for."""
  return metrics.macro_average(
    np.repeat(
      [record.online_accuracy for record in records],
      [record.stands_for for record in records],
    ).tolist()
  )


def costs_by_account(records: Sequence[base.Record]) -> dict[str, base.Cost]:
  """Returns the sum of the records' costs, by account."""
  costs: dict[str, base.Cost] = {}
  for record in records:
    for name, cost in record.costs.items():
      costs[name] = costs.get(name, base.Cost()) + cost
  return costs


def _check_parts(
  records: Sequence[base.Record], context: Mapping[str, Any]
) -> None:
  """Raises for context or records of which no summary can be made."""
  clash = sorted(set(context) & set(COMPUTED))
  if clash:
    raise UsageError(
      f"context names what is computed: {errors.some(clash)}; rename them"
    )
  indices = [record.experience for record in records]
  ends = itertools.accumulate(record.stands_for for record in records)
  if indices != [end - 1 for end in ends]:
    raise UsageError(
      f"records are of experiences {errors.some(indices)}: give those of the "
      "whole run, from 0 on and in order"
    )


def evaluations(
  records: Sequence[base.Record],
  anytime: Iterable[Mapping[str, Any]],
  name: str,
) -> list[tuple[int, int, np.ndarray]]:
  """Lists all evaluations as (step, experience, row [T]), sorted by step.

  They come from the ends of experiences and from the curve. If both have the
  same step, the end of the experience counts.

  Args:
    records: of the experiences so far, in order.
    anytime: points of the curve, with "step".
    name: the row to return, such as "accuracy".
  """
  ends = np.cumsum([record.steps for record in records], dtype=int)
  found: dict[int, tuple[int, np.ndarray]] = {}
  for point in anytime:
    experience = int(np.searchsorted(ends, point["step"]))
    if name in point and experience < len(records):
      row = np.array(point[name], float)
      found[int(point["step"])] = (experience, row)
  for record, end in zip(records, ends, strict=True):
    row = np.array(getattr(record, name), float)
    found[int(end)] = (record.experience, row)
  return [(step, *found[step]) for step in sorted(found)]


def seen_average(row: np.ndarray, experience: int) -> float:
  """Averages a row [T] over the test sets of experiences up to `experience`.

  >>> seen_average(np.array([0.5, 0.7, 0.0]), experience=1)
  0.6
  """
  return metrics.macro_average(row[: experience + 1])


def _scenario(
  accuracy: np.ndarray,
  initial: Sequence[float] | None,
  test_sizes: Sequence[int] | None,
  measured: Sequence[tuple[int, int, np.ndarray]],
  finished: bool,
) -> dict[str, Any]:
  values = {"matrix": accuracy, **dict.fromkeys(METRICS, math.nan)}
  count = len(accuracy)
  if not accuracy.size:  # no experience has ended, or there are no test sets
    return values
  num_tests = accuracy.shape[1] if finished else count
  accuracy = accuracy[:, :num_tests]
  values["matrix"] = accuracy
  values["final_average_accuracy"] = metrics.final_average_accuracy(accuracy)
  values["worst_case"] = metrics.worst_case(accuracy)
  if test_sizes is not None:
    values["micro_average_accuracy"] = metrics.micro_average(
      accuracy[-1], test_sizes[:num_tests]
    )
  if accuracy.shape != (count, count):
    return values
  for metric_fn in (
    metrics.average_incremental_accuracy,
    metrics.learning_accuracy,
    metrics.forgetting_from_maximum,
    metrics.forgetting_from_first,
    metrics.backward_transfer,
  ):
    values[metric_fn.__name__] = metric_fn(accuracy)
  if initial is not None:
    values["forward_transfer"] = metrics.forward_transfer(
      accuracy, initial[:num_tests]
    )
  steps, experiences, rows = zip(*measured, strict=True)
  values["worst_case_accuracy"] = metrics.worst_case_accuracy(rows, experiences)
  values["anytime_average"] = metrics.anytime_average(
    steps, [seen_average(row, index) for _, index, row in measured]
  )
  return values


def _spent(record: base.Record) -> base.Cost:
  return sum(record.costs.values(), base.Cost())
