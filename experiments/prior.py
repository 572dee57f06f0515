"""Fits what to expect of a budget to the study's own records.

Question: what accuracy does a way of learning reach on data of which no more is
known than its shape, and how far off is one who says so?

Protocol: `auto` and `er` are read from the cells of frontier.csv, where a size
is the budget over the operations of one pass of training everything, which
shapes.csv holds; `er` in bounds_fashion_mnist.csv has made one pass. Random
features are read from frontier.csv and closed_form.csv, where the size is their
number. Accuracy above chance is taken to be linear, on a logit scale, in the
logarithm of the size; see `jcl.control.prior`. Ranges are as wide as errors on
data sets that were left out: times the quantile of Student's t within which two
of three lie.

  python experiments/prior.py           # writes prior.json and two tables
  python experiments/prior.py --check   # status 1 where they would differ
  python experiments/prior.py --shapes --data_dir=~/data

prior.csv holds the accuracy of each data set beside what a fit to the others
expects; prior_features.csv, in logits, whether levels that follow a feature of
the data would be nearer. Tables are read by the names of their columns, so that
more cells count as soon as they are there. `--shapes` prints rows of
shapes.csv, for data sets of frontier.py. Fitting takes a second; then
experiments/results.py writes the tables of RESULTS.md.
"""

import argparse
from collections.abc import Iterable, Iterator
import csv
import dataclasses
import io
import json
import math
from pathlib import Path
import statistics
import sys
from typing import Any, NamedTuple

from scipy import stats

from jcl import recipes
from jcl.control import prior

FOLDER = Path(__file__).parent / "results"
LAWS = Path(__file__).parents[1] / "jcl" / "control" / "prior.json"
ORIGIN = ("commit", "date", "machine")
ERRORS = ("way", "data", "cells", "accuracy, %", "expected without it, %")
FEATURES = ("examples a class", "width", "classes")
ABLATION = ("way", "data sets", "no feature", *FEATURES)
SHAPES = (
  "data",
  "stream",
  "examples",
  "experiences",
  "classes",
  "width",
  "GFLOP of one pass",
)
_TWO_OF_THREE = 5 / 6  # cumulated, for a range with two sides
_DIGITS = 4  # behind the point
_UNSTATED = "–"
_PRICED = "auto:m=50,buffer=500"  # updates do not depend on the features


class Shape(NamedTuple):
  """What is known of a data set before anything is learned."""

  classes: int
  examples: int
  width: int
  gflop: float  # of one pass of training everything

  @property
  def features(self) -> tuple[float, ...]:
    """What a level could depend on, in the order of `FEATURES`."""
    found = self.examples / self.classes, self.width, self.classes
    return tuple(math.log(each) for each in found)


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--check", action="store_true", help="write nothing")
  parser.add_argument("--shapes", action="store_true", help="see above")
  parser.add_argument("--data_dir", default="data", help="folder of the data")
  parser.add_argument("--data", nargs="*", help="of --shapes; default all")
  given = parser.parse_args()
  if given.shapes:
    print(",".join(SHAPES))
    for row in measured(given.data_dir, given.data):
      print(",".join(map(str, row)), flush=True)
    return 0
  same = True
  for path, text in made(FOLDER).items():
    if path.exists() and path.read_text(encoding="utf-8") == text:
      continue
    same = False
    print(f"{path.name} is not what experiments/prior.py writes")
    if not given.check:
      path.write_text(text, encoding="utf-8")
  return int(given.check and not same)


def made(folder: Path) -> dict[Path, str]:
  """Returns what the script writes: a text by file."""
  shapes = {
    row["data"]: Shape(
      int(row["classes"]),
      int(row["examples"]),
      int(row["width"]),
      float(row[SHAPES[-1]]),
    )
    for row in read(folder / "shapes.csv")
  }
  laws: dict[str, Any] = {}
  errors, ablation = [(*ERRORS, *ORIGIN)], [(*ABLATION, *ORIGIN)]
  origin = tuple(read(folder / "frontier.csv")[-1][name] for name in ORIGIN)
  for way in prior.WAYS:
    found = sorted(set(results(folder, way, shapes)))
    law = prior.fit(found, quantile(len({each.data for each in found})))
    laws[way] = {
      name: round(value, _DIGITS) if isinstance(value, float) else value
      for name, value in dataclasses.asdict(law).items()
    }
    for each in prior.left_out(found):
      told = (
        f"{100 * prior.accuracy(value, shapes[each.data].classes):.1f}"
        for value in (each.value, each.expected)
      )
      errors.append((way, each.data, str(each.cells), *told, *origin))
    ablation.append((way, *_ablated(found, law, shapes), *origin))
  return {
    LAWS: json.dumps(laws, indent=2) + "\n",
    folder / "prior.csv": _csv(errors),
    folder / "prior_features.csv": _csv(ablation),
  }


