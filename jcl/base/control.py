"""How much of everything: costs, and what decides on them."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, Literal, NamedTuple

from jcl.base import alike


@dataclasses.dataclass(frozen=True, eq=False)
class Cost(alike.Alike):
  """Work in seconds, joules, floating-point operations and bytes moved."""

  seconds: float = 0.0
  joules: float = 0.0
  flops: float = 0.0
  bytes: float = 0.0

  def __add__(self, other: "Cost") -> "Cost":
    return Cost(
      self.seconds + other.seconds,
      self.joules + other.joules,
      self.flops + other.flops,
      self.bytes + other.bytes,
    )

  def __sub__(self, other: "Cost") -> "Cost":
    return self + -1.0 * other

  def __rmul__(self, factor: float) -> "Cost":
    return Cost(
      factor * self.seconds,
      factor * self.joules,
      factor * self.flops,
      factor * self.bytes,
    )


UNLIMITED = Cost(*(float("inf"),) * 4)


@dataclasses.dataclass(frozen=True)
class Allocation:
  """Every "how much" of a run, one value each.

  A knob that a recipe does not have keeps its null value.
  """

  epochs: int  # training passes over an experience; 0 where nothing trains
  rho: float = 1.0  # time of a step that a selector may fill, over a full one's
  trunk: int = 0  # leading units that are frozen for good
  em: int = 0  # examples in memory, of the past
  sb: int = 0  # and of this experience: the stream buffer
  swap: float = 1.0  # share of replayed examples that is exchanged
  replay: float | None = None  # of a step's rows; None: the recipe's own share
  label: float = 0.0  # shares of device time; training has the rest
  serve: float = 0.0


@dataclasses.dataclass(frozen=True)
class Change:
  """One thing that a controller has just decided, for the report."""

  kind: str  # one word, such as "chosen" or "shrunk"
  reason: str  # one line
  # More of it, JSON-ready: candidates, and what was predicted.
  details: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Decision:
  """A controller's decision, in force until its next one.

  A number in place of the allocation stands for so many epochs.
  """

  allocation: Allocation
  limit: Cost = UNLIMITED  # training stops where the first of them is reached
  reason: str = ""  # one line, shown in the report
  # Accounts whose whole cost in the experience counts towards the limit, which
  # no update passes then; (): the updates alone, the last of which may pass it.
  counts: tuple[str, ...] = ()
  reserved: Cost = Cost()  # part of the limit that updates leave untouched
  wait: bool = False  # training pauses until the next decision
  changes: tuple[Change, ...] = ()  # made by this decision
  # What the controller reckoned with, for the report, which reads these names.
  # By limit, such as "joules": of what the whole experience counts, an equal
  # share, "share_joules", and the most, "allowed_joules"; and "price_joules",
  # the share of right answers that a joule has to gain. "price" is that of an
  # equal share of updates. Then the shares of examples set aside that are right
  # at the end: "forecast", by a few looks early on, and "reached".
  forecast: Mapping[str, float] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    if not isinstance(self.allocation, Allocation):
      object.__setattr__(self, "allocation", Allocation(self.allocation))

  @property
  def epochs(self) -> int:
    """Passes over the training set of the experience."""
    return self.allocation.epochs

  def changed(self, *changes: Change, **knobs: Any) -> "Decision":
    """Returns the decision with other values of knobs, and why."""
    allocation = dataclasses.replace(self.allocation, **knobs)
    told = (*self.changes, *changes)
    return dataclasses.replace(self, allocation=allocation, changes=told)


class Held(NamedTuple):
  """A memory on the host, as a controller sees it; sizes are in examples."""

  room: float  # that memory and stream buffer may hold together now
  over: bool  # whether they hold more than is allowed now
  allowed: str  # what the host allows, to be read
  row_bytes: int  # of an example
  rows: int  # of the stream, in a step
  given: tuple[int, int]  # sizes of memory and stream buffer by the recipe
  classes: int  # seen, those of the experience included
  aside: int  # set aside as judges
  trained: int | None  # that the experience before was trained on, if any
  earlier: Callable[[], dict[int, int]]  # stored, by class: of the past
  fresh: Callable[[], dict[int, int]]  # and of this experience
  exchanges: Callable[[], tuple[int, int]]  # made, and too late, so far


Moment = Literal["experience", "dispatch", "epoch", "end", "phase"]


@dataclasses.dataclass(frozen=True)
class Observation:
  """The figures and functions that a controller decides by."""

  experience: int
  num_experiences: int
  num_examples: int
  spent: Cost  # since the start of the run, all accounts
  # A decision is due when an experience begins, ahead of a dispatch of updates
  # and behind it, when an epoch has ended, and when the experience has; where a
  # stream is served, when a phase begins.
  moment: Moment = "experience"
  epoch: int = 0  # epochs of the experience that are over
  decision: Decision | None = None  # in force
  used: Cost = Cost()  # by the experience's training
  updates: int = 0  # of the experience that are made
  planned: int = 0  # in all, as known from the first one on
  # By account: of the experiences before this one, and of this one so far.
  recorded: Mapping[str, Cost] = dataclasses.field(default_factory=dict)
  pending: Mapping[str, Cost] = dataclasses.field(default_factory=dict)
  # -> what the hooks behind the experience's last update are going to cost
  closing: Callable[[], Cost] | None = None
  held: Held | None = None  # where a memory is on the host
  # (sizes to try, share of their examples, epochs of training with them)
  # -> `control.sizes.Outcome`
  trial: Callable[..., Any] | None = None
  judge: Callable[[], Any] | None = None  # -> `control.verdict.Verdict`
  # -> what `Consolidation.told` tells of the model as it is now; where there
  # are examples set aside on the device
  compare: Callable[[], Mapping[str, float]] | None = None
  comparison: Callable[[], Cost] | None = None  # -> what that takes
  # -> what an experience, by its number, takes beside its updates: opening and
  # closing it and one comparison; in operations and bytes
  beside: Callable[[int], Cost] | None = None
  # -> an update by the recipe's own step, likewise
  update: Callable[[], Cost] | None = None

  def after(self, decision: Decision) -> "Observation":
    """Returns what there is to look at with another decision in force."""
    return dataclasses.replace(self, decision=decision)


class Controller(NamedTuple):
  """Decides how much of everything. Host only, plain Python.

  `decide(state, seen)` is called at the moments named, and returns a decision
  and its next state, which is JSON-ready where runs are resumed.
  """

  init: Callable[[], Any]
  decide: Callable[[Any, Observation], tuple[Decision, Any]]
  moments: tuple[Moment, ...] = ("experience",)
