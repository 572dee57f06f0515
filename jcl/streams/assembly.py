"""What all scenarios share: holding out, dealing classes, building a stream."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from jcl import base
from jcl.streams import sources, splits, stream, views

Order = Literal["natural", "random"] | Sequence[int]


def cut(
  chunks: Sequence[np.ndarray], share: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
  """Each chunk without its last `share`, and what was cut off."""
  marks = [splits.last(len(chunk), share) for chunk in chunks]
  pairs = list(zip(chunks, marks, strict=True))
  return [rows[~m] for rows, m in pairs], [rows[m] for rows, m in pairs]


def check_count(option: str, count: int) -> None:
  """ValueError unless at least one experience is asked for."""
  if count < 1:
    raise ValueError(f"{option}={count}: write 1 or more")


def check_holdout(holdout: float) -> None:
  """ValueError unless `holdout` leaves something to learn from."""
  if not 0 <= holdout < 1:
    raise ValueError(f"holdout={holdout}: write a share from 0 to below 1")


def hold_out(
  source: sources.Source, holdout: float, seed: int
) -> tuple[np.ndarray, base.Dataset]:
  """Rows of `source.train` to learn from, and the data that judges."""
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


def class_groups(
  num_classes: int, tasks: int, order: Order, seed: int
) -> list[tuple[int, ...]]:
  """The classes of each task, the remainder spread over the first tasks."""
  if not 1 <= tasks <= num_classes:
    raise ValueError(
      f"tasks={tasks}: write 1 to {num_classes}, the number of classes"
    )
  if isinstance(order, str):
    if order not in ("natural", "random"):
      raise ValueError(
        f"order={order!r}: write natural, random or a list of the classes"
      )
    classes = np.arange(num_classes)
    if order == "random":
      classes = np.random.default_rng((seed, num_classes)).permutation(classes)
  else:
    classes = np.asarray(order)
    if sorted(classes.tolist()) != list(range(num_classes)):
      raise ValueError(
        f"order={list(order)} must hold each class from 0 to {num_classes - 1} "
        "once"
      )
  return [
    tuple(sorted(group.tolist())) for group in np.array_split(classes, tasks)
  ]


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
) -> stream.Stream:
  """Builds a stream of T parts, each with its test rows and transform.

  Raises:
    ValueError: where an experience would have nothing to learn or be tested on.
  """
  num_classes = source.train.num_classes
  transforms = transforms or [None] * len(parts)
  task_classes = task_classes or [tuple(range(num_classes))] * len(parts)
  experiences, held_out = [], []
  for index, transform in enumerate(transforms):
    for what, rows in (
      ("training", parts[index]),
      ("held-out", test_parts[index]),
    ):
      if not len(rows):
        raise ValueError(
          f"experience {index} of {name} on {source.train.name} would have no "
          f"{what} examples (its classes: {list(task_classes[index])}); use "
          "fewer experiences or another split"
        )
    data = views.take(source.train, parts[index], transform)
    classes = tuple(np.unique(data.y).tolist())
    experiences.append(base.Experience(index, classes, data, parts[index]))
    held_out.append(views.take(test, test_parts[index], transform))
  mean, std = stream.statistics(experiences[0].data, normalize)
  return stream.Stream(
    name=f"{name}-{source.train.name}",
    scenario=scenario,
    class_names=source.train.class_names,
    experiences=tuple(experiences),
    held_out=stream.Sealed(held_out),
    task_classes=tuple(task_classes),
    mean=mean,
    std=std,
    ordered=ordered,
    notes=tuple(dict.fromkeys((*source.train.notes, *test.notes))),
  )
