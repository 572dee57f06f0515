"""Reads frames of a video file or a camera, where OpenCV is installed."""

from collections.abc import Iterator
import math
from typing import NamedTuple

import numpy as np

from jcl.options.errors import MissingPackageError, UsageError


class Frame(NamedTuple):
  """A frame and the time at which it was taken."""

  seconds: float  # from the first frame, by the source's frame rate
  pixels: np.ndarray  # [height, width, 3] uint8, red, green, blue


def frames(
  source: str | int, *, size: int | None = None, fps: float | None = None
) -> Iterator[Frame]:
  """Yields frames in order, until the source ends or the caller stops.

  Args:
    source: path of a video file, or number of a camera.
    size: height and width to resize to, in pixels; None keeps the source's.
    fps: frames per second to thin the source to, evenly; None keeps all.

  Raises:
    ValueError: at the first frame, if OpenCV is missing, the source cannot be
      opened, or for numbers that are not positive.
  """
  try:
    import cv2
  except ImportError as error:
    raise MissingPackageError(
      "reading video takes OpenCV: pip install opencv-python-headless"
    ) from error
  for name, value in (("size", size), ("fps", fps)):
    if value is not None and not value > 0:
      raise UsageError(f"{name}={value}: give more than 0")
  capture = cv2.VideoCapture(source)
  try:
    if not capture.isOpened():
      raise UsageError(
        f"source={source!r} cannot be opened: give a video file, or the number "
        "of a camera"
      )
    rate = capture.get(cv2.CAP_PROP_FPS) or 30.0  # cameras may not tell
    thinning = 1.0 if fps is None else min(1.0, fps / rate)
    index = 0
    while capture.grab():
      # Steps of `thinning`: a frame in which a whole number is reached is kept.
      reached, before = (
        math.floor(i * thinning + 1e-9) for i in (index, index - 1)
      )
      if reached > before:
        read, pixels = capture.retrieve()
        if not read:
          return
        if size is not None:
          pixels = cv2.resize(
            pixels, (size, size), interpolation=cv2.INTER_AREA
          )
        yield Frame(index / rate, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
      index += 1
  finally:
    capture.release()
