"""Frontier of a recipe that chooses: what budgets buy, before a run starts."""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import math

from jcl import base
from jcl.control import limits, prior
from jcl.options import errors
from jcl.replay.tiers import limits as live
from jcl.run import arms as arms_lib
from jcl.run import estimate, loop, setup

_AROUND = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)  # parts of a budget
# Without one, so many budgets, from somewhat above the least that learns.
_COUNT, _ABOVE = 6, 1.1
_LEAST = 1e-6  # a budget that no more than the cheapest way could suit


@dataclasses.dataclass(frozen=True)
class Frontier:
  """Budgets from small to large, and what each is expected to buy.

  Attributes:
    points: those that pay for something; one without limits comes last.
    asked: the point of the run that was asked for.
    least: what the cheapest way of learning takes.
  """

  points: tuple[arms_lib.Point, ...]
  asked: arms_lib.Point
  least: base.Cost


def applies(asked: setup.Setup, method: base.Method) -> bool:
  """Tells whether a recipe decides what a budget is spent on."""
  return method.govern is not None and asked.equal_flops is None


def of(
  asked: setup.Setup,
  job: loop.Job,
  found: estimate.Estimate,
  assemble: Callable[[setup.Setup], loop.Job],
) -> Frontier:
  """Returns what a budget buys, and what others around it would.

  Args:
    asked: with the budget, if there is one.
    job: the run that was asked for, of a recipe that `applies` is true of.
    found: its estimate, whose updates were timed.
    assemble: puts the run with other budgets together.
  """
  arms: dict[tuple[int | None, int], arms_lib.Arm] = {}
  # With a classifier and without: sums are matrix products, and much faster.
  paces: dict[bool, arms_lib.Pace] = {}

  def arm(job: loop.Job, compiled: float = 0.0) -> arms_lib.Arm:
    features = arms_lib.features(job)
    sizes, solves = (features, job.learner.memory_slots), features is not None
    if solves not in paces:
      paces[solves] = arms_lib.paced(job, compiled)
    if sizes not in arms:
      arms[sizes] = arms_lib.priced(job, found, paces[solves])
    return arms[sizes]

  allowed = budget(asked)
  point = arm(job, found.compile_seconds).point(allowed)
  tiny = dict.fromkeys(allowed or ("flops",), _LEAST)
  cheapest = arm(assemble(limited(asked, tiny))).least
  points = [] if allowed else [point]
  for some in _budgets(allowed, cheapest, point.cost):
    if some == allowed:
      points.append(point)
    else:
      points.append(arm(assemble(limited(asked, some))).point(some))
  points.sort(key=lambda each: tuple(each.limits.values()) or (math.inf,))
  return Frontier(tuple(p for p in points if p.pays), point, cheapest)


def _budgets(
  allowed: Mapping[str, float], least: base.Cost, usual: base.Cost
) -> list[dict[str, float]]:
  """Returns budgets around one that is given, or up to the usual run.

  Args:
    allowed: the budget by limit; empty without one.
    least: what the cheapest way takes.
    usual: cost of the run without a budget.
  """
  if allowed:
    return [
      {name: part * value for name, value in allowed.items()}
      for part in _AROUND
    ]
  first = _ABOVE * least.flops
  ratio = max(usual.flops / first, 1.0) ** (1 / (_COUNT - 1))
  found = [float(f"{first * ratio**power:.2g}") for power in range(_COUNT)]
  return [{"flops": each} for each in dict.fromkeys(found)]


def kept(found: estimate.Estimate, made: Frontier) -> estimate.Estimate:
  """Returns an estimate with no more updates than the budget pays for."""
  point = made.asked
  return dataclasses.replace(
    found, steps=point.updates, joules=point.cost.joules
  )


