"""Regularisation in function space."""

from jcl import base
from jcl.objectives import functional
from jcl.options import kinds
from jcl.recipes import bounds
from jcl.replay import reservoir


def fdr(
  *,
  buffer: kinds.Size = 200,
  minibatch: kinds.Count = 10,
  alpha: kinds.NonNegative = 1.0,
) -> base.Method:
  """Holds predictions for stored examples where each experience left them.

  Benjamin, Rolnick and Kording, "Measuring and Regularizing Networks in
  Function Space", ICLR 2019, https://arxiv.org/abs/1805.08289; as a baseline of
  continual learning in Buzzega et al., "Dark Experience for General Continual
  Learning", NeurIPS 2020, https://arxiv.org/abs/2004.07211.

  Semantics: cross-entropy on the stream batch, plus `alpha` times the L2
  distance between the softmax outputs for a replayed batch and the outputs
  stored with it. The memory is a reservoir to which each experience is offered
  at its end, with the logits of that time in evaluation mode: a uniform sample
  of all examples so far, where the papers divide it equally among experiences.
  The current experience is not replayed, and replayed labels are not used.

  Args:
    buffer: memory in examples, or in bytes such as "2MB".
    minibatch: examples replayed in each step.
    alpha: weight of the distance, from 0.
  """
  return bounds.finetune()._replace(
    objective=functional.fdr(alpha),
    replay=reservoir.reservoir(buffer, minibatch)._replace(when="after"),
  )
