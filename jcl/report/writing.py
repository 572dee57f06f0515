"""Writes the report of finished runs, and tells what is to be printed."""

from collections.abc import Sequence
import json
import os
from pathlib import Path
import select
import sys

from jcl.report import drawing, page, pictures, summary, table

_PATIENCE = 60.0  # seconds to wait for work, before memory is given back
_WORKERS = 4  # processes that draw, at most


def write(
  places: Sequence[str | Path], target: str | Path, processes: int = 1
) -> str:
  """Writes the report of some runs in this process.

  Args:
    places: folders of the runs.
    target: folder of the report.
    processes: that draw, as of `pictures.save_all`.

  Returns:
    The table of the runs, and where their report lies, as text.
  """
  runs = [summary.read_run(place) for place in places]
  path = page.write(runs, target, processes)
  lines = (table.text(table.comparison(runs)), table.energy(runs))
  return "\n".join([*lines, f"report: {path}"])


def serve() -> None:
  """Writes the report that standard input asks for, and tells standard output.

  It ends where nothing is asked for.
  """
  _get_ready()
  if not select.select([sys.stdin], [], [], _PATIENCE)[0]:
    return
  asked = sys.stdin.buffer.read()
  if asked:
    places, target = json.loads(asked)
    told = write(places, target, _processes())
    print(json.dumps(told), flush=True)


def _get_ready() -> None:
  """Imports what a report takes, and draws for a first time."""
  import jinja2  # noqa: F401
  import pandas  # noqa: F401

  with open(os.devnull, "wb") as nowhere:
    figure = drawing.new_figure(1.0, 1.0)
    figure.subplots().set_title("0")
    drawing.save(figure, nowhere)


def _processes() -> int:
  if not hasattr(os, "fork"):
    return 1
  return min(os.cpu_count() or 1, _WORKERS, len(pictures.PICTURES))
