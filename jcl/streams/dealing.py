"""Deals classes out to experiences: by number, by sizes, or by name."""

import collections
from collections.abc import Iterable, Sequence
import re
from typing import Annotated, Any, Literal

import numpy as np

from jcl.options import errors
from jcl.options.errors import UsageError

Order = Literal["natural", "random"] | Sequence[str | int]

AUTO = "auto"  # as many experiences as usual, or as there are classes
GROUP = "group"  # an experience for each group of the data
_USUAL = 5
_LONGEST = 4000  # characters of text; Python reads no longer numbers
_TERM = re.compile(r"(\d+)(?:x(\d+))?")
_FORMS = (
  "write a number of experiences; their sizes, as [4, 1, 1] or 50+10x5; or the "
  "classes of each, as [[0, 1], [2, 0]]"
)


class _Forms:
  """Forms of `tasks`: how many classes, or which, an experience brings."""

  def check(self, value: Any) -> None:
    """Passes all values: which ones fit depends on the classes of the data."""

  def words(self, plain: str) -> str:
    """Returns the forms in words; `plain` is not needed."""
    del plain
    return _FORMS.partition(" ")[2]


Tasks = Annotated[Any, _Forms()]


def classes(
  names: Sequence[str],
  present: Sequence[int],
  tasks: Tasks,
  order: Order,
  seed: int,
) -> list[tuple[int, ...]]:
  """Returns the classes of each experience, sorted.

  Args:
    names: of all classes [C].
    present: classes that have training examples, sorted; others are in no
      experience.
    tasks: one of these forms:
      a number of experiences; the first ones get one class more where the
      number does not divide the classes;
      the number of classes of each experience, in a list or as text such as
      "50+10x5", for 50 and then five times 10;
      a list of the classes of each experience, in which a class may come back;
      "auto", for 5, or the number of classes where there are fewer.
    order: of the classes: "natural", "random", or all of them in a list.
    seed: of a random order.

  Raises:
    ValueError: where an argument does not fit; the message names the value and
      what to write.

  >>> classes("abcde", range(5), "1+2x2", "natural", seed=0)
  [(0,), (1, 2), (3, 4)]
  """
  if isinstance(tasks, str) and tasks == AUTO:
    tasks = min(_USUAL, len(present))
  if _lists(tasks):
    if not isinstance(order, str) or order != "natural":
      raise UsageError(
        f"order={errors.short(order)} beside the classes of each experience: "
        "leave order out"
      )
    return _listed(names, present, tasks)
  ordered = _ordered(names, present, order, seed)
  cuts = np.cumsum(_sizes(tasks, len(present), len(names)))[:-1]
  return [tuple(sorted(part.tolist())) for part in np.split(ordered, cuts)]


def rows(
  labels: np.ndarray, dealt: Sequence[tuple[int, ...]]
) -> list[np.ndarray]:
  """Returns the positions in `labels` [N] of each experience's examples.

  Examples of a class that several experiences bring are cut into equal
  stretches, one for each of these experiences, in the order of the data.

  >>> found = rows(np.array([0, 1, 0, 2]), dealt=[(0, 1), (0, 2)])
  >>> [part.tolist() for part in found]
  [[0, 1], [2, 3]]
  """
  taken = [np.isin(labels, part) for part in dealt]
  times = collections.Counter(label for part in dealt for label in part)
  for label in (label for label, count in times.items() if count > 1):
    having = [i for i, part in enumerate(dealt) if label in part]
    whole = np.flatnonzero(labels == label)
    stretches = np.array_split(whole, len(having))
    for i, stretch in zip(having, stretches, strict=True):
      taken[i][whole] = False
      taken[i][stretch] = True
  return [np.flatnonzero(mask) for mask in taken]


def _lists(tasks: Any) -> bool:
  return not isinstance(tasks, str) and any(
    isinstance(part, list | tuple | set | np.ndarray)
    for part in (tasks if np.iterable(tasks) else ())
  )


