"""CIFAR-10 and CIFAR-100, from the python or the binary version.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. Both versions are read from their
folder or straight from the archive.
"""

from collections.abc import Callable, Sequence
import lzma
from pathlib import Path
import tarfile
from typing import Any, Literal, NamedTuple
import zlib

import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.streams import download as downloads
from jcl.streams import files, pickles

_PIXELS = 3 * 32 * 32
_MOST_BYTES = 1 << 30  # of a member; the largest has 184 MB


# (path for messages, content, column of the labels) -> (pixels, labels)
_Parser = Callable[[Path, bytes, str], tuple[np.ndarray, np.ndarray]]


class _Version(NamedTuple):
  """The files of one published version."""

  folder: str
  archives: tuple[str, ...]
  train: tuple[str, ...]
  test: str
  names: str  # file with the class names
  parse: _Parser


def cifar10(
  data_dir: Path, *, download: bool = False
) -> tuple[base.Dataset, base.Dataset]:
  """Small photographs: 32x32 colour, 10 classes, 50,000 + 10,000 examples.

  Args:
    data_dir: folder of the archive, or of its unpacked folder.
    download: whether to fetch the archive where it is missing.

  Raises:
    FileNotFoundError: where files are missing.
    ValueError: where files are damaged.
  """
  batches = tuple(f"data_batch_{i}" for i in range(1, 6))
  python = _Version(
    "cifar-10-batches-py",
    ("cifar-10-python.tar.gz", "cifar-10-python.tar.xz"),
    batches,
    "test_batch",
    "batches.meta",
    _parse_pickle,
  )
  binary = _Version(
    "cifar-10-batches-bin",
    ("cifar-10-binary.tar.gz", "cifar-10-binary.tar.xz"),
    tuple(f"{batch}.bin" for batch in batches),
    "test_batch.bin",
    "batches.meta.txt",
    _binary_parser(("labels",)),
  )
  if download:
    downloads.fetch_all("cifar10", data_dir / "cifar10")
  return _load(
    "cifar10", data_dir, (python, binary), "labels", "label_names", 10
  )


def cifar100(
  data_dir: Path,
  *,
  labels: Literal["fine", "coarse"] = "fine",
  download: bool = False,
) -> tuple[base.Dataset, base.Dataset]:
  """Small photographs: 32x32 colour, 100 classes in 20 superclasses.

  Args:
    data_dir: folder of the archive, or of its unpacked folder.
    labels: "fine" for the 100 classes, "coarse" for the 20 superclasses.
    download: whether to fetch the archive where it is missing.

  Raises:
    FileNotFoundError: where files are missing.
    ValueError: where files are damaged.
  """
  if labels not in ("fine", "coarse"):
    raise UsageError(f"labels={labels!r}: write labels=fine or labels=coarse")
  python = _Version(
    "cifar-100-python",
    ("cifar-100-python.tar.gz", "cifar-100-python.tar.xz"),
    ("train",),
    "test",
    "meta",
    _parse_pickle,
  )
  binary = _Version(
    "cifar-100-binary",
    ("cifar-100-binary.tar.gz", "cifar-100-binary.tar.xz"),
    ("train.bin",),
    "test.bin",
    f"{labels}_label_names.txt",
    _binary_parser(("coarse_labels", "fine_labels")),
  )
  if download:
    downloads.fetch_all("cifar100", data_dir / "cifar100")
  return _load(
    "cifar100",
    data_dir,
    (python, binary),
    f"{labels}_labels",
    f"{labels}_label_names",
    100 if labels == "fine" else 20,
  )


def _load(
  name: str,
  data_dir: Path,
  versions: Sequence[_Version],
  label_key: str,
  names_key: str,
  num_classes: int,
) -> tuple[base.Dataset, base.Dataset]:
  version, place = _find(name, data_dir, versions)
  contents = _contents(place, (*version.train, version.test, version.names))
  meta = contents[version.names]
  if version.parse is _parse_pickle:
    class_names = _pickled_names(place / version.names, meta, names_key)
  else:
    class_names = tuple(meta.decode(errors="replace").split())
  if len(class_names) != num_classes:
    raise files.damaged(
      place / version.names, f"{len(class_names)} names, not {num_classes}"
    )

  def dataset(members: Sequence[str]) -> base.Dataset:
    parts = [
      version.parse(place / member, contents[member], label_key)
      for member in members
    ]
    planes = np.concatenate([pixels for pixels, _ in parts])
    x = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    y = np.concatenate([labels for _, labels in parts])
    if not np.isin(y, np.arange(num_classes)).all():
      raise files.damaged(place, f"labels outside 0 to {num_classes - 1}")
    return base.Dataset(name, np.ascontiguousarray(x), y, class_names)

  return dataset(version.train), dataset((version.test,))


