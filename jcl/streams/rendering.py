"""Renders the frames of a manifest when they are read.

An image is changed by the place, the jitter of its track, the weather and the
light, in that order. Pixels are whole numbers from 0 to 255 throughout: a frame
has the same bits each time, whatever other frames are read with it.

Noise, streaks and speckle are cut out of one large plate each, at a position
that the manifest gives for each frame.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from jcl.options.errors import UsageError
from jcl.streams import manifest

_ROWS = 256  # frames rendered together
_STREAK = 8  # pixels
_STREAK_LIGHT = 90  # levels that a streak is brighter
_WHITE = 255
_MIDDLE = 128  # level that contrast leaves as it is

# From red, green and blue to brightness and two colours, in which hue is an
# angle (YIQ, as in NTSC).
_YIQ = np.array(
  [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]
)


class Frames:
  """Frames that behave like one array [n, height, width, channels] uint8.

  Indexing by a number, a slice or an integer array renders the frames asked
  for; the images they show are read then, each once.
  """

  dtype = np.dtype(np.uint8)

  def __init__(self, images: Any, stream: manifest.Manifest) -> None:
    """Checks that images and manifest fit; renders nothing.

    Args:
      images: [N, height, width, channels] uint8, an array or a reader with an
        array's indexing; one or three channels.
      stream: a manifest made for these images.

    Raises:
      ValueError: for images of another shape, type or number.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[-1] not in (1, 3):
      raise UsageError(
        f"images {shape}: give [N, height, width, channels], one or three "
        "channels"
      )
    if images.dtype != np.uint8:
      raise UsageError(
        f"images are {images.dtype}: give np.round(255 * x / largest).astype("
        "np.uint8)"
      )
    if shape[0] != stream.num_images:
      raise UsageError(
        f"{shape[0]} images, but the manifest was made for "
        f"{stream.num_images}: give the set it was made for"
      )
    self._images = images
    self._stream = stream
    self._tables = _tables(stream.strengths)
    self._plates = _plates(stream.strengths, stream.seed, shape[1:])
    self._hue = _hue(stream.strengths)
    self.shape = (len(stream), *shape[1:])

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, index: Any) -> np.ndarray:
    rows = np.arange(len(self))[index]
    wanted = np.atleast_1d(rows)
    pixels = np.empty((len(wanted), *self.shape[1:]), np.uint8)
    for start in range(0, len(wanted), _ROWS):
      some = slice(start, start + _ROWS)
      pixels[some] = self._render(wanted[some])
    return pixels if np.ndim(rows) else pixels[0]

  def __array__(
    self, dtype: DTypeLike | None = None, copy: bool | None = None
  ) -> np.ndarray:
    del copy  # reading makes a new array in any case
    return np.asarray(self[:], dtype)

  def _render(self, rows: np.ndarray) -> np.ndarray:
    pixels = np.empty((len(rows), *self.shape[1:]), np.uint8)
    segments = rows // self._stream.segment_frames
    for segment in np.unique(segments):
      same = segments == segment
      attributes = self._stream.segments[segment]
      pixels[same] = self._under(attributes, rows[same])
    return pixels

  def _under(
    self, attributes: manifest.Attributes, rows: np.ndarray
  ) -> np.ndarray:
    """Renders frames that share their conditions."""
    stream, strengths = self._stream, self._stream.strengths
    sources, place = np.unique(stream.source[rows], return_inverse=True)
    images = np.asarray(self._images[sources])
    if attributes.place == "P1":
      images = _recolour(_squeeze(images, strengths.squeeze), self._hue)
    x = _jitter(images, place, stream.shift[rows], stream.gain[rows])
    plate = stream.plate[rows]
    if attributes.weather == "overcast":
      x = self._tables["overcast"][x]
    elif attributes.weather == "rain":
      x = _blur(x, strengths.rain_blur)
      x = _add(x, _cut(self._plates["streaks"], plate))
    elif attributes.weather == "snow":
      x = _add(self._tables["snow"][x], _cut(self._plates["speckle"], plate))
    if attributes.light == "night":
      x = _add(self._tables["night"][x], _cut(self._plates["noise"], plate))
    return x


def _tables(strengths: manifest.Strengths) -> dict[str, np.ndarray]:
  """Returns tables from the 256 levels to new ones, by condition."""
  levels = np.arange(256.0)

  def table(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, _WHITE).astype(np.uint8)

  def contrast(share: float) -> np.ndarray:
    return table(_MIDDLE + share * (levels - _MIDDLE))

  dark = strengths.night_gain * (levels / _WHITE) ** strengths.night_gamma
  return {
    "night": table(_WHITE * dark),
    "overcast": contrast(strengths.overcast_contrast),
    "snow": contrast(strengths.snow_contrast),
  }


