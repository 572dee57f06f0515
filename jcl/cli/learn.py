"""`jcl learn`: recipes beside each other, over seeds, and a report on them."""

from collections.abc import Iterator
import contextlib
import time

from jcl.cli import definitions
from jcl.options.errors import UsageError
from jcl.report import apart
from jcl.run import lost, meeting, surroundings


def command(arguments: list[str]) -> int:
  """Learns what the flags say and writes a report; returns the status."""
  if arguments:
    raise UsageError(f"unexpected arguments {arguments}: flags begin with --")
  started = time.monotonic()
  with _joined(members()), apart.Writer() as writer:
    # What learning imports takes as long as that process needs to get ready.
    with surroundings.importing():
      from jcl.cli import learning

    learning.carry_out(writer.write, started)
  return 0


def members() -> meeting.Members | None:
  """Returns the processes that share the run; None where it is this one's.

  Raises:
    UsageError: for flags that do not say it.
  """
  given = {
    "coordinator": definitions.COORDINATOR.value,
    "num_processes": definitions.NUM_PROCESSES.value,
    "process_id": definitions.PROCESS_ID.value,
  }
  absent = [f"--{name}" for name, value in given.items() if value is None]
  patience = definitions.PATIENCE.value
  if definitions.DISTRIBUTED.value:
    if len(absent) < len(given):
      raise UsageError(
        "--distributed has the cluster say which processes there are: leave "
        "out --coordinator, --num_processes and --process_id"
      )
    return meeting.Members(None, None, None, patience)
  if len(absent) == len(given):
    return None
  if absent:
    raise UsageError(
      f"{' and '.join(absent)} missing: a run over many processes needs "
      "--coordinator=HOST:PORT, --num_processes and --process_id"
    )
  meeting.address(given["coordinator"])
  count, number = given["num_processes"], given["process_id"]
  if number >= count:
    raise UsageError(
      f"--process_id={number} of --num_processes={count}: count from 0 to "
      f"{count - 1}"
    )
  return meeting.Members(given["coordinator"], count, number, patience)


@contextlib.contextmanager
def _joined(found: meeting.Members | None) -> Iterator[None]:
  """Makes this process one of several for the time of the block."""
  if found is None:
    yield
    return
  if found.coordinator is not None:
    meeting.meet(found)  # ahead of JAX, whose import takes seconds
  with surroundings.importing():
    from jcl.run import together

  advice = together.advice(found)
  with lost.watched(f"jcl: {advice}"), together.explained(advice):
    together.join(found)
    yield
