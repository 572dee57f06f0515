"""Joins several sources into one, in which each is a group."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.streams import assembly, sources, views

# Of a stream: a source, or several of which each is a group.
Sources = sources.Source | Sequence[sources.Source]


def join(members: Sequence[sources.Source]) -> sources.Source:
  """Joins sources: classes by name, and each source a group.

  Classes come in the order in which the sources bring them. Where some sources
  have a test set, a fifth of the training data of each other source is held out
  as its test set. Groups within a source are not kept.

  Raises:
    ValueError: where inputs differ in shape, dtype or scale, or for no source.
  """
  several = np.iterable(members) and not isinstance(members, str | np.ndarray)
  listed: list[Any] = list(members) if several else [members]
  for member in listed:
    if not isinstance(member, sources.Source):
      raise UsageError(
        f"{errors.short(member)} is no source of data; give what jcl.arrays "
        "or jcl.load return, or a list of them"
      )
  if not listed:
    raise UsageError("the list of sources is empty; give one or more")
  pairs = [(member.train, member.test) for member in listed]
  if any(test is not None for _, test in pairs):
    pairs = [_with_test(member) for member in listed]
  trains = [train for train, _ in pairs]
  tests = [test for _, test in pairs if test is not None]
  for i, train in enumerate(trains):
    what = f"sources 0 ({trains[0].name}) and {i} ({train.name})"
    sources.agree(what, trains[0], train, same_classes=False)
  class_names = tuple(
    dict.fromkeys(name for train in trains for name in train.class_names)
  )
  names = [train.name for train in trains]
  group_names = tuple(
    f"{name} {i}" if names.count(name) > 1 else name
    for i, name in enumerate(names)
  )
  name, *others = dict.fromkeys(names)
  if others:
    name = f"{name}-and-{len(others)}-more"
  return sources.Source(
    _joined(name, trains, class_names, group_names),
    _joined(name, tests, class_names, group_names) if tests else None,
  )


def single(source: Any) -> sources.Source:
  """Returns a source as it is; ValueError for a list, or another value."""
  if isinstance(source, sources.Source):
    return source
  raise UsageError(
    f"{errors.short(source)} is no source of data; give what jcl.arrays or "
    "jcl.load return. Lists of them are for class_incremental, "
    "task_incremental and domain_by_group"
  )


def _with_test(member: sources.Source) -> tuple[base.Dataset, base.Dataset]:
  if member.test is not None:
    return member.train, member.test
  rows, test = assembly.hold_out(member, 0.0, seed=0)
  return views.take(member.train, rows), test


def _joined(
  name: str,
  parts: Sequence[base.Dataset],
  class_names: tuple[str, ...],
  group_names: tuple[str, ...],
) -> base.Dataset:
  place = {name: i for i, name in enumerate(class_names)}
  labels = [
    np.array([place[name] for name in part.class_names], np.int32)[part.y]
    for part in parts
  ]
  return dataclasses.replace(
    parts[0],
    name=name,
    x=views.Joined([part.x for part in parts]),
    y=np.concatenate(labels),
    class_names=class_names,
    group=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
    group_names=group_names,
    notes=tuple(note for part in parts for note in part.notes),
  )
