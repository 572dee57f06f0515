"""A ladder of drifting streams, dealt out of any set of labelled images.

The streams of Kim et al., "DaCapo: Accelerating Continuous Learning in
Autonomous Systems for Video Analytics", ISCA 2024,
https://arxiv.org/abs/2403.14353, are drives through changing label
distributions, times of day, places and weather. The streams here have the same
structure, made of images instead of footage. A scenario is 28 segments of a
minute, each under constant conditions:

  none        no change: the control
  S1          label mix
  S2          label mix, light
  S3          label mix, place
  S4          label mix, weather
  S5          label mix, light, place
  S6          label mix, light, place, weather
  ES1, ES2    everything, every two minutes

Conditions change every five segments on average, at odd segments only, and so
never where a window of two segments begins. As in footage, an object stays in
view for some frames, which make a track.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.streams import manifest

NAMES = ("none", "S1", "S2", "S3", "S4", "S5", "S6", "ES1", "ES2")

_VARYING: Mapping[str, tuple[str, ...]] = {
  "S1": ("mix",),
  "S2": ("mix", "light"),
  "S3": ("mix", "place"),
  "S4": ("mix", "weather"),
  "S5": ("mix", "light", "place"),
  "S6": ("mix", "light", "place", "weather"),
}
_FIRST_CHANGE = (3, 5, 7)  # segments, all within the warm-up of eight
_STEADY = (4, 6)  # segments between changes
_ALSO = 0.25  # chance that another attribute changes at the same time

_TRACK = (10, 30)  # frames of a track, both included
_GAIN = 20  # change of brightness, thousandths at most

_MAJOR = 4  # classes of mix B
_MAJOR_MASS = 0.9


class Parts(NamedTuple):
  """Rows of an image set, none of them in two parts."""

  pretrain: np.ndarray  # the student learns these before the stream
  teacher: np.ndarray  # the teacher learns these
  stream: np.ndarray  # the stream shows these


def split(
  labels: np.ndarray,
  shares: tuple[float, float, float] = (0.3, 0.4, 0.3),
  *,
  seed: int,
) -> Parts:
  """Deals the images of every class out to three parts at random.

  Args:
    labels: [N] classes.
    shares: shares of each class for pretraining, the teacher and the stream,
      of sum 1 at most; each part gets one image at least.
    seed: of the random deal.

  Returns:
    Rising rows of each part.

  Raises:
    ValueError: for shares out of their range, or a class of fewer than three
      images.
  """
  if min(shares) <= 0 or sum(shares) > 1 + 1e-9:
    raise UsageError(f"shares={shares}: give three above 0, of sum 1 at most")
  generator = np.random.default_rng(seed)
  dealt: list[list[np.ndarray]] = [[], [], []]
  for label in np.unique(labels):
    rows = generator.permutation(np.flatnonzero(labels == label))
    if len(rows) < len(shares):
      raise UsageError(
        f"class {label} has {len(rows)} images: every class needs three, one "
        "for each part"
      )
    ends = np.round(np.cumsum(shares) * len(rows)).astype(int)
    ends = np.maximum(ends, [1, 2, 3])
    ends = np.minimum(ends, len(rows) - np.array([2, 1, 0]))
    for part, found in zip(dealt, np.split(rows, ends)[:3], strict=True):
      part.append(found)
  return Parts(*(np.sort(np.concatenate(part)) for part in dealt))


def ladder(
  name: str, *, seed: int, segments: int = 28
) -> tuple[manifest.Attributes, ...]:
  """Returns the conditions of every segment of a scenario.

  The first change comes within the first eight segments. The attributes that
  vary change in turn; now and then others change at the same time. "ES1" starts
  with mix A in clear weather, "ES2" with mix B by night, and their weather goes
  round in opposite directions.

  Args:
    name: one of `NAMES`.
    seed: of the times and kinds of changes.
    segments: number of segments.

  Raises:
    ValueError: for another name, or less than one segment.

  >>> conditions = ladder("S1", seed=0, segments=8)
  >>> "".join(each.mix for each in conditions)
  'AAAAAAAB'
  """
  if name not in NAMES:
    raise UsageError(f"name={name!r}: give one of {', '.join(NAMES)}")
  if segments < 1:
    raise UsageError(f"segments={segments}: give 1 or more")
  if name == "none":
    return (manifest.Attributes(),) * segments
  if name in ("ES1", "ES2"):
    way = 1 if name == "ES1" else -1
    return tuple(
      _flipped((i + 1) // 2 + (name == "ES2"), way) for i in range(segments)
    )
  generator = np.random.default_rng(seed)
  varying = _VARYING[name]
  now: dict[str, Any] = dataclasses.asdict(manifest.Attributes())
  found, change, turn = [], int(generator.choice(_FIRST_CHANGE)), 0
  for i in range(segments):
    if i == change:
      also = generator.random(len(varying)) < _ALSO
      for k, attribute in enumerate(varying):
        if also[k] or k == turn % len(varying):
          values = manifest.VALUES[attribute]
          others = [value for value in values if value != now[attribute]]
          now[attribute] = others[generator.integers(len(others))]
      turn += 1
      change += int(generator.choice(_STEADY))
    found.append(manifest.Attributes(**now))
  return tuple(found)


def _flipped(times: int, way: int) -> manifest.Attributes:
  """Returns all attributes, each moved on `times` times."""
  chosen: dict[str, Any] = {
    name: values[way * times % len(values)]
    for name, values in manifest.VALUES.items()
  }
  return manifest.Attributes(**chosen)


def prior(mix: manifest.Mix, classes: int, seed: int) -> np.ndarray:
  """Returns the share of each class in a label mix.

  "A": in proportion to 1, 1/2, 1/3 and so on. "B": the four rarest classes of A
  share 90 % evenly, the others the rest; with fewer than eight classes, the
  rarer half of them.

  Args:
    mix: "A" or "B".
    classes: C, two or more.
    seed: of the order of the classes by frequency.

  Returns:
    [C] of sum 1.

  >>> prior("B", 10, seed=0).round(3).max()
  np.float64(0.225)
  """
  rank = np.random.default_rng(seed).permutation(classes)
  if mix == "A":
    weights = 1 / (1 + rank)
    return weights / weights.sum()
  major = min(_MAJOR, classes // 2)
  rare = rank >= classes - major
  return np.where(
    rare, _MAJOR_MASS / major, (1 - _MAJOR_MASS) / (classes - major)
  )


def build(
  name: str,
  labels: np.ndarray,
  rows: np.ndarray,
  *,
  seed: int,
  classes: int = 9,
  fps: int = 30,
  segment_seconds: int = 60,
  segments: int = 28,
  strengths: manifest.Strengths | None = None,
) -> manifest.Manifest:
  """Deals a scenario out of the images of its part.

  A track shows one image for 10 to 30 frames, each shifted by up to four pixels
  and up to two percent brighter or darker. A track ends with its segment at the
  latest. The images of a class are shown in a random order, so that none
  repeats before all were shown.

  Fewer frames per second or seconds per segment make a short scenario of the
  same structure; tracks keep their frames.

  Args:
    name: one of `NAMES`.
    labels: [N] classes of the whole image set, from 0.
    rows: images that the stream may show, `split(...).stream`.
    seed: of all random draws.
    classes: labels 0 to `classes` - 1 take part, two or more. The published
      streams have nine; with fewer, state it beside every number.
    fps: frames per second.
    segment_seconds: seconds of a segment.
    segments: number of segments.
    strengths: of the conditions; `Strengths()` by default.

  Raises:
    ValueError: for an unknown name, numbers below 1, or a class without images.
  """
  labels, rows = np.asarray(labels), np.asarray(rows)
  for option, value in (("fps", fps), ("segment_seconds", segment_seconds)):
    if value < 1:
      raise UsageError(f"{option}={value}: give 1 or more")
  if classes < 2:
    raise UsageError(f"classes={classes}: give 2 or more")
  held = [rows[labels[rows] == label] for label in range(classes)]
  empty = [label for label, found in enumerate(held) if not len(found)]
  if empty:
    raise UsageError(
      f"classes={classes}, but no image among the rows is of "
      f"{errors.some(empty)}: write "
      "classes= and how many labels the set has"
    )
  drawn_seed, order_seed = (
    int(s) for s in np.random.SeedSequence(seed).generate_state(2)
  )
  conditions = ladder(name, seed=seed, segments=segments)
  generator = np.random.default_rng(drawn_seed)
  tracks = _Tracks(held, generator)
  length = fps * segment_seconds
  for attributes in conditions:
    tracks.add(prior(attributes.mix, classes, order_seed), length)
  frames = length * segments
  track = np.repeat(np.arange(len(tracks.lengths)), tracks.lengths)
  source = np.asarray(tracks.sources, np.int32)[track]
  return manifest.Manifest(
    name=name,
    seed=seed,
    classes=classes,
    fps=fps,
    segment_seconds=segment_seconds,
    segments=conditions,
    strengths=strengths or manifest.Strengths(),
    num_images=len(labels),
    source=source,
    label=labels[source].astype(np.int32),
    track=track.astype(np.int32),
    shift=generator.integers(
      -manifest.SHIFT, manifest.SHIFT + 1, (frames, 2), np.int8
    ),
    gain=generator.integers(1000 - _GAIN, 1001 + _GAIN, frames, np.int16),
    plate=generator.integers(0, manifest.PLATE, (frames, 2), np.uint8),
  )


class _Tracks:
  """Objects in the order in which they come into view."""

  def __init__(
    self, held: list[np.ndarray], generator: np.random.Generator
  ) -> None:
    self.sources: list[int] = []
    self.lengths: list[int] = []
    self._held = [generator.permutation(rows) for rows in held]
    self._shown = [0] * len(held)
    self._generator = generator

  def add(self, prior: np.ndarray, frames: int) -> None:
    """Fills a segment of `frames` frames with tracks."""
    low, high = _TRACK
    while frames:
      length = min(frames, int(self._generator.integers(low, high + 1)))
      label = int(self._generator.choice(len(prior), p=prior))
      rows = self._held[label]
      self.sources.append(int(rows[self._shown[label] % len(rows)]))
      self.lengths.append(length)
      self._shown[label] += 1
      frames -= length
