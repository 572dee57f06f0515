"""The same effort for every experience."""

from jcl import base
from jcl.errors import UsageError


def fixed(epochs: int, budget: float = 1.0) -> base.Controller:
  """Gives each experience `epochs` passes.

  Args:
    epochs: passes over the training set of an experience.
    budget: share of a full step's time that a selector may fill, in (0, 1].
  """
  check(epochs, budget)
  decision = base.Decision(
    epochs, budget=budget, reason=f"{epochs} epochs for every experience"
  )
  return base.Controller(
    init=lambda: (), decide=lambda state, seen: (decision, state)
  )


def check(epochs: int, budget: float) -> None:
  """Raises `ValueError` for an effort that no experience can be given."""
  if epochs < 1:
    raise UsageError(f"epochs={epochs}: give one pass at least")
  if not 0 < budget <= 1:
    raise UsageError(
      f"a step's budget of {budget} is no share: give more than 0, and 1 at "
      "most for full training"
    )
