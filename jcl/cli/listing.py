"""`jcl list`: every recipe, data set, stream, model and system."""

from jcl import recipes
from jcl.cli import show
from jcl.control.drift import systems
from jcl.networks import catalogue
from jcl.options.errors import UsageError
from jcl.streams import scenarios, sources


def command(arguments: list[str]) -> int:
  """Prints what flags and `jcl serve` may name; returns the exit status."""
  if arguments:
    raise UsageError(f"unexpected arguments {arguments}: flags begin with --")
  show.choices(
    {
      "Recipes (--recipe, --compare)": recipes.describe(),
      "Data sets (--data)": sources.describe(),
      "Streams (--stream)": scenarios.describe(),
      "Models (--model)": catalogue.describe(),
      "Systems (serve)": systems.describe(),
    }
  )
  return 0
