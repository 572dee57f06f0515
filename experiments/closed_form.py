"""Learners without gradients, on images and on streams of sensors.

Question: what do sums over a stream and one linear solve reach, where no
trained trunk fits the data?

Protocol: one run a row, seed 0, one pass over each experience, no memory of
examples. `randumb:m=2000` is linear discriminant analysis of 2,000 random
Fourier features of the inputs; its kernel's width comes from the first batch of
100 examples. Digits and Fashion-MNIST arrive two classes at a time, gas sensors
and activities a month or a person at a time, electricity in order of time in
ten parts. Accuracy is that after the last experience: the mean over the test
sets of all experiences, and that on all test examples as one set, where months
and people with few of them weigh less; the data sets' readers say how training
and test data are parted.

  python experiments/closed_form.py --data_dir=~/data
  python experiments/closed_form.py --quick

RESULTS.md has what it found. `--quick` takes the digits alone.
"""

import argparse
from pathlib import Path

from jcl.options import spec
from jcl.run import session, setup

# Data set, stream.
STREAMS = (
  ("digits", "class_incremental:tasks=5"),
  ("gas_drift", "domain_by_group"),
  ("electricity", "time_ordered:parts=10"),
  ("dsads", "domain_by_group"),
  ("fashion_mnist", "class_incremental:tasks=5"),
)
RECIPES = ("randumb:m=2000",)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--data_dir", default="data", help="folder of the data")
  parser.add_argument("--data", nargs="*", help="data sets; default all")
  parser.add_argument("--recipes", nargs="*", default=RECIPES, help="rows")
  parser.add_argument(
    "--workdir", default="runs/closed_form", help="folder of the runs"
  )
  parser.add_argument("--quick", action="store_true", help="the digits alone")
  given = parser.parse_args()
  wanted = ["digits"] if given.quick else given.data
  print("data,stream,recipe,accuracy %,of all examples %,seconds,bytes")
  for data, stream in STREAMS:
    if wanted and data not in wanted:
      continue
    for recipe in given.recipes:
      folder = Path(given.workdir).expanduser()
      print(row(data, stream, recipe, given.data_dir, folder), flush=True)


def row(
  data: str, stream: str, recipe: str, data_dir: str, folder: Path
) -> str:
  """Makes a run, or reads it where it lies; returns a row of the table."""
  asked = setup.Setup(data=data, data_dir=data_dir, stream=stream)
  source = setup.read(asked)
  dealt = setup.deal(asked, source, seed=0)
  job = setup.assemble(asked, recipe, stream=dealt)
  name, options = spec.parse(recipe)
  result = session.run(
    job,
    folder / data / recipe.replace(":", "-"),
    asked.options,
    {"recipe": {"name": name, "options": options}},
  )
  last = result.records[-1]
  seconds = result.summary["total"]["seconds"]
  scores = result.summary["class_incremental"]
  return (
    f"{data},{stream},{recipe},{100 * result.average_accuracy:.1f},"
    f"{100 * scores['micro_average_accuracy']:.1f},{seconds:.0f},"
    f"{last.memory['bytes']}"
  )


if __name__ == "__main__":
  main()
