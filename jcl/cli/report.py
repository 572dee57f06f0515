"""`jcl report`: one report over finished runs."""

from collections.abc import Callable, Sequence
from pathlib import Path

from jcl.cli import definitions, folders, show
from jcl.options.errors import UsageError
from jcl.report import page, writing
from jcl.run import workdir


def command(arguments: list[str]) -> int:
  """Rebuilds the report of runs below some folders; returns the status."""
  if not arguments:
    raise UsageError("report needs folders of runs: jcl report DIR...")
  given = [Path(argument).expanduser() for argument in arguments]
  target = folders.work("", None) if definitions.WORKDIR.value else given[0]
  write(page.find_runs(given), target)
  return 0


def write(
  places: Sequence[Path],
  target: Path,
  by: Callable[[Sequence[Path], Path], str] = writing.write,
) -> None:
  """Writes the report of some runs into a folder, and prints its table.

  Args:
    places: folders of the runs.
    target: made where it is missing.
    by: writes the report and returns what is to be printed.
  """
  with workdir.explained(target):
    target.mkdir(parents=True, exist_ok=True)
    told = by(places, target)
  show.line(told)
