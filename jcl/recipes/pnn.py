"""Progressive neural networks."""

from jcl import base
from jcl.objectives import supervised
from jcl.options.errors import UsageError
from jcl.recipes import bounds
from jcl.selection import fixed, mask


def pnn() -> base.Method:
  """Learns each experience with a column of its own, the others frozen.

  Rusu et al., "Progressive Neural Networks", 2016,
  https://arxiv.org/abs/1606.04671. The method needs a network with a column for
  every experience, as `networks.progressive.progressive` builds it.

  Semantics: cross-entropy among the classes of the current experience; only
  its column trains, lateral connections included. Trained columns never change,
  so task-incremental accuracy never falls. The method is made for known tasks;
  class-incremental accuracy, by the largest logit of all columns, is not its
  aim.
  """
  return bounds.finetune()._replace(
    objective=supervised.cross_entropy(current=True),
    selector=fixed.by_experience(_own_column),
    columns=True,
  )


def _own_column(network: base.Network, experience: int) -> base.Selection:
  own = f"column_{experience}"
  if own not in network.units:
    raise UsageError(
      f"network {network.name!r} has no {own}, which experience {experience} "
      "is to train: build it with progressive.progressive(column, "
      "stream.example_shape, stream.task_classes), which has a column for "
      "every experience"
    )
  return mask.select(network, lambda tensor: tensor.unit == own)