def _listed(
  names: Sequence[str], present: Sequence[int], tasks: Iterable[Any]
) -> list[tuple[int, ...]]:
  dealt = []
  for part in tasks:
    listed = part if isinstance(part, list | tuple | set | np.ndarray) else None
    if listed is None or not len(listed):
      raise UsageError(
        f"tasks: {errors.short(part)} is no list of classes; write a list of "
        "one class or more for each experience"
      )
    found = _numbers("tasks", names, list(listed))
    for label, given in zip(found, listed, strict=True):
      if found.count(label) > 1:
        raise UsageError(
          f"tasks: {errors.short(given)} stands twice in one experience, "
          f"[{errors.some(listed)}]; write it once"
        )
      if label not in present:
        raise UsageError(
          f"tasks: class {errors.short(given)} has no training examples; "
          "leave it out"
        )
    dealt.append(tuple(sorted(found)))
  return dealt


def _numbers(option: str, names: Sequence[str], given: list[Any]) -> list[int]:
  """Reads classes as names, or as numbers if one of them is no name."""
  place = {name: i for i, name in enumerate(names)}
  by_name = [place.get(str(each)) for each in given]
  wrong = next((i for i, at in enumerate(by_name) if at is None), None)
  if wrong is None:
    return [at for at in by_name if at is not None]
  if all(_is_whole(each) and 0 <= each < len(names) for each in given):
    return [int(each) for each in given]
  raise UsageError(
    f"{option}: no class is called {errors.short(given[wrong])}; choose from "
    f"{errors.some(names)}"
  )


def _ordered(
  names: Sequence[str], present: Sequence[int], order: Order, seed: int
) -> np.ndarray:
  if isinstance(order, str):
    if order not in ("natural", "random"):
      raise UsageError(
        f"order={errors.short(order)}: write natural, random or a list of the "
        "classes"
      )
    ordered = np.array(present, int)
    if order == "random":
      ordered = np.random.default_rng((seed, len(present))).permutation(ordered)
    return ordered
  if not np.iterable(order):
    raise UsageError(
      f"order={errors.short(order)}: write natural, random or a list of the "
      "classes"
    )
  found = _numbers("order", names, list(order))
  if len(set(found)) < len(found) or not set(present) <= set(found):
    raise UsageError(
      f"order=[{errors.some(order)}] must hold each class once: "
      f"{errors.some([names[label] for label in present])}"
    )
  return np.array([label for label in found if label in set(present)], int)


def _sizes(tasks: Any, count: int, of: int) -> list[int]:
  """Returns the number of classes of each experience, `count` in all."""
  what = "the number of classes"
  if count < of:
    what += " with training examples"
  shown = f"tasks={errors.short(tasks)}"
  if isinstance(tasks, dict | bytes):
    raise UsageError(f"{shown}: {_FORMS}")
  if isinstance(tasks, str) and len(tasks) > _LONGEST:
    raise UsageError(f"{shown}: {_FORMS}")
  if isinstance(tasks, str) and tasks.strip().isdecimal():
    tasks = int(tasks)
  elif isinstance(tasks, float) and tasks.is_integer():
    tasks = int(tasks)
  if _is_whole(tasks):
    if not 1 <= tasks <= count:
      upto = f"1 to {count}" if count > 1 else "1"
      raise UsageError(f"{shown}: write {upto}, {what}")
    return [len(part) for part in np.array_split(np.arange(count), tasks)]
  if isinstance(tasks, str):
    found = [_TERM.fullmatch(term.strip()) for term in tasks.split("+")]
    if None in found:
      raise UsageError(f"{shown}: {_FORMS}")
    terms = [(int(m[1]), int(m[2] or 1)) for m in found if m is not None]
  else:
    if not np.iterable(tasks) or not all(map(_is_whole, tasks)):
      raise UsageError(f"{shown}: {_FORMS}")
    terms = [(int(size), 1) for size in tasks]
  if not terms or min(min(term) for term in terms) < 1:
    raise UsageError(f"{shown}: each experience brings 1 class or more")
  total = sum(size * times for size, times in terms)
  if total != count:
    half = f"{count - count // 2}+{count // 2}"
    raise UsageError(
      f"{shown} adds up to {total}: write sizes that add up to {count}, "
      f"{what}" + (f", as {half}" if count > 1 else "")
    )
  return [size for size, times in terms for _ in range(times)]


def _is_whole(value: Any) -> bool:
  return isinstance(value, int | np.integer) and not isinstance(value, bool)
