"""Parts that runs over drifting streams share: images, networks, weights."""

from collections.abc import Callable
import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jcl import base, recipes
from jcl.networks import catalogue
from jcl.run import pretraining
from jcl.serving import books, image_pool, models, teacher
from jcl.streams import drifting, manifest, rendering, sources

Role = Literal["student", "teacher"]
# What every number has to be read with: see `models.Student.training_share`.
UPDATES = "their share of the multiplications of training everything"


class Cast(NamedTuple):
  """Who plays, and what they know ahead of the stream."""

  student: str  # network, such as "slim_resnet18:filters=8"
  teacher: str
  stills: tuple[int, int]  # images for the student, per condition for the other
  epochs: tuple[int, int]  # of training on them
  classes: int = 9
  enlarge: int = 1  # times as many pixels along each side
  recipe: str = "finetune"  # how the student is retrained
  precision: teacher.Precision = "float32"


def cast(source: sources.Source, student: str = "", teacher: str = "") -> Cast:
  """Returns who may play on a set of images; names left empty are chosen.

  Images under 16 pixels a side are enlarged, and perceptrons learn them.

  Raises:
    ValueError: for other data than images, or too few of a class.
  """
  classes = min(9, source.train.num_classes)
  image_pool.check(source, classes)
  side = min(source.train.x.shape[1:3])
  is_small = side < 16
  return Cast(
    student or ("mlp:width=64" if is_small else "slim_resnet18:filters=8"),
    teacher or ("mlp:width=400" if is_small else "slim_resnet18:filters=16"),
    stills=(4000, 4000) if is_small else (12000, 2000),
    epochs=(8, 8) if is_small else (6, 10),
    classes=classes,
    enlarge=-(-24 // side) if is_small else 1,
  )


class Stage:
  """Makes what many runs need, each thing once.

  For every seed the images are split anew into those that the student learns,
  those that the teacher learns, and those of the stream. The student learns a
  clear day, the teacher all conditions.

  Args:
    source: labelled images.
    cast: who plays.
    folder: where learned weights are kept.

  Raises:
    ValueError: for images, networks or a recipe that do not fit.
  """

  def __init__(self, source: sources.Source, cast: Cast, folder: Path) -> None:
    self._cast, self._folder = cast, folder
    self._images, self._labels = image_pool.pool(
      source, cast.classes, cast.enlarge
    )
    # The same numbers for all seeds, so that programs are compiled once.
    mean, std = teacher.standardisation(self._images)
    self._scale: dict[str, Any] = {"mean": mean, "std": std}
    self._networks = {
      "student": self._network(cast.student),
      "teacher": self._network(cast.teacher),
    }
    # It begins with learned weights, given by `weights`.
    student = dataclasses.replace(self._networks["student"], pretrained=True)
    self.student = models.Student(
      teacher.precise(student, cast.precision),
      recipes.build(cast.recipe),
      **self._scale,
    )
    self._rendered: tuple[Any, books.Footage | None] = None, None

  def weights(self, seed: int) -> models.Weights:
    """Returns the student's weights to begin with."""
    return self.student.begin(*self.learned("student", seed))

  def labeller(self, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the teacher, from images to classes."""
    network = teacher.precise(self._networks["teacher"], self._cast.precision)
    learned = self.learned("teacher", seed)
    return teacher.Teacher(network, *learned, **self._scale).label

  def script(
    self,
    name: str,
    seed: int,
    *,
    fps: int = 30,
    segment_seconds: int = 60,
    segments: int = 28,
  ) -> manifest.Manifest:
    """Returns what a stream shows; see `scenarios.build`."""
    return drifting.build(
      name,
      self._labels,
      self._parts(seed).stream,
      seed=seed,
      classes=self._cast.classes,
      fps=fps,
      segment_seconds=segment_seconds,
      segments=segments,
    )

  def footage(self, script: manifest.Manifest) -> books.Footage:
    """Returns the frames, rendered; the latest are kept."""
    key = script.name, script.seed, len(script)
    kept, footage = self._rendered
    if footage is None or kept != key:
      frames = rendering.Frames(self._images, script)[:]
      footage = books.Footage(frames, script.label, script.fps)
      self._rendered = key, footage
    return footage

  def learned(self, role: Role, seed: int) -> tuple[base.Params, base.Stats]:
    """Returns parameters and statistics, from disk where they are."""
    return pretraining.kept(
      self._folder / f"{role}_{seed}.npz",
      self._networks[role],
      lambda: (self._train(role, seed), {}),
    )

  def _train(self, role, seed):
    is_student, cast = role == "student", self._cast
    parts = self._parts(seed)
    stills = image_pool.stills(
      self._labels,
      parts.pretrain if is_student else parts.teacher,
      each=cast.stills[not is_student],
      seed=seed,
      conditions=image_pool.BASE if is_student else image_pool.EVERYWHERE,
    )
    return models.pretrain(
      self._networks[role],
      rendering.Frames(self._images, stills)[:],
      stills.label,
      epochs=cast.epochs[not is_student],
      seed=seed,
      **self._scale,
    )

  def _parts(self, seed) -> drifting.Parts:
    return drifting.split(self._labels, seed=seed)

  def _network(self, text) -> base.Network:
    shape = self._images.shape[1:]
    name, options = catalogue.read(text, shape)
    return catalogue.build(name, shape, self._cast.classes, **options)
