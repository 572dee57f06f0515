"""Run folders: records as JSON lines, and the summary of a run.

A run folder holds

- `records.jsonl`, one line per experience that is over: what
  `encoding.to_json(record)` makes of its record;
- `summary.json`, the result of `summarising.summarise`, written when the run
  begins and ends, and after experiences that take long compared with writing
  it;
- `curve.jsonl`, optional, one line per logged point: `{"step", "experience",
  "loss", "online_accuracy", "seconds", "steps_per_second"}`, or, for an
  evaluation within an experience, `{"step", "experience", "accuracy": [T],
  "accuracy_task": [T]}`.

The last line of an interrupted run may be incomplete; it is ignored. A resumed
run may repeat lines; the later ones count.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
from pathlib import Path
from typing import Any
import warnings

import numpy as np

from jcl import base
from jcl.options import errors
from jcl.options.errors import MissingFileError, UsageError
from jcl.report import decoding, summarising


@dataclasses.dataclass(frozen=True)
class Run:
  """Contents of a run folder."""

  folder: Path
  summary: dict[str, Any]
  records: tuple[base.Record, ...]
  curve: tuple[dict[str, Any], ...]

  @property
  def finished(self) -> bool:
    """True once all experiences are over."""
    return self.summary["finished"]

  @property
  def tested(self) -> bool:
    """False for a run without test sets, as of a learner on a device."""
    return self.summary.get("test_sizes") != []


def is_run(folder: str | Path) -> bool:
  """Returns whether a folder is a run folder, if only of a run just begun."""
  return (Path(folder) / "records.jsonl").is_file()


def read_run(folder: str | Path) -> Run:
  """Reads the folder of a run that is finished, running or interrupted.

  A summary that is older than the records is computed from them again.

  Raises:
    FileNotFoundError: for a folder that is no run folder.
    ValueError: for a file that cannot be read, with the line.
  """
  folder = Path(folder)
  if not is_run(folder):
    raise MissingFileError(
      f"{folder} is no run folder, it holds no records.jsonl: give the folder "
      "of a run, or one above it to find_runs"
    )
  lines = _read_lines(folder / "records.jsonl", decoding.record)
  latest = {record.experience: record for record in lines}
  records = tuple(latest[index] for index in sorted(latest))
  points: dict[tuple[int, bool], dict[str, Any]] = {}
  if (folder / "curve.jsonl").is_file():
    for point in _read_lines(folder / "curve.jsonl", decoding.point):
      points[point["step"], "accuracy" in point] = point
  curve = tuple(points[key] for key in sorted(points))
  summary = _read_summary(folder)
  whole = summary.keys() >= set(summarising.COMPUTED)
  if not whole or summary["experiences"] != summarising.count(records):
    summary = _made_anew(folder, summary, records, curve)
  return Run(folder, summary, records, curve)


def _made_anew(
  folder: Path,
  old: Mapping[str, Any],
  records: Sequence[base.Record],
  curve: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
  context = {k: v for k, v in old.items() if k not in summarising.COMPUTED}
  try:
    return summarising.summarise(
      records,
      initial=old.get("initial"),
      test_sizes=old.get("test_sizes"),
      anytime=[point for point in curve if "accuracy" in point],
      context={"recipe": {"name": folder.name, "options": {}}, **context},
    )
  except (IndexError, TypeError, ValueError) as error:
    raise UsageError(
      f"{folder}: what its records, its curve and its summary say does not "
      f"fit together ({errors.reason(error)})"
    ) from error


def matrix(run: Run, scenario: str = "class_incremental") -> np.ndarray:
  """Accuracies [experiences so far, test sets that count so far], with NaN."""
  rows = run.summary[scenario]["matrix"]
  return np.array(rows, float) if rows else np.empty((0, 0))


def _read_lines(path: Path, decode_fn: Callable[[Any], Any]) -> list[Any]:
  found = []
  lines = _text(path).split("\n")
  for number, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    try:
      found.append(decode_fn(json.loads(line)))
    except json.JSONDecodeError as error:
      # The writer ends each line, so only the last one can be incomplete.
      if number == len(lines):
        warnings.warn(
          f"{path}: the half-written last line is left out", stacklevel=3
        )
        continue
      raise UsageError(f"{path}, line {number} is no JSON: {error}") from error
    except (ValueError, RecursionError) as error:
      raise UsageError(f"{path}, line {number}: {error}") from error
  return found


def _text(path: Path) -> str:
  try:
    return path.read_text(encoding="utf-8")
  except UnicodeDecodeError as error:
    raise UsageError(f"{path} is no text in UTF-8: {error}") from error


def _read_summary(folder: Path) -> dict[str, Any]:
  path = folder / "summary.json"
  if not path.is_file():
    return {}
  try:
    value = json.loads(_text(path))
  except (ValueError, RecursionError) as error:
    raise UsageError(
      f"{path} is no JSON: {error}; without it the records alone are read"
    ) from error
  if not isinstance(value, dict):
    raise UsageError(
      f"{path} is no summary of a run: {errors.short(value, 80)}"
    )
  try:
    decoding.check_summary(value, summarising.SCENARIOS)
  except ValueError as error:
    raise UsageError(
      f"{path}: {error}; without the file the records alone are read"
    ) from error
  return value
