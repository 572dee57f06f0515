"""Admission: chooses what the episodic memory holds after an experience."""

from collections.abc import Container, Mapping, Sequence

import numpy as np

from jcl import base
from jcl.replay.tiers import quotas

Residents = Mapping[int, Sequence[int]]


def update(
  hierarchy: base.Hierarchy,
  residents: Residents,
  arrivals: Residents,
  stored: Mapping[int, np.ndarray],
  size: int,
  generator: np.random.Generator,
) -> dict[int, list[int]]:
  """Admits an experience's examples, and fills seats that stay empty.

  By `hierarchy.keep`: "ring" keeps the latest examples of each class, "greedy"
  any of them, "herding" those that come last in `arrivals` (the best ones, by
  the caller's order), and "reservoir" a uniform sample of all that is stored,
  whatever the class.

  Args:
    hierarchy: whose `keep` is the rule, and whose `remainder` the division's.
    residents: class -> ids in memory, those that stay longest last.
    arrivals: class -> ids of the experience, those that stay longest last.
    stored: class -> ids [N] int64 in storage that may be held.
    size: seats of the memory.
    generator: of random choices.

  Returns:
    class -> ids to hold, those that stay longest last.

  Raises:
    ValueError: for a negative size.
  """
  if hierarchy.keep == "reservoir":
    return _uniform(residents, arrivals, stored, size, generator)
  if hierarchy.keep == "greedy":
    arrivals = {
      label: generator.permutation(np.array(ids, np.int64)).tolist()
      for label, ids in arrivals.items()
    }
  kept = quotas.ring_update(residents, arrivals, size, hierarchy.remainder)
  return filled(kept, stored, size, hierarchy.remainder, generator)


def arrivals(
  ids: np.ndarray,
  labels: np.ndarray,
  classes: np.ndarray,
  residents: Container[int],
) -> dict[int, list[int]]:
  """Sorts an experience's examples by class, as `update` takes them.

  Args:
    ids: [N] of the examples, those that stay longest last.
    labels: [N] int32 of the examples.
    classes: [M] of the whole experience: a class of which no example is given
      still gets its seats.
    residents: ids in memory, such as those of examples swapped in already,
      which are left out.

  Returns:
    class -> ids, those that stay longest last.
  """
  found: dict[int, list[int]] = {
    label: [] for label in np.unique(np.asarray(classes)).tolist()
  }
  for i, label in zip(ids.tolist(), labels.tolist(), strict=True):
    if i not in residents:
      found[label].append(i)
  return found


def filled(
  residents: Residents,
  stored: Mapping[int, np.ndarray],
  size: int,
  remainder: quotas.Remainder,
  generator: np.random.Generator,
) -> dict[int, list[int]]:
  """Fills empty seats from storage, evenly, with examples drawn at random.

  Args:
    residents: class -> ids in memory, those that stay longest last.
    stored: class -> ids [N] int64 in storage that may be held.
    size: seats of the memory.
    remainder: see `quotas.top_up`.
    generator: of the draws.

  Returns:
    class -> ids, the drawn ones first, which makes them the first to leave.

  Raises:
    ValueError: for more residents than seats.
  """
  counts = {label: len(ids) for label, ids in residents.items()}
  wanted = quotas.top_up(
    counts, {k: len(v) for k, v in stored.items()}, size, remainder
  )
  found = {}
  for label, count in wanted.items():
    held = list(residents.get(label, ()))
    others = np.setdiff1d(stored.get(label, ()), held)
    drawn = generator.permutation(others.astype(np.int64))[:count].tolist()
    found[label] = drawn + held  # those drawn are the first to leave
  return found


def _uniform(
  residents: Residents,
  arrivals: Residents,
  stored: Mapping[int, np.ndarray],
  size: int,
  generator: np.random.Generator,
) -> dict[int, list[int]]:
  """Draws which of the experience's examples replace which residents.

  Every stored example is in memory with the same probability, as after
  reservoir sampling.
  """
  held = np.array([i for ids in residents.values() for i in ids], np.int64)
  fresh = np.concatenate(
    [np.asarray(stored[label]) for label in arrivals] or [np.zeros(0, np.int64)]
  )
  fresh = np.setdiff1d(fresh, held)
  total = sum(len(ids) for ids in stored.values())
  size = min(size, total)
  # How many of the new ones a uniform sample of everything would hold.
  share = int(generator.hypergeometric(len(fresh), total - len(fresh), size))
  stay = generator.permutation(held)[: size - share].tolist()
  if len(stay) < size - share:  # the memory was smaller for a while
    others = np.concatenate([np.asarray(ids) for ids in stored.values()])
    others = np.setdiff1d(others, np.concatenate([held, fresh]))
    stay += generator.permutation(others)[: size - share - len(stay)].tolist()
  come = generator.permutation(fresh)[: size - len(stay)]
  chosen = {*stay, *come.tolist()}
  found = {}
  for label, ids in stored.items():
    mine = [int(i) for i in np.asarray(ids).tolist() if i in chosen]
    if mine or label in residents or label in arrivals:
      found[label] = mine
  return found
