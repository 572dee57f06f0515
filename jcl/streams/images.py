"""Image files as one array, decoded when they are read, as viewers show them.

Every format that Pillow decodes by itself is read. Images are turned and
mirrored by their EXIF data. Where an image is transparent, white shows through.
Where it has several frames or pages, the first is read. Images of more than 8
bits a value (Pillow's modes I;16, I and F) are brought to 8 by one range for
all of them, so that they stay comparable.
"""

from collections.abc import Callable, Sequence
from concurrent import futures
import functools
import io
import os
from pathlib import Path
import re
from typing import IO, Any, Literal, NamedTuple, TypeVar

import numpy as np

from jcl.options.errors import UsageError
from jcl.streams import files

Color = Literal["rgb", "grey"]
Range = tuple[float, float]  # values that become 0 and 255

MOST_PIXELS = 1 << 26  # of an image: more is taken for a mistake or an attack

# Formats that Pillow names, but needs other programs to read.
_ELSEWHERE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Formats whose headers tell nothing that is needed ahead of decoding.
_PLAIN = (".bmp", ".dib", ".jfif", ".jpe", ".jpeg", ".jpg")
_DEEP = ("I", "F")  # and all that begin with "I;"

_T = TypeVar("_T")


class _Refused(ValueError):
  """An error that names its file already."""


class _Facts(NamedTuple):
  """Facts that the header of an image tells."""

  deep: bool = False  # more than 8 bits a value
  coarse: bool = False  # 16 bits a value; Pillow gives the upper 8
  transparent: bool = False
  several: bool = False  # frames or pages


class Images:
  """Image files that behave like one array [N, height, width, channels] uint8.

  Indexing by an integer array decodes the images asked for, on a few threads.

  Attributes:
    range: values that become 0 and 255 in images of more than 8 bits; None
      where there are no such images and no range was given.
    notes: what was converted, a line each.
  """

  dtype = np.dtype(np.uint8)

  def __init__(
    self,
    paths: Sequence[Path],
    size: int | None = None,
    color: Color = "rgb",
    range: str | Range = "data",
  ) -> None:
    """Looks at the first image for the shape, and at headers for the range.

    Args:
      paths: of the N files, at least one.
      size: height and width in pixels to resize to; None keeps the files'
        own, which must then agree.
      color: channels of the result, three or one.
      range: for images of more than 8 bits a value: the pair of values that
        become 0 and 255, also as "LOW-HIGH"; "data" decodes all these images
        once, to take their least and greatest value.

    Raises:
      ValueError: for options of a wrong kind, and for a file that is damaged,
        too large or of a kind that is not read; the message names the file.
    """
    if size is not None and size < 1:
      raise UsageError(f"size={size}: write the edge length in pixels")
    if color not in ("rgb", "grey"):
      raise UsageError(f"color={color!r}: write color=rgb or color=grey")
    self.range = parse_range(range)
    self._paths = np.asarray(paths, dtype=object)
    self._size = size
    self._color: Color = color
    facts = _facts(paths)
    deep = [p for p, fact in zip(paths, facts, strict=True) if fact.deep]
    if deep and self.range is None:
      self.range = _measured(deep)
    self.notes = _notes(facts, self.range)
    self.shape = (len(paths), *self._decode(paths[0]).shape)

  def __len__(self) -> int:
    return self.shape[0]

  @property
  def paths(self) -> np.ndarray:
    """The files, [N] objects of type Path."""
    return self._paths

  def __getitem__(self, index: Any) -> np.ndarray:
    chosen = self._paths[index]
    if isinstance(chosen, Path):
      return self._read(chosen)
    pixels = np.empty((len(chosen), *self.shape[1:]), np.uint8)
    with _pool() as pool:
      for i, image in enumerate(pool.map(self._read, chosen)):
        pixels[i] = image
    return pixels

  def _read(self, path: Path) -> np.ndarray:
    pixels = self._decode(path)
    if pixels.shape != self.shape[1:]:
      raise UsageError(
        f"{path} is {pixels.shape[0]} by {pixels.shape[1]} pixels, the first "
        f"image {self.shape[1]} by {self.shape[2]}; write size=... to resize"
      )
    return pixels

  def _decode(self, path: Path) -> np.ndarray:
    return _look(
      path, lambda i: to_array(i, self._size, self._color, self.range)
    )


