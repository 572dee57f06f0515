"""Makes streams of sources: deals data out over time.

Every function takes a source and returns a `Stream`. Their common arguments:

- `seed`: of every random choice in the split.
- `holdout`: a share of the training data that is set apart and takes the place
  of the test set, so that hyper-parameters can be chosen without a look at the
  test data. 0 uses the test set itself.
- `normalize`: see `stream.statistics`.

Where a source has no test set, a fifth of its training data becomes one, drawn
from each class (of each group), the same in every run. A single pass over a
stream, the online setting, needs no scenario of its own: it is one epoch per
experience.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from jcl import base
from jcl.options import bounds, errors, kinds, parameters, spec
from jcl.options.errors import UsageError
from jcl.streams import (
  assembly,
  dealing,
  joining,
  sources,
  splits,
  stream,
  views,
)

Sources = sources.Source | Sequence[sources.Source]


@spec.checked("stream")
def class_incremental(
  source: Sources,
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
    holdout: see the module.
    normalize: see `stream.statistics`.

  >>> stream = class_incremental(sources.load("digits"), tasks="4+3x2")
  >>> [each.classes for each in stream.experiences]
  [(0, 1, 2, 3), (4, 5, 6), (7, 8, 9)]
  """
  return _split_classes("class", source, tasks, seed, order, holdout, normalize)


