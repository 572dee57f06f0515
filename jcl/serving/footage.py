"""Frames that the user brings, served in place of a made-up stream.

A list of image files says the class of each frame. A video or a camera does
not: its frames have no true labels, so that systems are scored by how often
they agree with the teacher, which is not accuracy.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import itertools
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jcl.options import errors
from jcl.options.errors import MissingFileError, UsageError
from jcl.streams import frame_lists, images, sources, video

NAME = "frames"  # where a made-up stream has the name of its scenario
_CAMERA = "camera:"
_SLOWER = 1.01  # share by which frames may be further apart than --fps says


@dataclasses.dataclass(frozen=True, eq=False)
class Footage:
  """`n` frames of whole windows, in the shape of a data set's images."""

  images: np.ndarray  # [n, height, width, channels] uint8
  labels: np.ndarray | None  # [n] int32 classes; None where nobody knows them
  changes: tuple[int, ...] = ()  # frames at which conditions changed
  notes: tuple[str, ...] = ()  # what was converted or left out, a line each

  def __len__(self) -> int:
    return len(self.images)

  def digest(self) -> str:
    """Returns 8 letters that tell these frames from others."""
    found = hashlib.sha256(self.images.tobytes())
    if self.labels is not None:
      found.update(self.labels.tobytes())
    return found.hexdigest()[:8]


class _Form(NamedTuple):
  """What images of a data set are like."""

  name: str
  classes: tuple[str, ...]
  shape: tuple[int, ...]  # height, width, channels

  @property
  def size(self) -> int | None:
    """The edge to resize to; None where images are no squares."""
    return self.shape[0] if self.shape[0] == self.shape[1] else None

  @property
  def color(self) -> images.Color:
    return "grey" if self.shape[2] == 1 else "rgb"

  def check(self, text: str, shape: tuple[int, ...]) -> None:
    """Raises UsageError for frames that could not be brought to the shape."""
    if shape != self.shape:
      raise UsageError(
        f"{text} has frames of {shape[0]} by {shape[1]} pixels, {self.name} "
        f"images of {self.shape[0]} by {self.shape[1]}: only squares are "
        "resized to, so give frames of that height and width"
      )

  def channels(self, coloured: bool) -> tuple[str, ...]:
    """Returns a note where frames have other channels than the images."""
    if coloured == (self.color == "rgb"):
      return ()
    if coloured:
      return (f"frames are in colour and became grey, as {self.name} is",)
    return (
      f"frames are grey and got three equal channels, as {self.name} has",
    )


class _Score(NamedTuple):
  """The windows that the score takes."""

  fps: int
  window: int  # frames
  least: int  # windows

  def whole(self, text: str, num: int) -> tuple[int, tuple[str, ...]]:
    """Returns the frames of whole windows, and a note on those left out.

    Raises:
      UsageError: for fewer windows than the score takes.
    """
    kept = num - num % self.window
    if kept < self.least * self.window:
      raise UsageError(
        f"{text} has {errors.count(num, 'frame')}, "
        f"{errors.count(num // self.window, 'whole window')} of {self.window} "
        f"frames (two segments of --segment_seconds, at --fps={self.fps}); the "
        f"score takes {self.least} windows, as the first {self.least - 1} warm "
        f"up: give {self.least * self.window} frames or more, or lower "
        "--segment_seconds or --fps"
      )
    if kept == num:
      return num, ()
    return kept, (
      f"the last {num - kept} of {num} frames are left out, as they fill no "
      f"window of {self.window} frames",
    )


def check(text: str) -> None:
  """Raises UsageError, ahead of any work, for frames that are not there."""
  if not text.startswith(_CAMERA):
    if not os.path.isfile(Path(text).expanduser()):
      raise MissingFileError(
        f"--frames={text}: there is no such file; give a list of image files "
        "that ends in .csv or .json, a video, or camera:0"
      )
  elif not text.removeprefix(_CAMERA).isdecimal():
    raise UsageError(f"--frames={text}: give the camera's number, as camera:0")


