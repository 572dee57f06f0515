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
  Online Continual Learning", ICLR 2022, https://arxiv.org/abs/2203.03798.

  Semantics: as `er`, but with two losses: the softmax of the stream batch
  leaves out old classes that are not in the batch; the softmax of the replayed
  batch has all classes in use. Replay starts with the second experience.
  """
  method = er(buffer=buffer, minibatch=minibatch)
  return method._replace(objective=asymmetric.er_ace())
