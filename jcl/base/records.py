"""Examples as they arrive, and what is recorded of learning them."""

import dataclasses
from typing import Any

import numpy as np

from jcl.base import alike
from jcl.base.control import Cost, Decision


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Labelled examples on the host, one source as its publisher split it.

  `x` is anything with `shape`, `dtype` and NumPy's indexing by an integer
  array (an array, a memory map, a reader that decodes on demand).
  """

  name: str
  x: Any  # [N, ...] uint8 or float32
  y: np.ndarray  # [N] int32 in [0, num_classes)
  class_names: tuple[str, ...]  # [C]
  scale: float = 255.0  # raw value that stands for one (uint8 only)
  group: np.ndarray | None = None  # [N] int32 domain: subject, device, month
  # Names of the groups, which are numbered from 0; () where they have none.
  group_names: tuple[str, ...] = ()
  # What reading left out or converted, a line each, for the user to see.
  notes: tuple[str, ...] = ()

  @property
  def num_classes(self) -> int:
    return len(self.class_names)

  def __len__(self) -> int:
    return len(self.y)


@dataclasses.dataclass(frozen=True)
class Experience:
  """A part of a stream: examples that arrive together."""

  index: int
  classes: tuple[int, ...]  # those that occur in it, sorted
  data: Dataset
  source_index: np.ndarray  # [N] int32 positions in the source's training set
  name: str = ""  # of its group or data set, where it is one


@dataclasses.dataclass(frozen=True, eq=False)
class Choice(alike.Alike):
  """One choice of what trains."""

  step: int  # updates made before it
  epoch: int  # of its experience
  trainable: tuple[bool, ...]  # [W] in the order of `Network.tensors`
  share: float  # of a full step's time by the profile, NaN without one
  adopted: int  # step from which it trains
  seconds: float = float("nan")  # of a step by the profile, NaN without one


@dataclasses.dataclass(frozen=True, eq=False)
class Record(alike.Alike):
  """Work, cost and results of one experience: plain Python throughout."""

  experience: int
  classes: tuple[int, ...]
  decision: Decision
  trained: tuple[int, int]  # tensors selected, tensors in all
  parameters: tuple[int, int]  # parameters selected, parameters in all
  steps: int  # updates made in it
  examples: int  # stream examples shown, repeats counted
  loss: float  # mean over the experience's updates
  online_accuracy: float  # of each batch before learning it, first epoch
  accuracy: tuple[float, ...]  # [T] class-incremental, per test set
  accuracy_task: tuple[float, ...]  # [T] task-incremental: true task is told
  accuracy_class: tuple[float, ...]  # [C], NaN where no test example
  memory: dict[str, Any]  # examples, bytes, and examples per class
  costs: dict[str, Cost]  # by account, this experience only
  peak_bytes: int  # of this process so far
  choices: tuple[Choice, ...] = ()  # of what trained in it, in order
  class_names: tuple[str, ...] = ()  # of `classes`, in their order
  name: str = ""  # of the experience, where its group or data set has one
  # Operations of its last step, dense and without products with zeros; () where
  # no weights are held at zero while others move.
  effective_flops: tuple[float, ...] = ()
  # Where a classifier and the network that started from it are judged by
  # examples set aside: their number, and right answers of both, see
  # `objectives.solved_head.Verdict`.
  judged: dict[str, float] = dataclasses.field(default_factory=dict)
  # Experiences, this one the last of them: more than one where a learner that
  # lives for long has summed up the oldest.
  stands_for: int = 1
