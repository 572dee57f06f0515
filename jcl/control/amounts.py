"""Budgets as users write them, such as "2kJ/day"."""

import re
from typing import get_args

from jcl.control import allowance
from jcl.options import plain
from jcl.options.errors import UsageError

_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
# What a unit counts, and how many of its own unit it is.
_UNITS = {
  "J": ("joules", 1.0),
  "Wh": ("joules", 3600.0),
  "s": ("seconds", 1.0),
  "min": ("seconds", 60.0),
  "h": ("seconds", 3600.0),
  "FLOP": ("flops", 1.0),
}
_PREFIXED = ("J", "Wh", "FLOP")
_AMOUNT = re.compile(
  r"(?P<number>\d+(?:\.\d+)?(?:e\+?\d+)?)\s*(?P<unit>[A-Za-z]+)"
)


def read(text: str) -> allowance.Budget:
  """Returns the budget of a text: amounts, and what they are for.

  Args:
    text: amounts with their units (J, Wh, s, min, h, FLOP, with k, M, G, T or
      P ahead of J, Wh and FLOP), commas between them, and behind "/" what they
      are for: experience, hour, day, week or total; experience by default.
      "none" limits nothing.

  Raises:
    UsageError: for anything else.

  >>> read("2kJ/day").joules, read("90s,1TFLOP").per
  (2000.0, 'experience')
  """
  if text.strip() == "none":
    return allowance.Budget()
  amounts, _, per = (part.strip() for part in text.partition("/"))
  found: dict[str, float] = {}
  for part in amounts.split(","):
    name, value = _amount(part.strip(), text)
    if name in found:
      raise _refusal(text, f"it has two amounts of {name}")
    found[name] = value
  periods = get_args(allowance.Per)
  if "/" in text and per not in periods:
    raise _refusal(text, f"{plain.shown(per)} is none of {', '.join(periods)}")
  return allowance.Budget(**found, per=per or "experience")  # type: ignore


def _amount(part: str, text: str) -> tuple[str, float]:
  found = _AMOUNT.fullmatch(part)
  unit = "" if found is None else found["unit"]
  for base, (name, size) in _UNITS.items():
    prefix = unit.removesuffix(base)
    if not unit.endswith(base) or prefix not in _PREFIXES:
      continue
    if prefix and base not in _PREFIXED:
      continue
    assert found is not None
    return name, float(found["number"]) * _PREFIXES[prefix] * size
  raise _refusal(text, f"{plain.shown(part)} is no amount")


def _refusal(text: str, why: str) -> UsageError:
  return UsageError(
    f'budget {plain.shown(text)}: {why}; write amounts such as "2kJ/day", '
    '"10min/hour" or "500J,1TFLOP/experience", or "none"'
  )
