"""`jcl learn`: recipes beside each other, over seeds, and a report on them."""

import time

from jcl.options.errors import UsageError
from jcl.report import apart
from jcl.run import surroundings


def command(arguments: list[str]) -> int:
  """Learns what the flags say and writes a report; returns the status."""
  if arguments:
    raise UsageError(f"unexpected arguments {arguments}: flags begin with --")
  started = time.monotonic()
  with apart.Writer() as writer:
    # What learning imports takes as long as that process needs to get ready.
    with surroundings.importing():
      from jcl.cli import learning

    learning.carry_out(writer.write, started)
  return 0
