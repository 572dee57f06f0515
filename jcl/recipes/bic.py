"""Bias correction."""

from jcl import base
from jcl.objectives import bias, predictors
from jcl.options import kinds
from jcl.recipes import bounds
from jcl.replay import balanced
from jcl.replay import held_out as held_out_lib


def bic(
  *,
  buffer: kinds.Size = 200,
  minibatch: kinds.Count = 10,
  temperature: kinds.Positive = 2.0,
  held_out: kinds.InnerShare = 0.1,
) -> base.Method:
  """Corrects the preference for new classes on held-out examples.

  Wu et al., "Large Scale Incremental Learning", CVPR 2019,
  https://arxiv.org/abs/1905.13260.

  Semantics: cross-entropy and distillation from the network as it was before
  the experience, on the batch and `minibatch` examples of the memory. A share
  `held_out` of stream and memory is never learned from; when an experience
  ends, scale and shift of its classes' outputs are fitted to the held-out
  examples in the memory. The memory keeps the latest examples, equally many of
  each class (the paper herds them, and holds out only as many new examples as
  there are of an old class).
  """
  replay = held_out_lib.held_out(balanced.ring, buffer, minibatch, held_out)
  is_held_out = held_out_lib.by_number(held_out)
  return bounds.finetune()._replace(
    objective=bias.bias_correction(is_held_out, temperature),
    replay=replay,
    predictor=predictors.rescaled(),
  )
