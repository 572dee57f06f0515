"""Parts of a run, where it stands, and the events that it yields."""

from collections.abc import Callable
import dataclasses
from typing import Any, Literal, NamedTuple

import jax

from jcl import base
from jcl.cost import ledger as ledger_lib
from jcl.replay import forgetting as counts
from jcl.streams import stream as stream_lib
from jcl.train import learner as learner_lib


@dataclasses.dataclass
class Tally:
  """Running sums of one experience."""

  steps: int = 0
  examples: float = 0.0
  loss: float = 0.0  # summed over steps
  online_correct: float = 0.0  # first epoch
  online_examples: float = 0.0


@dataclasses.dataclass
class Place:
  """Where a run stands: with a `LearnerState`, all that resuming needs."""

  experience: int = 0
  begun: bool = False  # the experience's decision is made, its set gathered
  epoch: int = 0
  batch: int = 0  # next batch of the epoch
  step: int = 0  # updates since the start of the run
  evaluated: int = 0  # step of the last evaluation mid-way
  selection: base.Selection | None = None
  following: base.Selection | None = None  # chosen, not yet trained
  adopt: int = 0  # step from which the latest choice trains, or trains exactly
  chosen: int = -1  # epoch of the experience's latest choice
  choices: list[base.Choice] = dataclasses.field(default_factory=list)
  pruned: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  decision: base.Decision | None = None
  planned: int = 1  # updates of the experience, as known when it began
  control: Any = ()
  tally: Tally = dataclasses.field(default_factory=Tally)
  spent: base.Cost = base.Cost()  # training cost of this experience
  initial: tuple[tuple[float, ...], tuple[float, ...]] | None = None
  tiers: dict[str, Any] | None = None  # what a memory hierarchy holds
  removed: list[int] = dataclasses.field(default_factory=list)  # rows, for good
  forgetting: counts.Forgetting | None = None  # where examples are removed
  records: list[base.Record] = dataclasses.field(default_factory=list)


class Event(NamedTuple):
  """Something that happened; the state is valid until the next event."""

  kind: Literal["begin", "steps", "evaluated", "paused", "experience"]
  state: base.LearnerState
  place: Place
  scalars: dict[str, Any]  # what is worth logging, Python numbers


@dataclasses.dataclass(frozen=True)
class Setting:
  """Parts of a run, beside its state."""

  stream: stream_lib.Stream
  learner: learner_lib.Learner
  controller: base.Controller
  ledger: ledger_lib.Ledger
  seed: int
  evaluate_every: int = 0  # updates between evaluations mid-way; 0: none
  times: Any = None  # `selection.times.TensorTimes`, where a selector asks
  tiers: Any = None  # `hierarchy.tiers.Tiers`, where the method asks for them
  latents: Any = None  # `latents.cache.Cache`, where a trunk's output is kept
  inputs: Any = None  # `inference.model.Inputs`: what raw examples go through
  # Digest of the raw data, see `identity.content`.
  content: Callable[[], str] | None = None
  lead: int = 0  # updates between a choice and its training, while it compiles

  @property
  def trunk(self) -> Any:
    """The frozen part whose outputs are what is learned from, or None."""
    return None if self.latents is None else self.latents.trunk

  @property
  def key(self) -> base.Key:
    return jax.random.key(self.seed)

  def key_for(self, *path: int) -> jax.Array:
    """A random key for every purpose (0 initialises, 1 steps, ...)."""
    key = self.key
    for part in path:
      key = jax.random.fold_in(key, part)
    return key
