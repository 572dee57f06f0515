"""Dark experience replay."""

from jcl import base
from jcl.objectives import logit_replay
from jcl.options import kinds
from jcl.recipes.er import er


def der(
  *,
  buffer: kinds.Size = 200,
  minibatch: kinds.Count = 10,
  alpha: kinds.NonNegative = 0.3,
  replay_current: bool = True,
  current: bool = False,
) -> base.Method:
  """Holds the logits of replayed examples near their stored logits.

  Buzzega et al., "Dark Experience for General Continual Learning", NeurIPS
  2020, eq. 5 (`alpha`), https://arxiv.org/abs/2004.07211.

  Semantics: as `er`, but with two losses: cross-entropy on the stream batch,
  and `alpha` times the mean squared error between the logits of a replayed
  batch and the logits stored with it. Stored logits come from the step that
  stored the examples (training mode, before the update). `replay_current` and
  `current` as in `er`.
  """
  method = er(buffer=buffer, minibatch=minibatch, replay_current=replay_current)
  return method._replace(objective=logit_replay.der(alpha, current))


def derpp(
  *,
  buffer: kinds.Size = 200,
  minibatch: kinds.Count = 10,
  alpha: kinds.NonNegative = 0.3,
  beta: kinds.NonNegative = 0.5,
  replay_current: bool = True,
  current: bool = False,
) -> base.Method:
  """Dark experience replay with the replayed labels as well.

  Buzzega et al., "Dark Experience for General Continual Learning", NeurIPS
  2020, eq. 6 (`alpha`, `beta`), https://arxiv.org/abs/2004.07211.

  Semantics: as `der`, plus `beta` times the cross-entropy on a second,
  independent replayed batch.
  """
  method = er(buffer=buffer, minibatch=minibatch, replay_current=replay_current)
  return method._replace(objective=logit_replay.derpp(alpha, beta, current))
