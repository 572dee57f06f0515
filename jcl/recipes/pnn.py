"""Progressive neural networks."""

import numpy as np

from jcl import base
from jcl.objectives import supervised
from jcl.recipes import bounds
from jcl.selection import mask


def pnn() -> base.Method:
  """Learns each experience with a column of its own, the others frozen.

  Rusu et al., "Progressive Neural Networks", 2016, arXiv 1606.04671. It needs
  the network that `networks.progressive.progressive` builds, with a column for
  every experience.

  Semantics: cross-entropy among the classes of the current experience, whose
  column alone trains, laterals included. Nothing learned is touched again, so
  that task-incremental accuracy never falls; the method needs to be told the
  task, and class-incremental accuracy, the largest logit of all columns, is no
  aim of it.
  """
  return bounds.finetune()._replace(
    objective=supervised.cross_entropy(current=True),
    selector=_newest_column(),
    columns=True,
  )


def _newest_column() -> base.Selector:
  """Trains column t in experience t; the state counts the choices so far."""

  def choose(state, network, times, budget):
    del times, budget
    own = f"column_{int(state) - 1}"
    if own not in network.units:
      raise ValueError(
        f"network {network.name!r} has no {own}, which experience "
        f"{int(state) - 1} is to train: build it with "
        "progressive.progressive(column, stream.example_shape, "
        "stream.task_classes), which has a column for every experience"
      )
    return mask.select(network, lambda tensor: tensor.unit == own)

  return base.Selector(
    init=lambda params: np.int32(0),
    update=lambda key, state, probe: np.int32(state + 1),
    choose=choose,
    num_probes=1,  # not looked at, but without one there is no update
    prompt=True,
  )
