"""Scenarios whose experiences differ in their classes."""

from typing import Literal

import numpy as np

from jcl import base
from jcl.options import errors, kinds, spec
from jcl.options.errors import UsageError
from jcl.streams import (
  assembly,
  dealing,
  joining,
  sources,
  stream,
)


@spec.checked("stream")
def class_incremental(
  source: joining.Sources,
  *,
  tasks: dealing.Tasks = dealing.AUTO,
  seed: kinds.Seed = 0,
  order: dealing.Order = "natural",
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """New classes in each experience, told apart from all others.

  van de Ven, Tuytelaars and Tolias, "Three types of incremental learning",
  Nature Machine Intelligence 2022, https://doi.org/10.1038/s42256-022-00568-3.

  Args:
    source: of the data; or a list of sources, in which each source is an
      experience; their classes are joined by name.
    tasks: number of experiences; where it does not divide the classes, the
      first experiences get one class more. Or how many classes each brings:
      [4, 1, 1], or "50+10x5" for 50 and then five times 10. Or the classes of
      each, by label, such as [[0, 1], [2, 3], [0, 4]]: examples of a class that
      comes back are cut into equal stretches, one for each time. Or "group":
      the groups of the data are the experiences, whatever classes they have.
      "auto" is 5, or the number of classes where there are fewer.
    seed: of the order and of `holdout`.
    order: of the classes: "natural", "random", or all of them in a list.
    holdout: share of the training data that stands in for the test set; see
      `scenarios`.
    normalize: see `stream.statistics`.

  >>> stream = class_incremental(sources.load("digits"), tasks="4+3x2")
  >>> [each.classes for each in stream.experiences]
  [(0, 1, 2, 3), (4, 5, 6), (7, 8, 9)]
  """
  return _split_classes("class", source, tasks, seed, order, holdout, normalize)


@spec.checked("stream")
def task_incremental(
  source: joining.Sources,
  *,
  tasks: dealing.Tasks = dealing.AUTO,
  seed: kinds.Seed = 0,
  order: dealing.Order = "natural",
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """New classes in each experience, told apart within the experience.

  Data and arguments are as in `class_incremental`; only the headline accuracy
  differs.

  >>> stream = task_incremental(sources.load("digits"), tasks=5)
  >>> stream.scenario, stream.task_classes[0]
  ('task', (0, 1))
  """
  return _split_classes("task", source, tasks, seed, order, holdout, normalize)


@spec.checked("stream")
def blurry(
  source: sources.Source,
  *,
  tasks: dealing.Tasks = dealing.AUTO,
  blur: kinds.ShareBelowOne = 0.1,
  seed: kinds.Seed = 0,
  order: dealing.Order = "natural",
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """Each class has a main experience; a share of it comes in the others.

  Bang et al., "Rainbow Memory: Continual Learning with a Memory of Diverse
  Samples", CVPR 2021, section 3.1, https://arxiv.org/abs/2103.17230; blur=0.1
  is Blurry10 in its tables.
  Test sets hold the main classes of their experience.

  Args:
    source: of the data.
    tasks: number of experiences, two or more; or their sizes or classes, as
      for `class_incremental`.
    blur: share in [0, 1) of each class that is dealt to the other experiences
      uniformly at random.
    seed: of the order, the dealing and `holdout`.
    order: of the classes, as for `class_incremental`.
    holdout: share of the training data that stands in for the test set; see
      `scenarios`.
    normalize: see `stream.statistics`.

  >>> stream = blurry(sources.load("digits"), tasks=2, blur=0.1)
  >>> [len(each.classes) for each in stream.experiences]
  [10, 10]
  """
  rows, test, groups = _dealt(source, tasks, seed, order, holdout)
  tasks = len(groups)
  if tasks < 2:
    raise UsageError(f"tasks={tasks}: a blurry stream needs 2 or more")
  main = np.full(source.train.num_classes, -1)
  for task, group in enumerate(groups):
    if (main[list(group)] >= 0).any():
      raise UsageError(
        f"tasks: a class has two main experiences, {errors.short(task)} and "
        "one before it; list each class once"
      )
    main[list(group)] = task
  rows = rows[main[source.train.y[rows]] >= 0]
  labels = source.train.y[rows]
  home = main[labels]
  rng = np.random.default_rng((seed, tasks))
  elsewhere = (home + rng.integers(1, tasks, len(rows))) % tasks
  moved = np.zeros(len(rows), bool)
  for label in np.unique(labels):
    members = rng.permutation(np.flatnonzero(labels == label))
    moved[members[: round(blur * len(members))]] = True
  dealt = np.where(moved, elsewhere, home)
  return assembly.assemble(
    "blurry",
    "class",
    source,
    [rows[dealt == task] for task in range(tasks)],
    test,
    [np.flatnonzero(np.isin(test.y, group)) for group in groups],
    task_classes=groups,
    normalize=normalize,
  )


def _split_classes(
  scenario: Literal["class", "task"],
  source: joining.Sources,
  tasks: dealing.Tasks,
  seed: int,
  order: dealing.Order,
  holdout: float,
  normalize: stream.Normalization | None,
) -> stream.Stream:
  name = f"{scenario}_incremental"
  if not isinstance(source, sources.Source):
    if not isinstance(tasks, str) or tasks not in (dealing.AUTO, dealing.GROUP):
      raise UsageError(
        f"tasks={errors.short(tasks)} beside a list of sources, each of which "
        "is an experience: leave tasks out"
      )
    source, tasks = joining.join(source), dealing.GROUP
  if isinstance(tasks, str) and tasks == dealing.GROUP:
    if order != "natural":
      raise UsageError(
        f"order={errors.short(order)} beside tasks=group, whose experiences "
        "come in the order of the groups: leave order out"
      )
    return assembly.by_group(name, scenario, source, holdout, seed, normalize)
  rows, test, groups = _dealt(source, tasks, seed, order, holdout)
  parts = dealing.rows(source.train.y[rows], groups)
  return assembly.assemble(
    name,
    scenario,
    source,
    [rows[part] for part in parts],
    test,
    [np.flatnonzero(np.isin(test.y, group)) for group in groups],
    task_classes=groups,
    normalize=normalize,
  )


def _dealt(
  source: sources.Source,
  tasks: dealing.Tasks,
  seed: int,
  order: dealing.Order,
  holdout: float,
) -> tuple[np.ndarray, base.Dataset, list[tuple[int, ...]]]:
  """Returns training rows, the test set, and each experience's classes."""
  source = joining.single(source)
  rows, test = assembly.hold_out(source, holdout, seed)
  train = source.train
  present = np.unique(train.y).tolist()
  groups = dealing.classes(train.class_names, present, tasks, order, seed)
  return rows, test, groups
