"""Weights to begin with, learned on a part of the data's classes.

For streams that no learned weights are at hand for: the first classes are
learned at once, and the others arrive as a stream.
"""

from collections.abc import Callable
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jcl import base, session
from jcl.networks import pretrained
from jcl.recipes import bounds
from jcl.streams import scenarios, sources


def split(
  source: sources.Source,
  classes: int,
  *,
  then: int | None = None,
  most: tuple[int | None, int | None] = (None, None),
) -> tuple[sources.Source, sources.Source]:
  """Cuts a source into its first classes and those after them.

  Args:
    source: of images or other examples.
    classes: number of those to learn at once, numbered from 0.
    then: number of those that follow, numbered from 0 again; None: all others.
    most: training examples of a class at most, of either part.

  Raises:
    ValueError: unless each part has two classes.
  """
  count = source.train.num_classes
  if not 2 <= classes <= count - 2:
    raise ValueError(
      f"{classes} classes to begin with, of {count}: give 2 to {count - 2}, so "
      "that two at least are left"
    )
  end = count if then is None else classes + then
  if not classes + 2 <= end <= count:
    raise ValueError(
      f"{then} classes to follow {classes}, of {count}: give 2 to "
      f"{count - classes}"
    )
  return (
    _part(source, range(classes), most[0]),
    _part(source, range(classes, end), most[1]),
  )


def _part(source, classes: range, most: int | None) -> sources.Source:
  parts = []
  for data, limit in ((source.train, most), (source.test, None)):
    rows = np.concatenate(
      [np.flatnonzero(data.y == label)[:limit] for label in classes]
    )
    parts += [data.x[rows], data.y[rows] - classes.start]
  return sources.arrays(*parts, scale=source.train.scale)


def learned(
  source: sources.Source,
  network: base.Network,
  folder: str | os.PathLike[str],
  options: session.Options | None = None,
  **training: Any,
) -> tuple[base.Params, base.Stats]:
  """Returns a network's weights, learned on all of a source at once.

  They are kept in `weights.npz` of the folder, where the next call with it
  finds them; a call that was stopped goes on.

  Args:
    source: what is learned.
    network: with as many outputs as the source has classes.
    folder: where the run and its weights are kept.
    options: how to carry it out; None: as runs are by default.
    **training: fields of `base.Training`.
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
  """Returns a network's weights from a file, learned first where it is not.

  Args:
    path: of the file, .npz.
    network: whose weights they are.
    learn: returns them, with figures to keep beside them.

  Raises:
    ValueError: for a file of another network's weights.
  """
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  leaves, structure = jax.tree.flatten(shapes)
  if not path.exists():
    weights, figures = learn()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    found = map(np.asarray, jax.tree.leaves(weights))
    np.savez(partial, *found, **figures)  # type: ignore[arg-type]
    partial.replace(path)
  with np.load(path) as arrays:
    names = [f"arr_{i}" for i in range(len(leaves))]
    if [arrays[n].shape for n in names if n in arrays] != [
      leaf.shape for leaf in leaves
    ]:
      raise ValueError(
        f"{path} holds weights of another network than {network.name!r}: give "
        "another folder, or remove it"
      )
    return jax.tree.unflatten(structure, [arrays[n] for n in names])


def accuracy(folder: str | os.PathLike[str]) -> float:
  """Returns the share of test examples that `learned` got right."""
  with np.load(Path(folder) / "weights.npz") as arrays:
    return float(arrays["accuracy"])


def begun(
  network: base.Network, params: base.Params, stats: base.Stats
) -> base.Network:
  """Returns a network of other classes that begins with learned weights."""
  head = network.units[-1]
  return pretrained.with_weights(network, params, stats, fresh=(head,))
