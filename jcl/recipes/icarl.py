"""Incremental classifier and representation learning."""

from jcl import base
from jcl.objectives import icarl as icarl_objective
from jcl.objectives import predictors
from jcl.options import kinds
from jcl.recipes import bounds
from jcl.replay import herding


def icarl(
  *, buffer: kinds.Size = 200, minibatch: kinds.Count = 10
) -> base.Method:
  """Learns features with distillation, classifies by the nearest mean.

  Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning",
  CVPR 2017, algorithms 1 to 5, https://arxiv.org/abs/1611.07725.

  Semantics: binary cross-entropy for each output; the targets of old classes
  are the outputs of the previous network. Exemplars are herded when an
  experience ends, and `minibatch` of them are added to each batch (the paper
  trains on the union of both sets instead). Predictions use the mean features
  of the exemplars.
  """
  return bounds.finetune()._replace(
    objective=icarl_objective.icarl(),
    replay=herding.herding(buffer, minibatch),
    predictor=predictors.nearest_mean(),
  )