def to_array(
  image: Any, size: int | None, color: Color, range: Range | None = None
) -> np.ndarray:
  """Converts a PIL image to [height, width, channels] uint8.

  Args:
    image: of any mode.
    size: height and width in pixels to resize to; None keeps the image's own.
    color: channels of the result, three or one.
    range: values that become 0 and 255, for images of more than 8 bits a value.

  Raises:
    ValueError: for an image of more than 8 bits a value without `range`, or
      with values that are not finite.
  """
  from PIL import Image

  image = _upright(image)
  if _is_deep(image):
    image = _scaled(image, range)
  elif image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image)
  image = image.convert("RGB" if color == "rgb" else "L")
  if size is not None and image.size != (size, size):
    image = image.resize((size, size), Image.Resampling.BILINEAR)
  pixels = np.asarray(image)
  return pixels if color == "rgb" else pixels[..., None]


def shown(pixels: np.ndarray, size: int | None, color: Color) -> np.ndarray:
  """Brings pixels of a frame to a size and channels, as `to_array` an image.

  Args:
    pixels: [height, width, 3] uint8.
    size: height and width in pixels to resize to; None keeps them.
    color: channels of the result, three or one.

  Returns:
    [height, width, channels] uint8.
  """
  from PIL import Image

  return to_array(Image.fromarray(pixels), size, color)


def decoded(
  data: bytes,
  name: str,
  size: int | None,
  color: Color | None,
  range: Range | None = None,
  formats: tuple[str, ...] | None = None,
) -> np.ndarray:
  """Decodes the content of an image file as `to_array` an image.

  Args:
    data: content of the file.
    name: of the file, for messages.
    size: height and width in pixels to resize to; None keeps the image's own.
    color: channels of the result, three or one; None: one where the image has
      greys alone.
    range: values that become 0 and 255, for images of more than 8 bits a value.
    formats: that are read, as Pillow names them; None for all.

  Returns:
    [height, width, channels] uint8.

  Raises:
    UsageError: for what is damaged, too large, no image, or of other formats.
  """

  def look(image: Any) -> np.ndarray:
    found = color or ("rgb" if _has_colours(image) else "grey")
    return to_array(image, size, found, range)

  return _look(Path(name), look, io.BytesIO(data), formats)


def is_coloured(path: Path) -> bool:
  """Returns whether an image file may hold other colours than greys.

  Raises:
    UsageError: for a file that is damaged or no image; the message names it.
  """
  return _look(path, _has_colours)


def _has_colours(image: Any) -> bool:
  grey = ("1", "L", "LA", "La", *_DEEP)
  return image.mode not in grey and not image.mode.startswith("I;")


def parse_range(value: str | Range) -> Range | None:
  """Reads "LOW-HIGH" as a pair; returns None for "data".

  >>> parse_range("0-4095")
  (0.0, 4095.0)
  """
  number = r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*"
  if isinstance(value, str):
    if value == "data":
      return None
    match = re.fullmatch(f"{number}-{number}", value, re.I)
    value = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
  if len(value) != 2 or not value[0] < value[1]:
    raise UsageError(
      "range= takes the values that become black and white, such as "
      "range=0-4095, or range=data for the least and greatest that occur"
    )
  return float(value[0]), float(value[1])


@functools.cache
def suffixes() -> frozenset[str]:
  """Returns the suffixes of all formats that are read, in lower case."""
  from PIL import Image

  known = Image.registered_extensions()
  return frozenset(s for s, name in known.items() if name in _formats())


@functools.cache
def _formats() -> tuple[str, ...]:
  from PIL import Image

  Image.init()
  return tuple(sorted(set(Image.OPEN) - _ELSEWHERE))


def _pool() -> futures.ThreadPoolExecutor:
  return futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1))


