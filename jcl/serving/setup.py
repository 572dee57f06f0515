"""Assets that runs over drifting streams share: images, networks, weights."""

from collections.abc import Callable
import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jcl import base, recipes
from jcl.networks import catalogue
from jcl.run import pretraining
from jcl.serving import books, footage, image_pool, models, teacher
from jcl.streams import drifting, manifest, rendering, sources

Role = Literal["student", "teacher"]
CLASSES = 9  # of the published streams
# How updates are charged, told beside all figures: see
# `models.Student.training_share`.
UPDATES = "their share of the multiplications of training everything"


class Roles(NamedTuple):
  """Student and teacher, and how both are pre-trained."""

  student: str  # network, such as "slim_resnet18:filters=8"
  teacher: str
  # Images to pre-train on: the student's, and the teacher's for each condition.
  stills: tuple[int, int]
  epochs: tuple[int, int]  # of pre-training: the student's, the teacher's
  classes: int = CLASSES
  enlarge: int = 1  # factor by which both sides of an image are enlarged
  recipe: str = "finetune"  # how the student is retrained
  precision: teacher.Precision = "float32"


def roles(
  source: sources.Source,
  student: str = "",
  teacher: str = "",
  classes: int = CLASSES,
) -> Roles:
  """Chooses a student and a teacher for a set of images.

  Images of less than 16 pixels a side are enlarged and learned by perceptrons.

  Args:
    source: labelled images.
    student: its network; "" chooses one by the size of the images.
    teacher: likewise.
    classes: that take part at most; the published streams have nine.

  Raises:
    ValueError: for other data than images, or too few images of a class.
  """
  classes = min(classes, source.train.num_classes)
  image_pool.check(source, classes)
  side = min(source.train.x.shape[1:3])
  is_small = side < 16
  return Roles(
    student or ("mlp:width=64" if is_small else "slim_resnet18:filters=8"),
    teacher or ("mlp:width=400" if is_small else "slim_resnet18:filters=16"),
    stills=(4000, 4000) if is_small else (12000, 2000),
    epochs=(8, 8) if is_small else (6, 10),
    classes=classes,
    enlarge=-(-24 // side) if is_small else 1,
  )


class Assets:
  """Images, networks and weights that many runs share, each made once.

  For every seed the images are split anew into three parts: for the student,
  for the teacher, and for the stream. The student is pre-trained on a clear
  day, the teacher on all conditions.

  Args:
    source: labelled images.
    roles: student and teacher.
    folder: where learned weights are saved.
    frames: that are served in place of made-up streams; None for these.

  Raises:
    ValueError: for images, networks or a recipe that do not fit.
  """

  def __init__(
    self,
    source: sources.Source,
    roles: Roles,
    folder: Path,
    frames: footage.Footage | None = None,
  ) -> None:
    self._roles, self._folder, self._footage = roles, folder, frames
    self._images, self._labels = image_pool.pool(
      source, roles.classes, roles.enlarge
    )
    # All seeds share these numbers, so that programs are compiled once.
    mean, std = teacher.standardisation(self._images)
    self._scale: dict[str, Any] = {"mean": mean, "std": std}
    self._networks = {
      "student": self._network(roles.student),
      "teacher": self._network(roles.teacher),
    }
    # The student starts from the learned weights that `weights` returns.
    student = dataclasses.replace(self._networks["student"], pretrained=True)
    self.student = models.Student(
      teacher.precise(student, roles.precision),
      recipes.build(roles.recipe),
      **self._scale,
    )
    # The latest frames, and the stream that they were rendered from.
    self._rendered: tuple[Any, books.LabelledFrames | None] = None, None

  def weights(self, seed: int) -> models.Weights:
    """Returns the student's first weights, pre-trained."""
    return self.student.begin(*self.learned("student", seed))

  def labeller(self, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the teacher, as a function from images to classes."""
    network = teacher.precise(self._networks["teacher"], self._roles.precision)
    learned = self.learned("teacher", seed)
    return teacher.Teacher(network, *learned, **self._scale).label

  def stream_script(
    self,
    name: str,
    seed: int,
    *,
    fps: int = 30,
    segment_seconds: int = 60,
    segments: int = 28,
  ) -> manifest.Manifest:
    """Returns the plan of a stream's frames; see `streams.drifting.build`."""
    return drifting.build(
      name,
      self._labels,
      self._parts(seed).stream,
      seed=seed,
      classes=self._roles.classes,
      fps=fps,
      segment_seconds=segment_seconds,
      segments=segments,
    )

  def frames(self, stream_script: manifest.Manifest) -> books.LabelledFrames:
    """Renders the frames of a stream; the latest ones are kept in memory."""
    key = stream_script.name, stream_script.seed, len(stream_script)
    rendered_key, rendered = self._rendered
    if rendered is None or rendered_key != key:
      frames = rendering.Frames(self._images, stream_script)[:]
      rendered = books.LabelledFrames(
        frames, stream_script.label, stream_script.fps
      )
      self._rendered = key, rendered
    return rendered

  def stream(
    self, name: str, seed: int, *, fps: int, **script: int
  ) -> books.LabelledFrames:
    """Returns the frames of a stream: the user's, or those of a script.

    Where nobody knows the classes of the user's frames, their labels are those
    of the seed's teacher.

    Args:
      name: as in `stream_script`.
      seed: of the script, and of the teacher.
      fps: frames per second.
      **script: more arguments of `stream_script`.
    """
    found = self._footage
    if found is None:
      made = self.stream_script(name, seed, fps=fps, **script)
      return self.frames(made)
    key, labelled = self._rendered
    if labelled is None or key != seed:
      labels, by_teacher = found.labels, found.labels is None
      if labels is None:
        labels = self.labeller(seed)(found.images)
      labelled = books.LabelledFrames(found.images, labels, fps, by_teacher)
      self._rendered = seed, labelled
    return labelled

  def changes(self, name: str, seed: int, **script: int) -> tuple[int, ...]:
    """Returns the frames at which a stream changes; see `stream`."""
    if self._footage is not None:
      return self._footage.changes
    return self.stream_script(name, seed, **script).changes

  def learned(self, role: Role, seed: int) -> tuple[base.Params, base.Stats]:
    """Loads parameters and statistics, or pre-trains and saves them."""
    return pretraining.kept(
      self._folder / f"{role}_{seed}.npz",
      self._networks[role],
      lambda: (self._train(role, seed), {}),
    )

  def _train(self, role: Role, seed: int) -> tuple[base.Params, base.Stats]:
    is_student, roles = role == "student", self._roles
    parts = self._parts(seed)
    stills = image_pool.stills(
      self._labels,
      parts.pretrain if is_student else parts.teacher,
      each=roles.stills[not is_student],
      seed=seed,
      conditions=image_pool.BASE if is_student else image_pool.EVERYWHERE,
    )
    return models.pretrain(
      self._networks[role],
      rendering.Frames(self._images, stills)[:],
      stills.label,
      epochs=roles.epochs[not is_student],
      seed=seed,
      **self._scale,
    )

  def _parts(self, seed: int) -> drifting.Parts:
    return drifting.split(self._labels, seed=seed)

  def _network(self, text: str) -> base.Network:
    shape = self._images.shape[1:]
    name, options = catalogue.read(text, shape)
    return catalogue.build(name, shape, self._roles.classes, **options)
