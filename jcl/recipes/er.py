"""Experience replay."""

from jcl import base
from jcl.objectives import supervised
from jcl.options import kinds
from jcl.recipes import bounds
from jcl.replay import reservoir


def er(
  *,
  buffer: kinds.Size = 200,
  minibatch: kinds.Count = 10,
  one_loss: bool = True,
  replay_current: bool = True,
) -> base.Method:
  """Trains on each batch together with a batch from a reservoir.

  Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019;
  Riemer et al., "Learning to Learn without Forgetting by Maximizing Transfer
  and Minimizing Interference", ICLR 2019; reservoir as in Vitter 1985.

  Semantics: the memory is updated after every step with the raw batch just
  learned; `replay_current` lets it show examples of the current experience
  again; `one_loss` takes one mean over stream and replayed examples together
  (False: the sum of two means); replayed examples are augmented anew.

  Args:
    buffer: memory in examples, or in bytes such as "2MB".
    minibatch: examples replayed in each step.
    one_loss: see above.
    replay_current: see above.
  """
  return bounds.finetune()._replace(
    objective=supervised.experience_replay(one_loss=one_loss),
    replay=reservoir.reservoir(buffer, minibatch, current=replay_current),
  )
