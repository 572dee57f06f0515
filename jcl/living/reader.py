"""A live learner's folder opened for predictions alone, beside its writer."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jcl.living import answers as answers_lib
from jcl.living.log import labels as labels_lib
from jcl.options import errors
from jcl.options.errors import MissingFileError, UsageError
from jcl.report import lines
from jcl.run.inference import files

RUN = "run"  # folder of checkpoints, records and the model
_LABELS = "labels.json"  # keys of the labels, by output of the model


class Reader(answers_lib.Predicts):
  """Predicts with the latest model that a live learner has written.

  Any number of processes may read a folder, beside the one that learns there.
  A newer model is read when the next prediction is asked for; one that another
  follows at once is there a second later at most.

  Args:
    folder: of the learner.
    network: as the learner was given it, where that was a function.

  Raises:
    UsageError: for a folder that no learner made, or with a damaged model.
  """

  def __init__(
    self, folder: str | os.PathLike[str], network: files.Build | None = None
  ) -> None:
    self._folder, self._build = Path(folder).expanduser(), network
    self._answers: answers_lib.Answers | None = None
    self._read: tuple[int, int] | None = None  # what tells versions apart
    if not self._folder.is_dir():
      raise MissingFileError(f"there is no folder {self._folder}")
    self._refresh()

  @property
  def classes_(self) -> np.ndarray:
    """Labels that are learned, in the order in which they arrived, [K]."""
    return self.latest().classes

  def latest(self) -> answers_lib.Answers:
    self._refresh()
    if self._answers is None:
      raise answers_lib.none_yet()
    return self._answers

  def _refresh(self) -> None:
    """Reads the model where another one lies there than was read last."""
    try:
      found = os.stat(self._folder / RUN / files.NAME)
    except FileNotFoundError:
      return
    version = found.st_ino, found.st_mtime_ns
    if version != self._read:
      self._answers = load(self._folder, self._build, self._answers)
      self._read = version


def keep_labels(folder: Path, labels: tuple[Any, ...]) -> None:
  """Writes the labels of a model's outputs, ahead of the model itself."""
  keys = list(map(labels_lib.key, labels))
  lines.write_atomically(folder / _LABELS, json.dumps(keys))


def load(
  folder: Path,
  build: files.Build | None = None,
  before: answers_lib.Answers | None = None,
) -> answers_lib.Answers | None:
  """Returns the latest model of a folder, None where there is none.

  Args:
    folder: of a live learner.
    build: makes the network, where that was a function of one's own.
    before: answers so far, whose programs serve on where they can.

  Raises:
    UsageError: for a damaged file.
  """
  place = folder / RUN / files.NAME
  if not place.exists():
    return None
  made = files.load(place, build, None if before is None else before.model)
  try:
    keys = json.loads((folder / _LABELS).read_text(encoding="utf-8"))
    known = keys[: int(np.count_nonzero(made.seen))]
    labels = tuple(map(labels_lib.label, known))
  except (OSError, ValueError, TypeError) as error:
    raise UsageError(
      f"{folder / _LABELS} cannot be read ({errors.reason(error, 90)}): bring "
      "it back, or open the learner's folder for writing once"
    ) from error
  if before is not None:
    made = made.following(before.model)
  return answers_lib.Answers(made, labels)
