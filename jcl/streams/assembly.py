"""Steps shared by all scenarios: holds out data, and assembles a stream."""

from collections.abc import Sequence
import dataclasses
from typing import Literal

import numpy as np

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.streams import sources, splits, stream, views


def cut(
  chunks: Sequence[np.ndarray], share: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
  """Cuts the last `share` off each chunk; returns what stays, what was cut.

  >>> kept, cut_off = cut([np.arange(5), np.arange(10)], share=0.2)
  >>> [rows.tolist() for rows in cut_off]
  [[4], [8, 9]]
  """
  marks = [splits.last(len(chunk), share) for chunk in chunks]
  pairs = list(zip(chunks, marks, strict=True))
  return [rows[~m] for rows, m in pairs], [rows[m] for rows, m in pairs]


def check_holdout(holdout: float) -> None:
  """Raises ValueError unless `holdout` is a share in [0, 1)."""
  if not 0 <= holdout < 1:
    raise UsageError(f"holdout={holdout}: write a share from 0 to below 1")


def hold_out(
  source: sources.Source, holdout: float, seed: int
) -> tuple[np.ndarray, base.Dataset]:
  """Returns the rows of `source.train` to learn from, and the test data."""
  check_holdout(holdout)
  strata = splits.strata(source.train)
  rows = np.arange(len(source.train))
  test = source.test
  if test is None:
    marked = splits.stratified(strata, splits.TEST_SHARE, seed=0)
    test, rows = views.take(source.train, rows[marked]), rows[~marked]
  if holdout:
    marked = splits.stratified(strata[rows], holdout, seed)
    test, rows = views.take(source.train, rows[marked]), rows[~marked]
  return rows, test


def assemble(
  name: str,
  scenario: Literal["class", "task", "domain"],
  source: sources.Source,
  parts: Sequence[np.ndarray],  # [T] rows of source.train
  test: base.Dataset,
  test_parts: Sequence[np.ndarray],  # [T] rows of test
  *,
  task_classes: Sequence[tuple[int, ...]] | None = None,
  transforms: Sequence[views.Transform | None] | None = None,
  normalize: stream.Normalization | None,
  ordered: bool = False,
  names: Sequence[str] | None = None,
) -> stream.Stream:
  """Builds a stream of T parts, each with its test rows and transform.

  Classes without a training example in any part are left out: no evaluation
  chooses among them, their test examples are dropped, and a note names them.

  Raises:
    ValueError: where an experience would have nothing to learn or be tested on.
  """
  train = source.train
  transforms = transforms or [None] * len(parts)
  names = names or [""] * len(parts)
  brought = [tuple(np.unique(train.y[rows]).tolist()) for rows in parts]
  trained = np.zeros(train.num_classes, bool)
  trained[list(set().union(*brought))] = True
  known = trained[test.y]
  notes = [*train.notes, *test.notes]
  notes += untrained(train.class_names, trained, test.y)
  if not known.all():
    test_parts = [rows[known[rows]] for rows in test_parts]
  everything = tuple(np.flatnonzero(trained).tolist())
  task_classes = [
    tuple(label for label in among if trained[label])
    for among in task_classes or [everything] * len(parts)
  ]
  _check_filled(name, source, parts, test_parts, task_classes, names)
  experiences = tuple(
    base.Experience(
      index,
      brought[index],
      views.take(train, parts[index], transform),
      parts[index],
      names[index],
    )
    for index, transform in enumerate(transforms)
  )
  held_out = [
    views.take(test, rows, transform)
    for rows, transform in zip(test_parts, transforms, strict=True)
  ]
  mean, std = stream.statistics(experiences[0].data, normalize)
  return stream.Stream(
    name=f"{name}-{train.name}",
    scenario=scenario,
    class_names=train.class_names,
    experiences=experiences,
    held_out=stream.Sealed(held_out),
    task_classes=tuple(task_classes),
    mean=mean,
    std=std,
    ordered=ordered,
    notes=tuple(dict.fromkeys(notes)),
  )


def _check_filled(
  name: str,
  source: sources.Source,
  parts: Sequence[np.ndarray],
  test_parts: Sequence[np.ndarray],
  task_classes: Sequence[tuple[int, ...]],
  names: Sequence[str],
) -> None:
  """Raises UsageError for an experience without training or test examples."""
  train = source.train
  for index, both in enumerate(zip(parts, test_parts, strict=True)):
    for what, rows in zip(("training", "held-out"), both, strict=True):
      if len(rows):
        continue
      among = [train.class_names[label] for label in task_classes[index]]
      raise UsageError(
        f"experience {index} of {name} on {train.name} would have no {what} "
        f"examples ({_called(names[index])}its classes: "
        f"{errors.some(among)}); use fewer experiences or another split"
        + ", or give a test set"
        * (source.test is None and what != "training")
      )


def untrained(
  class_names: Sequence[str], trained: np.ndarray, tested: np.ndarray
) -> list[str]:
  """Returns a note on classes without training examples, where there are any.

  Args:
    class_names: [C].
    trained: [C] bool, classes that have examples in some experience.
    tested: [N] classes of the test examples.
  """
  if trained.all():
    return []
  lost = int((~trained[tested]).sum())
  left = np.flatnonzero(~trained).tolist()
  take = "takes" if len(left) == 1 else "take"
  tests = errors.count(lost, "test example")
  return [
    f"{errors.count(len(left), 'class', 'classes')} without training examples "
    f"in the stream {take} no part: "
    f"{errors.some([class_names[label] for label in left])}"
    + (f"; {tests} left out" if lost else "")
  ]


def by_group(
  name: str,
  scenario: Literal["class", "task", "domain"],
  source: sources.Source,
  holdout: float,
  seed: int,
  normalize: stream.Normalization | None,
) -> stream.Stream:
  """Builds a stream of one experience for each group, whatever its classes.

  Raises:
    ValueError: where training or test data lack groups.
  """
  train = source.train
  if train.group is None:
    raise UsageError(
      f"{train.name} has no groups; give one for each example: group= of "
      "jcl.arrays, the keys group_train and group_test of an archive, a column "
      "that csv:group= names, or a level of folders with "
      "image_folder:group=true; or write another scenario, such as time_ordered"
    )
  rows, test = hold_out(source, holdout, seed)
  if test.group is None:
    raise UsageError(
      f"the test set of {train.name} has no groups; give it some, as "
      "group_test= of jcl.arrays or the key group_test of an archive, or write "
      "holdout=0.2 to hold out training data instead"
    )
  group = train.group[rows]
  values = np.unique(group).tolist()
  lost = ~np.isin(test.group, values)
  if lost.any():
    strange = np.unique(test.group[lost]).tolist()
    note = (
      f"{errors.count(int(lost.sum()), 'test example')} left out, of "
      f"{errors.count(len(strange), 'group')} without training examples: "
      f"{errors.some([_group_name(train, value) for value in strange])}"
    )
    test = dataclasses.replace(test, notes=(*test.notes, note))
  parts = [rows[group == value] for value in values]
  test_parts = [np.flatnonzero(test.group == value) for value in values]
  among = None
  if scenario != "domain":
    among = [
      tuple(np.union1d(train.y[part], test.y[test_part]).tolist())
      for part, test_part in zip(parts, test_parts, strict=True)
    ]
  return assemble(
    name,
    scenario,
    source,
    parts,
    test,
    test_parts,
    task_classes=among,
    normalize=normalize,
    names=[_group_name(train, value) for value in values],
  )


def _group_name(dataset: base.Dataset, value: int) -> str:
  names = dataset.group_names
  return names[value] if names else str(value)


def _called(name: str) -> str:
  return f"group {errors.short(name)}, " if name else ""