def _plates(
  strengths: manifest.Strengths, seed: int, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
  """Draws levels to add: [height + PLATE - 1, width + PLATE - 1, ...] int16."""
  # The only generator of NumPy's that has the same numbers in every version.
  generator = np.random.RandomState(seed % 2**32)
  height, width = (size + manifest.PLATE - 1 for size in shape[:2])
  noise = generator.standard_normal((height, width, shape[2]))
  starts = generator.random_sample((height, width))
  speckle = generator.random_sample((height, width)) < strengths.snow_speckle
  streaks = np.zeros((height, width), bool)
  for i in range(_STREAK):  # one pixel to the right for every two down
    drops = np.roll(starts, (i, i // 2), axis=(0, 1))
    streaks |= drops < strengths.rain_streaks
  return {
    "noise": np.round(_WHITE * strengths.night_noise * noise).astype(np.int16),
    "streaks": (_STREAK_LIGHT * streaks[..., None]).astype(np.int16),
    "speckle": (_WHITE * speckle[..., None]).astype(np.int16),
  }


def _cut(plate: np.ndarray, corner: np.ndarray) -> np.ndarray:
  """Cuts windows out of a plate, upper left corners at [n, 2]."""
  height, width = (edge - manifest.PLATE + 1 for edge in plate.shape[:2])
  found = np.empty((len(corner), height, width, plate.shape[2]), plate.dtype)
  for window, (top, left) in zip(found, corner.tolist(), strict=True):
    window[:] = plate[top : top + height, left : left + width]
  return found


def _add(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
  return np.clip(levels + x, 0, _WHITE).astype(np.uint8)


def _jitter(
  images: np.ndarray, place: np.ndarray, shift: np.ndarray, gain: np.ndarray
) -> np.ndarray:
  """Moves images and makes them brighter or darker; edges are repeated.

  Args:
    images: [m, height, width, channels] uint8.
    place: [n] position of the image that each frame shows.
    shift: [n, 2] pixels down and right.
    gain: [n] thousandths.
  """
  height, width = images.shape[1:3]
  border = (
    (0, 0),
    (manifest.SHIFT, manifest.SHIFT),
    (manifest.SHIFT, manifest.SHIFT),
    (0, 0),
  )
  wide = np.pad(images, border, mode="edge")
  corners = (manifest.SHIFT - shift.astype(np.int64)).tolist()
  moved = np.empty((len(place), *images.shape[1:]), np.int16)
  for frame, image, (top, left) in zip(
    moved, place.tolist(), corners, strict=True
  ):
    frame[:] = wide[image, top : top + height, left : left + width]
  more = moved * (gain - np.int16(1000))[:, None, None, None]  # fits int16
  more += 500
  more //= 1000
  moved += more
  return np.clip(moved, 0, _WHITE).astype(np.uint8)


def _squeeze(images: np.ndarray, columns: int) -> np.ndarray:
  """Makes images narrower about their middle; the sides are mirrored."""
  width = images.shape[2]
  middle = width // 2
  first = (np.arange(width) - middle) * columns + middle
  total = np.zeros(images.shape, np.int32)
  for i in range(columns):
    at = (first + i) % (2 * width)
    total += images[:, :, np.where(at < width, at, 2 * width - 1 - at)]
  return ((total + columns // 2) // columns).astype(np.uint8)


def _hue(strengths: manifest.Strengths) -> np.ndarray:
  """Returns [3, 3] int32 thousandths that turn hue and scale saturation."""
  angle = -2 * math.pi * strengths.hue  # from red towards yellow
  turn = strengths.saturation * np.array(
    [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
  )
  colours = np.eye(3)
  colours[1:, 1:] = turn
  matrix = np.linalg.inv(_YIQ) @ colours @ _YIQ
  return np.round(1000 * matrix).astype(np.int32)


def _recolour(images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
  """Applies a matrix of thousandths to colours; grey images stay."""
  if images.shape[-1] == 1:
    return images
  levels = images.astype(np.int32) @ matrix.T + 500
  return np.clip(levels // 1000, 0, _WHITE).astype(np.uint8)


def _blur(x: np.ndarray, pixels: int) -> np.ndarray:
  """Averages over `pixels` pixels straight down; edges are repeated."""
  before = pixels // 2
  border = ((0, 0), (before, pixels - 1 - before), (0, 0), (0, 0))
  wide = np.pad(x, border, mode="edge")
  total = np.zeros(x.shape, np.uint16)
  for i in range(pixels):
    total += wide[:, i : i + x.shape[1]]
  return ((total + pixels // 2) // pixels).astype(np.uint8)
