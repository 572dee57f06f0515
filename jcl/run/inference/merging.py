"""Merges of runs in folders: those that were solved from sums add up."""

from collections.abc import Sequence
import json
import os
from pathlib import Path
from typing import Any, NamedTuple
import zipfile

import numpy as np

from jcl.objectives import statistics
from jcl.options import errors
from jcl.options.errors import MissingFileError, UsageError
from jcl.report import lines, summary, table
from jcl.run import checkpoint
from jcl.run.inference import files, model, solved

# All that another machine has to know of the examples of a run.
NAME = "statistics.npz"
_PATH = ".objective.sums."  # of the statistics, in a run's state
_MERGED = "merged.json"


class Part(NamedTuple):
  """A model, the sums that it was solved from, and whose they are.

  Attributes:
    model: the model.
    sums: over all of its examples.
    recipe: that it was learned by, with its options.
    folders: of the runs.
  """

  model: model.Model
  sums: statistics.Statistics
  recipe: dict[str, Any]
  folders: tuple[str, ...]


def read(folder: Path) -> Part:
  """Reads a run that has ended, or an earlier merge.

  Raises:
    MissingFileError: for a folder that is neither.
    UsageError: for a run that keeps no sums, or whose sums do not add up.
  """
  if (folder / _MERGED).is_file():
    about = _json(folder / _MERGED)
    sums = _read_sums(folder / NAME)
    return Part(
      files.load(folder), sums, dict(about["recipe"]), tuple(about["folders"])
    )
  run = summary.read_run(folder)
  if not run.finished:
    raise UsageError(
      f"{folder} has not ended: run its command again, then merge"
    )
  recipe = run.summary["recipe"]
  told = table.name(recipe)
  arrays = _arrays(folder)
  if not arrays:
    raise UsageError(
      f"{folder} is a run by {told}, which keeps no sums over its examples: "
      "weights that were learned by updates do not add up. Runs by ncm, slda, "
      "ridge, ranpac and randumb do"
    )
  if recipe.get("options", {}).get("decay", 1) != 1:
    raise UsageError(
      f"{folder} is a run by {told}: where weights fall with the rows that "
      "follow, sums depend on the order, and those of two runs have none; "
      "learn without decay to merge"
    )
  fields = statistics.Statistics._fields
  sums = statistics.Statistics(*(arrays[_PATH + name] for name in fields))
  return Part(files.load(folder), sums, recipe, (os.path.abspath(folder),))


def merge(parts: Sequence[Part]) -> Part:
  """Returns what one run would have learned from all examples.

  Raises:
    UsageError: for parts that do not add up.
  """
  first = parts[0]
  folders = [folder for part in parts for folder in part.folders]
  twice = sorted({each for each in folders if folders.count(each) > 1})
  if twice:
    raise UsageError(
      f"{errors.some(twice)} would count twice: name each run once"
    )
  for other in parts[1:]:
    if other.recipe != first.recipe:
      raise UsageError(
        f"recipes {table.name(first.recipe)} and {table.name(other.recipe)}: "
        "merge runs by the same recipe and options"
      )
  made, total = solved.combined([(part.model, part.sums) for part in parts])
  return Part(made, total, first.recipe, tuple(folders))


def write(part: Part, folder: Path) -> Path:
  """Writes the model and the sums into a folder; returns the model's path.

  Raises:
    OSError: where they cannot be written.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with lines.replacing(folder / NAME) as file:
    arrays = {k: np.asarray(v) for k, v in part.sums._asdict().items()}
    np.savez(file, **arrays)  # type: ignore[arg-type]
  about = {"recipe": part.recipe, "folders": part.folders}
  path = files.save(part.model, folder / files.NAME)
  lines.write_atomically(folder / _MERGED, json.dumps(about, indent=2))
  return path


def _arrays(folder: Path) -> dict[str, np.ndarray]:
  """Returns the arrays of sums in the last checkpoint; none without sums."""
  place = folder / checkpoint.FILES[0]
  if not place.is_dir():
    raise MissingFileError(
      f"{folder} holds no checkpoints, which have the sums: give the folder "
      "of a run as it was left"
    )
  kept = checkpoint.Checkpoints(place)
  try:
    found = kept.arrays()
  finally:
    kept.close()
  names = {_PATH + name for name in statistics.Statistics._fields}
  return {k: found[k] for k in names} if names <= found.keys() else {}


def _read_sums(path: Path) -> statistics.Statistics:
  try:
    with np.load(path, allow_pickle=False) as file:
      return statistics.Statistics(
        *(file[name] for name in statistics.Statistics._fields)
      )
  except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
    raise UsageError(
      f"{path} holds no sums ({errors.reason(error)}): merge the runs again"
    ) from error


def _json(path: Path) -> dict[str, Any]:
  try:
    return dict(json.loads(path.read_text(encoding="utf-8")))
  except (TypeError, ValueError) as error:
    raise UsageError(
      f"{path} is damaged ({errors.reason(error)}): merge the runs again"
    ) from error
