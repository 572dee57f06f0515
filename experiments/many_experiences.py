"""Does the cost of an experience grow with the number of experiences?

Streams of T experiences with one training and one test example each are learned
by a small MLP, with a work directory and without, and the seconds of each
account of the ledger are printed, for the whole run and per experience. Each
run evaluates all T test sets after each experience.

  python experiments/many_experiences.py --counts=250,500,1000
  python experiments/many_experiences.py --counts=200 --recipes=er,joint,carm

Look at columns that grow per experience from one T to the next. "evaluate" may
grow, as an evaluation scores T test sets, many of them in each batch.
"""

import tempfile
import time

from absl import app, flags, logging
import numpy as np

_COUNTS = flags.DEFINE_list("counts", ["250", "500", "1000"], "experiences")
_RECIPES = flags.DEFINE_list("recipes", ["er"], "recipes, as in run.py")
_KEPT = flags.DEFINE_list(
  "kept", ["yes", "no"], "with a work directory, without, or both"
)

SHOWN = ("train", "evaluate", "compile", "checkpoint", "write", "idle")


def main(argv):
  del argv
  logging.set_verbosity(logging.WARNING)
  names = ("total", *SHOWN, "other", "per experience")
  print("recipe     T kept" + "".join(f"{name:>11.10}" for name in names))
  for recipe in _RECIPES.value:
    for kept in _KEPT.value:
      for count in map(int, _COUNTS.value):
        seconds = measured(recipe, count, kept == "yes")
        row = "".join(f"{value:11.2f}" for value in seconds.values())
        each = 1000 * (seconds["total"] - seconds["compile"]) / count
        print(f"{recipe:7.7} {count:4} {kept:4}{row}{each:8.1f} ms", flush=True)
  return 0


def stream(count: int):
  """Returns experiences of one example each, of ten classes in turn."""
  from jcl.streams import scenarios, sources

  generator = np.random.default_rng(0)
  centres = 3 * generator.normal(size=(10, 16))
  labels = np.arange(count) % 10
  train, test = (
    (centres[labels] + generator.normal(size=(count, 16))).astype(np.float32)
    for _ in range(2)
  )
  source = sources.arrays(train, labels, test, labels)
  return scenarios.time_ordered(source, parts=count)


def measured(recipe: str, count: int, kept: bool) -> dict[str, float]:
  """Returns the seconds of a run, in all and by account."""
  from jcl import recipes
  from jcl.networks import catalogue
  from jcl.run import session

  learned = stream(count)
  network = catalogue.build("mlp", learned.example_shape, learned.num_classes)
  with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    result = session.learn(
      learned,
      network,
      recipes.build(recipe),
      workdir=folder if kept else None,
      options=session.Options(progress=False),
    )
    total = time.perf_counter() - start
  accounts = {k: v["seconds"] for k, v in result.summary["costs"].items()}
  for name, cost in result.summary["closing"].items():
    accounts[name] = accounts.get(name, 0.0) + cost["seconds"]
  other = sum(accounts.values()) - sum(accounts[name] for name in SHOWN)
  return {
    "total": total,
    **{name: accounts[name] for name in SHOWN},
    "other": other,
  }


if __name__ == "__main__":
  app.run(main)