def is_labelled(text: str) -> bool:
  """Returns whether frames come with their classes, as those of lists do."""
  return Path(text).suffix.lower() in frame_lists.SUFFIXES


def read(
  text: str,
  source: sources.Source,
  *,
  fps: int,
  window: int,
  least: int = 1,
  most: int,
  enlarge: int = 1,
) -> Footage:
  """Reads frames into memory, in the shape of a data set's images.

  Args:
    text: path of a list or a video, or "camera:" and its number.
    source: the data set, of images, with the classes that frames may have.
    fps: frames per second. A video or camera is thinned to it.
    window: frames of a window of the score; an incomplete one is left out.
    least: windows that the score takes.
    most: frames that are taken from a camera.
    enlarge: factor by which both sides grow, as those of the data set do.

  Raises:
    UsageError: for frames that are missing, damaged, too few or of another
      class, and for a video of fewer frames per second.
    MissingPackageError: for a video or camera without OpenCV.
  """
  check(text)
  data = source.train
  form = _Form(data.name, data.class_names, tuple(data.x.shape[1:]))
  score = _Score(fps, window, least)
  if is_labelled(text):
    limits = getattr(data.x, "range", None) or "data"
    found = _listed(text, form, score, limits)
  else:
    found = _filmed(text, form, score, most)
  pixels = found.images.repeat(enlarge, axis=1).repeat(enlarge, axis=2)
  return dataclasses.replace(found, images=pixels)


def _listed(
  text: str, form: _Form, score: _Score, limits: str | images.Range
) -> Footage:
  """Returns the frames of a list, whose files lie in folders beside it."""
  path = Path(text).expanduser()
  listed = frame_lists.read(
    path,
    path.parent,
    categories=form.classes,
    size=form.size,
    color=form.color,
    limits=limits,
  )
  form.check(text, listed.x.shape[1:])
  kept, notes = score.whole(text, len(listed))
  coloured = images.is_coloured(listed.x.paths[0])
  return Footage(
    listed.x[:kept],
    listed.y[:kept],
    _changes(listed.attributes, kept, score.window // 2),
    (*form.channels(coloured), *listed.x.notes, *notes),
  )


def _changes(
  attributes: Mapping[str, Sequence[str]], num: int, segment: int
) -> tuple[int, ...]:
  """Returns frames at which an attribute differs from the frame before.

  Attributes that change more often than once in a segment, such as the number
  of an object, are no conditions and do not count.
  """
  found: set[int] = set()
  for values in attributes.values():
    at = [i for i in range(1, num) if values[i] != values[i - 1]]
    if len(at) * segment <= num:
      found.update(at)
  return tuple(sorted(found))


def _filmed(text: str, form: _Form, score: _Score, most: int) -> Footage:
  """Returns the frames of a video or camera, whose classes nobody knows."""
  source: str | int = str(Path(text).expanduser())
  limit: int | None = None
  if text.startswith(_CAMERA):
    source, limit = int(text.removeprefix(_CAMERA)), most
  taken = video.frames(source, fps=score.fps)
  seconds, pixels = [0.0], []
  for frame in itertools.islice(taken, limit):
    seconds.append(frame.seconds)
    pixels.append(images.shown(frame.pixels, form.size, form.color))
    if len(pixels) == 1:
      form.check(text, pixels[0].shape)
  apart = seconds[-1] / max(1, len(pixels) - 1)
  if apart * score.fps > _SLOWER:
    raise UsageError(
      f"{text} has {1 / apart:.4g} frames per second, fewer than "
      f"--fps={score.fps}: give --fps={max(1, int(_SLOWER / apart))} or less"
    )
  kept, notes = score.whole(text, len(pixels))
  return Footage(
    np.stack(pixels[:kept]), None, (), (*form.channels(True), *notes)
  )
