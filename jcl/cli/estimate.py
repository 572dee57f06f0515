"""`jcl estimate`: what runs would take, without learning."""

from jcl import recipes
from jcl.cli import learn, show
from jcl.options.errors import UsageError
from jcl.run import estimate, session
from jcl.run import setup as setups


def command(arguments: list[str]) -> int:
  """Prints an estimate for each recipe; returns the exit status."""
  if arguments:
    raise UsageError(f"unexpected arguments {arguments}: flags begin with --")
  runs = learn.prepare()
  for text, job in runs.first.items():
    options = setups.options(runs.setup, recipes.build(text))
    session.profiled(job, options)
    show.estimate(text, estimate.of(job))
  return 0
