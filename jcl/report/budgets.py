"""What runs were allowed to spend and to hold, as their summaries tell.

A summary keeps the flags of its run; one without them tells of no budget.
"""

from collections.abc import Sequence
import math
from typing import Any, NamedTuple

from jcl.options import errors, plain
from jcl.report import summary, table

UNITS = {"joules": "J", "flops": "FLOP", "seconds": "s", "memory": "B"}
# Flags, by what they limit.
_FLAGS = {
  "joules": ("energy_budget",),
  "flops": ("flops_budget", "equal_flops"),
  "seconds": ("seconds_budget",),
  "memory": ("memory_budget",),
}


class Budget(NamedTuple):
  """A limit of a whole run."""

  kind: str  # of `UNITS`
  amount: float | None  # None where a file or the machine says how much
  told: str  # to be read


def of(run: summary.Run) -> list[Budget]:
  """Returns the budgets of a run, those of what it spends first."""
  flags, found = table.flags(run), []
  for kind, names in _FLAGS.items():
    for name in names:
      if flags.get(name) in (None, ""):
        continue
      amount = _number(flags[name], kind)
      if amount is None:
        told = f"{kind} by {errors.names([flags[name]])}"
        found.append(Budget(kind, None, told))
        continue
      if name == "equal_flops":  # of every experience
        amount *= run.summary["num_experiences"]
      if 0 < amount < math.inf:
        found.append(Budget(kind, amount, table.scaled(amount, UNITS[kind])))
  return found


def several(runs: Sequence[summary.Run]) -> list[Budget]:
  """Returns the budgets of all runs, each once."""
  return list(dict.fromkeys(each for run in runs for each in of(run)))


def spent_in(found: Sequence[Budget]) -> str:
  """Returns the unit to show spending in: that of a budget, else joules."""
  known = {each.kind for each in found if each.amount is not None}
  return next((kind for kind in _FLAGS if kind in known - {"memory"}), "joules")


def _number(value: Any, kind: str) -> float | None:
  """Returns the number that a flag holds; None for a file or "auto"."""
  text = str(value).strip()
  try:
    return float(text.removesuffix("J") if kind == "joules" else text)
  except ValueError:
    pass
  try:
    return float(plain.parse_size(text)) if kind == "memory" else None
  except ValueError:
    return None
