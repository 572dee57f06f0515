"""Books of a run, which also guard against knowledge of the future.

Both drivers keep their books here: the predictions and the weights that made
them, the labels and their times, and the samples that every version of the
weights was trained on. The work of phases is done here too, since it is the
same on any clock.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any, Protocol

import numpy as np

from jcl.control.drift import phases, sampling
from jcl.options.errors import UsageError
from jcl.serving import log

Figures = dict[str, float]
Weights = Any  # a pytree that is never changed in place
# images [n, ...] uint8 -> classes [n]
Labeller = Callable[[np.ndarray], np.ndarray]


class CausalityError(RuntimeError):
  """The use of a frame, label or weights before they are known."""


class Rows(Protocol):
  """An array, or an object that is read like one: `rows[ids]`."""

  def __len__(self) -> int: ...

  def __getitem__(self, ids: Any, /) -> Any: ...


class Student(Protocol):
  """The model that serves, as functions of its weights."""

  def predict(self, weights: Weights, images: np.ndarray) -> np.ndarray:
    """Returns logits [n, C]."""

  def passes(
    self,
    weights: Weights,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int,
    seed: int,
  ) -> Iterator[Weights]:
    """Yields the weights after every epoch of a retraining."""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledFrames:
  """The frames of a stream: frame i arrives i / fps seconds from the start."""

  images: Rows  # [n, ...] uint8
  labels: np.ndarray  # [n] classes, the truth
  fps: int = 30
  by_teacher: bool = False  # labels are the teacher's, for want of the truth

  def __post_init__(self) -> None:
    if len(self.images) != len(self.labels) or not len(self.labels):
      raise UsageError(
        f"{len(self.images)} frames and {len(self.labels)} labels: give one "
        "label per frame, and a frame at least"
      )
    if self.fps < 1:
      raise UsageError(f"fps={self.fps}: give 1 or more")

  def __len__(self) -> int:
    return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Version:
  """A version of the weights; times count frames from the start."""

  born: int  # first frame that they may serve
  began: int  # first frame of the phase that trained them
  newest: int  # frames that had arrived when their newest sample was labelled


class Books:
  """The books of a run.

  Args:
    student: serves and learns.
    weights: the first weights.
    frames: the stream.
    labeller: the teacher; None: labels are the truth.
    served: [n] bool; a frame that is not served repeats the last prediction.
    causal: whether looking ahead is an error.
    seed: of retrainings and of the system's own draws.
  """

  def __init__(
    self,
    student: Student,
    weights: Weights,
    frames: LabelledFrames,
    labeller: Labeller | None,
    served: np.ndarray,
    *,
    causal: bool = True,
    seed: int = 0,
  ) -> None:
    num = len(frames)
    self.frames, self.weights = frames, weights
    self.served, self.seed = served, seed
    self.seen = 0
    self.predictions = np.full(num, -1, np.int32)
    self.confidence = np.zeros(num, np.float32)
    self.version = np.zeros(num, np.int32)
    self.labels = np.full(num, -1, np.int32)
    self.labelled = np.full(num, -1, np.int64)  # frames seen by then
    self.versions = [Version(0, 0, 0)]
    self._student, self._labeller, self._causal = student, labeller, causal
    self._last = np.maximum.accumulate(np.where(served, np.arange(num), -1))

  @property
  def view(self) -> phases.View:
    """The frames that the system may know."""
    return _View(self)

  def serve(self, frames: range) -> None:
    """Predicts the next frames with the present weights."""
    ids = np.arange(frames.start, frames.stop)
    taken = ids[self.served[ids]]
    if len(taken):
      logits = self._student.predict(
        self.weights, np.asarray(self.frames.images[taken])
      )
      self.record(taken, np.argmax(logits, 1), sampling.top_probability(logits))
    self.arrive(frames.stop)

  def record(
    self, ids: np.ndarray, predictions: np.ndarray, confidence: np.ndarray
  ) -> None:
    """Records predictions of the present weights for frames.

    Raises:
      CausalityError: for a frame that arrived before the weights existed.
    """
    born = self.versions[-1].born
    if len(ids) and ids[0] < born:
      raise CausalityError(
        f"frame {ids[0]} is served by weights that are there from frame {born}"
      )
    self.predictions[ids], self.confidence[ids] = predictions, confidence
    self.version[ids] = len(self.versions) - 1

  def arrive(self, frames: int) -> None:
    """Records that frames arrived; those not served repeat the last result."""
    ids = np.arange(self.seen, frames)
    stale = ids[~self.served[ids] & (self._last[ids] >= 0)]
    for each in (self.predictions, self.confidence, self.version):
      each[stale] = each[self._last[stale]]
    self.seen = frames

  def perform(
    self, work: phases.Work, began: int
  ) -> tuple[phases.Result, dict[str, float]]:
    """Does the work of a phase at its end.

    Args:
      work: of the phase.
      began: frame at whose arrival the phase began.

    Returns:
      The result for the system, and the figures for the log.

    Raises:
      CausalityError: for work on frames or labels that were not known in time.
    """
    if isinstance(work, phases.Label):
      return self._label(work)
    if isinstance(work, phases.Retrain):
      return self._retrain(work, began)
    return self._try(work, began)

  def _label(self, work: phases.Label) -> tuple[phases.Labelled, Figures]:
    ids = np.asarray(work.choose(self.view), np.int64)
    images = self.read(ids)
    truth = self.frames.labels[ids]
    found = truth if self._labeller is None else self._labeller(images)
    # The label of a frame is known since the first time it was given.
    fresh = self.labelled[ids] < 0
    self.labelled[ids[fresh]] = self.seen
    self.labels[ids] = labels = np.asarray(found, np.int32)
    now = None
    if work.recheck:
      now = np.argmax(self._student.predict(self.weights, images), 1) == labels
    served = self.predictions[ids] == labels
    figures: Figures = {"labelled": len(ids)}
    if not self.frames.by_teacher:  # who is not to be judged by itself
      figures["right_labels"] = int((labels == truth).sum())
    return phases.Labelled(ids, labels, served, now), figures

  def _retrain(
    self, work: phases.Retrain, began: int
  ) -> tuple[phases.Retrained, Figures]:
    images, labels = self._samples(work.train, began)
    valid = np.asarray(work.valid, np.int64)
    if self._causal:
      judges = self._samples(valid, began)
    else:
      valid = valid[valid < len(self.frames)]
      judges = (
        np.asarray(self.frames.images[valid]),
        self.frames.labels[valid],
      )
    kept, correct = self.weights, -1
    for weights in self._student.passes(
      self.weights, images, labels, work.epochs, self._draw()
    ):
      if work.keep == "last":
        kept = weights
        continue
      found = int(self._right(weights, *judges).sum())
      if found > correct:
        kept, correct = weights, found
    if work.keep == "last":
      correct = int(self._right(kept, *judges).sum())
    newest = int(self.labelled[work.train].max(initial=0))
    self.weights = kept
    self.versions.append(Version(self.seen, began, newest))
    return phases.Retrained(correct, len(valid)), {
      "trained": len(labels),
      "epochs": work.epochs,
      "validated": len(valid),
      "correct": correct,
    }

  def _try(
    self, work: phases.Trials, began: int
  ) -> tuple[phases.Tried, Figures]:
    found = np.zeros((len(work.sets), work.epochs + 1))
    for row, (train, valid) in zip(found, work.sets, strict=True):
      judges = self._samples(valid, began)
      row[0] = self._right(self.weights, *judges).mean()
      tried = self._student.passes(
        self.weights, *self._samples(train, began), work.epochs, self._draw()
      )
      row[1:] = [self._right(weights, *judges).mean() for weights in tried]
    return phases.Tried(found), {"trials": len(found)}

  def _samples(
    self, ids: np.ndarray, began: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels of frames labelled before frame `began`."""
    ids = np.asarray(ids, np.int64)
    at = self.labelled[ids]
    early = ids[(at < 0) | (at > began)]
    if len(early):
      raise CausalityError(
        f"training from frame {began} on takes {len(early)} frames, such as "
        f"{early[0]}, that were not labelled by then"
      )
    return self.read(ids), self.labels[ids]

  def read(self, ids: np.ndarray) -> np.ndarray:
    """Returns frames that have arrived, [n, ...] uint8."""
    return np.asarray(self.frames.images[self.known(ids)])

  def known(self, ids: np.ndarray) -> np.ndarray:
    """Returns the ids after checking that their frames have arrived."""
    ids = np.asarray(ids, np.int64)
    if len(ids) and not 0 <= ids.min() <= ids.max() < self.seen:
      raise CausalityError(
        f"frames {ids.min()} to {ids.max()} were asked for when frames 0 to "
        f"{self.seen - 1} had arrived"
      )
    return ids

  def check(self) -> None:
    """Checks for every frame that its weights knew nothing of the future.

    Raises:
      CausalityError: for weights that served before they existed, or were
        trained on samples labelled after their training began.
    """
    made = [dataclasses.astuple(version) for version in self.versions]
    born, began, newest = np.array(made)[self.version[: self.seen]].T
    arrived = np.arange(self.seen)
    # A frame that repeats an earlier prediction has the version of that one.
    wrong = (born > arrived) | (newest > began) | (began > born)
    if wrong.any():
      raise CausalityError(
        f"frame {np.flatnonzero(wrong)[0]} was served by weights of the future"
      )

  def _right(
    self, weights: Weights, images: np.ndarray, labels: np.ndarray
  ) -> np.ndarray:
    if not len(labels):
      return np.zeros(0, bool)
    return np.argmax(self._student.predict(weights, images), 1) == labels

  def _draw(self) -> int:
    """Returns the seed of the next training."""
    sequence = np.random.SeedSequence((self.seed, len(self.versions)))
    return int(sequence.generate_state(1)[0])

  def close(
    self,
    system: phases.System,
    entries: Sequence[log.Entry],
    about: Mapping[str, Any],
  ) -> log.Log:
    """Checks the books of a finished run and returns its log.

    Args:
      system: that was run.
      entries: its phases.
      about: more facts for the log, such as the clock.

    Raises:
      CausalityError: as `check`, for a causal system.
    """
    if system.causal:
      self.check()
    return log.Log(
      self.predictions,
      self.frames.labels.astype("int32"),
      self.served,
      self.version,
      tuple(entries),
      {
        "system": system.name,
        "causal": system.causal,
        "seed": self.seed,
        "fps": self.frames.fps,
        "labels": "oracle" if self._labeller is None else "teacher",
        **({"measure": log.AGREEMENT} if self.frames.by_teacher else {}),
        **about,
      },
    )


class _View:
  """The part of the books that a system may know."""

  def __init__(self, books: Books) -> None:
    self._books = books

  @property
  def seen(self) -> int:
    return self._books.seen

  @property
  def fps(self) -> int:
    return self._books.frames.fps

  @property
  def seed(self) -> int:
    return self._books.seed

  def pixels(self, ids: np.ndarray) -> np.ndarray:
    return self._books.read(ids)

  def predictions(self, ids: np.ndarray) -> np.ndarray:
    return self._books.predictions[self._books.known(ids)]

  def confidence(self, ids: np.ndarray) -> np.ndarray:
    return self._books.confidence[self._books.known(ids)]
