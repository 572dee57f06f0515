"""Phases of a system while frames arrive, and the work done in them.

A system is a generator. It yields a phase, frames arrive while the phase lasts,
and at its end the work is done and the result sent back to the generator. A
driver decides which frames arrive in a phase and does the work; a system only
decides what to do next, from the frames that have arrived. The same system thus
runs on a virtual clock and on a real one.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
import dataclasses
from typing import Any, Literal, Protocol

import numpy as np

from jcl.control.drift import allocation

WAIT = "wait"  # kind of a phase in which nothing is labelled or trained


class View(Protocol):
  """The frames that a system may know: those that have arrived.

  Every method raises `serving.books.CausalityError` for a frame yet to come.
  """

  @property
  def seen(self) -> int:
    """Frames that have arrived; frame `seen` is the next."""

  @property
  def fps(self) -> int:
    """Frames per second."""

  @property
  def seed(self) -> int:
    """Seed of the system's own random draws."""

  def pixels(self, ids: np.ndarray) -> np.ndarray:
    """Returns frames [n, ...] uint8."""

  def predictions(self, ids: np.ndarray) -> np.ndarray:
    """Returns the classes [n] that were served for frames."""

  def confidence(self, ids: np.ndarray) -> np.ndarray:
    """Returns the probabilities [n] of those classes."""


@dataclasses.dataclass(frozen=True, eq=False)
class Label:
  """Has the teacher label frames; the result is `Labelled`."""

  choose: Callable[[View], np.ndarray]  # ids [N], called at the phase's end
  recheck: bool = False  # also predict them with the weights at that time


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
  """Frames with their labels."""

  ids: np.ndarray  # [N] int64
  labels: np.ndarray  # [N] int32
  served: np.ndarray  # [N] bool, true where the served class is the label
  now: np.ndarray | None  # [N] bool, likewise for the predictions of `recheck`


@dataclasses.dataclass(frozen=True, eq=False)
class Retrain:
  """Retrains the serving weights, which serve from then on; gives `Retrained`.

  Frames must have been labelled in phases that ended before this one began. A
  system that is not causal may validate on frames to come.
  """

  train: np.ndarray  # [n] ids
  valid: np.ndarray  # [v] ids, may be empty
  epochs: int = 1
  # Which epoch's weights to keep; "best" is judged on `valid`.
  keep: Literal["last", "best"] = "last"


@dataclasses.dataclass(frozen=True)
class Retrained:
  """Validation of the new weights."""

  correct: int  # validation frames predicted as labelled
  num: int  # validation frames


@dataclasses.dataclass(frozen=True, eq=False)
class Trials:
  """Trains copies of the weights that are then dropped; gives `Tried`.

  The condition on frames is that of `Retrain`.
  """

  sets: tuple[tuple[np.ndarray, np.ndarray], ...]  # ids to train, to validate
  epochs: int


@dataclasses.dataclass(frozen=True, eq=False)
class Tried:
  """Accuracies of the copies that were tried."""

  accuracies: np.ndarray  # [sets, epochs + 1] in [0, 1], from before training


Work = Label | Retrain | Trials
Result = Labelled | Retrained | Tried


@dataclasses.dataclass(frozen=True, eq=False)
class Phase:
  """A span of time; its work counts as done at its end."""

  kind: str  # such as "retrain", "label" or "wait"
  seconds: allocation.Seconds  # 0 or more
  work: Work | None = None
  # Figures of the decision before the phase, for the log.
  note: Mapping[str, float] = dataclasses.field(default_factory=dict)
  reason: str = ""  # one line: why this phase, and not another
  # What there was to choose from, each with its predicted figures.
  candidates: Sequence[Mapping[str, float | str]] = ()


Phases = Generator[Phase, Any, None]


@dataclasses.dataclass(frozen=True, eq=False)
class System:
  """A way to label and retrain.

  The generator `phases(view)` is sent the result of each phase's work, or None
  for a phase without work. After its end the last weights go on serving.
  """

  name: str
  phases: Callable[[View], Phases]
  causal: bool = True  # False: an upper bound that looks ahead
