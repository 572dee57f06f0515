"""The same effort for every experience."""

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError


def fixed(
  epochs: int, budget: float = 1.0, replay: float | None = None
) -> base.Controller:
  """Gives each experience `epochs` passes.

  Args:
    epochs: passes over the training set of an experience; 0 for methods that
      are solved from statistics.
    budget: share of a full step's time that a selector may fill, in (0, 1].
    replay: share of a step's rows that is replayed, in (0, 1); None: the
      recipe's own.
  """
  check(epochs, budget, replay)
  decision = base.Decision(
    base.Allocation(epochs, budget, replay=replay),
    reason=f"{errors.count(epochs, 'epoch')} for every experience",
  )
  return base.Controller(
    init=lambda: (), decide=lambda state, seen: (decision, state)
  )


def check(epochs: int, budget: float, replay: float | None = None) -> None:
  """Raises `ValueError` for an effort that no experience can be given."""
  if epochs < 0:
    raise UsageError(
      f"epochs={epochs}: give a number of passes, 0 for recipes that are "
      "solved from statistics"
    )
  if not 0 < budget <= 1:
    raise UsageError(
      f"a step's budget of {budget} is no share: give more than 0, and 1 at "
      "most for full training"
    )
  if replay is not None and not 0 < replay < 1:
    raise UsageError(
      f"replay={replay}: give the share of a step's rows that is replayed, "
      "between 0 and 1, or None for the recipe's own"
    )
