"""Puts the controllers of a run together, as its method asks for them."""

from jcl import base
from jcl.control import sizes, stopping, swap
from jcl.control.together import together


def for_run(
  effort: base.Controller, hierarchy: base.Hierarchy | None, seed: int
) -> base.Controller:
  """Returns the one controller of a run.

  Args:
    effort: decides on epochs, limits, and a step's budget.
    hierarchy: of the method, whose sizes and exchanges are decided on as well;
      None where the method has none.
    seed: of the run.
  """
  if hierarchy is None or hierarchy.trains == "store":
    return effort
  parts, trials = [effort], hierarchy.trials
  if trials is not None and trials.patience:
    parts.append(stopping.early(trials.patience))
  parts += [swap.backed_off(hierarchy.swap), sizes.sizes(trials, seed)]
  return together(*parts)
