"""Logs of runs over a stream, frame by frame and phase by phase."""

from collections.abc import Mapping, Sequence
import dataclasses
import json
from pathlib import Path
from typing import Any, Self

import numpy as np

from jcl.control.drift import accounting, phased, phases
from jcl.options.errors import UsageError
from jcl.streams import archives

# What shares of right answers are: where the truth is known, and elsewhere.
ACCURACY, AGREEMENT = "accuracy", "agreement with the teacher"

_ARRAYS = ("predictions", "truth", "served", "versions")


@dataclasses.dataclass(frozen=True)
class Entry:
  """A phase of a run."""

  kind: str
  first: int  # first frame that arrived in it
  stop: int  # first frame after it
  seconds: float  # planned length
  complete: bool  # False: the stream ended in it, and its work was lost
  note: Mapping[str, float]  # figures of the decision before it
  result: Mapping[str, float]  # figures of its work
  # The decision before it: one line, and what there was to choose from, each
  # with its predicted figures; logs of earlier versions have neither.
  reason: str = ""
  candidates: Sequence[Mapping[str, float | str]] = ()
  # Seconds, beside those planned; entries are equal whatever they took.
  took: float | None = dataclasses.field(default=None, compare=False)

  @classmethod
  def of(
    cls,
    decided: phased.Decided,
    frames: tuple[int, int],
    complete: bool,
    result: Mapping[str, float],
    took: float,
  ) -> Self:
    """Returns the entry of a phase that is over.

    Args:
      decided: the decision to have it.
      frames: first frame that arrived in it, and first frame after it.
      complete: whether its work was done.
      result: figures of its work.
      took: seconds.
    """
    change = decided.change
    return cls(
      change.kind,
      *frames,
      change.details["predicted"]["seconds"],
      complete,
      dict(decided.phase.note),
      result,
      change.reason,
      change.details["candidates"],
      took,
    )

  @property
  def drifted(self) -> bool:
    """True if a drift was detected before the phase."""
    return bool(self.note.get("drift", False))


@dataclasses.dataclass(frozen=True, eq=False)
class Log:
  """A run over a stream of `n` frames."""

  predictions: np.ndarray  # [n] int32; -1 before the first prediction
  truth: np.ndarray  # [n] int32; the teacher's labels if `measure` says so
  served: np.ndarray  # [n] bool; other frames repeat the last prediction
  versions: np.ndarray  # [n] int32, the weights that predicted, in order
  phases: tuple[Entry, ...]
  about: Mapping[str, Any]  # settings of the run, ready for JSON

  def correct(self, policy: accounting.Policy = "stale") -> np.ndarray:
    """Returns which frames [n] count as right."""
    return accounting.correct(self.predictions, self.truth, self.served, policy)

  def accuracies(
    self, frames: int, policy: accounting.Policy = "stale"
  ) -> np.ndarray:
    """Returns the accuracy of each window of `frames` frames, [n / frames]."""
    return accounting.window_accuracies(self.correct(policy), frames)

  def score(
    self, frames: int, warmup: int = 4, policy: accounting.Policy = "stale"
  ) -> float:
    """Returns the geometric mean of window accuracies after the warm-up."""
    return accounting.geometric_mean(self.accuracies(frames, policy), warmup)

  @property
  def measure(self) -> str:
    """What shares of right answers are: `ACCURACY` or `AGREEMENT`."""
    return str(self.about.get("measure", ACCURACY))

  @property
  def drop_ratio(self) -> float:
    """Share of frames that were not served."""
    return accounting.drop_ratio(self.served)

  @property
  def decisions(self) -> tuple[Entry, ...]:
    """Phases before which the stream was tested for drift."""
    return tuple(each for each in self.phases if "drift" in each.note)

  @property
  def retrainings(self) -> tuple[Entry, ...]:
    """Phases that made new weights."""
    return tuple(each for each in self.phases if "trained" in each.result)

  @property
  def working(self) -> float:
    """Share of the frames that arrived in another phase than one of waiting.

    Meanwhile the rows that do not serve label, retrain or try.
    """
    busy = sum(e.stop - e.first for e in self.phases if e.kind != phases.WAIT)
    return busy / len(self.predictions)

  @property
  def label_accuracy(self) -> float:
    """Share of the labels that were right; NaN without labels or truth."""
    judged = [e.result for e in self.phases if "right_labels" in e.result]
    given = sum(result.get("labelled", 0) for result in judged)
    right = sum(result["right_labels"] for result in judged)
    return right / given if given else float("nan")


def save(log: Log, path: Path) -> None:
  """Writes a log as PATH.npz (arrays) and PATH.json, into an existing folder.

  PATH.json is written last: a run that has one is finished.
  """
  arrays = {name: getattr(log, name) for name in _ARRAYS}
  np.savez_compressed(f"{path}.npz", allow_pickle=False, **arrays)
  fields = {
    "about": log.about,
    "phases": [dataclasses.asdict(each) for each in log.phases],
  }
  partial = Path(f"{path}.json.partial")
  partial.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
  partial.replace(f"{path}.json")


def load(path: Path) -> Log:
  """Reads a log that `save` wrote.

  Raises:
    FileNotFoundError: if one of the two files is missing.
    ValueError: if one of them is damaged.
  """
  try:
    fields = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    entries = tuple(Entry(**each) for each in fields["phases"])
    arrays = archives.arrays(Path(f"{path}.npz"))
    found = {name: arrays[name] for name in _ARRAYS}
    return Log(**found, phases=entries, about=fields["about"])
  except FileNotFoundError:
    raise
  except (
    KeyError,
    TypeError,
    OSError,
    ValueError,
    RecursionError,
  ) as error:
    raise UsageError(
      f"{path}.json or .npz is damaged ({error}): remove both"
    ) from error
