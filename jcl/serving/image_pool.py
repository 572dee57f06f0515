"""Images for student, teacher and stream, from one labelled set."""

from collections.abc import Sequence
import itertools
from typing import get_args

import numpy as np

from jcl.options.errors import UsageError
from jcl.streams import manifest, sources

BASE = (manifest.Attributes(),)  # a clear day: the student's pre-training
# All conditions: the teacher's pre-training.
EVERYWHERE = tuple(
  manifest.Attributes("A", light, place, weather)
  for light, place, weather in itertools.product(
    get_args(manifest.Light),
    get_args(manifest.Place),
    get_args(manifest.Weather),
  )
)
PARTS = 3  # student, teacher and stream divide the images of a class


def pool(
  source: sources.Source, classes: int = 9, enlarge: int = 1
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the images of a set's first classes, training and test together.

  Args:
    source: labelled images.
    classes: number of classes; the published streams have nine.
    enlarge: factor by which both sides grow, by repeating pixels. Tracks move
      images by up to four pixels, half the side of a very small image.

  Returns:
    Images [N, height, width, channels] uint8 and labels [N] int32.

  Raises:
    ValueError: for other data than images, or more classes than the set has.
  """
  check(source, classes)
  found: list[list[np.ndarray]] = [[], []]
  for data in (source.train, source.test):
    if data is None:
      continue
    rows = np.flatnonzero(data.y < classes)
    images = np.asarray(data.x[rows])
    if data.scale != 255:
      images = np.round(255 / data.scale * images).clip(0, 255).astype(np.uint8)
    found[0].append(images.repeat(enlarge, axis=1).repeat(enlarge, axis=2))
    found[1].append(data.y[rows].astype(np.int32))
  return np.concatenate(found[0]), np.concatenate(found[1])


def check(source: sources.Source, classes: int = 9) -> None:
  """Checks, before any work, that data can make a stream of frames.

  Args:
    source: labelled data, with a test set or without.
    classes: number of classes that are used, the first ones.

  Raises:
    ValueError: for data that are no images, or too few of a class.
  """
  data = source.train
  shape, dtype = tuple(data.x.shape[1:]), np.dtype(data.x.dtype)
  if len(shape) != 3 or shape[2] not in (1, 3) or dtype != np.uint8:
    raise UsageError(
      f"{data.name} has examples of shape {shape} and dtype {dtype}: systems "
      "serve images, [height, width, 1 or 3 channels] of dtype uint8; "
      "x[..., None] gives grey ones their channel"
    )
  if not 2 <= classes <= data.num_classes:
    raise UsageError(
      f"classes={classes}: give 2 to the number of classes of {data.name}, "
      f"{data.num_classes}"
    )
  labels = [each.y for each in (data, source.test) if each is not None]
  counts = np.bincount(np.concatenate(labels), minlength=data.num_classes)
  few = np.flatnonzero(counts[:classes] < PARTS)
  if len(few):
    raise UsageError(
      f"class {data.class_names[few[0]]!r} of {data.name} has "
      f"{counts[few[0]]} images: every class needs {PARTS}, one for the "
      "student, one for the teacher and one for the stream"
    )


def stills(
  labels: np.ndarray,
  rows: np.ndarray,
  *,
  each: int,
  seed: int,
  conditions: Sequence[manifest.Attributes] = BASE,
  strengths: manifest.Strengths | None = None,
) -> manifest.Manifest:
  """Returns a stream of unrelated images, to pre-train on.

  All rows are shown in a random order, then in another order, and so on. Images
  are moved and lit like frames of a track; classes are as frequent as among the
  rows.

  Args:
    labels: [N] classes of the whole image set.
    rows: positions of the images that may be shown.
    each: images under each condition.
    seed: of all random draws.
    conditions: one after the other.
    strengths: of the conditions; None: the default ones.

  Raises:
    ValueError: for no rows, or less than one image.
  """
  labels, rows = np.asarray(labels), np.asarray(rows)
  if each < 1 or not len(rows):
    raise UsageError(
      f"each={each} of {len(rows)} rows: give 1 or more, and a row at least"
    )
  generator = np.random.default_rng((seed, 29))
  num = each * len(conditions)
  rounds = [generator.permutation(rows) for _ in range(-(-num // len(rows)))]
  source = np.concatenate(rounds)[:num].astype(np.int32)
  most = manifest.SHIFT
  return manifest.Manifest(
    name="stills",
    seed=seed,
    classes=int(labels.max()) + 1,
    fps=each,
    segment_seconds=1,
    segments=tuple(conditions),
    strengths=strengths or manifest.Strengths(),
    num_images=len(labels),
    source=source,
    label=labels[source].astype(np.int32),
    track=np.arange(num, dtype=np.int32),
    shift=generator.integers(-most, most + 1, (num, 2), np.int8),
    gain=generator.integers(980, 1021, num, np.int16),
    plate=generator.integers(0, manifest.PLATE, (num, 2), np.uint8),
  )
