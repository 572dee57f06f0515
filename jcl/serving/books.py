"""Books of a run so far, and the guard against knowing the future.

Both drivers keep their books here: what was served by which weights, what was
labelled when, and what every version of the weights was trained on. Work is
carried out here too, as it is the same on any clock.
"""

from collections.abc import Callable, Iterator
import dataclasses
from typing import Any, Protocol

import numpy as np

from jcl.control.drift import phases, sampling

Weights = Any  # a pytree; a value that nobody changes
# images [n, ...] uint8 -> classes [n]
Labeller = Callable[[np.ndarray], np.ndarray]


class CausalityError(RuntimeError):
  """Something was used before it could be known."""


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
class Footage:
  """A stream: frame i arrives i / fps seconds from the start."""

  frames: Any  # [n, ...] uint8, an array or what reads rows like one
  labels: np.ndarray  # [n] classes, the truth
  fps: int = 30

  def __post_init__(self) -> None:
    if len(self.frames) != len(self.labels) or not len(self.labels):
      raise ValueError(
        f"{len(self.frames)} frames and {len(self.labels)} labels: give one "
        "label per frame, and a frame at least"
      )
    if self.fps < 1:
      raise ValueError(f"fps={self.fps}: give 1 or more")

  def __len__(self) -> int:
    return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Version:
  """Weights that served, in frames from the start."""

  born: int  # first frame that they may serve
  began: int  # first frame of the phase that trained them
  newest: int  # frames that had come when their newest sample was labelled