def budget(asked: setup.Setup) -> dict[str, float]:
  """Returns what a run may take now, a file's joules included, by limit."""
  joules = live.parse(asked.energy_budget, "joules")
  given = {
    "flops": asked.flops_budget,
    "seconds": asked.seconds_budget,
    "joules": None if joules is None else joules(),
  }
  known = {name: each for name, each in given.items() if each is not None}
  return {name: each for name, each in known.items() if each < math.inf}


def limited(asked: setup.Setup, allowed: Mapping[str, float]) -> setup.Setup:
  """Returns a setup with a budget in place of its own."""
  joules = allowed.get("joules")
  return dataclasses.replace(
    asked,
    flops_budget=allowed.get("flops"),
    seconds_budget=allowed.get("seconds"),
    energy_budget=None if joules is None else f"{joules!r}J",
  )


def text(found: Frontier) -> str:
  """Returns the points as a table for a terminal, and what they mean."""
  asked = found.asked
  rows = [_HEADER, *(_cells(each, each is asked) for each in found.points)]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
  lines += [_of_accuracy(found), *_of_budget(found)]
  return "\n".join(f"  {line}" for line in lines)


_HEADER = (
  "budget",
  "operations",
  "joules",
  "held",
  "features",
  "updates",
  "passes",
  "memory",
  "accuracy, %",
)


def _cells(point: arms_lib.Point, asked: bool) -> tuple[str, ...]:
  """Returns the row of a point; that of the run itself has a mark."""
  return (
    ("> " if asked else "  ") + _budget(point.limits),
    errors.amount(point.cost.flops, "FLOP"),
    errors.amount(point.cost.joules, "J"),
    errors.amount(point.held, "B"),
    _features(point),
    f"{point.updates:,}",
    f"{point.passes:.1f}",
    f"{point.memory:,}",
    _range(point.accuracy),
  )


def _budget(given: Mapping[str, float]) -> str:
  """Returns a budget to be read."""
  told = [errors.amount(v, limits.UNITS[k]) for k, v in given.items()]
  return ", ".join(told) or "no limit"


def _features(point: arms_lib.Point) -> str:
  if point.features is None:
    return "none"
  return f"{point.features:,}" if point.features else "trunk's"


def _range(accuracy: prior.Expected | None) -> str:
  """Returns an accuracy in percent with its range."""
  if accuracy is None:
    return "unknown"
  least, mean, most = (f"{100 * each:.0f}" for each in accuracy)
  return f"{mean} ({least} to {most})"


def _of_accuracy(found: Frontier) -> str:
  """Says where the accuracies come from."""
  ways = {each.way for each in (*found.points, found.asked)}
  studied = [
    f"{way} on {errors.count(len(law.data), 'data set')}"
    for way, law in prior.laws().items()
    if way in ways
  ]
  if not studied:
    return "accuracy: unknown, since no study is of learned weights"
  return (
    f"accuracy: from {' and '.join(studied)}; two of three data sets that no "
    "study has seen are expected within the range"
  )


def _of_budget(found: Frontier) -> Iterator[str]:
  """Says what the budget buys, and what the cheapest way takes."""
  point, names = found.asked, list(found.asked.limits) or ["flops"]
  least = _budget({name: getattr(found.least, name) for name in names})
  start = f"{_budget(point.limits)}: "
  if not point.pays:
    yield f"{start}less than learning takes; the cheapest way takes {least}"
    return
  parts = []
  if point.features is not None:
    of = "the trunk's" if not point.features else f"{point.features:,} random"
    parts.append(f"a classifier of {of} features")
  if point.updates:
    parts.append(
      f"about {point.updates:,} updates of the network, "
      f"{point.passes:.1f} passes"
    )
  told = f"{start}{' and '.join(parts)}"
  if point.way is not None and point.accuracy is not None:
    low, _, high = (100 * each for each in point.accuracy)
    sets = len(prior.laws()[point.way].data)
    told += (
      f"; accuracy {low:.0f} to {high:.0f} %, from "
      f"{errors.count(sets, 'data set')}"
    )
  yield told
  yield f"the cheapest way of learning takes {least}"
