"""Learning without forgetting."""

from jcl import base
from jcl.objectives import regularisers
from jcl.options import kinds
from jcl.recipes import bounds


def lwf(
  *, strength: kinds.NonNegative = 1.0, temperature: kinds.Positive = 2.0
) -> base.Method:
  """Holds old outputs on new data near those of the previous network.

  Li and Hoiem, "Learning without Forgetting", ECCV 2016, eq. 2 and 3,
  https://arxiv.org/abs/1606.09282.

  Semantics: no memory; the teacher is the network at the beginning of the
  experience, compared on the classes seen before it; the paper's warm-up of the
  new outputs is left out.
  """
  return bounds.finetune()._replace(
    objective=regularisers.lwf(strength, temperature)
  )
