"""Data sets by name, as their publishers split them."""

from collections.abc import Callable
import dataclasses
from pathlib import Path
from typing import Any

from jcl import base, spec
from jcl.streams import cifar, folders, hubs, idx, sensors, tables, validation


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """What a stream is made of: checked data that agree in shape and classes."""

  train: base.Dataset
  test: base.Dataset | None  # None: a stream holds out a part of `train`

  def __post_init__(self):
    train, test = validation.check(self.train), self.test
    object.__setattr__(self, "train", train)
    if test is None:
      return
    test = validation.check(test)
    object.__setattr__(self, "test", test)
    for what, first, second in (
      ("example shape", train.x.shape[1:], test.x.shape[1:]),
      ("dtype", train.x.dtype, test.x.dtype),
      ("class names", train.class_names, test.class_names),
    ):
      if first != second:
        raise ValueError(
          f"{train.name}: training and test data must agree in {what}; they "
          f"have {first} and {second}"
        )


def arrays(
  x_train: Any,
  y_train: Any,
  x_test: Any = None,
  y_test: Any = None,
  *,
  name: str = "arrays",
  class_names: tuple[str, ...] | None = None,
  scale: float | None = None,
) -> Source:
  """A source of one's own arrays.

  Args:
    x_train: [N, ...] uint8 or floating, or a reader with `shape`, `dtype` and
      indexing by an integer array.
    y_train: [N] class numbers from 0.
    x_test: of the test set; None to hold out a part of the training data.
    y_test: of the test set.
    name: for reports.
    class_names: [C]; the numbers themselves by default.
    scale: raw value that stands for one where x is uint8, 255 by default.
  """
  if (x_test is None) != (y_test is None):
    raise ValueError("give both x_test and y_test, or neither")
  y_train = validation.labels(name, y_train)
  if y_test is not None:
    y_test = validation.labels(name, y_test)
  if class_names is None:
    class_names = validation.class_numbers(y_train, y_test)
  scale = 255.0 if scale is None else scale
  train = base.Dataset(name, x_train, y_train, class_names, scale)
  if y_test is None:
    return Source(train, None)
  return Source(train, base.Dataset(name, x_test, y_test, class_names, scale))


# Each takes the folder and its own options, and returns the two data sets.
READERS: dict[str, Callable[..., Any]] = {
  "cifar10": cifar.cifar10,
  "cifar100": cifar.cifar100,
  "csv": tables.csv,
  "digits": hubs.digits,
  "dsads": sensors.dsads,
  "electricity": tables.electricity,
  "fashion_mnist": idx.fashion_mnist,
  "gas_drift": sensors.gas_drift,
  "huggingface": hubs.huggingface,
  "image_folder": folders.image_folder,
  "mnist": idx.mnist,
  "npz": tables.npz,
  "tfds": hubs.tfds,
  "tiny_imagenet": folders.tiny_imagenet,
}


def load(name: str, data_dir: str | Path = ".", /, **options: Any) -> Source:
  """Reads the data set `name` from the folder `data_dir`.

  Args:
    name: one of `describe()`.
    data_dir: where the files are, in the publishers' own layouts.
    **options: the keyword-only arguments of the reader of that name.

  Raises:
    FileNotFoundError: where files are missing; it says which and where from.
    ImportError: where the set needs an extra that is not installed.
    ValueError: where the name, an option or the content is wrong.
  """
  folder = Path(data_dir).expanduser()
  return Source(*spec.call("data set", READERS, name, folder, **options))


def describe() -> dict[str, str]:
  """One line about each data set that `load` knows."""
  return spec.describe(READERS)
