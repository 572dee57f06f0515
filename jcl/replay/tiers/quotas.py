"""Quotas: seats of each class in memory, and which samples keep theirs.

The episodic memory of Ma et al., "Cost-effective On-device Continual Learning
over Memory Hierarchy with Miro", MobiCom 2023,
https://arxiv.org/abs/2308.06053: a ring buffer that gives every class seen the
same number of seats, over a storage that holds all samples.

Counts are dicts, class index -> samples. Residents are dicts, class index ->
ids of samples, oldest first; a class that has been seen keeps its key while it
holds nothing, since it has a share in the seats. Classes of results are in
rising order. Where a division leaves seats over, a `remainder` of "spread"
gives them, one each, to the classes of lowest index that can fill them. With
"drop", as published, they stay empty: always in a ring, and in `water_fill`
where all classes are equally full without them.
"""

import bisect
from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Literal

Remainder = Literal["drop", "spread"]
Counts = Mapping[int, int]
Residents = Mapping[int, Sequence[int]]

# Keeps a product that rounding puts just below a whole number, 0.29 * 100, from
# being rounded down.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Subset:
  """Samples of each class on which a configuration is tried."""

  em: tuple[int, ...]  # [classes] of the episodic memory, rising class index
  sb: tuple[int, ...]  # [new_classes] of the stream buffer, likewise


def water_fill(
  counts: Counts, size: int, remainder: Remainder = "spread"
) -> dict[int, int]:
  """Shares out seats evenly; classes with few samples get one for each.

  All classes get the same number of seats, but for those that have fewer
  samples: these get as many as they can fill, and the others share the rest.

  Args:
    counts: samples that each class has.
    size: seats to share out.
    remainder: what happens to fewer seats than there are classes to share them;
      "drop" leaves them empty only where all classes have equally many.

  Returns:
    Seats per class; they differ by one at most among the classes that have more
    samples than seats.

  Raises:
    ValueError: for a negative number, or a `remainder` of another name.
  """
  _check(size, remainder, counts=counts)
  return _fill(dict.fromkeys(counts, 0), counts, size, remainder)


def ring_update(
  residents: Residents,
  arrivals: Residents,
  size: int,
  remainder: Remainder = "spread",
) -> dict[int, list[int]]:
  """Admits the samples of a task, into a ring buffer per class.

  The quota is `size` over the number of classes, those that arrive included. A
  class keeps its latest residents up to the quota, followed, where these do not
  fill it, by its latest arrivals. Seats of a class that has too few of both
  stay empty, also for others: `top_up` tells what storage can put there.

  Args:
    residents: ids per class, oldest first, before the task.
    arrivals: ids per class, oldest first, of the stream buffer.
    size: seats of the memory.
    remainder: what happens to the remainder of the division.

  Returns:
    Ids per class, oldest first.

  Raises:
    ValueError: for a negative size, or a `remainder` of another name.

  >>> ring_update({0: [1, 2, 3, 4]}, {1: [5, 6, 7]}, size=4)
  {0: [3, 4], 1: [6, 7]}
  """
  _check(size, remainder)
  classes = sorted(residents.keys() | arrivals.keys())
  quota, spare = divmod(size, max(1, len(classes)))
  if remainder == "drop":
    spare = 0
  kept = {}
  for label in classes:
    old, new = residents.get(label, ()), arrivals.get(label, ())
    extra = spare > 0 and len(old) + len(new) > quota
    spare -= extra
    stay = _last(old, quota + extra)
    kept[label] = stay + _last(new, quota + extra - len(stay))
  return kept


def shrink(
  residents: Residents, new_size: int, remainder: Remainder = "spread"
) -> dict[int, list[int]]:
  """Drops the oldest residents of the largest classes until all fit.

  Args:
    residents: ids per class, oldest first.
    new_size: seats of the memory from now on; more than there are residents
      drops none.
    remainder: as for `water_fill`, which says how many each class keeps.

  Returns:
    Ids per class, oldest first.

  Raises:
    ValueError: for a negative size, or a `remainder` of another name.

  >>> shrink({0: [1, 2, 3], 1: [4]}, new_size=3)
  {0: [2, 3], 1: [4]}
  """
  counts = {label: len(ids) for label, ids in residents.items()}
  seats = water_fill(counts, new_size, remainder)
  return {label: _last(residents[label], seats[label]) for label in seats}


