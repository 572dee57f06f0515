"""Uniform samples of everything seen: the baseline under a budget."""

from typing import Literal

from jcl import base
from jcl.options import kinds
from jcl.options.errors import UsageError
from jcl.recipes import bounds


def naive(
  *,
  draw: Literal["uniform", "balanced", "recent", "recency", "epoch"] = (
    "uniform"
  ),
  alpha: kinds.Positive = 1.0,
  momentum: kinds.ShareBelowOne = 0.9,
  published: bool = False,
) -> base.Method:
  """Learns uniform samples of everything seen, as many as the budget buys.

  Prabhu et al., "Computationally Budgeted Continual Learning: What Does
  Matter?", CVPR 2023, https://arxiv.org/abs/2303.11165: where all examples are
  stored and every method gets the same computation for each experience, this
  was ahead of all sampling rules, distillation and corrected heads.

  Semantics: at each experience, weights stay, optimiser slots begin anew, the
  rate falls linearly to 0, and examples are drawn with replacement from all
  experiences so far. `--equal_flops` is the paper's equal computation, with
  `--epochs` large enough to leave the end to it; without a limit, an epoch
  shows as many examples as there are.

  Departures from the published program: new rows of the head start as the
  network has them; the limit counts operations, not updates; an experience ends
  with the last planned update, where the program makes two more, at rates 0 and
  below; and "balanced" draws every class alike, where the program draws an
  example the more often the more its class has. Rules that score examples by
  the model are left out.

  Args:
    draw: "uniform"; "balanced" over classes; "recent" ones, as many as are
      going to be shown; "recency", a reservoir of that size that prefers new
      examples by `alpha`; or an "epoch", shuffled passes over everything.
    alpha: how much likelier "recency" takes an example than a fair reservoir.
    momentum: of SGD.
    published: the program's rates, with its last two updates, and its weights
      of "balanced".
  """
  if alpha != 1 and draw != "recency":
    raise UsageError(
      f"alpha={alpha:g} is for draw=recency: leave it out, or write that"
    )
  schedule = "linear:overrun=2" if published else "linear"
  by = None if draw == "epoch" else base.Draw(draw, alpha, published)
  return bounds.joint(restart=False)._replace(
    draw=by,
    renew=True,
    training=base.Training(momentum=momentum, schedule=schedule),
  )