def _csv(rows: Iterable[tuple[str, ...]]) -> str:
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows(rows)
  return text.getvalue()


def _ablated(
  found: list[prior.Result], law: prior.Law, shapes: dict[str, Shape]
) -> Iterator[str]:
  """Yields the cells of a row: errors of levels on data sets left out.

  A level is fitted without a feature, or as a line in the logarithm of one; a
  line through two data sets says nothing.
  """
  levels = [
    statistics.mean(
      each.value - law.slope * math.log(each.size)
      for each in found
      if each.data == name
    )
    for name in law.data
  ]
  yield str(len(levels))
  for number in (None, *range(len(FEATURES))):
    if number is not None and len(levels) < 4:
      yield _UNSTATED
      continue
    places = [
      0.0 if number is None else shapes[name].features[number]
      for name in law.data
    ]
    errors = []
    for left, (place, level) in enumerate(zip(places, levels, strict=True)):
      rest = [
        places[:left] + places[left + 1 :],
        levels[:left] + levels[left + 1 :],
      ]
      slope, start = 0.0, statistics.mean(rest[1])
      if number is not None:
        slope, start = statistics.linear_regression(*rest)
      errors.append(start + slope * place - level)
    yield f"{math.sqrt(statistics.mean(each**2 for each in errors)):.2f}"


def quantile(count: int) -> float:
  """Returns the half-width of a range, in errors on so many data sets."""
  return float(stats.t.ppf(_TWO_OF_THREE, count - 1))


def results(
  folder: Path, way: str, shapes: dict[str, Shape]
) -> Iterator[prior.Result]:
  """Yields the results of a way of learning, on data whose shape is known."""
  for row in read(folder / "frontier.csv"):
    for column, cell in row.items():
      recipe, _, unit = column.rpartition(", ")
      if unit != "%" or cell in ("", _UNSTATED) or not _is(recipe, way):
        continue
      shape = _shape(shapes, row["data"])
      size = float(row["GFLOP"]) / shape.gflop
      if prior.WAYS[way] == "features":
        size = _features(recipe)
      yield _result(row["data"], size, float(cell) / 100, shape)
  if way == "randumb":
    for row in read(folder / "closed_form.csv"):
      shape, size = _shape(shapes, row["data"]), _features(row["recipe"])
      yield _result(row["data"], size, float(row["accuracy, %"]) / 100, shape)
  if way == "er":
    for row in read(folder / "bounds_fashion_mnist.csv"):
      if row["recipe (chosen values)"].startswith("er (buffer=500"):
        shape = _shape(shapes, "fashion_mnist")
        share = float(row["class-inc. accuracy"])
        yield _result("fashion_mnist", 1.0, share, shape)


def _result(
  data: str, size: float, accuracy: float, shape: Shape
) -> prior.Result:
  return prior.Result(data, size, prior.logit(accuracy, shape.classes))


def _is(recipe: str, way: str) -> bool:
  """Tells whether a column is of a way of learning, with any options."""
  return recipe.partition(":")[0] == way and "+" not in recipe


def _features(recipe: str) -> float:
  return float(recipes.parse(recipe)[1]["m"])


def _shape(shapes: dict[str, Shape], data: str) -> Shape:
  """Returns the shape of a data set.

  Raises:
    SystemExit: for one that shapes.csv does not have.
  """
  if data not in shapes:
    sys.exit(
      f"results/shapes.csv has no row of {data}: add the one that "
      f"python experiments/prior.py --shapes --data={data} prints"
    )
  return shapes[data]


def read(path: Path) -> list[dict[str, str]]:
  """Returns the rows of a table by the names of their columns."""
  with path.open(newline="", encoding="utf-8") as lines:
    return list(csv.DictReader(lines))


def measured(folder: str, names: list[str] | None) -> Iterator[tuple[Any, ...]]:
  """Yields rows of shapes.csv: sizes, and the price of one pass of `auto`."""
  import frontier  # beside this script

  from jcl.run import arms, setup

  for data in frontier.STREAMS:
    if names and data.name not in names:
      continue
    asked = setup.Setup(
      data=data.name, data_dir=folder, stream=data.stream, model=data.model
    )
    stream = setup.deal(asked, setup.read(asked), 0)
    job = setup.assemble(asked, _PRICED, 0, stream=stream)
    yield (
      data.name,
      data.stream,
      sum(len(each.data) for each in stream.experiences),
      len(stream.experiences),
      int(stream.classes_trained.sum()),
      stream.experiences[0].data.x[:1].size,
      f"{arms.one_pass(job).flops / 1e9:.4g}",
    )


if __name__ == "__main__":
  sys.exit(main())
