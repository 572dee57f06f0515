"""The lower and the upper bound of all methods."""

from jcl import base
from jcl.objectives import predictors, supervised
from jcl.replay import nothing
from jcl.selection import fixed


def finetune(*, current: bool = False) -> base.Method:
  """Lower bound: learns each experience as if there were no other.

  Semantics: cross-entropy on the current batch, no memory. With `current`, only
  the experience's own classes compete in the loss, not all outputs in use.
  """
  return base.Method(
    objective=supervised.cross_entropy(current),
    replay=nothing.none(),
    selector=fixed.everything(),
    predictor=predictors.logits(),
  )


def joint(*, restart: bool = True) -> base.Method:
  """Upper bound: learns all data so far together, at every experience.

  Semantics: at each experience the parameters are initialised again (`restart`)
  and trained for the run's epochs on all experiences so far, shuffled. The last
  experience is thus ordinary training on all data.
  """
  return finetune()._replace(
    trains_on="seen",
    restart=restart,
  )