def _look(
  path: Path,
  look: Callable[[Any], _T],
  content: IO[bytes] | None = None,
  formats: tuple[str, ...] | None = None,
) -> _T:
  """Applies `look` to an image; ValueError names a file that is no good.

  Args:
    path: of the file, or its name where its content is given.
    look: function of a PIL image.
    content: of the file; None reads it.
    formats: that are read; None for all.
  """
  from PIL import Image

  try:
    with Image.open(content or path, formats=formats or _formats()) as image:
      if image.width * image.height > MOST_PIXELS:
        raise Image.DecompressionBombError()
      return look(image)
  except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
    raise UsageError(
      f"{path} has more than {MOST_PIXELS // 10**6} million pixels; make it "
      "smaller with a program for images, or leave it out"
    ) from e
  except _Refused as error:
    raise UsageError(f"{path} {error}") from error
  except Image.UnidentifiedImageError as error:
    raise files.unreadable(path, "it is no image, or a damaged one") from error
  except Exception as error:  # a damaged image may raise almost anything
    raise files.unreadable(path, error) from error


def _facts(paths: Sequence[Path]) -> list[_Facts]:
  def facts(path: Path) -> _Facts:
    if path.suffix.lower() in _PLAIN:
      return _Facts()
    return _look(path, _header)

  with _pool() as pool:
    return list(pool.map(facts, paths))


def _header(image: Any) -> _Facts:
  kinds = " ".join(str(tile[3]) for tile in image.tile)
  return _Facts(
    deep=_is_deep(image),
    coarse=not _is_deep(image) and ";16" in kinds,
    transparent=not _is_deep(image) and image.has_transparency_data,
    several=getattr(image, "n_frames", 1) > 1,
  )


def _is_deep(image: Any) -> bool:
  return image.mode in _DEEP or image.mode.startswith("I;")


def _measured(paths: Sequence[Path]) -> Range:
  """Returns the least and the greatest value of images of more than 8 bits."""

  def ends(image: Any) -> tuple[float, float]:
    values = np.asarray(image)
    return float(_finite(values).min()), float(values.max())

  with _pool() as pool:
    found = list(pool.map(lambda path: _look(path, ends), paths))
  return min(low for low, _ in found), max(high for _, high in found)


def _finite(values: np.ndarray) -> np.ndarray:
  if values.dtype.kind == "f" and not np.isfinite(values).all():
    raise _Refused("holds NaN or infinite values; give these pixels a number")
  return values


def _scaled(image: Any, range: Range | None) -> Any:
  from PIL import Image

  if range is None:  # an image that `_measured` has not seen
    raise _Refused(
      f"has more than 8 bits a value (mode {image.mode}); write range=LOW-HIGH "
      "with the values that become black and white"
    )
  kind = np.float64 if image.mode in _DEEP else np.float32
  values = _finite(np.array(image, kind))
  values -= range[0]
  values *= 255 / ((range[1] - range[0]) or 1)
  np.clip(values, 0, 255, out=values)
  return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def _upright(image: Any) -> Any:
  """Turns and mirrors an image by its EXIF data."""
  from PIL import ExifTags, ImageOps

  try:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # damaged EXIF data: viewers show the image as it is
    return image
  return image if orientation == 1 else ImageOps.exif_transpose(image)


def _notes(facts: Sequence[_Facts], range: Range | None) -> tuple[str, ...]:
  notes = []
  deep, coarse, transparent, several = (
    sum(kind) for kind in zip(*facts, strict=True)
  )
  if deep and range is not None:
    notes.append(
      f"{deep} of {len(facts)} images have more than 8 bits a value: "
      f"{range[0]:g} to {range[1]:g} became 0 to 255 (range=LOW-HIGH sets it)"
    )
  if coarse:
    notes.append(
      f"{coarse} of {len(facts)} images have 16 bits a value and several "
      "channels: 0 to 65535 became 0 to 255"
    )
  if transparent:
    notes.append(
      f"{transparent} of {len(facts)} images may be transparent: white shows "
      "through"
    )
  if several:
    notes.append(
      f"{several} of {len(facts)} images have several frames or pages: the "
      "first is read"
    )
  return tuple(notes)
