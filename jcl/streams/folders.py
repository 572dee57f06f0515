"""Folders of image files, decoded when they are read."""

from collections.abc import Sequence
from concurrent import futures
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jcl import base
from jcl.streams import files

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")

Color = Literal["rgb", "grey"]


class Images:
  """Image files that behave like one array [N, height, width, channels] uint8.

  Indexing by an integer array decodes the images asked for, on a few threads.
  """

  dtype = np.dtype(np.uint8)

  def __init__(
    self, paths: Sequence[Path], size: int | None = None, color: Color = "rgb"
  ):
    """Looks at the first image for the shape.

    Args:
      paths: of the N files, at least one.
      size: height and width in pixels to resize to; None keeps the files'
        own, which must then agree.
      color: channels of the result, three or one.
    """
    if size is not None and size < 1:
      raise ValueError(f"size={size}: write the edge length in pixels")
    if color not in ("rgb", "grey"):
      raise ValueError(f"color={color!r}: write color=rgb or color=grey")
    self._paths = np.asarray(paths, dtype=object)
    self._size = size
    self._color: Color = color
    self.shape = (len(paths), *self._decode(paths[0]).shape)

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, index: Any) -> np.ndarray:
    chosen = self._paths[index]
    if isinstance(chosen, Path):
      return self._read(chosen)
    pixels = np.empty((len(chosen), *self.shape[1:]), np.uint8)
    with futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
      for i, image in enumerate(pool.map(self._read, chosen)):
        pixels[i] = image
    return pixels

  def _read(self, path: Path) -> np.ndarray:
    pixels = self._decode(path)
    if pixels.shape != self.shape[1:]:
      raise ValueError(
        f"{path} is {pixels.shape[0]} by {pixels.shape[1]} pixels, the first "
        f"image {self.shape[1]} by {self.shape[2]}; write size=... to resize"
      )
    return pixels

  def _decode(self, path: Path) -> np.ndarray:
    from PIL import Image

    try:
      with Image.open(path) as image:
        return to_array(image, self._size, self._color)
    except (OSError, SyntaxError) as error:  # PIL's answers to damaged files
      raise files.damaged(path, error) from error


def to_array(image: Any, size: int | None, color: Color) -> np.ndarray:
  """A PIL image as [height, width, channels] uint8."""
  from PIL import Image

  image = image.convert("RGB" if color == "rgb" else "L")
  if size is not None and image.size != (size, size):
    image = image.resize((size, size), Image.Resampling.BILINEAR)
  pixels = np.asarray(image)
  return pixels if color == "rgb" else pixels[..., None]


def image_folder(
  data_dir: Path,
  *,
  path: str = ".",
  size: int | None = None,
  color: Color = "rgb",
) -> tuple[base.Dataset, base.Dataset | None]:
  """Any images as PATH/train/CLASS/*.png|jpg, with test/ or val/ if any."""
  root = data_dir / path
  train = root / "train"
  if not train.is_dir():
    raise files.missing(
      "image_folder",
      [train / "CLASS" / "*.png"],
      "wherever you found the images; each class has a folder of its own",
      "--data_dir to the folder that holds train/",
    )
  class_names = tuple(sorted(p.name for p in train.iterdir() if p.is_dir()))
  held_out = files.first_existing((root / "test", root / "val"))

  def dataset(folder: Path) -> base.Dataset:
    unknown = sorted(
      p.name
      for p in folder.iterdir()
      if p.is_dir() and p.name not in class_names
    )
    if unknown:
      raise ValueError(f"{folder} has classes that {train} has not: {unknown}")
    labelled = [
      (image, label)
      for label, name in enumerate(class_names)
      for image in _image_paths(folder / name)
    ]
    name = root.resolve().name
    return _dataset(name, folder, labelled, class_names, size, color)

  return dataset(train), None if held_out is None else dataset(held_out)


def tiny_imagenet(
  data_dir: Path, *, size: int = 64
) -> tuple[base.Dataset, base.Dataset]:
  """Small photographs: 64x64 colour, 200 classes, 100,000 + 10,000 examples.

  The publisher's validation images are the test set, as the labels of its
  test images are not public.
  """
  roots = [data_dir / "tiny-imagenet-200", data_dir / "tiny_imagenet", data_dir]
  index = files.first_existing(root / "wnids.txt" for root in roots)
  if index is None:
    raise files.missing(
      "tiny_imagenet",
      [root / "wnids.txt" for root in roots],
      "Le and Yang, 'Tiny ImageNet Visual Recognition Challenge', 2015, "
      "cs231n.stanford.edu/tiny-imagenet-200.zip",
      "--data_dir to the folder that holds the unpacked archive",
    )
  root = index.parent
  identifiers = index.read_text().split()
  words = root / "words.txt"
  names = dict(_rows(words)) if words.exists() else {}
  class_names = tuple(names.get(i, i).split(",")[0] for i in identifiers)
  train = [
    (image, label)
    for label, identifier in enumerate(identifiers)
    for image in _image_paths(root / "train" / identifier / "images")
  ]
  annotations = root / "val" / "val_annotations.txt"
  label_of = {identifier: i for i, identifier in enumerate(identifiers)}
  test = []
  for image, identifier in _rows(annotations):
    if identifier not in label_of:
      raise files.damaged(annotations, f"{identifier} is not in {index}")
    test.append((root / "val" / "images" / image, label_of[identifier]))

  def dataset(part: str, labelled: list[tuple[Path, int]]) -> base.Dataset:
    return _dataset(
      "tiny_imagenet", root / part, labelled, class_names, size, "rgb"
    )

  return dataset("train", train), dataset("val", test)


def _rows(path: Path) -> list[tuple[str, str]]:
  """The first two columns of a file whose columns tabs separate."""
  try:
    lines = path.read_text().splitlines()
    rows = [line.split("\t") for line in lines if line.strip()]
    return [(row[0], row[1]) for row in rows]
  except (OSError, UnicodeDecodeError, IndexError) as error:
    raise files.damaged(path, error) from error


def _image_paths(folder: Path) -> list[Path]:
  if not folder.is_dir():
    return []
  return sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)


def _dataset(
  name: str,
  folder: Path,
  labelled: Sequence[tuple[Path, int]],
  class_names: tuple[str, ...],
  size: int | None,
  color: Color,
) -> base.Dataset:
  if not labelled:
    raise ValueError(f"{folder} holds no images ({', '.join(_SUFFIXES)})")
  x = Images([path for path, _ in labelled], size, color)
  y = np.array([label for _, label in labelled], np.int32)
  return base.Dataset(name, x, y, class_names)
