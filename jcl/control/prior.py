"""Prior: the accuracy that earlier studies say a way of learning reaches.

It knows shapes alone: how many classes there are, and how large a budget is
beside one pass of training everything, or a classifier by its features. Of each
way there is a law: accuracy above chance, on a logit scale, is linear in the
logarithm of such a size. The slope is that within data sets; the level is the
mean over data sets, which differ far more than budgets do. The range is as wide
as errors on data sets that were left out of a fit.

`prior.json` holds the laws. `experiments/prior.py` fits them to the study's own
records.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from importlib import resources
import json
import math
from typing import Any, NamedTuple

# Sizes that accuracy grows with, by way of learning. A budget is told in
# passes of training everything.
WAYS = {
  "auto": "passes",
  "er": "passes",
  "randumb": "features",
}
_LEAST = 0.005  # of accuracy above chance; as far from 1 at most


@dataclasses.dataclass(frozen=True)
class Law:
  """Accuracy that a way of learning reached on the data sets of a study.

  Attributes:
    level: mean over data sets of what is expected of a size of 1, in logits.
    slope: gain of a size that is e times as large, in logits.
    width: of the range to either side, in logits; two of three data sets that
      were not fitted are expected within.
    least: size that was studied; a smaller one counts as this one.
    most: size that was studied; a larger one counts as this one.
    data: names of the data sets.
    cells: number of results.
  """

  level: float
  slope: float
  width: float
  least: float
  most: float
  data: tuple[str, ...]
  cells: int


class Expected(NamedTuple):
  """An accuracy from 0 to 1, and the range it is expected in."""

  least: float
  mean: float
  most: float


def logit(accuracy: float, classes: int) -> float:
  """Returns an accuracy from 0 to 1 on the scale of the laws.

  >>> round(logit(0.75, classes=2), 6), round(logit(0.1, classes=10), 1)
  (0.0, -5.3)
  """
  chance = 1 / classes
  above = (accuracy - chance) / (1 - chance)
  above = min(max(above, _LEAST), 1 - _LEAST)
  return math.log(above / (1 - above))


def accuracy(value: float, classes: int) -> float:
  """Returns the accuracy from 0 to 1 that a value of `logit` stands for.

  >>> accuracy(0.0, classes=2)
  0.75
  """
  chance = 1 / classes
  return chance + (1 - chance) / (1 + math.exp(-value))


def expected(law: Law, size: float, classes: int) -> Expected:
  """Returns the accuracy that a law expects on data it has not seen.

  Args:
    law: of the way of learning.
    size: passes or features, see `WAYS`.
    classes: 2 or more, all equally frequent.
  """
  size = min(max(size, law.least), law.most)
  middle = law.level + law.slope * math.log(size)
  ends = (middle - law.width, middle, middle + law.width)
  return Expected(*(accuracy(value, classes) for value in ends))


@functools.cache
def laws() -> Mapping[str, Law]:
  """Returns the law of each way of learning that was studied."""
  file = resources.files("jcl.control").joinpath("prior.json")
  return of_json(json.loads(file.read_text(encoding="utf-8")))


def of_json(found: Mapping[str, Any]) -> dict[str, Law]:
  """Returns laws as `prior.json` holds them."""
  return {
    way: Law(**{**law, "data": tuple(law["data"])})
    for way, law in found.items()
  }


class Result(NamedTuple):
  """A cell of a study."""

  data: str
  size: float  # above 0, see `WAYS`
  value: float  # accuracy by `logit`


class LeftOut(NamedTuple):
  """Mean of a data set, and that which a fit to all others expects of it."""

  data: str
  cells: int
  value: float  # mean over its cells, in logits
  expected: float  # likewise


def left_out(results: Sequence[Result]) -> list[LeftOut]:
  """Returns, of each data set, what a fit without it expects there."""
  found = []
  for name in sorted({each.data for each in results}):
    rest = [each for each in results if each.data != name]
    own = [each for each in results if each.data == name]
    slope, level = _line(rest)
    told = [level + slope * math.log(each.size) for each in own]
    values = [each.value for each in own]
    found.append(LeftOut(name, len(own), _mean(values), _mean(told)))
  return found


def fit(results: Sequence[Result], quantile: float) -> Law:
  """Returns the law of some results, on three data sets or more.

  Args:
    results: of one way of learning.
    quantile: of Student's t for the range, by the number of data sets.

  Raises:
    ValueError: for fewer data sets, of which nothing could be said.
  """
  apart = left_out(results) if len({each.data for each in results}) > 2 else []
  if not apart:
    raise ValueError("results on fewer than three data sets give no range")
  slope, level = _line(results)
  square = _mean([(each.value - each.expected) ** 2 for each in apart])
  sizes = [each.size for each in results]
  return Law(
    level=level,
    slope=slope,
    width=quantile * math.sqrt(square),
    least=min(sizes),
    most=max(sizes),
    data=tuple(each.data for each in apart),
    cells=len(results),
  )


def _line(results: Sequence[Result]) -> tuple[float, float]:
  """Returns the slope within data sets, at least 0, and the mean level."""
  data = {each.data: (0.0, 0.0) for each in results}
  for name in data:
    own = [each for each in results if each.data == name]
    sizes = [math.log(each.size) for each in own]
    data[name] = _mean(sizes), _mean([each.value for each in own])
  above = below = 0.0
  for each in results:
    size, value = data[each.data]
    offset = math.log(each.size) - size
    above += offset * (each.value - value)
    below += offset**2
  slope = max(above / below, 0.0) if below > 0 else 0.0
  return slope, _mean([value - slope * size for size, value in data.values()])


def _mean(values: Sequence[float]) -> float:
  return math.fsum(values) / len(values)
