"""Pretraining: learns initial weights on a part of the data's classes.

Where no learned weights are at hand for a stream, the first classes are learned
at once, and the others arrive as the stream.
"""

from collections.abc import Callable, Sequence
import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jcl import base
from jcl.networks import pretrained
from jcl.options.errors import UsageError
from jcl.recipes import bounds
from jcl.report import lines
from jcl.run import session
from jcl.streams import archives, assembly, scenarios, sources, views


def split(
  source: sources.Source,
  classes: int,
  *,
  then: int | None = None,
  most: tuple[int | None, int | None] = (None, None),
) -> tuple[sources.Source, sources.Source]:
  """Cuts a source into its first classes and those after them.

  Classes without training examples are in neither part. Where the source has no
  test set, a fifth of the training data of each part becomes one, as in a
  stream.

  Args:
    source: of images or other examples.
    classes: number of those to learn at once, numbered from 0.
    then: number of those that follow, numbered from 0 again; None: all others.
    most: training examples of a class at most, in the first part and in the
      second; None: all.

  Returns:
    The two parts; classes of each are numbered from 0.

  Raises:
    ValueError: unless each part has two classes.
  """
  train, test = source.train, source.test
  present = np.unique(train.y).tolist()
  count = len(present)
  if not 2 <= classes <= count - 2:
    upto = f"give 2 to {count - 2}" if count >= 4 else "four are needed"
    kind = " with training examples" * (count < train.num_classes)
    raise UsageError(
      f"{classes} classes to begin with, of {count}{kind}: {upto}, so that "
      "two at least are left"
    )
  end = count if then is None else classes + then
  if not classes + 2 <= end <= count:
    raise UsageError(
      f"{then} classes to follow {classes}, of {count}: give 2 to "
      f"{count - classes}"
    )
  if test is None:
    rows, test = assembly.hold_out(source, 0.0, seed=0)
    train = views.take(train, rows)
  trained = np.isin(np.arange(train.num_classes), present)
  notes = assembly.untrained(train.class_names, trained, test.y)
  train = dataclasses.replace(train, notes=(*train.notes, *notes))
  return (
    _part(train, test, present[:classes], most[0]),
    _part(train, test, present[classes:end], most[1]),
  )


def _part(
  train: base.Dataset,
  test: base.Dataset,
  classes: Sequence[int],
  most: int | None,
) -> sources.Source:
  """Returns the source of some classes, numbered from 0 in the order given."""

  def of(data: base.Dataset, limit: int | None) -> base.Dataset:
    found = [np.flatnonzero(data.y == label)[:limit] for label in classes]
    rows = np.concatenate(found)
    return dataclasses.replace(
      data,
      x=data.x[rows],
      y=np.repeat(np.arange(len(classes)), [len(each) for each in found]),
      class_names=tuple(data.class_names[label] for label in classes),
      group=None if data.group is None else data.group[rows],
    )

  return sources.Source(of(train, most), of(test, None))


def learned(
  source: sources.Source,
  network: base.Network,
  folder: str | os.PathLike[str],
  options: session.Options | None = None,
  **training: Any,
) -> tuple[base.Params, base.Stats]:
  """Returns a network's weights, learned on all of a source at once.

  The file `weights.npz` of the folder keeps the weights, and the next call with
  the folder reads them; a call that was stopped goes on.

  Args:
    source: of the training data.
    network: with as many outputs as the source has classes.
    folder: where the run and its weights are kept.
    options: how to carry it out; None: as runs are by default.
    **training: fields of `base.Training`.

  Returns:
    Parameters and statistics.

  Raises:
    ValueError: for a file of another network's weights.
    WorkdirError: as `session.run`.
  """

  def learn():
    stream = scenarios.class_incremental(source, tasks=1)
    done = session.learn(
      stream,
      network,
      bounds.finetune(),
      workdir=folder,
      options=options or session.Options(),
      context={"recipe": {"name": "pretraining", "options": {}}},
      **training,
    )
    train = done.state.train
    return (train.params, train.stats), {"accuracy": done.average_accuracy}

  return kept(Path(folder) / "weights.npz", network, learn)


def kept(
  path: Path,
  network: base.Network,
  learn: Callable[[], tuple[tuple[base.Params, base.Stats], dict[str, float]]],
) -> tuple[base.Params, base.Stats]:
  """Returns a network's weights from a file, learned first where it is missing.

  Args:
    path: of the file, .npz.
    network: of the weights.
    learn: returns the weights, and figures to keep beside them.

  Returns:
    Parameters and statistics.

  Raises:
    ValueError: for a file of another network's weights.
  """
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  leaves, structure = jax.tree.flatten(shapes)
  if not path.exists():
    weights, figures = learn()
    path.parent.mkdir(parents=True, exist_ok=True)
    found = map(np.asarray, jax.tree.leaves(weights))
    with lines.replacing(path) as file:
      np.savez(file, *found, **figures)  # type: ignore[arg-type]
  arrays = archives.arrays(path)
  names = [f"arr_{i}" for i in range(len(leaves))]
  if [arrays[n].shape for n in names if n in arrays] != [
    leaf.shape for leaf in leaves
  ]:
    raise UsageError(
      f"{path} holds weights of another network than {network.name!r}: give "
      "another folder, or remove it"
    )
  return jax.tree.unflatten(structure, [arrays[n] for n in names])


def accuracy(folder: str | os.PathLike[str]) -> float:
  """Returns the share of test examples that `learned` got right."""
  return float(archives.arrays(Path(folder) / "weights.npz")["accuracy"])


def begun(
  network: base.Network, params: base.Params, stats: base.Stats
) -> base.Network:
  """Returns a network of other classes that begins with learned weights."""
  head = network.units[-1]
  return pretrained.with_weights(network, params, stats, fresh=(head,))
