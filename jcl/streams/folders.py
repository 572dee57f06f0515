"""Reads folders of image files, decoded when they are asked for."""

from collections import Counter
from collections.abc import Sequence
import os
from pathlib import Path
from typing import NamedTuple
import unicodedata

import numpy as np

from jcl import base
from jcl.options import kinds
from jcl.options.errors import MissingFileError, UsageError
from jcl.streams import files, images, labelling

Color = images.Color
Images = images.Images
to_array = images.to_array

# Names that operating systems leave in folders, beside those with a dot first.
_FOREIGN = {
  "__MACOSX",
  "@eaDir",
  "$RECYCLE.BIN",
  "Thumbs.db",
  "desktop.ini",
  "__pycache__",
}
# Names of the parts, in upper or lower case; the first that exists is read.
_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")


class _Part(NamedTuple):
  """The images below train/ or test/, in order, and what was left out."""

  paths: list[Path]
  classes: list[str]  # of each image
  groups: list[str]  # of each image, "" where there is no such level
  empty: list[str]  # class folders without images
  other: Counter[str]  # files that are no images, by suffix


def image_folder(
  data_dir: Path,
  *,
  path: str = ".",
  size: kinds.Pixels | None = None,
  color: Color = "rgb",
  range: str = "data",
  group: bool = False,
) -> tuple[base.Dataset, base.Dataset | None]:
  """Any images as PATH/train/CLASS/*.png|jpg|..., with test/ or val/ if any.

  The folders may also be called training, testing, valid or validation.
  Every format that Pillow decodes is read, in folders below a class folder
  too; hidden files are passed over. Images are turned as their EXIF data tell,
  white shows through where they are transparent, and of several frames or
  pages the first is read.

  Args:
    data_dir: the folder that `path` is below, or else the working directory.
    path: of the folder that holds train/; by default `data_dir` itself.
    size: height and width in pixels to resize to; None keeps the files' own,
      which must then agree.
    color: "rgb" or "grey".
    range: for images of more than 8 bits a value: LOW-HIGH, the values that
      become 0 and 255; "data" takes the least and the greatest value of the
      training images, for the test images too.
    group: whether a level of groups (subjects, places, times) is above the
      classes: PATH/train/GROUP/CLASS/*. Groups are numbered by name.

  Raises:
    FileNotFoundError: where there is no folder train/.
    ValueError: where a part has no images, or a file is damaged.
  """
  # "." is the folder of the data and not the working directory.
  places = files.places(data_dir, path) if path != "." else [data_dir]
  root = files.first_existing(places) or places[0]
  train = _place(root, _TRAIN)
  if train is None:
    raise _no_train(root, group)
  first = _part(train, group)
  held_out = _place(root, _TEST)
  parts = {train: first}
  if held_out is not None:
    parts[held_out] = _part(held_out, group)
  for folder, part in parts.items():
    if not part.paths:
      raise _no_images(folder, part, group)
  class_names = tuple(
    sorted({name for part in parts.values() for name in part.classes})
  )
  beside = _beside(root, train, held_out)
  group_names = sorted(
    {name for part in parts.values() for name in part.groups}
  )

  def dataset(folder: Path, values: str | images.Range) -> base.Dataset:
    part = parts[folder]
    x = Images(part.paths, size, color, values)
    codes = np.searchsorted(group_names, part.groups).astype(np.int32)
    notes = (*_left_out(part), *x.notes)
    return base.Dataset(
      root.resolve().name,
      x,
      np.searchsorted(class_names, part.classes).astype(np.int32),
      class_names,
      group=codes if group else None,
      group_names=tuple(group_names) if group else (),
      notes=(*beside, *(f"{folder.name}/: {note}" for note in notes)),
    )

  data = dataset(train, range)
  if held_out is None:
    return data, None
  return data, dataset(held_out, data.x.range or range)


def _place(root: Path, names: Sequence[str]) -> Path | None:
  """Returns the first subfolder of `names` that exists, in any case."""
  if not root.is_dir():
    return None
  found: dict[str, Path] = {}
  for place in _subfolders(root):
    key = place.name.lower()
    if key not in found or place.name == key:
      found[key] = place
  return next((found[name] for name in names if name in found), None)


def _beside(root: Path, train: Path, held_out: Path | None) -> list[str]:
  """Returns a note on other folders, which may have been meant as a part."""
  read = (train, held_out)
  others = [place.name for place in _subfolders(root) if place not in read]
  if not others:
    return []
  return [f"folders beside {train.name}/ not read: {files.listed(others)}"]


def _no_train(root: Path, group: bool) -> MissingFileError:
  layout = "train/GROUP/CLASS/" if group else "train/CLASS/"
  if root.is_dir():
    held = [place.name for place in _subfolders(root)]
    what = f"has no folder train/ ({files.listed(held) or 'no folder'} in it)"
  else:
    what = "is no folder"
  return MissingFileError(
    f"image_folder: {files.brief(root.absolute())} {what}; images are read as "
    f"{layout}NAME.png, so set --data_dir, or path=, to the folder that holds "
    "train/, or move the folders of the classes into one of that name"
  )


