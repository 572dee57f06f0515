"""Manifests of drifting streams, frame by frame, as two small files.

A manifest lists, for every frame, the image that it shows and the conditions;
`rendering.Frames` renders the frame, with the same bits each time. A manifest
holds all random numbers that a frame needs, so that no generator has to be run
again.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jcl.options.errors import UsageError
from jcl.streams import archives

Mix = Literal["A", "B"]
Light = Literal["day", "night"]
Place = Literal["P0", "P1"]
Weather = Literal["clear", "overcast", "rain", "snow"]

VALUES: dict[str, tuple[str, ...]] = {
  "mix": ("A", "B"),
  "light": ("day", "night"),
  "place": ("P0", "P1"),
  "weather": ("clear", "overcast", "rain", "snow"),
}
ARRAYS = ("source", "label", "track", "shift", "gain", "plate")

SHIFT = 4  # pixels at most that a frame is moved
PLATE = 64  # places to cut noise out, along each axis

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Attributes:
  """The conditions of a segment."""

  mix: Mix = "A"  # A: all classes, long-tailed. B: mostly the rare ones of A
  light: Light = "day"
  place: Place = "P0"
  weather: Weather = "clear"

  def __post_init__(self) -> None:
    for name, value in dataclasses.asdict(self).items():
      if value not in VALUES[name]:
        raise UsageError(
          f"{name}={value!r}: give one of {', '.join(VALUES[name])}"
        )


@dataclasses.dataclass(frozen=True)
class Strengths:
  """Strength of each condition; levels are shares of full white.

  Raises:
    ValueError: for a number out of its range.
  """

  night_gamma: float = 2.2
  night_gain: float = 0.35
  night_noise: float = 0.03  # standard deviation
  hue: float = 0.08  # of the circle, at place P1
  saturation: float = 0.6  # at place P1
  squeeze: int = 2  # columns that become one at place P1
  overcast_contrast: float = 0.6
  rain_blur: int = 7  # pixels, along the rain
  rain_streaks: float = 0.02  # of all pixels start a streak
  snow_speckle: float = 0.04  # of all pixels are white
  snow_contrast: float = 0.8

  def __post_init__(self) -> None:
    for name, value in dataclasses.asdict(self).items():
      if not 0 <= value < 100:
        raise UsageError(f"{name}={value}: give 0 or more, below 100")
    for name in ("squeeze", "rain_blur", "night_gamma"):
      value = getattr(self, name)
      if value <= 0:
        raise UsageError(f"{name}={value}: give more than 0; 1 changes nothing")


@dataclasses.dataclass(frozen=True, eq=False)
class Manifest:
  """A stream of `n` frames in segments of equal length.

  Raises:
    ValueError: for arrays that do not fit each other.
  """

  name: str
  seed: int
  classes: int
  fps: int
  segment_seconds: int
  segments: tuple[Attributes, ...]
  strengths: Strengths
  num_images: int  # of the set that `source` points into
  source: np.ndarray  # [n] int32, the image that a frame shows
  label: np.ndarray  # [n] int32, its class
  track: np.ndarray  # [n] int32, rising: frames of one object share a number
  shift: np.ndarray  # [n, 2] int8, pixels down and right
  gain: np.ndarray  # [n] int16, in thousandths
  plate: np.ndarray  # [n, 2] uint8, where noise and weather are cut out

  def __post_init__(self) -> None:
    frames = len(self.segments) * self.segment_frames
    for name in ARRAYS:
      value = getattr(self, name)
      shape = (frames, 2) if name in ("shift", "plate") else (frames,)
      if value.shape != shape:
        raise UsageError(
          f"{name} has shape {value.shape}: give {shape}, for "
          f"{len(self.segments)} segments of {self.segment_frames} frames"
        )
    if frames and not 0 <= self.source.min() <= self.source.max() < (
      self.num_images
    ):
      raise UsageError(
        f"source reaches from {self.source.min()} to {self.source.max()}: give "
        f"positions among {self.num_images} images"
      )
    if frames and (
      np.abs(self.shift).max() > SHIFT or self.plate.max() >= PLATE
    ):
      raise UsageError(
        f"shift reaches {np.abs(self.shift).max()} and plate "
        f"{self.plate.max()}: give {SHIFT} and {PLATE - 1} at most"
      )

  def __len__(self) -> int:
    return len(self.source)

  @property
  def segment_frames(self) -> int:
    """Frames of a segment."""
    return self.fps * self.segment_seconds

  @property
  def changes(self) -> tuple[int, ...]:
    """First frames of segments whose attributes differ from the one before."""
    return tuple(
      i * self.segment_frames
      for i in range(1, len(self.segments))
      if self.segments[i] != self.segments[i - 1]
    )

  def attributes(self, frame: int) -> Attributes:
    """Returns the conditions of a frame."""
    return self.segments[frame // self.segment_frames]


def save(manifest: Manifest, path: Path) -> None:
  """Writes a manifest as PATH.json, for people, and PATH.npz, per frame.

  Args:
    manifest: to write.
    path: without a suffix; its folder exists.
  """
  fields: dict[str, Any] = {"format": _FORMAT}
  for field in dataclasses.fields(manifest):
    if field.name not in ARRAYS:
      fields[field.name] = getattr(manifest, field.name)
  fields["strengths"] = dataclasses.asdict(manifest.strengths)
  fields["segments"] = [dataclasses.asdict(each) for each in manifest.segments]
  Path(f"{path}.json").write_text(json.dumps(fields, indent=1) + "\n")
  arrays = {name: getattr(manifest, name) for name in ARRAYS}
  np.savez_compressed(f"{path}.npz", allow_pickle=False, **arrays)


def load(path: Path) -> Manifest:
  """Reads a manifest that `save` wrote.

  Args:
    path: without a suffix.

  Raises:
    FileNotFoundError: if one of the two files is missing.
    ValueError: if one of the two files is damaged, or of another format.
  """
  try:
    fields = json.loads(Path(f"{path}.json").read_text())
    if fields.pop("format") != _FORMAT:
      raise ValueError(f"its format is not {_FORMAT}")
    fields["strengths"] = Strengths(**fields["strengths"])
    fields["segments"] = tuple(Attributes(**e) for e in fields["segments"])
    arrays = archives.arrays(Path(f"{path}.npz"))
    fields |= {name: arrays[name] for name in ARRAYS}
    return Manifest(**fields)
  except FileNotFoundError:
    raise
  except (
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
    RecursionError,
  ) as error:
    raise UsageError(
      f"{path}.json or .npz is damaged ({error}); write it anew"
    ) from error
