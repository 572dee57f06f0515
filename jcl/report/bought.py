"""What was bought over time: at which price, by which forecast, and why.

Shown of runs whose controller decides anew as the stream goes on. Its own
figures are those of `Decision.forecast`; limits and what was spent of them,
sizes and tensors are known of every run, older ones too.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from jcl import base
from jcl.options import errors
from jcl.report import hierarchy, predictions, summary, table

if TYPE_CHECKING:
  pass

_UNITS = {"joules": "J", "flops": "FLOP", "seconds": "s", "bytes": "B"}
_MOST = 8  # recipes drawn; the tables have all of them
# Columns of a table, each with what its note says where the column is there.
_HEADER = {
  "experience": "",
  "bought": "",
  "spent": "Spent is what counts towards the limit, if there is one.",
  "allowed": "Allowed is the most that it may come to.",
  "equal share": (
    "An equal share is what each experience gets if all spend the same."
  ),
  "price": (
    "The price is the gain, in points of examples set aside, that the updates "
    "of such a share have to promise: they go on while their forecast is above "
    "it. It rises where more than the share was spent and falls where less was."
  ),
  "forecast": (
    "Shares of examples set aside are forecast by a few looks early on, costs "
    "are those of training."
  ),
  "came of it": "",
  "why": "",
}


class Purchase(NamedTuple):
  """What one experience got. Numbers are NaN where nobody knows them."""

  experience: int
  what: str
  spent: float  # in the unit of the run, as are the two below
  allowed: float
  share: float  # an equal one
  price: float  # points that an equal share has to gain
  forecast: float  # percent of examples set aside, right at the end
  reached: float  # what that came to
  predicted: float  # cost of training, in the unit of the run
  costs: tuple[predictions.Prediction, ...]  # in any unit
  why: str


def shown(run: summary.Run) -> bool:
  """Tells whether a run's decisions differ, or may have, as time goes on."""
  records = run.records
  epochs = {record.decision.epochs for record in records}
  tensors = {each.trainable for record in records for each in record.choices}
  return max(len(epochs), len(tensors)) > 1 or any(
    record.decision.forecast
    or _changes(record)
    or any(map(math.isfinite, _limit(record).values()))
    for record in records
  )


def unit_of(run: summary.Run) -> str:
  """Returns the unit of what a run may spend: joules where none is limited."""
  for name in _UNITS:
    for record in run.records:
      told = record.decision.forecast.get(f"share_{name}")
      if told is not None or math.isfinite(_limit(record)[name]):
        return name
  found = {each.unit for made in predictions.of(run) for each in made}
  return "seconds" if found == {"s"} else "joules"


def of(run: summary.Run) -> list[Purchase]:
  """Returns what each experience of a run got."""
  unit = unit_of(run)
  made = predictions.of(run)
  return [
    _purchase(record, unit, costs)
    for record, costs in zip(run.records, made, strict=True)
  ]


def _purchase(
  record: base.Record, unit: str, costs: Sequence[predictions.Prediction]
) -> Purchase:
  told = record.decision.forecast
  spent = getattr(predictions.counted(record), unit)
  limit = _limit(record)[unit]
  mine = [each.predicted for each in costs if each.unit == _UNITS[unit]]
  return Purchase(
    experience=record.experience,
    what=_what(record),
    spent=spent,
    allowed=told.get(
      f"allowed_{unit}", limit if math.isfinite(limit) else math.nan
    ),
    share=told.get(f"share_{unit}", math.nan),
    price=100 * told.get("price", math.nan),
    forecast=100 * told.get("forecast", math.nan),
    reached=100 * told.get("reached", math.nan),
    predicted=mine[-1] if mine else math.nan,
    costs=tuple(costs),
    why=_why(record),
  )


def _limit(record: base.Record) -> dict[str, float]:
  """Returns the most that training may take, by unit; infinite for no limit."""
  return dataclasses.asdict(record.decision.limit)


def _changes(record: base.Record) -> list[dict[str, Any]]:
  """Returns what was decided about a memory's sizes, beside given ones."""
  found = record.memory.get("decisions", ())
  return [each for each in found if each["kind"] != "fixed"]


def _what(record: base.Record) -> str:
  """Returns in a few words what an experience got."""
  parts = [errors.count(record.steps, "update")]
  if not record.steps:
    alone = record.judged or "statistics_bytes" in record.memory
    parts = ["no update" + (", the classifier alone" if alone else "")]
  trained, tensors = record.trained
  if record.steps and trained < tensors:
    parts.append(f"{trained:,} of {tensors:,} tensors")
  changes = _changes(record)
  if changes:
    parts.append(f"sizes {changes[-1]['em']:,} + {changes[-1]['sb']:,}")
  if any(each["kind"] == "ended" for each in changes):
    parts.append("ended early")
  return ", ".join(parts)


def _why(record: base.Record) -> str:
  """Returns the reasons of a decision and of its last change."""
  changes = _changes(record)
  reasons = [record.decision.reason, *(each["reason"] for each in changes[-1:])]
  if len(changes) > 1:
    reasons.append(f"and {errors.count(len(changes) - 1, 'change')} before")
  return "; ".join(dict.fromkeys(filter(None, reasons))) or "–"


def tabulated(run: summary.Run) -> hierarchy.Table:
  """Returns the table of what a run's experiences got."""
  unit = unit_of(run)
  rows = [_row(each, _UNITS[unit]) for each in of(run)]
  kept = [
    column
    for column in range(len(_HEADER))
    if column < 2 or any(row[column] != "–" for row in rows)
  ]
  header = [list(_HEADER)[column] for column in kept]
  notes = [_HEADER[name] for name in header if _HEADER[name]]
  if unit == "joules":
    notes.append(f"Source of {table.energy([run])}.")
  return hierarchy.Table(
    f"{table.name(run.summary.get('recipe'))}, seed {run.summary.get('seed')}",
    " ".join(notes),
    tuple(header),
    [tuple(row[column] for column in kept) for row in rows],
    words=True,
  )


def _row(each: Purchase, unit: str) -> tuple[str, ...]:
  costs = [
    (table.scaled(one.predicted, one.unit), table.scaled(one.spent, one.unit))
    for one in each.costs
  ]
  forecast, reached = _percent(each.forecast), _percent(each.reached)
  forecasts = [*([forecast] if forecast else []), *(a for a, _ in costs)]
  outcomes = [*([reached] if reached else []), *(b for _, b in costs)]
  price = "" if math.isnan(each.price) else f"{each.price:.3g} points"
  return (
    str(each.experience + 1),
    each.what,
    *(_amount(value, unit) for value in (each.spent, each.allowed, each.share)),
    price or "–",
    ", ".join(forecasts) or "–",
    ", ".join(outcomes) or "–",
    each.why,
  )


def _percent(value: float) -> str:
  return "" if math.isnan(value) else f"{value:.1f} % right"


def _amount(value: float, unit: str) -> str:
  return "–" if math.isnan(value) else table.scaled(value, unit)