class Site:
  """The books of a run.

  Args:
    student: serves and learns.
    weights: to begin with.
    footage: what arrives.
    labeller: the teacher; None takes the truth, as an oracle would.
    served: [n] bool, frames that are served; others repeat what came before.
    causal: whether looking ahead is an error.
    seed: of retrainings and of the system's own draws.
  """

  def __init__(
    self,
    student: Student,
    weights: Weights,
    footage: Footage,
    labeller: Labeller | None,
    served: np.ndarray,
    *,
    causal: bool = True,
    seed: int = 0,
  ) -> None:
    num = len(footage)
    self.footage, self.weights = footage, weights
    self.served, self.seed = served, seed
    self.seen = 0
    self.predictions = np.full(num, -1, np.int32)
    self.confidence = np.zeros(num, np.float32)
    self.version = np.zeros(num, np.int32)
    self.labels = np.full(num, -1, np.int32)
    self.labelled = np.full(num, -1, np.int64)  # frames seen when it was
    self.versions = [Version(0, 0, 0)]
    self._student, self._labeller, self._causal = student, labeller, causal
    self._last = np.maximum.accumulate(np.where(served, np.arange(num), -1))

  @property
  def view(self) -> phases.View:
    """View of the frames that the system may look at."""
    return _View(self)

  def serve(self, frames: range) -> None:
    """Predicts the next frames with the weights as they are."""
    ids = np.arange(frames.start, frames.stop)
    taken = ids[self.served[ids]]
    if len(taken):
      logits = self._student.predict(
        self.weights, np.asarray(self.footage.frames[taken])
      )
      self.record(
        taken, np.argmax(logits, -1), sampling.top_probability(logits)
      )
    self.arrive(frames.stop)

  def record(
    self, ids: np.ndarray, predictions: np.ndarray, confidence: np.ndarray
  ) -> None:
    """Notes what was served for frames, by the weights as they are.

    Raises:
      CausalityError: for a frame that came before the weights were there.
    """
    born = self.versions[-1].born
    if len(ids) and ids[0] < born:
      raise CausalityError(
        f"frame {ids[0]} is served by weights that are there from frame {born}"
      )
    self.predictions[ids], self.confidence[ids] = predictions, confidence
    self.version[ids] = len(self.versions) - 1

  def arrive(self, frames: int) -> None:
    """Notes how many frames have come; those not served get what is stale."""
    ids = np.arange(self.seen, frames)
    stale = ids[~self.served[ids] & (self._last[ids] >= 0)]
    for each in (self.predictions, self.confidence, self.version):
      each[stale] = each[self._last[stale]]
    self.seen = frames

  def perform(
    self, work: phases.Work, began: int
  ) -> tuple[phases.Result, dict[str, float]]:
    """Carries out the work of a phase at its end.

    Args:
      work: of the phase.
      began: frame at whose arrival the phase began.

    Returns:
      What the system is told, and what the log is told.

    Raises:
      CausalityError: where the work needs what was not known in time.
    """
    if isinstance(work, phases.Label):
      return self._label(work)
    if isinstance(work, phases.Retrain):
      return self._retrain(work, began)
    return self._try(work, began)

  def _label(self, work):
    ids = np.asarray(work.choose(self.view), np.int64)
    images = self.read(ids)
    truth = self.footage.labels[ids]
    found = truth if self._labeller is None else self._labeller(images)
    # A frame that was labelled before was known since then.
    fresh = self.labelled[ids] < 0
    self.labelled[ids[fresh]] = self.seen
    self.labels[ids] = labels = np.asarray(found, np.int32)
    now = None
    if work.recheck:
      now = np.argmax(self._student.predict(self.weights, images), -1) == labels
    served = self.predictions[ids] == labels
    return phases.Labelled(ids, labels, served, now), {
      "labelled": len(ids),
      "right_labels": int((labels == truth).sum()),
    }

  def _retrain(self, work, began):
    images, labels = self._samples(work.train, began)
    valid = np.asarray(work.valid, np.int64)
    if self._causal:
      judges = self._samples(valid, began)
    else:
      valid = valid[valid < len(self.footage)]
      judges = (
        np.asarray(self.footage.frames[valid]),
        self.footage.labels[valid],
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

  def _try(self, work, began):
    found = np.zeros((len(work.sets), work.epochs + 1))
    for row, (train, valid) in zip(found, work.sets, strict=True):
      judges = self._samples(valid, began)
      row[0] = self._right(self.weights, *judges).mean()
      tried = self._student.passes(
        self.weights, *self._samples(train, began), work.epochs, self._draw()
      )
      row[1:] = [self._right(weights, *judges).mean() for weights in tried]
    return phases.Tried(found), {"trials": len(found)}

  def _samples(self, ids, began) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of frames that were labelled by then."""
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
    return np.asarray(self.footage.frames[self.known(ids)])

  def known(self, ids: np.ndarray) -> np.ndarray:
    """Returns the ids, having checked that their frames have arrived."""
    ids = np.asarray(ids, np.int64)
    if len(ids) and not 0 <= ids.min() <= ids.max() < self.seen:
      raise CausalityError(
        f"frames {ids.min()} to {ids.max()} were asked for when frames 0 to "
        f"{self.seen - 1} had arrived"
      )
    return ids

  def check(self) -> None:
    """Checks once more, of every frame, what its weights were made of.

    Raises:
      CausalityError: where weights served before they were there, or were
        trained on what was labelled after their training began.
    """
    made = [dataclasses.astuple(version) for version in self.versions]
    born, began, newest = np.array(made)[self.version[: self.seen]].T
    arrived = np.arange(self.seen)
    # Frames repeat what was served for one before them.
    wrong = (born > arrived) | (newest > began) | (began > born)
    if wrong.any():
      raise CausalityError(
        f"frame {np.flatnonzero(wrong)[0]} was served by weights of the future"
      )

  def _right(self, weights, images, labels) -> np.ndarray:
    if not len(labels):
      return np.zeros(0, bool)
    return np.argmax(self._student.predict(weights, images), -1) == labels

  def _draw(self) -> int:
    """A seed for what is trained next."""
    sequence = np.random.SeedSequence((self.seed, len(self.versions)))
    return int(sequence.generate_state(1)[0])


class _View:
  """The books as a system sees them."""

  def __init__(self, site: Site) -> None:
    self._site = site

  @property
  def seen(self) -> int:
    return self._site.seen

  @property
  def fps(self) -> int:
    return self._site.footage.fps

  @property
  def seed(self) -> int:
    return self._site.seed

  def pixels(self, ids: np.ndarray) -> np.ndarray:
    return self._site.read(ids)

  def predictions(self, ids: np.ndarray) -> np.ndarray:
    return self._site.predictions[self._site.known(ids)]

  def confidence(self, ids: np.ndarray) -> np.ndarray:
    return self._site.confidence[self._site.known(ids)]