def _find(
  name: str, data_dir: Path, versions: Sequence[_Version]
) -> tuple[_Version, Path]:
  looked_for = []
  for version in versions:
    for parent in (data_dir, data_dir / name):
      marks = [parent / version.folder / version.test, parent / version.test]
      archives = [parent / archive for archive in version.archives]
      looked_for += [marks[0], *archives]
      found = files.first_existing((*marks, *archives))
      # Many other data sets have a folder called `test`.
      if found is not None and found.is_file():
        return version, found.parent if found in marks else found
  raise files.missing(
    name,
    looked_for,
    "Krizhevsky, 'Learning Multiple Layers of Features from Tiny Images', "
    "2009, www.cs.toronto.edu/~kriz/cifar.html",
    "--data_dir to their folder, or --download",
  )


def _member(path: Path) -> bytes:
  try:
    with path.open("rb") as file:
      return files.up_to(path, file, _MOST_BYTES)
  except OSError as error:
    raise files.damaged(path, error) from error


def _contents(place: Path, names: Sequence[str]) -> dict[str, bytes]:
  """Reads the files `names` of a folder or a tar archive."""
  if place.is_dir():
    absent = [place / name for name in names if not (place / name).exists()]
    if absent:
      raise UsageError(f"{place} is incomplete: {absent[0]} does not exist")
    return {name: _member(place / name) for name in names}
  found = {}
  try:
    with tarfile.open(place) as archive:
      for member in archive:
        file = archive.extractfile(member)
        name = Path(member.name).name
        if file is not None and name in names:
          found[name] = files.up_to(place, file, _MOST_BYTES)
  except (
    tarfile.TarError,
    EOFError,
    MemoryError,
    OSError,
    OverflowError,
    ValueError,
    lzma.LZMAError,
    zlib.error,
  ) as error:
    raise files.damaged(place, error) from error
  if len(found) < len(names):
    raise files.damaged(place, f"no {sorted(set(names) - set(found))} in it")
  return found


def _unpickle(path: Path, content: bytes) -> dict[str, Any]:
  try:
    return pickles.load(content)
  except ValueError as error:
    raise files.damaged(path, error) from error


def _pickled_names(path: Path, content: bytes, key: str) -> tuple[str, ...]:
  names = _unpickle(path, content).get(key)
  if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
    raise files.damaged(path, f"no names under {key!r}")
  return tuple(names)


def _parse_pickle(
  path: Path, content: bytes, label_key: str
) -> tuple[np.ndarray, np.ndarray]:
  record = _unpickle(path, content)
  for key in ("data", label_key):
    if key not in record:
      raise files.damaged(path, f"no {key!r}, only {files.listed(record)}")
  pixels, labels = record["data"], record[label_key]
  if not isinstance(pixels, np.ndarray):
    raise files.damaged(path, f"data is a {type(pixels).__name__}")
  if pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
    raise files.damaged(path, f"data is {pixels.dtype} {pixels.shape}")
  if isinstance(labels, list) and all(
    type(label) is int and 0 <= label < 256 for label in labels
  ):
    labels = np.array(labels, np.int64)
  if not isinstance(labels, np.ndarray) or labels.shape != pixels.shape[:1]:
    raise files.damaged(path, f"{label_key} are not {len(pixels)} numbers")
  return pixels, labels


def _binary_parser(label_keys: tuple[str, ...]) -> _Parser:
  """Returns a parser of records: one byte per label, then the pixels."""

  def parse(
    path: Path, content: bytes, label_key: str
  ) -> tuple[np.ndarray, np.ndarray]:
    size = len(label_keys) + _PIXELS
    if not content or len(content) % size:
      raise files.damaged(path, f"{len(content)} bytes, not n times {size}")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    column = label_keys.index(label_key)
    return records[:, len(label_keys) :], records[:, column]

  return parse
