"""Synaptic intelligence."""

from jcl import base
from jcl.objectives import regularisers
from jcl.options import kinds
from jcl.recipes import bounds


def si(
  *, strength: kinds.NonNegative = 1.0, damping: kinds.Positive = 0.1
) -> base.Method:
  """Holds parameters in proportion to the loss that their updates removed.

  Zenke et al., "Continual Learning Through Synaptic Intelligence", ICML 2017,
  eq. 4 and 5 (c is `strength`, xi `damping`), https://arxiv.org/abs/1703.04200.

  Semantics: no memory; the path integral uses the gradient of the whole loss,
  penalty included, and is added to the importances when an experience ends.
  """
  return bounds.finetune()._replace(
    objective=regularisers.synaptic_intelligence(strength, damping)
  )
