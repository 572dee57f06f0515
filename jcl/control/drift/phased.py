"""Systems of phases as controllers: of one type with those that train.

A system's generator says what comes next; the controller made of it is asked
when a phase begins, and its decisions name the share of the device's time that
labelling has, the seconds that the phase is predicted to take, the reason and
what else there was to choose from. The generator is the controller's state: it
lives as long as a run over a stream, which is never resumed.
"""

import dataclasses
from fractions import Fraction

from jcl import base
from jcl.control.drift import phases


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Seen(base.Observation):
  """An observation at the beginning of a phase; its examples are frames."""

  view: phases.View
  result: phases.Result | None  # of the work of the phase before


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Decided(base.Decision):
  """A decision on the next phase; its limit is what the phase is to take."""

  phase: phases.Phase

  @property
  def change(self) -> base.Change:
    """The decision for the report: kind, reason, candidates, predicted cost."""
    (change,) = self.changes
    return change


@dataclasses.dataclass
class Asked:
  """A controller that is asked phase by phase, and its state.

  Args:
    controller: made by `controller`.
    view: of the frames that have arrived.
    num: frames of the stream.
  """

  controller: base.Controller
  view: phases.View
  num: int

  def __post_init__(self) -> None:
    self._state = self.controller.init()
    self._decided: base.Decision | None = None

  def next(self, result: phases.Result | None, took: float) -> Decided:
    """Returns the decision on the next phase.

    Args:
      result: of the work of the phase before, if there was any.
      took: seconds of the phase before; 0 ahead of the first one.
    """
    seen = Seen(
      experience=0,  # a stream that is served is one experience
      num_experiences=1,
      num_examples=self.num,
      spent=base.Cost(seconds=self.view.seen / self.view.fps),
      moment="phase",
      decision=self._decided,
      used=base.Cost(seconds=took),
      view=self.view,
      result=result,
    )
    decided, self._state = self.controller.decide(self._state, seen)
    assert isinstance(decided, Decided)
    self._decided = decided
    return decided


def controller(system: phases.System) -> base.Controller:
  """Returns a controller that decides as the system does.

  Once the system's phases are over, the last weights serve the rest of the
  stream.
  """

  def decide(
    state: phases.Phases | None, seen: base.Observation
  ) -> tuple[Decided, phases.Phases]:
    assert isinstance(seen, Seen)
    steps = system.phases(seen.view) if state is None else state
    try:
      phase = steps.send(seen.result)
    except StopIteration:
      left = Fraction(seen.num_examples - seen.view.seen, seen.view.fps)
      phase = phases.Phase(
        phases.WAIT,
        left,
        reason="the system is done: its last weights serve on",
      )
    return decided(phase), steps

  return base.Controller(lambda: None, decide, moments=("phase",))


def decided(phase: phases.Phase) -> Decided:
  """Returns the decision that a phase stands for."""
  work, epochs = phase.work, 0
  if isinstance(work, phases.Retrain | phases.Trials):
    epochs = work.epochs
  predicted = float(phase.seconds)
  change = base.Change(
    phase.kind,
    phase.reason,
    {
      "predicted": {"seconds": predicted},
      "candidates": [dict(each) for each in phase.candidates],
    },
  )
  return Decided(
    allocation=base.Allocation(
      epochs, label=1.0 if isinstance(work, phases.Label) else 0.0
    ),
    limit=dataclasses.replace(base.UNLIMITED, seconds=predicted),
    reason=phase.reason,
    changes=(change,),
    phase=phase,
  )
