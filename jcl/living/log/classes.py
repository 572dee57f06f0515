"""Numbers for labels, and the order in which ended experiences had them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jcl.living.log import labels as labels_lib
from jcl.living.log.columns import NONE


class Classes:
  """Every label that was given has a number; those of classes have a position.

  Numbers differ from process to process, and stand in columns in memory alone.
  """

  def __init__(self) -> None:
    self.keys: list[str] = []  # by number
    self.labels: list[labels_lib.Label] = []  # of classes, by position
    self._numbers: dict[str, int] = {}
    self._positions: dict[int, int] = {}  # by number of the label

  def __len__(self) -> int:
    """Returns the number of classes."""
    return len(self.labels)

  def numbers(self, keys: Iterable[str]) -> np.ndarray:
    """Returns [N] int32 numbers of keys; NONE for the key of no label."""
    found = []
    for key in keys:
      number = NONE if key == labels_lib.NONE else self._numbers.get(key)
      if number is None:
        number = self._numbers[key] = len(self.keys)
        self.keys.append(key)
      found.append(number)
    return np.array(found, np.int32)

  def key(self, number: int) -> str:
    """Returns the key of a number, NONE included."""
    return labels_lib.NONE if number == NONE else self.keys[number]

  def label(self, number: int) -> Any:
    """Returns the label of a number; None for NONE."""
    return labels_lib.label(self.key(number))

  def positions(self, numbers: np.ndarray) -> np.ndarray:
    """Returns [N] int32 positions of classes; NONE for those that are none."""
    distinct, where = np.unique(numbers, return_inverse=True)
    found = [self._positions.get(n, NONE) for n in distinct.tolist()]
    return np.array(found, np.int32)[where]

  def fresh(self, numbers: np.ndarray) -> list[int]:
    """Returns which label numbers [N] are of no class yet, in their order."""
    distinct, first = np.unique(numbers, return_index=True)
    ordered = distinct[np.argsort(first)].tolist()
    return [number for number in ordered if number not in self._positions]

  def learn(self, numbers: Iterable[int]) -> None:
    """Makes classes of labels, in this order; those that are classes stay."""
    for number in numbers:
      if number not in self._positions:
        self._positions[number] = len(self.labels)
        self.labels.append(self.label(number))

  def in_order(self) -> Sequence[str]:
    """Returns the keys of all classes by position."""
    return [self.keys[number] for number in self._positions]
