"""Episodic memory: which stored examples lie in RAM, and in which slots."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jcl.replay.tiers import ram

_BLOCK = 256  # rows that are read from the store at a time


class Episodic:
  """Examples in slots, with an order in which the examples of a class leave.

  Args:
    row_type: of a slot, by `ram.row_type`.
  """

  def __init__(self, row_type: np.dtype) -> None:
    self.rows = ram.Ram(row_type, 0, "episodic-memory")
    self.slots: dict[int, int] = {}  # by id
    self._rank = np.zeros(0, np.int64)  # [count]; the lowest leave first

  def __len__(self) -> int:
    return self.rows.count

  def ids(self) -> np.ndarray:
    """Returns the ids by slot, [N] int64."""
    return self.rows.field("id")

  def labels(self, slots: np.ndarray) -> np.ndarray:
    """Returns the classes of slots, [N] int32."""
    return self.rows.take(slots, "y")

  def residents(self) -> dict[int, list[int]]:
    """Returns the ids of each class, those that leave first in front."""
    slots = np.argsort(self._rank, kind="stable")
    found: dict[int, list[int]] = {}
    pairs = zip(
      self.labels(slots).tolist(), self.ids()[slots].tolist(), strict=True
    )
    for label, i in pairs:
      found.setdefault(label, []).append(i)
    return dict(sorted(found.items()))

  def become(
    self,
    residents: Mapping[int, Sequence[int]],
    size: int,
    read: Callable[[np.ndarray], np.ndarray],
  ) -> None:
    """Replaces what the memory holds, in a region of `size` slots.

    Examples that leave are dropped before any are read, so that memory never
    exceeds the larger of the two sizes.

    Args:
      residents: class -> ids, those that leave first in front.
      size: slots; at least as many as there are residents.
      read: ids -> rows, without those that cannot be read.

    Raises:
      ValueError: for fewer slots than residents.
    """
    wanted = [i for ids in residents.values() for i in ids]
    chosen = set(wanted)
    slots = np.array(
      [slot for i, slot in self.slots.items() if i in chosen], np.int64
    )
    held = self.ids()[slots]
    moved = self.rows.keep(slots)
    self.slots = dict(
      zip(held.tolist(), np.asarray(moved).tolist(), strict=True)
    )
    self.rows.resize(size)
    missing = np.array([i for i in wanted if i not in self.slots], np.int64)
    for start in range(0, len(missing), _BLOCK):
      rows = read(missing[start : start + _BLOCK])
      fresh = self.rows.append(rows)
      self.slots.update(
        zip(rows["id"].tolist(), np.asarray(fresh).tolist(), strict=True)
      )
    place = {i: rank for rank, i in enumerate(wanted)}
    self._rank = np.array([place[i] for i in self.ids().tolist()], np.int64)

  def exchange(self, out: np.ndarray, rows: np.ndarray) -> int:
    """Replaces the examples `out` by rows, in their slots.

    A pair is skipped where the example to leave has left already, or the
    example to come is in memory already.

    Args:
      out: [N] int64 ids that leave.
      rows: [N] rows that come.

    Returns:
      The number of examples replaced.
    """
    ids = rows["id"].tolist()
    here = [
      old in self.slots and new not in self.slots
      for old, new in zip(out.tolist(), ids, strict=True)
    ]
    slots = [self.slots.pop(i) for i in out[here].tolist()]
    if slots:
      self.rows.put(np.array(slots), rows[here])
      self.slots.update(zip(rows["id"][here].tolist(), slots, strict=True))
    return len(slots)

  def state(self) -> dict[str, Any]:
    """Returns which examples lie where, ready for JSON."""
    return {
      "ids": self.ids().tolist(),
      "rank": self._rank.tolist(),
      "size": self.rows.capacity,
    }

  def restore(
    self,
    state: Mapping[str, Any],
    read: Callable[[np.ndarray], np.ndarray],
    most: int,
  ) -> None:
    """Reads the examples of a saved state back into the slots they had.

    Args:
      state: as `state` returned it.
      read: ids -> rows, without those that cannot be read.
      most: slots at most; examples of higher slots are left out.
    """
    self.rows.keep(np.zeros(0, np.int64))
    self.rows.resize(min(state["size"], most))
    self.slots = {}
    ranks = dict(zip(state["ids"], state["rank"], strict=True))
    ids = np.array(state["ids"], np.int64)[:most]
    for start in range(0, len(ids), _BLOCK):
      self.rows.append(read(ids[start : start + _BLOCK]))
    found = self.ids().tolist()
    self.slots = {i: slot for slot, i in enumerate(found)}
    self._rank = np.array([ranks[i] for i in found], np.int64)

  def close(self) -> None:
    """Gives the memory back."""
    self.rows.close()
