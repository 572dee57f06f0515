"""Weights that are averaged, reset or scaled between updates."""

from jcl import base
from jcl.options import kinds
from jcl.options.errors import UsageError
from jcl.recipes import bounds
from jcl.recipes.er import er
from jcl.train import weights


def average(
  behind: base.Method | None = None,
  /,
  *,
  visits: kinds.Count = 20,
  start: kinds.ShareBelowOne = 0.3,
) -> base.Method:
  """Takes the mean of the weights on the way as those of an experience.

  Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
  Generalization", UAI 2018, https://arxiv.org/abs/1803.05407; in continual
  learning, Cho et al., https://arxiv.org/abs/2502.07274, of whose gain over
  replay most comes from this alone.

  Semantics: the updates of an experience are cut into `visits` equal parts, and
  the mean of the weights behind the parts from the share `start` on takes the
  weights' place behind the last one. Then one pass over the training set sets
  the running statistics of units that train. A copy of the weights is kept;
  limits of operations leave room for the pass.

  Args:
    behind: recipe whose weights are averaged, any; None: er.
    visits: parts of an experience.
    start: share of the experience ahead of the first weights that count.
  """
  rewrite = weights.average(visits, start)
  return _rewritten(er() if behind is None else behind, rewrite)


def wsc(
  behind: base.Method | None = None,
  /,
  *,
  keep: kinds.PositiveShare = 0.2,
  blend: kinds.Share = 0.5,
  warm: kinds.ShareBelowOne = 0.3,
  visits: kinds.Count = 20,
  signed: bool = False,
  published: bool = False,
) -> base.Method:
  """Weight-space consolidation: a reset of dormant weights, then averaging.

  Cho et al., "Forget Forgetting: Continual Learning in a World of Abundant
  Memory", https://arxiv.org/abs/2502.07274, for memories that keep a fifth of
  the past or more.

  Semantics: in every experience but the first, weights score by the product of
  two moving means, of the magnitude and of the square of their gradients. Once,
  behind the warm-up, the `keep` of each tensor that scores highest stays, and
  all others become `blend` times themselves and the rest what they were as the
  experience began. From there on weights are averaged as by `average`.

  Departures from the published program: the warm-up is a share of the planned
  updates, where the program ends it by the loss on the test set, and never if
  that goes on falling; weights are averaged at places that do not depend on
  epochs; the rate is the run's, where the program raises it again; scores that
  are equal keep exactly the share asked for; and moments are kept to the end,
  which makes four copies of what trains.

  Args:
    behind: recipe with much of the past to train on, such as naive or
      ram_only; None: all examples so far, `joint` without new weights.
    keep: share of each tensor's weights that stay.
    blend: share of the new weight in the others.
    warm: share of the experience ahead of the reset.
    visits: parts of an experience, as for `average`.
    signed: scores by the mean gradient instead of its mean magnitude, as the
      paper's text has it.
    published: keeps all weights that score as the last one to stay.
  """
  rewrite = weights.reset_and_average(
    visits, warm, keep, blend, signed, published
  )
  behind = bounds.joint(restart=False) if behind is None else behind
  return _rewritten(behind, rewrite)


def wa(behind: base.Method | None = None, /) -> base.Method:
  """Aligns the norms of the head's rows for new classes with those of old ones.

  Zhao et al., "Maintaining Discrimination and Fairness in Class Incremental
  Learning", CVPR 2020, https://arxiv.org/abs/1911.07053.

  Semantics: behind the last update of an experience, kernel and bias of its
  classes are multiplied by the mean norm of the rows of all other classes seen
  over their own. Weights are not clipped at 0, and what is distilled is up to
  the recipe: the paper's has lwf beside replay.

  Args:
    behind: recipe whose head is aligned; None: er.
  """
  return _rewritten(er() if behind is None else behind, weights.aligned())


def _rewritten(method: base.Method, rewrite: base.Rewrite) -> base.Method:
  if method.rewrite is not None:
    raise UsageError(
      "one of average, wsc and wa is enough: leave out the other"
    )
  return method._replace(rewrite=rewrite)