def _part(folder: Path, group: bool) -> _Part:
  part = _Part([], [], [], [], Counter())
  shelves = _subfolders(folder) if group else [folder]
  for shelf in shelves:
    for place in _subfolders(shelf):
      found, other = _image_paths(place)
      # Systems write accented letters as one character or as two.
      name = unicodedata.normalize("NFC", place.name)
      part.paths.extend(found)
      part.classes.extend([name] * len(found))
      part.groups.extend([shelf.name if group else ""] * len(found))
      part.other.update(other)
      if not found:
        part.empty.append(name)
  for place in dict.fromkeys((folder, *shelves)):
    loose = [p.suffix for p in _visible(place) if p.is_file()]
    part.other.update(s.lower() or "without a suffix" for s in loose)
  return part


def _subfolders(folder: Path) -> list[Path]:
  return sorted(p for p in _visible(folder) if p.is_dir())


def _visible(folder: Path) -> list[Path]:
  try:
    return [p for p in folder.iterdir() if not is_foreign(p.name)]
  except OSError as error:
    raise files.unreadable(folder, error) from error


def is_foreign(name: str) -> bool:
  """Tells whether a file is hidden, or left behind by an operating system."""
  return name.startswith(".") or name in _FOREIGN


def _image_paths(folder: Path) -> tuple[list[Path], Counter[str]]:
  """Lists the images below a folder, sorted; counts other files by suffix."""

  def stop(error: OSError) -> None:
    raise files.unreadable(Path(error.filename), error) from error

  found, other, seen = [], Counter[str](), set()
  if not os.path.isdir(folder):  # no error, even for an impossible name
    return [], other
  for place, below, names in os.walk(folder, onerror=stop, followlinks=True):
    real = os.path.realpath(place)  # links may lead round in a circle
    if real in seen:
      below.clear()
      continue
    seen.add(real)
    below[:] = sorted(name for name in below if not is_foreign(name))
    for path in (Path(place, n) for n in names if not is_foreign(n)):
      suffix = path.suffix.lower()
      if suffix in images.suffixes():
        found.append(path)
      else:
        other[suffix or "without a suffix"] += 1
  return sorted(found), other


def _left_out(part: _Part) -> list[str]:
  notes = []
  empty = sorted(set(part.empty) - set(part.classes))
  if empty:
    notes.append(
      f"class folders without images are left out: {files.listed(empty)}"
    )
  if part.other:
    notes.append(
      f"{part.other.total()} files were left out, as they are no images or in "
      f"no class folder: {_counted(part.other)}"
    )
  return notes


def _counted(suffixes: Counter[str]) -> str:
  ranked = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
  return files.listed([f"{n} {suffix}" for suffix, n in ranked])


def _no_images(folder: Path, part: _Part, group: bool) -> UsageError:
  layout = "GROUP/CLASS/" if group else "CLASS/"
  beside = f"; it holds {_counted(part.other)}" if part.other else ""
  return UsageError(
    f"{folder} holds no images as {layout}NAME.png, .jpg or another format "
    f"that Pillow reads{beside}"
  )


def tiny_imagenet(
  data_dir: Path, *, size: kinds.Pixels = 64
) -> tuple[base.Dataset, base.Dataset]:
  """Small photographs: 64x64 colour, 200 classes, 100,000 + 10,000 examples.

  The publisher's validation images are the test set, as the labels of its
  test images are not public.

  Args:
    data_dir: folder of the unpacked archive, or the unpacked archive itself.
    size: height and width in pixels to resize to.

  Raises:
    FileNotFoundError: where files are missing.
    ValueError: where files are damaged.
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
  identifiers = files.text(index).split()
  words = root / "words.txt"
  names = dict(_rows(words)) if words.exists() else {}
  class_names = labelling.distinct(
    [names.get(i, i).split(",")[0] for i in identifiers], identifiers
  )
  train = [
    (image, label)
    for label, identifier in enumerate(identifiers)
    for image in _image_paths(root / "train" / identifier / "images")[0]
  ]
  annotations = root / "val" / "val_annotations.txt"
  label_of = {identifier: i for i, identifier in enumerate(identifiers)}
  test = []
  for image, identifier in _rows(annotations):
    if identifier not in label_of:
      raise files.damaged(annotations, f"{identifier} is not in {index}")
    test.append((root / "val" / "images" / image, label_of[identifier]))

  def dataset(part: str, labelled: Sequence[tuple[Path, int]]) -> base.Dataset:
    if not labelled:
      raise UsageError(f"{root / part} holds no images")
    x = Images([path for path, _ in labelled], size)
    y = np.array([label for _, label in labelled], np.int32)
    return base.Dataset("tiny_imagenet", x, y, class_names)

  return dataset("train", train), dataset("val", test)


def _rows(path: Path) -> list[tuple[str, str]]:
  """Reads the first two columns of a file with tabs between columns."""
  lines = files.text(path).splitlines()
  rows = [line.split("\t") for line in lines if line.strip()]
  try:
    return [(row[0], row[1]) for row in rows]
  except IndexError as error:
    raise files.damaged(path, error) from error
