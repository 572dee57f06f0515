"""Breaks: what happens between updates of the stream, at places known ahead."""

from collections.abc import Sequence
import math
from typing import TYPE_CHECKING, Protocol

from jcl import base
from jcl.cost import program_cost
from jcl.options.errors import UsageError

if TYPE_CHECKING:  # a job has breaks
  from jcl.run.cursor import Cursor, Job


class Break(Protocol):
  """One kind of work between updates, done at some places."""

  def places(self, job: "Job", at: "Cursor") -> list[int]:
    """Returns the updates of the experience behind which it is done, sorted.

    They follow from the stream, and from the updates planned for the
    experience; a place may be there more than once.
    """

  def ahead(self, job: "Job", at: "Cursor", steps: int) -> base.Cost:
    """Returns what is yet to be done in an experience of `steps` more updates.

    That is in operations and bytes.
    """

  def act(
    self,
    job: "Job",
    state: base.LearnerState,
    at: "Cursor",
    scope: base.Scope,
    number: int,
  ) -> base.LearnerState:
    """Does it.

    Args:
      job: of the run.
      state: as it stands.
      at: cursor of the run, which notes what was spent.
      scope: of the experience.
      number: of the place among those of the experience.
    """


class Breaks:
  """All breaks of a run; none by default.

  Places follow from the cursor alone, so that a resumed run has the same.

  Args:
    kinds: in the order in which they are done where their places meet.
  """

  def __init__(self, kinds: Sequence[Break] = ()) -> None:
    self.kinds = tuple(kinds)

  def until(self, job: "Job", at: "Cursor") -> float:
    """Returns the updates that are made before the next break; inf for none."""
    made = at.totals.steps
    ahead = [p for k in self.kinds for p in k.places(job, at) if p > made]
    return min(ahead, default=math.inf) - made

  def take(
    self,
    job: "Job",
    state: base.LearnerState,
    at: "Cursor",
    scope: base.Scope,
    *,
    last: bool = False,
  ) -> base.LearnerState:
    """Does what is due behind the updates that are made by now.

    Args:
      job: of the run.
      state: as it stands.
      at: cursor of the run.
      scope: of the experience.
      last: whether the experience has no more updates: then what has its place
        behind later ones is due as well, where an experience ends early.
    """
    made = at.totals.steps
    for kind in self.kinds:
      for number, place in enumerate(kind.places(job, at)):
        if (place > made) if last else (place == made):
          state = kind.act(job, state, at, scope, number)
    return state

  def afford(
    self,
    job: "Job",
    at: "Cursor",
    cost: program_cost.ProgramCost,
    left: base.Cost,
  ) -> float:
    """Returns the updates that a limit leaves beside the breaks to come.

    Args:
      job: of the run.
      at: cursor of the run.
      cost: of an update.
      left: that the experience may still spend.

    Raises:
      UsageError: as an experience begins, where they alone exceed the limit.
    """
    most = at.steps_to_limit(cost, left)
    if not self.kinds or most == math.inf:
      return most

    def ahead(steps: int) -> base.Cost:
      costs = (kind.ahead(job, at, steps) for kind in self.kinds)
      return sum(costs, base.Cost())

    def leaves(steps: int) -> float:
      return at.steps_to_limit(cost, left - ahead(steps))

    if at.decided.counts and not at.totals.steps:
      _check(at, ahead(0), left)

    low, high = 0, int(most)
    while low < high:
      middle = (low + high + 1) // 2
      fits = leaves(middle) >= middle
      low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _check(at: "Cursor", needed: base.Cost, left: base.Cost) -> None:
  """Raises UsageError for a limit that pays no update beside the breaks."""
  for name in ("flops", "bytes"):
    least, most = getattr(needed, name), getattr(left, name)
    if least > most:
      raise UsageError(
        f"what comes between updates of experience {at.experience}, such as "
        f"rounds on the memory, takes {least:.4g} {name}, and the limit leaves "
        f"{most:.4g}: give a higher limit, or fewer or shorter rounds"
      )
