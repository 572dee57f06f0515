"""Reads data sets through other libraries."""

from collections.abc import Sequence
import gzip
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from jcl import base
from jcl.options import kinds
from jcl.options.errors import MissingPackageError, UsageError
from jcl.streams import files, folders, images, labelling, splits


def digits(data_dir: Path) -> tuple[base.Dataset, base.Dataset]:
  """Handwritten digits: 8x8 grey, 10 classes, 1,797 examples, no files needed.

  Alpaydin and Kaynak, "Cascading classifiers", 1998, as bundled with
  scikit-learn (https://archive.ics.uci.edu/dataset/80). A fixed fifth of each
  class is the test set.
  """
  del data_dir  # the library brings the data
  table = _digits()
  x = table[:, :-1].reshape(-1, 8, 8, 1).astype(np.uint8)
  y = table[:, -1].astype(np.int32)
  class_names = tuple(map(str, range(10)))
  held_out = splits.stratified(y, splits.TEST_SHARE, seed=0)
  train, test = (
    base.Dataset("digits", x[rows], y[rows], class_names, scale=16.0)
    for rows in (~held_out, held_out)
  )
  return train, test


def _digits() -> np.ndarray:
  """Returns 64 pixels and the label of every digit, [1797, 65].

  They are in a file of scikit-learn, which takes seconds to import and a
  hundred megabytes. It is only imported where its file is not in its place.
  """
  found = importlib.util.find_spec("sklearn")
  if found is not None and found.origin is not None:
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.exists():
      with gzip.open(path, "rt") as file:
        return np.loadtxt(file, delimiter=",", dtype=np.uint8)
  from sklearn import datasets

  bunch = datasets.load_digits()
  return np.column_stack([bunch.data, bunch.target])


class _Column:
  """A column of a Hugging Face dataset as one array [N, ...].

  Images are decoded when they are read; numbers become float32.
  """

  def __init__(
    self,
    rows: Any,
    column: str,
    size: int | None,
    color: folders.Color,
    range: images.Range | None,
  ) -> None:
    self._rows, self._column = rows, column
    self._size, self._color, self._range = size, color, range
    first = self._read([0])
    self.shape = (len(rows), *first.shape[1:])
    self.dtype = first.dtype

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, index: Any) -> np.ndarray:
    positions = np.arange(len(self))[index]
    values = self._read(np.atleast_1d(positions).tolist())
    return values if np.ndim(positions) else values[0]

  def _read(self, positions: list[int]) -> np.ndarray:
    values = self._rows[positions][self._column]
    if hasattr(values[0], "convert"):
      arrays = [self._decode(value) for value in values]
      if len({array.shape for array in arrays}) > 1:
        raise UsageError(
          f"the images of column {self._column!r} differ in size; write "
          "size=... to resize them"
        )
      return np.stack(arrays)
    return np.asarray(values, np.float32)

  def _decode(self, image: Any) -> np.ndarray:
    try:
      return images.to_array(image, self._size, self._color, self._range)
    except Exception as error:  # a damaged image may raise almost anything
      raise UsageError(
        f"an image of column {self._column!r} cannot be read: "
        f"{files.brief(error)}"
      ) from error


