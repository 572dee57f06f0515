"""Division of a stream's frames among phases of retraining and labelling.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, https://arxiv.org/abs/2403.14353: the student that
serves frames gets the fewest rows of the array that keep up with the camera
(`jcl.cost.systolic.rows_for`); on all other rows, phases of retraining and
labelling take turns. Frame i is stamped i / fps. The seconds of kernels are
arguments.

Sums of seconds are exact fractions, so that every frame belongs to exactly one
phase, however long the stream is.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from fractions import Fraction
import math
from typing import Literal

from jcl.control.drift import buffer
from jcl.options.errors import UsageError

Seconds = float | Fraction
Kind = Literal["first_label", "retrain", "label", "extra_label"]

# A float such as 0.04 stands for the simple fraction nearest to it.
_LARGEST_DENOMINATOR = 10**9


@dataclasses.dataclass(frozen=True)
class Kernels:
  """Seconds of the kernels that share the rows not used for serving."""

  train: Seconds  # a training iteration of one batch
  valid: Seconds  # the student's forward pass of one batch
  label: Seconds  # the teacher's forward pass of one image

  def __post_init__(self) -> None:
    for name, value in dataclasses.asdict(self).items():
      if not 0 < value < math.inf:
        raise UsageError(f"{name}={value}: give the seconds, more than 0")


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Samples in each kind of phase, and in a batch."""

  train: int = buffer.NUM_TRAIN
  valid: int = buffer.NUM_VALID
  label: int = buffer.NUM_LABEL
  first_label: int = buffer.NUM_AFTER_DRIFT
  batch: int = 16

  def __post_init__(self) -> None:
    for name, value in dataclasses.asdict(self).items():
      if value < 1:
        raise UsageError(f"{name}={value}: give 1 or more")


@dataclasses.dataclass(frozen=True)
class Phase:
  """A phase and the frames that arrive while it lasts."""

  kind: Kind
  frames: range
  complete: bool  # False: the stream ended in it, and its work is lost


@dataclasses.dataclass(frozen=True)
class Window:
  """A window of static phases: retraining, then labelling."""

  retrain: range  # frames served by the old weights
  label: range  # frames served by the new ones
  seconds: Fraction  # of the first phase, as planned


def exact(seconds: Seconds) -> Fraction:
  """Returns seconds as the nearest simple fraction.

  >>> exact(0.04)
  Fraction(1, 25)
  """
  if isinstance(seconds, Fraction):
    return seconds
  return Fraction(seconds).limit_denominator(_LARGEST_DENOMINATOR)


def retraining_seconds(
  kernels: Kernels,
  num_train: int,
  num_valid: int,
  batch: int = 16,
  epochs: int = 1,
) -> Fraction:
  """Returns the seconds of retraining on samples and validating the result.

  Args:
    kernels: seconds per batch.
    num_train: samples trained on per epoch; the last batch may be incomplete.
    num_valid: samples validated on once.
    batch: samples per batch.
    epochs: passes over the samples trained on.

  >>> retraining_seconds(Kernels(0.5, 0.25, 0.1), 320, 32, epochs=2)
  Fraction(41, 2)
  """
  return epochs * math.ceil(num_train / batch) * exact(
    kernels.train
  ) + math.ceil(num_valid / batch) * exact(kernels.valid)


def labelling_seconds(kernels: Kernels, num: int) -> Fraction:
  """Returns the seconds of labelling `num` images one after the other."""
  return num * exact(kernels.label)


def owned(first: int, seconds: Seconds, fps: Seconds) -> range:
  """Returns the frames of a phase that starts at the stamp of a frame.

  These are the frames i with first / fps <= i / fps < first / fps + seconds.
  The next phase starts at the first later frame.

  Args:
    first: frame at whose stamp the phase starts.
    seconds: length of the phase.
    fps: frames per second of the camera.

  >>> owned(10, 0.5, fps=5)
  range(10, 13)
  """
  return range(first, first + math.ceil(exact(seconds) * exact(fps)))


def phase(
  kind: Kind, first: int, seconds: Seconds, fps: Seconds, num_frames: int
) -> Phase:
  """Returns a phase, shortened if the stream ends within it.

  Args:
    kind: of the phase.
    first: frame at whose stamp it starts, below `num_frames`.
    seconds: length of the phase.
    fps: frames per second of the camera.
    num_frames: length of the stream.
  """
  frames = owned(first, seconds, fps)
  return Phase(
    kind,
    range(first, min(frames.stop, num_frames)),
    frames.stop <= num_frames,
  )


