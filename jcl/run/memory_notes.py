"""Notes on the memory of an update: what a run's latest programs occupy."""

from collections.abc import Mapping
from typing import Any

from jcl import base
from jcl.cost import step_memory
from jcl.report import encoding, summarising
from jcl.run.cursor import Cursor, Job
from jcl.selection import mask


class MemoryNotes:
  """Parts of an update's memory by name, as a summary has them.

  Args:
    known: the last summary of the run, empty without one.
  """

  def __init__(self, known: Mapping[str, Any]) -> None:
    # "step_memory" of the tensors that train, "step_memory_full" of all.
    self.found = {k: known[k] for k in summarising.STEP_MEMORY if k in known}
    # By the selection, and whether its own program was asked for.
    self._split: dict[tuple[base.Selection, bool], Any] = {}

  def update(self, job: Job, at: Cursor) -> None:
    """Reads the programs that are compiled, and compiles none.

    Args:
      job: of the run, after one update at least.
      at: where the run stands.
    """
    trainee, learner = job.trainee, job.learner
    # Up to the switch, the program of the latest choice may still be compiling
    # in a thread.
    settled = at.step > trainee.switch_step
    wanted = {"step_memory": (trainee.selection, settled)}
    everything = mask.everything(learner.network)
    if settled and trainee.selection != everything:
      wanted["step_memory_full"] = everything, True
    for name, key in wanted.items():
      selection, exact = key
      if key not in self._split:
        if not step_memory.is_compiled(learner, selection, exact=exact):
          continue
        found = step_memory.split(
          learner, selection, exact=exact, trunk=job.trunk
        )
        self._split[key] = None if found is None else encoding.encode(found)
      if self._split[key] is not None:
        self.found[name] = self._split[key]