def huggingface(
  data_dir: Path,
  *,
  name: str,
  image_column: str = "image",
  label_column: str = "label",
  size: kinds.Pixels | None = None,
  color: folders.Color = "rgb",
  range: str = "data",
  download: bool = False,
) -> tuple[base.Dataset, base.Dataset | None]:
  """Any labelled set of the Hugging Face hub (needs the extra huggingface).

  Args:
    data_dir: folder whose subfolder huggingface/ is the cache.
    name: of the set on the hub.
    image_column: column of the inputs: images, or lists of numbers.
    label_column: column of the classes.
    size: height and width in pixels to resize to; None keeps the set's own.
    color: "rgb" or "grey".
    range: LOW-HIGH, the values that become black and white, which images of
      more than 8 bits need.
    download: whether the data set may be fetched; otherwise only the cache in
      `data_dir` is read.

  Raises:
    FileNotFoundError: where the set is not in the cache and not fetched.
    ImportError: where the extra is not installed.
    ValueError: where the set lacks a column or split, or cannot be read.
  """
  try:
    import datasets
  except ImportError as error:
    raise _extra("huggingface", "datasets", error) from error
  try:
    parts = datasets.load_dataset(
      name,
      cache_dir=str(data_dir / "huggingface"),
      download_config=datasets.DownloadConfig(local_files_only=not download),
    )
  except (ConnectionError, FileNotFoundError) as error:
    raise files.missing(
      name,
      [data_dir / "huggingface"],
      f"the Hugging Face hub under {name}",
      "--download",
    ) from error
  except ValueError as error:
    raise UsageError(f"{name}: {files.brief(error)}") from error

  def read(rows: Any) -> _Part:
    for column in (image_column, label_column):
      if column not in rows.features:
        raise UsageError(
          f"{name} has no column {column!r}; write image_column= and "
          f"label_column= from {', '.join(rows.features)}"
        )
    x = _Column(rows, image_column, size, color, limits)
    y = np.asarray(rows[label_column][:])
    return x, y, getattr(rows.features[label_column], "names", None)

  limits = images.parse_range(range)
  if "train" not in parts:
    raise UsageError(f"{name} has no split 'train', only {sorted(parts)}")
  held_out = next((p for p in ("test", "validation") if p in parts), None)
  train = read(parts["train"])
  return _datasets(
    name, train, None if held_out is None else read(parts[held_out])
  )


def tfds(
  data_dir: Path, *, name: str, download: bool = False
) -> tuple[base.Dataset, base.Dataset | None]:
  """Any supervised set of TensorFlow Datasets (needs the extra tfds).

  Args:
    data_dir: folder whose subfolder tfds/ holds prepared data sets.
    name: of the set in the catalogue; its examples must agree in shape.
    download: whether the data set may be fetched; otherwise only a data set
      prepared in `data_dir` is read.

  Raises:
    FileNotFoundError: where the set is neither prepared nor fetched.
    ImportError: where the extra is not installed.
    ValueError: where there is no such set.
  """
  try:
    import tensorflow_datasets
  except ImportError as error:
    raise _extra("tfds", "tensorflow_datasets", error) from error
  try:
    builder = tensorflow_datasets.builder(name, data_dir=str(data_dir / "tfds"))
  except ValueError as error:
    raise UsageError(f"{name}: {files.brief(error)}") from error
  if download:
    builder.download_and_prepare()
  elif not (data_dir / "tfds" / name).exists():
    raise files.missing(
      name,
      [data_dir / "tfds" / name],
      f"the catalogue of TensorFlow Datasets under {name}",
      "--download",
    )
  info = builder.info

  def read(part: str) -> _Part:
    x, y = tensorflow_datasets.as_numpy(
      builder.as_dataset(split=part, batch_size=-1, as_supervised=True)
    )
    label = info.features[info.supervised_keys[1]]
    return x, y, getattr(label, "names", None)

  held_out = next((p for p in ("test", "validation") if p in info.splits), None)
  train = read("train")
  return _datasets(name, train, None if held_out is None else read(held_out))


# Inputs [N, ...], labels [N], and the names of the classes if there are any.
_Part = tuple[Any, Any, Sequence[str] | None]


def _datasets(
  name: str, train: _Part, test: _Part | None
) -> tuple[base.Dataset, base.Dataset | None]:
  """Returns training and test data; numbers labels if classes have no names."""
  parts = [train] if test is None else [train, test]
  labels = [y for _, y, _ in parts]
  numbered: tuple[str, ...] = ()
  if any(not names for *_, names in parts):
    labels, numbered = labelling.number(name, *labels)
  datasets = [
    base.Dataset(name, x, y, numbered or _distinct(names))
    for (x, _, names), y in zip(parts, labels, strict=True)
  ]
  first, *others = datasets
  return first, next(iter(others), None)


def _distinct(names: Sequence[str] | None) -> tuple[str, ...]:
  return labelling.distinct(names or (), range(len(names or ())))


def _extra(extra: str, module: str, error: ImportError) -> MissingPackageError:
  return MissingPackageError(
    f"{module} cannot be imported ({error}); install it with "
    f'pip install "jcl[{extra}]"'
  )
