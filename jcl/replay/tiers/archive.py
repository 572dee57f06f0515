"""Archive of a run: all its examples in a store, by class and as rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from jcl import base, keys
from jcl.replay.store import records
from jcl.replay.store import store as store_lib
from jcl.replay.tiers import ram

_BLOCK = 2**22  # bytes that are appended to the store at a time

# inputs [N, ...] -> extras by name, [N, ...] each, such as logits
Extras = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class Archive:
  """Examples of one run in a store, with extras such as logits in a second one.

  Reading is safe in threads; all other methods are for the main thread.

  Args:
    store: of examples; other runs may share it.
    run: name of this run in the store.
    class_names: of the stream, by class index; the store knows classes by name.
    example: one example, without batch axis, with the extras of a row.
    extras: store of the extras; None where rows have none.

  Raises:
    ValueError: for an example with extras, but no store for them.
  """

  def __init__(
    self,
    store: store_lib.Store,
    run: str,
    class_names: Sequence[str],
    example: base.Batch,
    extras: store_lib.Store | None = None,
  ) -> None:
    if example.extras and extras is None:
      raise ValueError(
        f"rows have extras {sorted(example.extras)}: give a store for them"
      )
    self._store, self._extras, self._run = store, extras, run
    self._names = tuple(class_names)
    shapes = {
      name: (np.shape(a), np.asarray(a).dtype)
      for name, a in example.extras.items()
    }
    x = np.asarray(example.x)
    self.extra_names = tuple(shapes)
    self.row_type = ram.row_type(
      x.shape, x.dtype, {"task": ((), np.dtype(np.int32)), **shapes}
    )
    self.held_out: dict[int, np.ndarray] = {}  # class -> ids that only judge
    self._pools: dict[int, np.ndarray] = {}
    # Ids from here on belong to experiences to come, which the store may hold
    # already: an earlier process may have gone further before it was killed.
    self._known = 0
    # By experience: ids of its examples and of their extras, in one order.
    self._beside: dict[int, tuple[np.ndarray, np.ndarray]] = {}

  @property
  def aside(self) -> np.ndarray:
    """Ids that only judge, class after class, [N] int64."""
    return np.concatenate([*self.held_out.values(), np.zeros(0, np.int64)])

  @property
  def num_classes(self) -> int:
    return len(self._names)

  def add(self, experience: int, data: base.Dataset) -> np.ndarray:
    """Stores an experience's examples and returns their ids.

    Examples that an earlier process has stored are not stored again, even if
    they are lost by now.

    Args:
      experience: index of the experience.
      data: of the experience, N examples.

    Returns:
      [N] int64, rising.

    Raises:
      StoreError: where the store cannot be written.
    """
    found = [_with_lost(*self._ids_of(self._store, experience), len(data))]
    for x, labels in self._blocks(data, len(found[0])):
      found.append(
        self._store.append(x, labels, task=experience, run=self._run)
      )
    self._store.flush()
    self._pools = {}
    ids = np.concatenate(found)
    if len(ids):
      self._known = max(self._known, int(ids[-1]) + 1)
    return ids

  def add_extras(
    self, experience: int, data: base.Dataset, extras: Extras
  ) -> None:
    """Stores the extras of an experience's examples, in their order.

    Args:
      experience: index of the experience.
      data: of the experience, as given to `add`.
      extras: computes the extras of a few inputs.

    Raises:
      StoreError: where the store cannot be written.
    """
    assert self._extras is not None
    done = _with_lost(*self._ids_of(self._extras, experience), len(data))
    for x, labels in self._blocks(data, len(done)):
      found = extras(x)
      first, *others = self.extra_names
      self._extras.append(
        found[first],
        labels,
        task=experience,
        run=self._run,
        extras={name: found[name] for name in others},
      )
    self._extras.flush()
    self._beside.pop(experience, None)

  def _blocks(
    self, data: base.Dataset, start: int
  ) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Yields inputs and class names from an example on, a few at a time."""
    step = max(1, _BLOCK // self.row_type.itemsize)
    for first in range(start, len(data), step):
      rows = np.arange(first, min(first + step, len(data)))
      yield data.x[rows], [self._names[y] for y in np.asarray(data.y)[rows]]

  def hold_out(self, most: int, seed: int) -> None:
    """Sets examples of every class aside: they judge, and never train.

    Args:
      most: examples of a class; a tenth of it, where that is less.
      seed: decides which, once for a class.
    """
    for label in range(self.num_classes):
      pool = self.pool(label)
      if label in self.held_out or not len(pool):
        continue
      generator = keys.rng(seed, keys.Purpose.HELD_OUT, label)
      count = min(most, len(pool) // 10)
      self.held_out[label] = np.sort(generator.permutation(pool)[:count])
    self._pools = {}

  def pool(self, label: int) -> np.ndarray:
    """Returns the ids of a class that may train, [N] int64, rising.

    Those of experiences that `add` has not seen yet are left out.
    """
    if label not in self._pools:
      name = self._names[label]
      ids = np.zeros(0, np.int64)
      if self._run in self._store.runs and name in self._store.classes:
        ids = self._store.ids_of(name, self._run)
        ids = ids[ids < self._known]
      aside = self.held_out.get(label)
      if aside is not None:
        ids = np.setdiff1d(ids, aside)
      self._pools[label] = ids
    return self._pools[label]

  def pools(
    self, start: int = 0, stop: int | None = None
  ) -> dict[int, np.ndarray]:
    """Returns the ids in [start, stop) that may train, by class.

    Args:
      start: the lowest id.
      stop: behind the highest id; None: no bound.

    Returns:
      class -> ids [N] int64, rising; classes without any are left out.
    """
    found = {}
    for label in range(self.num_classes):
      ids = self.pool(label)
      end = None if stop is None else int(np.searchsorted(ids, stop))
      ids = ids[int(np.searchsorted(ids, start)) : end]
      if len(ids):
        found[label] = ids
    return found

  def rows(self, ids: np.ndarray) -> np.ndarray:
    """Reads examples as rows of `row_type`, in the order of the ids.

    Raises:
      DamageError: where any is lost or damaged; its `ids` say which.
    """
    rows = np.zeros(len(ids), self.row_type)
    if not len(ids):
      return rows
    found = self._store.read(ids)
    number = {name: i for i, name in enumerate(self._names)}
    table = np.array([number.get(name, -1) for name in self._store.classes])
    rows["x"], rows["y"] = found.x, table[found.labels]
    rows["id"], rows["task"] = found.ids, found.tasks
    for experience in np.unique(found.tasks).tolist() if self._extras else ():
      self._read_extras(experience, found.tasks == experience, rows)
    return rows

  def intact(self, ids: np.ndarray) -> np.ndarray:
    """Reads examples as `rows` does; damaged ones are logged and left out."""
    found, _ = records.intact(self.rows, ids)
    return found

  def _read_extras(
    self, experience: int, mine: np.ndarray, rows: np.ndarray
  ) -> None:
    assert self._extras is not None
    if experience not in self._beside:
      both = [
        self._ids_of(held, experience) for held in (self._store, self._extras)
      ]
      most = max(len(_with_lost(*each)) for each in both)
      ids, beside = (_with_lost(*each, most) for each in both)
      self._beside[experience] = ids, beside
    ids, beside = self._beside[experience]
    if len(beside) < len(ids):
      return  # the present experience, whose extras are not known yet
    where = beside[np.searchsorted(ids, rows["id"][mine])]
    try:
      found = self._extras.read(where)
    except records.DamageError as error:
      bad = rows["id"][mine][np.isin(where, error.ids)]
      raise records.DamageError(str(error), bad.tolist()) from error
    first, *others = self.extra_names
    rows[first][mine] = found.x
    for name in others:
      rows[name][mine] = found.extras[name]

  def _ids_of(
    self, store: store_lib.Store, experience: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids of an experience, and the lost ids of all experiences."""
    if self._run not in store.runs:
      return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return store.ids_of_task(experience, self._run), store.lost()


def _with_lost(
  ids: np.ndarray, lost: np.ndarray, most: int | None = None
) -> np.ndarray:
  """Returns an experience's ids with those of its examples that are lost.

  An example is known by its position within the experience, so a lost example
  must keep its position. The store does not say which experience a lost example
  came from. As an experience is stored at once, a lost id between two of its
  ids is its own; lost ids right behind and before them count as its own until
  the number of examples is reached.

  Args:
    ids: [N] int64 of the experience that the store has, rising.
    lost: [M] int64 that the store has lost, rising.
    most: examples of the experience; None: as many as are found.
  """
  if not len(ids) or not len(lost):
    return ids
  gone = set(lost.tolist())
  first, last = int(ids[0]), int(ids[-1])
  inside = lost[(lost > first) & (lost < last)]
  missing = 0 if most is None else most - len(ids) - len(inside)
  around: list[int] = []
  for start, step in ((last + 1, 1), (first - 1, -1)):
    at = start
    while missing > len(around) and at in gone:
      around.append(at)
      at += step
  return np.sort(np.concatenate([ids, inside, np.array(around, np.int64)]))
