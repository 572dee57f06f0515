"""Reads data sets by name, as their publishers split them."""

from collections.abc import Callable, Sequence
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jcl import base
from jcl.options import errors, parameters, plain, spec
from jcl.options.errors import MissingFileError, UsageError
from jcl.streams import (
  cifar,
  folders,
  hubs,
  idx,
  labelling,
  sensors,
  tables,
  validation,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """Checked training and test data, from which a stream is made."""

  train: base.Dataset
  test: base.Dataset | None  # None: a stream holds out a part of `train`

  def __post_init__(self) -> None:
    train, test = validation.check(self.train), self.test
    object.__setattr__(self, "train", train)
    if test is None:
      return
    test = validation.check(test, f"{test.name} (test set)")
    object.__setattr__(self, "test", test)
    agree(f"{train.name}: training and test data", train, test)


def agree(
  what: str,
  first: base.Dataset,
  second: base.Dataset,
  *,
  same_classes: bool = True,
) -> None:
  """Raises ValueError unless two checked data sets can be read as one.

  Args:
    what: the data sets in words, for the message.
    first: data set.
    second: data set.
    same_classes: whether their classes must be the same, in the same order.
  """
  for aspect, one, other in (
    ("example shape", first.x.shape[1:], second.x.shape[1:]),
    ("dtype", first.x.dtype, second.x.dtype),
    ("scale", first.scale, second.scale),
  ):
    if one != other and (aspect != "scale" or first.x.dtype == np.uint8):
      raise UsageError(
        f"{what} must agree in {aspect}; they have {one} and {other}"
      )
  if not same_classes or first.class_names == second.class_names:
    return
  names = first.class_names, second.class_names
  only, also = (
    errors.some(sorted(set(one) - set(other)))
    for one, other in (names, names[::-1])
  )
  if only == also == errors.some([]):
    raise UsageError(f"{what} must name the classes in the same order")
  raise UsageError(
    f"{what} must agree in class names; only the first have {only}, only the "
    f"second {also}"
  )


def arrays(
  x_train: Any,
  y_train: Any,
  x_test: Any = None,
  y_test: Any = None,
  *,
  group: Any = None,
  group_test: Any = None,
  name: str = "arrays",
  class_names: Sequence[str] | None = None,
  scale: float | None = None,
) -> Source:
  """Makes a source of one's own arrays, tensors, lists or table columns.

  Labels may be integers, whole floats, truth values or text, [N] or [N, 1].
  The labels that occur, in training or test data, are numbered in sorted order
  and become the names of the classes.

  Args:
    x_train: [N, ...] uint8 or floating, or a reader with `shape`, `dtype` and
      indexing by an integer array.
    y_train: [N] labels.
    x_test: of the test set; None to hold out a part of the training data.
    y_test: of the test set.
    group: [N] integers or text, such as the subject, device or task of each
      training example, for `domain_by_group` and for `tasks="group"`.
    group_test: of the test set, likewise.
    name: for reports.
    class_names: [C]; labels are then positions in it, or names from it.
    scale: raw value that stands for one where x is uint8, 255 by default.

  >>> x = np.zeros((6, 4), np.float32)
  >>> source = arrays(x, ["cat", "dog", "cat", "dog", "cat", "dog"])
  >>> source.train.class_names, source.train.y.tolist()
  (('cat', 'dog'), [0, 1, 0, 1, 0, 1])
  """
  test = f"{name} (test set)"
  if x_train is None or y_train is None:
    raise UsageError("give both x_train and y_train")
  if (x_test is None) != (y_test is None):
    raise UsageError("give both x_test and y_test, or neither")
  if group_test is not None and (x_test is None or group is None):
    raise UsageError(
      "group_test is of the test set and goes with group; give "
      + ("x_test and y_test" if x_test is None else "group, of training data")
    )
  if class_names is None:
    labels, class_names = labelling.number(name, y_train, y_test)
  else:
    if not np.iterable(class_names):
      raise UsageError(
        f"class_names={errors.short(class_names)}: give a list of one name "
        "for each class"
      )
    class_names = tuple(map(str, class_names))
    labels = [labelling.indices(name, y_train, class_names)]
    if y_test is not None:
      labels.append(labelling.indices(test, y_test, class_names))
  groups, group_names = labelling.number(name, group, group_test, what="group")
  scale = 255.0 if scale is None else scale

  def dataset(x: Any, part: int) -> base.Dataset:
    return base.Dataset(
      name,
      x,
      labels[part],
      class_names,
      scale,
      groups[part] if part < len(groups) else None,
      group_names,
    )

  return Source(
    dataset(x_train, 0), None if x_test is None else dataset(x_test, 1)
  )


# A reader takes the folder and its own options; it returns both data sets.
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
    MissingFileError: where files are missing; the message says which, and where
      they are published.
    MissingPackageError: where the set needs an extra that is not installed.
    UsageError: where the name, an option or the content is wrong.

  >>> digits = load("digits")
  >>> digits.train.num_classes, digits.train.x.shape[1:]
  (10, (8, 8, 1))
  """
  folder = Path(data_dir).expanduser()
  try:
    return Source(*spec.call("data set", READERS, name, folder, **options))
  except UsageError:
    raise
  except OSError as error:
    lost = isinstance(error, FileNotFoundError)
    place = f": {plain.shown(error.filename)}" if error.filename else ""
    raise (MissingFileError if lost else UsageError)(
      f"data set {name!r} cannot be read: {error.strerror or error}{place}"
    ) from error


def describe() -> dict[str, str]:
  """Returns one line about each data set that `load` knows."""
  return parameters.describe(READERS)
