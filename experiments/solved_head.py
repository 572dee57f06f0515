"""Gradients after a closed-form head, at equal cost.

Question: a head solved from sums over frozen features costs one pass. Does
training the last units from there add anything, and at which cost does training
without it catch up?

Protocol: CIFAR-100, the first images of the training and of the test set in
experiences of equal numbers of classes, bicubically enlarged for an
EfficientNet-Lite0 with its published weights; seed 0. All units ahead of `last`
are frozen and run once for all rows, whose costs leave that forward out. Every
row gets the same operations in each experience (`--equal_flops`), in multiples
of that forward over the experience's images; all passes beside the updates
count. Updates are of 32 images and 32 replayed ones. `slda` needs a small part
of the smallest budget and makes no update. The last columns are the accuracy of
all test images after the last experience, right answers to examples set aside
by the solved classifier and by the network that was trained from it, and the
operations spent.

  python experiments/solved_head.py --data_dir=~/data
  python experiments/solved_head.py --quick  # digits

`--quick` takes the digits, with 500 random Fourier features of the pixels as
frozen unit and the head alone to train, in multiples of 0.3 GFLOP.
"""

import argparse
from collections.abc import Iterator
import dataclasses
from typing import NamedTuple

import numpy as np

from jcl import base, keys, recipes
from jcl.control import limits
from jcl.networks import catalogue
from jcl.replay.latents import stream as latents
from jcl.run import session, setup
from jcl.streams import scenarios, sources, views
from jcl.streams import stream as stream_lib

FORWARD = 144e6  # operations of the trunk for an image of 96 x 96
RECIPES = (
  "slda",
  "er:buffer=500,minibatch=32+head_only",
  "er:buffer=500,minibatch=32+head_only+solved",
  "er:buffer=500,minibatch=32+freeze:until=last",
  "er:buffer=500,minibatch=32+freeze:until=last+solved",
)


class Learned(NamedTuple):
  """What rows are learned from, and a pass over an experience's images."""

  stream: stream_lib.Stream
  network: base.Network
  once: float  # operations
  expand: base.Expansion | None = None


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--data_dir", default="data", help="folder of the data")
  parser.add_argument("--train", type=int, default=4000, help="images")
  parser.add_argument("--test", type=int, default=1000, help="images")
  parser.add_argument("--tasks", type=int, default=5, help="experiences")
  parser.add_argument("--times", type=float, nargs="*", default=[0.25, 1.0])
  parser.add_argument("--rates", type=float, nargs="*", default=[1e-4, 1e-3])
  parser.add_argument("--recipes", nargs="*", default=RECIPES, help="rows")
  parser.add_argument("--quick", action="store_true", help="the digits alone")
  given = parser.parse_args()
  learned = digits() if given.quick else images(given)
  print("recipe,times,rate,accuracy %,judged,solved,trained,GFLOP", flush=True)
  for times in given.times:
    for recipe in given.recipes:
      if given.quick and "until" in recipe:
        continue
      for row in rows(learned, recipe, times, given.rates):
        print(row, flush=True)


def rows(
  learned: Learned, recipe: str, times: float, rates: list[float]
) -> Iterator[str]:
  """Makes the runs of a recipe at one cost; yields rows of the table."""
  for rate in rates if recipe != "slda" else [0.0]:
    method = recipes.build(recipe)._replace(expand=learned.expand)
    epochs = 0 if recipe == "slda" else 10_000
    limit = limits.equal(epochs, times * learned.once)
    training = {} if recipe == "slda" else {"learning_rate": rate}
    result = session.learn(
      learned.stream,
      learned.network,
      method,
      options=session.Options(progress=False),
      controller=limit,
      **({"batch_size": 32} | training if training else {}),
    )
    judged = result.records[-1].judged
    spent = sum(
      record.costs[account].flops
      for record in result.records
      for account in limits.LEARNING
    )
    told = [f"{judged[name]:.0f}" for name in judged] or ["-"] * 3
    accuracy = 100 * result.average_accuracy
    yield (
      f"{recipe},{times:g},{rate:g},{accuracy:.1f},{','.join(told)},"
      f"{spent / 1e9:.1f}"
    )


def images(given: argparse.Namespace) -> Learned:
  """Returns the outputs of the frozen trunk, and the units behind it."""
  asked = setup.Setup(
    data="cifar100",
    data_dir=given.data_dir,
    stream=f"class_incremental:tasks={given.tasks}",
    model="efficientnet_lite0:side=96",
    weights="imagenet",
  )
  whole = setup.read(asked)
  source = dataclasses.replace(
    whole,
    train=views.take(whole.train, np.arange(given.train)),
    test=views.take(whole.test, np.arange(given.test)),
  )
  dealt = setup.deal(asked, source, seed=0)
  network = setup.network(asked, dealt)
  made = latents.prepare(
    dealt, network, "last", key=keys.key(0, keys.Purpose.INIT), rows=50
  )
  return Learned(made.stream, made.network, FORWARD * given.train / given.tasks)


def digits() -> Learned:
  """Returns the digits, whose pixels a random unit reads."""
  dealt = scenarios.class_incremental(sources.load("digits"), tasks=5)
  network = catalogue.build("mlp", dealt.example_shape, dealt.num_classes)
  expansion = base.Expansion(500, "fourier", trunk=False)
  return Learned(dealt, network, 3e8, expansion)


if __name__ == "__main__":
  main()
