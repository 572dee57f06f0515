"""Where a run stands, as JSON and back."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from jcl import base
from jcl.options import errors
from jcl.report import decoding, encoding, lines
from jcl.run import cursor


def to_json(
  at: cursor.Cursor, records: lines.Mark | None = None
) -> dict[str, Any]:
  """Returns a JSON-ready copy of where a run stands.

  Args:
    at: the cursor; feed, trainee and controller are copied unread.
    records: the mark in a file up to which it holds the run's records; None
      copies the records too.
  """
  fields = {f.name: getattr(at, f.name) for f in dataclasses.fields(at)}
  if records is None:
    fields["records"] = [encoding.to_json(r) for r in at.records]
  else:
    fields["records"] = dataclasses.asdict(records)
  for name in ("decision", "totals", "spent"):
    value = fields[name]
    fields[name] = None if value is None else dataclasses.asdict(value)
  return fields


def from_json(fields: Mapping[str, Any]) -> cursor.Cursor:
  """Reads what `to_json` wrote; ValueError for anything else."""
  try:
    return _cursor(dict(fields))
  except ValueError as error:
    raise ValueError(
      f"not the cursor of a run ({errors.reason(error, 300)})"
    ) from error
  except (KeyError, TypeError) as error:
    raise ValueError(
      f"not the cursor of a run ({errors.short(error, 120)})"
    ) from error


def decided(value: base.Decision) -> dict[str, Any]:
  """Returns a decision, without its changes, as JSON has it."""
  return {**dataclasses.asdict(value), "changes": ()}


def decision(
  fields: Mapping[str, Any], changes: tuple[base.Change, ...] = ()
) -> base.Decision:
  """Reads what `decided` returned, and adds changes."""
  return dataclasses.replace(_decision(dict(fields)), changes=changes)


def _cursor(fields: dict[str, Any]) -> cursor.Cursor:
  fields["records"] = [decoding.record(r) for r in fields["records"]]
  if fields["decision"] is not None:
    fields["decision"] = _decision(dict(fields["decision"]))
  fields["totals"] = cursor.Totals(**fields["totals"])
  fields["spent"] = base.Cost(**fields["spent"])
  if fields["initial"] is not None:
    fields["initial"] = tuple(tuple(row) for row in fields["initial"])
  for name in ("feed", "trainee"):
    if fields[name] is not None:
      fields[name] = dict(fields[name])
  return cursor.Cursor(**fields)


def _decision(fields: dict[str, Any]) -> base.Decision:
  fields["allocation"] = base.Allocation(**fields["allocation"])
  fields["limit"] = base.Cost(**fields["limit"])
  # Cursors of version 0.1 have neither of these two.
  fields["counts"] = tuple(fields.get("counts", ()))
  fields["reserved"] = base.Cost(**fields.get("reserved", {}))
  fields["changes"] = ()
  return base.Decision(**fields)