def timeline(
  kernels: Kernels,
  *,
  num_frames: int = 50_400,
  fps: Seconds = 30,
  sizes: Sizes | None = None,
) -> Iterator[Phase]:
  """Yields the phases of a run in which no drift is detected.

  A first labelling is followed by retraining and labelling in turns, until the
  stream ends. Every frame belongs to one phase.

  Args:
    kernels: seconds on the rows that are not used for serving.
    num_frames: length of the stream.
    fps: frames per second of the camera.
    sizes: of the phases; None: as published.
  """
  sizes = sizes or Sizes()
  turns: Sequence[tuple[Kind, Fraction]] = (
    (
      "retrain",
      retraining_seconds(kernels, sizes.train, sizes.valid, sizes.batch),
    ),
    ("label", labelling_seconds(kernels, sizes.label)),
  )
  first = labelling_seconds(kernels, sizes.first_label)
  following = phase("first_label", 0, first, fps, num_frames)
  turn = 0
  while following.frames:
    yield following
    kind, seconds = turns[turn % 2]
    following = phase(kind, following.frames.stop, seconds, fps, num_frames)
    turn += 1


@dataclasses.dataclass(frozen=True)
class Static:
  """An allocation with a fixed labelling rate and a fixed number of rows.

  Every window retrains for `epochs` on the labels of the window before, then
  labels `floor(frames * rate)` of its own frames.

  Raises:
    ValueError: if labelling and retraining do not fit a window.
  """

  kernels: Kernels
  rate: float  # of a window's frames that are labelled, in (0, 1]
  seconds: int = 120  # of a window
  fps: int = 30
  epochs: int = 2
  batch: int = 16

  def __post_init__(self) -> None:
    if not 0 < self.rate <= 1 or self.num_labels < 1:
      raise UsageError(
        f"rate={self.rate} of {self.frames} frames: give a share of them, at "
        "least one frame"
      )
    if self.training > self.retrain_seconds:
      raise UsageError(
        f"rate={self.rate}: training for {float(self.training):.4g} s does not "
        f"fit the {float(self.retrain_seconds):.4g} s that labelling leaves of "
        f"{self.seconds} s; give a lower rate or fewer epochs"
      )

  @property
  def frames(self) -> int:
    """Frames of a window."""
    return self.seconds * self.fps

  @property
  def num_labels(self) -> int:
    """Frames labelled per window."""
    return math.floor(self.frames * exact(self.rate))

  @property
  def training(self) -> Fraction:
    """Seconds of the retraining itself."""
    return retraining_seconds(
      self.kernels, self.num_labels, 0, self.batch, self.epochs
    )

  @property
  def retrain_seconds(self) -> Fraction:
    """Seconds of the first phase: the window's, less those of labelling."""
    return self.seconds - labelling_seconds(self.kernels, self.num_labels)

  def first_seconds(self, label: Sequence[Seconds]) -> Fraction:
    """Returns the seconds of the first phase of window 0, which trains nothing.

    As published, they leave time for the slowest way to label that drops no
    frame and still fits the window.

    Args:
      label: seconds per labelled image, for each way to label.

    Raises:
      ValueError: if no way fits the window.
    """
    left = [self.seconds - self.num_labels * exact(each) for each in label]
    fits = [seconds for seconds in left if seconds > 0]
    if not fits:
      raise UsageError(
        f"label={list(label)}: {self.num_labels} images fit {self.seconds} s "
        "with none of them; give a faster one"
      )
    return min(fits)

  def window(self, index: int, seconds: Fraction | None = None) -> Window:
    """Returns the phases of a window.

    As published, a frame stamped with the end of the first phase still belongs
    to that phase.

    Args:
      index: of the window, from 0.
      seconds: of the first phase; None: `retrain_seconds`.
    """
    seconds = self.retrain_seconds if seconds is None else seconds
    start = index * self.frames
    stop = start + self.frames
    change = min(stop, start + math.floor(seconds * self.fps) + 1)
    return Window(range(start, change), range(change, stop), seconds)
