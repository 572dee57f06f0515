"""Costs of training that decisions predicted, beside what it took."""

from collections.abc import Iterator
import math
from typing import NamedTuple

from jcl import base
from jcl.options import errors
from jcl.report import hierarchy, summary, table

# Accounts that the prediction or the limit of an experience is about.
_ACCOUNTS = ("train", "replay")
_UNITS = {"seconds": "s", "joules": "J", "flops": "FLOP", "bytes": "B"}
# Columns of what `compared` returns, on every page.
COMPARED = ("predicted", "spent", "spent / predicted")


def training(record: base.Record) -> base.Cost:
  """Returns what an experience's training took: "train" and "replay"."""
  found = (record.costs[each] for each in _ACCOUNTS if each in record.costs)
  return sum(found, base.Cost())


def counted(record: base.Record) -> base.Cost:
  """Returns what counts towards an experience's limit."""
  accounts = record.decision.counts or _ACCOUNTS
  found = (record.costs[each] for each in accounts if each in record.costs)
  return sum(found, base.Cost())


class Prediction(NamedTuple):
  """A cost that was predicted, or the most that was allowed."""

  told: str  # which decision it belongs to
  predicted: float
  spent: float
  unit: str  # "s", "J", "FLOP" or "B"


def of(run: summary.Run) -> list[list[Prediction]]:
  """Returns what decisions of each experience predicted, limits left out."""
  found, chosen = [], None
  for record in run.records:
    found.append([*_sizes(record), *_selections(record, chosen)])
    chosen = record.choices[-1] if record.choices else chosen
  return found


def tables(run: summary.Run) -> list[hierarchy.Table]:
  """Returns the one table of a run, none where no decision predicted a cost."""
  rows = []
  for record, made in zip(run.records, of(run), strict=True):
    for each in (*_limits(record), *made):
      columns = compared(each.predicted, each.spent, each.unit)
      rows.append((str(record.experience + 1), each.told, *columns))
  if not rows:
    return []
  return [
    hierarchy.Table(
      "Predicted and spent",
      "Limits are the most that training may take in an experience, or all of "
      "learning where the limit is an equal cost. Training "
      "with chosen sizes is predicted for the epochs made in the end, and with "
      "chosen tensors by their profile, of which an analytic one assumes rates "
      "of a device. Training is the accounts train and replay. "
      f"Source of {table.energy([run])}.",
      ("experience", "decision", *COMPARED),
      rows,
    )
  ]


def _limits(record: base.Record) -> Iterator[Prediction]:
  """Yields the limits of an experience and what was spent of them."""
  spent = counted(record)
  for name, unit in _UNITS.items():
    most = getattr(record.decision.limit, name)
    if math.isfinite(most):
      yield Prediction(f"limit of {name}", most, getattr(spent, name), unit)


def _sizes(record: base.Record) -> Iterator[Prediction]:
  """Yields the predictions for sizes that trials chose."""
  made = record.decision.epochs
  for each in record.memory.get("decisions", ()):
    predicted = each.get("predicted", math.nan)
    if math.isfinite(predicted):
      planned = each.get("epochs", made)
      told = f"sizes {each['em']:,} + {each['sb']:,}"
      scaled = predicted * made / max(planned, 1)
      yield Prediction(told, scaled, training(record).joules, "J")


def _selections(
  record: base.Record, before: base.Choice | None
) -> Iterator[Prediction]:
  """Yields what the steps of an experience were to take by their profile.

  Args:
    record: of the experience.
    before: the latest choice ahead of it, which trains until its first one
      does; None in the first experience.
  """
  if not record.choices:
    return
  # The first choice of an experience is made ahead of its first step.
  began = record.choices[0].step
  parts = [(began, before or record.choices[0])]
  parts += [(each.adopted, each) for each in record.choices]
  end = began + record.steps
  stops = [*(min(start, end) for start, _ in parts[1:]), end]
  predicted = math.fsum(
    each.seconds * (stop - start)
    for (start, each), stop in zip(parts, stops, strict=True)
    if stop > start
  )
  if math.isfinite(predicted):
    told = errors.count(len(record.choices), "choice") + " of tensors"
    yield Prediction(told, predicted, training(record).seconds, "s")


def compared(predicted: float, spent: float, unit: str) -> tuple[str, str, str]:
  """Returns the columns `COMPARED` of a prediction and of what it came to.

  >>> compared(2.0, 2.5, "s")
  ('2 s', '2.5 s', '125 %')
  """
  return (
    table.scaled(predicted, unit),
    table.scaled(spent, unit),
    f"{100 * spent / predicted:.3g} %" if predicted else "–",
  )
