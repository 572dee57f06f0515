"""Reads MNIST and other data sets in its format, IDX.

The format is a big-endian header of two zero bytes, a type, the number of axes
and their lengths, and then the values (LeCun, Cortes and Burges, "The MNIST
database of handwritten digits").
"""

import gzip
import math
from pathlib import Path
import struct
from typing import IO, Any
import zlib

import numpy as np

from jcl import base
from jcl.streams import download as downloads
from jcl.streams import files

_BYTES = 0x08  # the header's type code for unsigned bytes
_MOST_AXES = 8

_FASHION_CLASSES = (
  "T-shirt/top",
  "Trouser",
  "Pullover",
  "Dress",
  "Coat",
  "Sandal",
  "Shirt",
  "Sneaker",
  "Bag",
  "Ankle boot",
)


def mnist(
  data_dir: Path, *, download: bool = False
) -> tuple[base.Dataset, base.Dataset]:
  """Handwritten digits: 28x28 grey, 10 classes, 60,000 + 10,000 examples.

  Args:
    data_dir: folder of the files, or of their folder.
    download: whether to fetch files that are missing.

  Raises:
    FileNotFoundError: where files are missing.
    ValueError: where files are damaged.
  """
  return _load(
    "mnist",
    data_dir,
    folders=("mnist", "MNIST/raw", "MNIST", "."),
    class_names=tuple("0123456789"),
    published="LeCun, Cortes and Burges, 'The MNIST database of handwritten "
    "digits', yann.lecun.com/exdb/mnist",
    download=download,
  )


def fashion_mnist(
  data_dir: Path, *, download: bool = False
) -> tuple[base.Dataset, base.Dataset]:
  """Articles of clothing: 28x28 grey, 10 classes, 60,000 + 10,000 examples.

  Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
  Benchmarking Machine Learning Algorithms", 2017,
  https://arxiv.org/abs/1708.07747.

  Args:
    data_dir: folder of the files, or of their folder.
    download: whether to fetch files that are missing.

  Raises:
    FileNotFoundError: where files are missing.
    ValueError: where files are damaged.
  """
  return _load(
    "fashion_mnist",
    data_dir,
    folders=(
      "fashion_mnist",
      "fashion-mnist",
      "FashionMNIST/raw",
      "FashionMNIST",
      ".",
    ),
    class_names=_FASHION_CLASSES,
    published="Xiao, Rasul and Vollgraf, 'Fashion-MNIST', 2017, "
    "github.com/zalandoresearch/fashion-mnist",
    download=download,
  )


def _load(
  name: str,
  data_dir: Path,
  *,
  folders: tuple[str, ...],
  class_names: tuple[str, ...],
  published: str,
  download: bool,
) -> tuple[base.Dataset, base.Dataset]:
  if download:
    downloads.fetch_all(name, data_dir / name)

  def find(stem: str) -> Path:
    names = [stem, f"{stem}.gz", stem.replace("-idx", ".idx")]
    paths = [data_dir / folder / n for folder in folders for n in names]
    found = files.first_existing(paths)
    if found is None:
      raise files.missing(
        name, paths, published, "--data_dir to their folder, or --download"
      )
    return found

  def dataset(part: str) -> base.Dataset:
    images = find(f"{part}-images-idx3-ubyte")
    x = read(images)
    if x.ndim != 3:
      raise files.damaged(images, f"{x.ndim} axes instead of 3")
    y = read(find(f"{part}-labels-idx1-ubyte"))
    return base.Dataset(name, x[..., None], y, class_names)

  return dataset("train"), dataset("t10k")


def read(path: Path) -> np.ndarray:
  """Reads an IDX file of unsigned bytes, plain or compressed by gzip.

  Raises:
    ValueError: where the file is truncated or of another format, or declares
      more than `files.MOST_BYTES`.
  """
  opener: Any = gzip.open if path.suffix == ".gz" else open
  try:
    with opener(path, "rb") as file:
      return _read(path, file)
  except (EOFError, MemoryError, OSError, zlib.error) as error:
    raise files.damaged(path, error) from error


def _read(path: Path, file: IO[bytes]) -> np.ndarray:
  head = file.read(4)
  if len(head) < 4 or head[:3] != bytes((0, 0, _BYTES)):
    raise files.damaged(path, "no IDX header of unsigned bytes")
  num_axes = head[3]
  if num_axes > _MOST_AXES:
    raise files.damaged(path, f"{num_axes} axes")
  lengths = file.read(4 * num_axes)
  if len(lengths) < 4 * num_axes:
    raise files.damaged(path, "truncated header")
  shape = struct.unpack(f">{num_axes}I", lengths)
  declared = math.prod(shape)
  if declared > files.MOST_BYTES:
    raise files.too_large(path, declared)
  content = files.first(file, declared + 1)
  if len(content) != declared:
    raise files.damaged(path, f"{len(content)} values instead of {declared}")
  return np.frombuffer(content, np.uint8).reshape(shape)
