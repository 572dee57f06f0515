"""Reads lists of image files in frame order, with class and conditions.

Lists are for footage that cannot be shipped, such as crops of BDD100K (Yu et
al., "BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning",
CVPR 2020, https://arxiv.org/abs/1805.04687). A list is JSON or CSV, one entry
per frame:

  [{"file": "a.jpg", "category": "car", "attributes": {"weather": "rain"}}]

  file,category,weather
  a.jpg,car,rain

In JSON, attributes may also stand beside `file`. Entries may have a number
`frame`, which must then rise from entry to entry; without one, the list is
taken to be in frame order.
"""

from collections.abc import Sequence
import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from jcl.options import errors
from jcl.options.errors import MissingFileError, UsageError
from jcl.streams import files, folders, images

SUFFIXES = (".csv", ".json")
_FRAME = "frame"
_NEEDED = ("file", "category")


@dataclasses.dataclass(frozen=True, eq=False)
class FrameList:
  """`n` frames in order."""

  x: folders.Images  # [n, height, width, 3] uint8, decoded when read
  y: np.ndarray  # [n] int32
  categories: tuple[str, ...]  # [C]
  attributes: dict[str, tuple[str, ...]]  # name -> [n] values

  def __len__(self) -> int:
    return len(self.y)


def read(
  path: Path,
  image_dir: Path,
  *,
  categories: Sequence[str] | None = None,
  size: int | None = None,
  color: images.Color = "rgb",
  limits: str | images.Range = "data",
) -> FrameList:
  """Reads a list; decodes one image, to learn the shape.

  Args:
    path: of the list, .json or .csv.
    image_dir: folder that its files are relative to.
    categories: names of class 0, 1 and so on; by default all that occur, in
      sorted order.
    size: height and width to resize to, in pixels; None keeps the files' own,
      which must then agree.
    color: channels of the images, three or one.
    limits: for images of more than 8 bits a value: the values that become 0
      and 255; "data" takes the least and the greatest value of the list.

  Raises:
    FileNotFoundError: if there is no such list.
    ValueError: for a list that is empty, damaged or out of order, and for an
      entry that lacks something or names an unknown file or category.
  """
  path, image_dir = Path(path), Path(image_dir)
  entries = _entries(path)
  if not entries:
    raise UsageError(f"{path} has no entries: give one per frame")
  names = set(entries[0])
  for i, entry in enumerate(entries):
    missing = [name for name in _NEEDED if not entry.get(name)]
    if missing:
      raise _wrong(path, i, entry, f"has no {missing[0]}")
    if set(entry) != names:
      odd = errors.names(sorted(names ^ set(entry)))
      raise _wrong(path, i, entry, f"differs from entry 0 in having {odd}")
  _check_order(path, entries)
  found = tuple(categories or sorted({entry["category"] for entry in entries}))
  index = {name: i for i, name in enumerate(found)}
  labels, paths = [], []
  for i, entry in enumerate(entries):
    if entry["category"] not in index:
      known = errors.names(found)
      category = errors.short(entry["category"])
      reason = f"is of category {category}, which is unknown; known: {known}"
      raise _wrong(path, i, entry, reason)
    file = image_dir / entry["file"]
    if not _is_file(file):
      raise _wrong(path, i, entry, f"names a file that is not in {image_dir}")
    labels.append(index[entry["category"]])
    paths.append(file)
  return FrameList(
    x=folders.Images(paths, size, color, limits),
    y=np.array(labels, np.int32),
    categories=found,
    attributes={
      name: tuple(entry[name] for entry in entries)
      for name in sorted(names - {*_NEEDED, _FRAME})
    },
  )


def _entries(path: Path) -> list[dict[str, str]]:
  """Returns the entries of either format as flat dicts of text."""
  if path.suffix not in SUFFIXES:
    raise UsageError(f"{path}: give a list that ends in .json or .csv")
  try:
    if path.suffix == ".csv":
      with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file, restkey="more", restval=""))
    listed = json.loads(path.read_text(encoding="utf-8-sig"))
  except FileNotFoundError:
    raise MissingFileError(
      f"there is no {path}: give a list of frames that ends in .json or .csv"
    ) from None
  except (csv.Error, OSError, RecursionError, ValueError) as error:
    raise UsageError(f"{path} is damaged ({error}); write it anew") from error
  if not isinstance(listed, list):
    raise UsageError(f"{path} holds no list: write [{{...}}, {{...}}]")
  entries = []
  for i, entry in enumerate(listed):
    if not isinstance(entry, dict):
      raise _wrong(path, i, entry, "is not of the form {...}")
    flat = {k: v for k, v in entry.items() if k != "attributes"}
    nested = entry.get("attributes", {})
    if not isinstance(nested, dict) or set(nested) & set(flat):
      raise _wrong(path, i, entry, "has attributes that are unclear")
    entries.append({k: str(v) for k, v in (flat | nested).items()})
  return entries


def _check_order(path: Path, entries: list[dict[str, str]]) -> None:
  if _FRAME not in entries[0]:
    return
  last = float("-inf")
  for i, entry in enumerate(entries):
    try:
      frame = float(entry[_FRAME])
    except ValueError as error:
      raise _wrong(path, i, entry, "has a frame that is no number") from error
    if not frame > last:
      raise _wrong(
        path, i, entry, "is out of order: sort the list by frame, none twice"
      )
    last = frame


def _is_file(path: Path) -> bool:
  try:
    return path.is_file()
  except (OSError, ValueError):  # a name that no file can have
    return False


def _wrong(path: Path, i: int, entry: Any, reason: str) -> UsageError:
  return UsageError(
    f"{path}: entry {i}, {files.brief(entry)}, {files.brief(reason)}"
  )
