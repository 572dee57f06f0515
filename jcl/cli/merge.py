"""`jcl merge`: one model of runs that were solved from sums."""

from pathlib import Path

from jcl.cli import definitions, show
from jcl.options.errors import UsageError
from jcl.run import claims
from jcl.run.inference import merging


def command(arguments: list[str]) -> int:
  """Merges the runs in some folders; returns the exit status."""
  if not arguments or not definitions.WORKDIR.value:
    raise UsageError(
      "merge needs folders of runs and a new one: jcl merge RUN... "
      "--workdir=DIR"
    )
  target = Path(definitions.WORKDIR.value).expanduser()
  if target.exists() and any(target.iterdir()):
    raise UsageError(f"{target} is not empty: give a new --workdir")
  merged = merging.merge([merging.read(Path(each)) for each in arguments])
  with claims.explained(target):
    path = merging.write(merged, target)
  show.merged(merged, path)
  return 0
