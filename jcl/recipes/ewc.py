"""Elastic weight consolidation, online form."""

from jcl import base
from jcl.objectives import regularisers
from jcl.options import kinds
from jcl.recipes import bounds


def ewc(
  *, strength: kinds.NonNegative = 10.0, decay: kinds.Share = 1.0
) -> base.Method:
  """Holds parameters that earlier experiences found important.

  Schwarz et al., "Progress & Compress", ICML 2018, section 3.2 (gamma is
  `decay`, lambda `strength`), https://arxiv.org/abs/1805.06370; after
  Kirkpatrick et al., PNAS 2017, https://arxiv.org/abs/1612.00796.

  Semantics: no memory; the Fisher diagonal of an experience is the mean of
  squared per-example gradients over its examples, computed at its end.
  """
  return bounds.finetune()._replace(
    objective=regularisers.ewc_online(strength, decay)
  )
