"""A memory that keeps what is hard."""

from jcl import base
from jcl.objectives import scored
from jcl.options.errors import UsageError
from jcl.recipes.er import er
from jcl.replay import loss_aware


def lars(behind: base.Method | None = None, /) -> base.Method:
  """Replays from a reservoir that easy examples leave first.

  Buzzega et al., "Rethinking Experience Replay: a Bag of Tricks for Continual
  Learning", ICPR 2020, https://arxiv.org/abs/2010.05595 (loss-aware reservoir
  sampling); Yan et al., "Learning Bayesian Sparse Networks with Full Experience
  Replay for Continual Learning", CVPR 2022, https://arxiv.org/abs/2202.10203,
  keep their memory by it. The latter's sparse networks and replayed feature
  maps are not here: no program is published.

  Semantics: as the recipe, but an example that is taken replaces an easy one.
  Losses are refreshed for what an update replays; others are as old as the last
  look at them. Departure from the published program: the n-th example offered
  is taken with probability M / n, there with M / (n - 1).

  Args:
    behind: recipe with a reservoir, er or derpp; None: er.
  """
  behind = er() if behind is None else behind
  replay = behind.replay
  if not behind.objective.reports or replay.on_host or replay.when != "step":
    raise UsageError(
      "+lars goes by the losses of what is replayed from a reservoir on the "
      "device, and the recipe tells none: put it behind er, der or derpp"
    )
  return behind._replace(
    objective=scored.scored(behind.objective, loss_aware.LOSS),
    replay=loss_aware.loss_aware(replay),
  )
