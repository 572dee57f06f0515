"""Experience replay with asymmetric cross-entropy."""

from jcl import base
from jcl.objectives import asymmetric
from jcl.options import kinds
from jcl.recipes.er import er


def er_ace(
  *, buffer: kinds.Size = 200, minibatch: kinds.Count = 10
) -> base.Method:
  """Replays with a stream loss that leaves old classes' outputs alone.

  Caccia et al., "New Insights on Reducing Abrupt Representation Change in
  Online Continual Learning", ICLR 2022.

  Semantics: as `er`, but two losses: the stream batch's softmax leaves out
  old classes that are not in the batch, the replayed batch's runs over all
  classes in play, and replay starts with the second experience.
  """
  method = er(buffer=buffer, minibatch=minibatch)
  return method._replace(objective=asymmetric.er_ace())
