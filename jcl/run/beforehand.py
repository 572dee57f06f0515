"""Models that learn data ahead of a run, from plain options."""

from collections.abc import Callable
import os
from pathlib import Path
from typing import Any

from jcl import base
from jcl.run import pretraining
from jcl.run import setup as setups
from jcl.streams import sources

_ROWS = 64  # examples of an update, at most

Weights = tuple[base.Params, base.Stats]


def weights(
  setup: setups.Setup,
  before: sources.Source,
  folder: str | os.PathLike[str],
  build: Callable[..., base.Network] | None = None,
  **training: Any,
) -> tuple[Weights, float]:
  """Learns all of a source at once, or reads the weights where they lie.

  Args:
    setup: names the model, and says how runs are carried out.
    before: what is learned.
    folder: where the run and its weights are kept.
    build: see `setup.builder`, which is asked where this is None.
    **training: fields of `base.Training`, and the seed.

  Returns:
    The weights, for `pretraining.begun`, and the accuracy reached.
  """
  shape, classes = before.train.x.shape[1:], before.train.num_classes
  model = (build or setups.builder(setup, shape))(shape, classes)
  learned = pretraining.learned(
    before, model, folder, setups.options(setup), **training
  )
  return learned, pretraining.accuracy(Path(folder))


def parts(
  setup: setups.Setup, made: setups.Parts, folder: str | os.PathLike[str]
) -> tuple[setups.Parts, float]:
  """Learns the first classes, or reads the weights where they lie.

  Args:
    setup: says for how many epochs.
    made: with data to learn at once.
    folder: where the run and its weights are kept.

  Returns:
    Parts whose model begins with these weights, and the accuracy reached.
  """
  before = made.before
  assert before is not None
  learned, accuracy = weights(
    setup,
    before,
    folder,
    made.build,
    epochs=setup.base_epochs,
    batch_size=min(_ROWS, len(before.train)),
    optimizer="adam",
  )
  begun = pretraining.begun(made.networks[False], *learned)
  return made._replace(networks={**made.networks, False: begun}), accuracy
