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
  current: bool = False,
) -> base.Method:
  """Trains on each batch together with a batch from a reservoir.

  Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019,
  https://arxiv.org/abs/1902.10486; Riemer et al., "Learning to Learn without
  Forgetting by Maximizing Transfer and Minimizing Interference", ICLR 2019,
  https://arxiv.org/abs/1810.11910; reservoir sampling as in Vitter, 1985,
  https://doi.org/10.1145/3147.3165.

  Semantics: after every step the raw batch just learned is offered to the
  memory; replayed examples are augmented again at each replay.

  Args:
    buffer: memory in examples, or in bytes such as "2MB".
    minibatch: examples replayed in each step.
    one_loss: one mean over stream and replayed examples together; False: the
      sum of two means.
    replay_current: whether examples of the current experience are replayed.
    current: whether, for examples of the stream, only classes of the current
      experience compete in the loss.
  """
  return bounds.finetune()._replace(
    objective=supervised.experience_replay(one_loss, current),
    replay=reservoir.reservoir(buffer, minibatch, current=replay_current),
  )
