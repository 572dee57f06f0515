"""Averaged gradient episodic memory."""

from jcl import base
from jcl.objectives import projection
from jcl.options import kinds
from jcl.recipes import bounds
from jcl.replay import reservoir


def agem(
  *, buffer: kinds.Size = 200, minibatch: kinds.Count = 128
) -> base.Method:
  """Removes from each gradient the part that raises the loss on the memory.

  Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019, eq. 11,
  https://arxiv.org/abs/1812.00420.

  Semantics: two gradients per step, of the stream batch and of a replayed
  one; the memory is a reservoir offered each experience when it has ended, so
  the current experience is not replayed.
  """
  return bounds.finetune()._replace(
    objective=projection.agem(),
    replay=reservoir.reservoir(buffer, minibatch)._replace(when="after"),
  )