def top_up(
  counts: Counts,
  stored: Counts,
  size: int,
  remainder: Remainder = "spread",
) -> dict[int, int]:
  """Returns how many samples of each class storage should supply.

  The empty seats go to the classes that hold least, until these have drawn
  level with the others or hold all that is stored of them. No resident leaves.
  After `ring_update` or `shrink` of a memory that was topped up before, classes
  with enough stored samples then differ by one at most.

  Args:
    counts: residents of each class.
    stored: samples of each class in storage, those resident included; a class
      that is not named has none.
    size: seats of the memory.
    remainder: as for `water_fill`.

  Returns:
    Samples to load, for each class of `counts` and `stored`.

  Raises:
    ValueError: for a negative number, a `remainder` of another name, or more
      residents than seats.

  >>> top_up({0: 3, 1: 1}, {0: 9, 1: 9}, size=6)
  {0: 0, 1: 2}
  """
  _check(size, remainder, counts=counts, stored=stored)
  if sum(counts.values()) > size:
    raise ValueError(
      f"{sum(counts.values())} residents have more than the size={size} seats: "
      "shrink the residents first"
    )
  held = {label: counts.get(label, 0) for label in {*counts, *stored}}
  most = {label: max(n, stored.get(label, 0)) for label, n in held.items()}
  filled = _fill(held, most, size, remainder)
  return {label: seats - held[label] for label, seats in filled.items()}


def trim_counts(counts: Counts, new_size: int) -> dict[int, int]:
  """Scales counts down to a total, by the method of largest remainders.

  Args:
    counts: samples of each class, N in all.
    new_size: samples wanted.

  Returns:
    Samples that each class keeps, min(new_size, N) in all, each within one of
    its share n * new_size / N. Between equal remainders the class of lower
    index is preferred.

  Raises:
    ValueError: for a negative number.

  >>> trim_counts({0: 30, 1: 10}, new_size=8)
  {0: 6, 1: 2}
  """
  _check(new_size, "spread", counts=counts)
  total = sum(counts.values())
  size = min(new_size, total)
  kept = {label: counts[label] * size // max(1, total) for label in counts}
  by_remainder = sorted(
    counts, key=lambda label: (-(counts[label] * size % max(1, total)), label)
  )
  for label in by_remainder[: size - sum(kept.values())]:
    kept[label] += 1
  return dict(sorted(kept.items()))


def trial_subset(
  em: int, sb: int, rho: float, classes: int, new_classes: int | None = None
) -> Subset:
  """Returns the samples of each class on which a configuration is tried.

  Both parts are scaled by `rho`, rounded down, and split evenly; classes of
  lower index get what is left over. Departure from the paper's program, whose
  rounding can leave a trial without any old data: a memory with a seat for
  every class keeps one for every class.

  Args:
    em: samples in the episodic memory of the configuration.
    sb: samples in its stream buffer.
    rho: share of the data that a trial gets, in (0, 1].
    classes: classes in the episodic memory.
    new_classes: classes in the stream buffer, if not as many.

  Returns:
    Counts, not by class index but in the order of it.

  Raises:
    ValueError: for a negative number or a share out of its range.

  >>> trial_subset(em=100, sb=200, rho=0.1, classes=4, new_classes=2)
  Subset(em=(3, 3, 2, 2), sb=(10, 10))
  """
  new_classes = classes if new_classes is None else new_classes
  named = {"em": em, "sb": sb, "classes": classes, "new_classes": new_classes}
  for name, value in named.items():
    if value < 0:
      raise ValueError(f"{name}={value}: give 0 or more")
  if not 0 < rho <= 1:
    raise ValueError(
      f"rho={rho} is no share of the data: give more than 0, and 1 at most"
    )
  old = math.floor(rho * em + _ROUNDING)
  new = math.floor(rho * sb + _ROUNDING)
  return Subset(
    em=_split(max(old, classes) if em >= classes else old, classes),
    sb=_split(new, new_classes),
  )


def _fill(
  held: Counts, most: Counts, size: int, remainder: Remainder
) -> dict[int, int]:
  """Raises all classes from `held` to one level, none above its `most`."""

  def at(level):
    return {
      label: max(held[label], min(most[label], level)) for label in sorted(most)
    }

  levels = range(max(most.values(), default=0) + 1)
  level = levels[
    bisect.bisect_right(levels, size, key=lambda level: sum(at(level).values()))
    - 1
  ]
  seats = at(level)
  if remainder == "spread" or len(set(seats.values())) > 1:
    spare = size - sum(seats.values())
    able = [label for label in seats if held[label] <= level < most[label]]
    for label in able[:spare]:
      seats[label] += 1
  return seats


def _split(total: int, parts: int) -> tuple[int, ...]:
  return tuple(total // parts + (part < total % parts) for part in range(parts))


def _last(ids: Sequence[int], count: int) -> list[int]:
  return list(ids[max(0, len(ids) - count) :])


def _check(size: int, remainder: str, **counts: Counts) -> None:
  if size < 0:
    raise ValueError(f"size={size}: give 0 seats or more")
  if remainder not in ("drop", "spread"):
    raise ValueError(f"remainder={remainder!r}: give 'drop' or 'spread'")
  for name, per_class in counts.items():
    for label, count in per_class.items():
      if count < 0:
        raise ValueError(f"{name}[{label}]={count}: give 0 samples or more")