@spec.checked("stream")
def task_incremental(
  source: Sources,
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


def _split_classes(
  scenario: Literal["class", "task"],
  source: Sources,
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
    holdout: see the module.
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


@spec.checked("stream")
def permuted(
  source: sources.Source,
  *,
  tasks: kinds.Parts = 5,
  seed: kinds.Seed = 0,
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """All classes in each experience, pixels in another order each time.

  Goodfellow et al., "An Empirical Investigation of Catastrophic Forgetting in
  Gradient-Based Neural Networks", 2013, https://arxiv.org/abs/1312.6211. The
  first experience is unchanged.

  Args:
    source: of the data.
    tasks: number of experiences.
    seed: of the permutations and of `holdout`.
    holdout: see the module.
    normalize: see `stream.statistics`.
  """
  source = joining.single(source)
  num_positions = views.num_positions(source.train.x.shape[1:])
  rng = np.random.default_rng((seed, num_positions))
  transforms: list[views.Transform | None] = [None]
  for _ in range(1, tasks):
    transforms.append(views.permute(rng.permutation(num_positions)))
  return _repeat("permuted", source, transforms, seed, holdout, normalize)


@spec.checked("stream")
def rotated(
  source: sources.Source,
  *,
  tasks: kinds.Parts = 5,
  max_degrees: Annotated[float, bounds.Range(-360, 360)] = 180.0,
  seed: kinds.Seed = 0,
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """All classes in each experience, images turned further each time.

  Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning",
  NeurIPS 2017, https://arxiv.org/abs/1706.08840, with evenly spaced angles: the
  first experience is unchanged, the last is turned by `max_degrees`.

  Args:
    source: of the data; images [height, width, channels].
    tasks: number of experiences.
    max_degrees: angle of the last experience, anticlockwise.
    seed: of `holdout`.
    holdout: see the module.
    normalize: see `stream.statistics`.

  Raises:
    ValueError: where the examples are no images.

  >>> stream = rotated(sources.load("digits"), tasks=2)
  >>> [len(each.classes) for each in stream.experiences]
  [10, 10]
  """
  source = joining.single(source)
  shape = source.train.x.shape[1:]
  if len(shape) != 3:
    raise UsageError(
      f"{source.train.name} has examples of shape {shape}; only images "
      "[height, width, channels] can be rotated"
    )
  transforms = [
    views.rotate(angle, shape[0], shape[1]) if angle else None
    for angle in np.linspace(0.0, max_degrees, tasks).tolist()
  ]
  return _repeat("rotated", source, transforms, seed, holdout, normalize)


def _repeat(
  name: str,
  source: sources.Source,
  transforms: Sequence[views.Transform | None],
  seed: int,
  holdout: float,
  normalize: stream.Normalization | None,
) -> stream.Stream:
  rows, test = assembly.hold_out(source, holdout, seed)
  return assembly.assemble(
    name,
    "domain",
    source,
    [rows] * len(transforms),
    test,
    [np.arange(len(test))] * len(transforms),
    transforms=transforms,
    normalize=normalize,
  )


@spec.checked("stream")
def domain_by_group(
  source: Sources,
  *,
  seed: kinds.Seed = 0,
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """One experience per group of the source: subject, device, batch in time.

  Groups come in the order of their numbers or names, each tested on its own
  rows. In a list of sources, each source is a group.

  Args:
    source: of the data, with groups; or a list of sources.
    seed: of `holdout`.
    holdout: see the module.
    normalize: see `stream.statistics`.

  Raises:
    ValueError: where training or test data lack groups.

  >>> x, y = np.zeros((80, 2), np.float32), [0, 1] * 40
  >>> source = sources.arrays(x, y, group=["mon"] * 40 + ["tue"] * 40)
  >>> [each.name for each in domain_by_group(source).experiences]
  ['mon', 'tue']
  """
  if not isinstance(source, sources.Source):
    source = joining.join(source)
  return assembly.by_group(
    "domain_by_group", "domain", source, holdout, seed, normalize
  )


@spec.checked("stream")
def time_ordered(
  source: sources.Source,
  *,
  parts: kinds.Parts = 10,
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """Contiguous stretches of a source whose rows are in time order.

  The test set is cut in the same proportions, so a source should hold out rows
  all along its time, as `csv` and `gas_drift` do. Where there is no test set,
  the last fifth of each stretch is held out. Neighbours in time are alike, so
  that `holdout` too takes the last rows of each stretch, not a random draw. The
  examples of an experience are shown in their order; sets that span
  experiences, as in `joint` and recipes over a memory, are shuffled.

  Args:
    source: of the data.
    parts: number of experiences of (nearly) equal size.
    holdout: see the module.
    normalize: see `stream.statistics`.

  >>> x, y = np.zeros((90, 2), np.float32), [0, 1] * 45
  >>> stream = time_ordered(sources.arrays(x, y), parts=3)
  >>> len(stream.experiences)
  3
  """
  source = joining.single(source)
  assembly.check_holdout(holdout)
  chunks = np.array_split(np.arange(len(source.train)), parts)
  if source.test is None:
    test = source.train
    chunks, test_parts = assembly.cut(chunks, splits.TEST_SHARE)
  else:
    test = source.test
    test_parts = np.array_split(np.arange(len(test)), parts)
  if holdout:
    test = source.train
    chunks, test_parts = assembly.cut(chunks, holdout)
  return assembly.assemble(
    "time_ordered",
    "domain",
    source,
    chunks,
    test,
    test_parts,
    normalize=normalize,
    ordered=True,
  )


SCENARIOS: dict[str, Callable[..., stream.Stream]] = {
  "blurry": blurry,
  "class_incremental": class_incremental,
  "domain_by_group": domain_by_group,
  "permuted": permuted,
  "rotated": rotated,
  "task_incremental": task_incremental,
  "time_ordered": time_ordered,
}


def build(
  name: str, source: sources.Source, /, *, seed: Any = 0, **options: Any
) -> stream.Stream:
  """Builds the stream of the scenario `name` from a source.

  Args:
    name: one of `describe()`.
    source: of the data.
    seed: passed on to scenarios that draw at random.
    **options: the keyword arguments of the function of that name.
  """
  if name in SCENARIOS and "seed" in parameters.keywords(SCENARIOS[name]):
    options["seed"] = seed
  return spec.call("stream", SCENARIOS, name, source, **options)


def describe() -> dict[str, str]:
  """Returns one line about each scenario that `build` knows."""
  return parameters.describe(SCENARIOS)
