"""`jcl estimate`: what runs would take, without learning."""

from jcl import recipes
from jcl.cli import flags, learning, show
from jcl.options.errors import UsageError
from jcl.run import estimate, frontier, loop, session
from jcl.run import setup as setups


def command(arguments: list[str]) -> int:
  """Prints an estimate for each recipe; returns the exit status."""
  if arguments:
    raise UsageError(f"unexpected arguments {arguments}: flags begin with --")
  runs = learning.prepare()
  for text, job in runs.first.items():
    method = recipes.build(text)
    session.profiled(job, setups.options(runs.setup, method))
    found = estimate.of(job)
    if not frontier.applies(runs.setup, method):
      show.estimate(text, found)
      continue
    show.frontier(text, *_around(runs, text, job, found))
  return 0


def _around(
  runs: learning.Runs, text: str, job: loop.Job, found: estimate.Estimate
) -> tuple[estimate.Estimate, frontier.Frontier]:
  """Returns a recipe's estimate with its budget kept, and other budgets."""
  seed = flags.seeds()[0]

  def assemble(setup: setups.Setup) -> loop.Job:
    return runs._replace(setup=setup).assemble(text, seed)

  made = frontier.of(runs.setup, job, found, assemble)
  return frontier.kept(found, made), made
