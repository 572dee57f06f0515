"""What does learning data as it arrives cost on top of a study of it?

The same experiences are learned as a stream by `jcl.learn`, and one after the
other by `jcl.live`, in memory and in a folder, in turns. Rows are medians of
the rounds behind the first, which compiles; `ratio` is the median of the
rounds' ratios to `jcl.learn` in memory, or in a folder for a folder, with its
quartiles. A study's stream has no test sets here, as a live learner has none.

  python experiments/live_overhead.py
  python experiments/live_overhead.py --quick

The target is 1.1 times the time of `jcl.learn`.
"""

from collections.abc import Callable
from pathlib import Path
import tempfile
import time

from absl import app, flags, logging
import jax
import numpy as np
import pandas as pd

import jcl
from jcl import base
from jcl.streams import stream as stream_lib

_EXPERIENCES = flags.DEFINE_integer("experiences", 20, "of the stream")
_EXAMPLES = flags.DEFINE_integer("examples", 500, "of an experience")
_EPOCHS = flags.DEFINE_integer("epochs", 5, "passes over an experience")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "timed runs of each form")
_RECIPE = flags.DEFINE_string("recipe", "er:buffer=500", "as for run.py")
_QUICK = flags.DEFINE_bool(
  "quick", False, "one small round, which tells nothing"
)

FEATURES, CLASSES, WIDTH = 64, 10, 100
TRAINING = {"batch_size": 32, "learning_rate": 0.05}


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.ERROR)
  experiences, examples = _EXPERIENCES.value, _EXAMPLES.value
  rounds, epochs = _ROUNDS.value, _EPOCHS.value
  if _QUICK.value:
    experiences, examples, rounds, epochs = 2, 40, 1, 1
  parts = _parts(experiences, examples)
  forms = _forms(parts, epochs)
  times: dict[str, list[float]] = {name: [] for name in forms}
  with tempfile.TemporaryDirectory() as programs:
    # Each run compiles anew: what it waits for is then a read of this folder.
    jax.config.update("jax_compilation_cache_dir", programs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _time(forms, rounds, times)
  print(_table(times).to_string(index=False))


def _time(
  forms: dict[str, Callable[[Path], float]],
  rounds: int,
  times: dict[str, list[float]],
) -> None:
  """Runs all forms in turns, and files seconds behind the first round."""
  for number in range(rounds + 1):
    for name, run in forms.items():
      with tempfile.TemporaryDirectory() as folder:
        seconds = run(Path(folder) / "run")
      if number:
        times[name].append(seconds)


def _parts(count: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
  """Returns experiences, all of which have all classes."""
  rng = np.random.default_rng(0)
  centres = rng.normal(size=(CLASSES, FEATURES))
  found = []
  for _ in range(count):
    y = np.arange(size) % CLASSES
    x = centres[y] + rng.normal(size=(size, FEATURES))
    found.append((x.astype(np.float32), y))
  return found


def _stream(parts: list[tuple[np.ndarray, np.ndarray]]) -> stream_lib.Stream:
  """Returns the stream of a study, without test sets."""
  found, classes, first = [], tuple(range(CLASSES)), 0
  for index, (x, y) in enumerate(parts):
    data = base.Dataset("made", x, y.astype(np.int32), ())
    ids = np.arange(first, first + len(y))
    found.append(base.Experience(index, classes, data, ids))
    first += len(y)
  mean, std = stream_lib.statistics(found[0].data)
  return stream_lib.Stream(
    name="made",
    scenario="class",
    class_names=tuple(map(str, classes)),
    experiences=tuple(found),
    held_out=stream_lib.Sealed(()),
    task_classes=(),
    mean=mean,
    std=std,
  )


def _forms(
  parts: list[tuple[np.ndarray, np.ndarray]], epochs: int
) -> dict[str, Callable[[Path], float]]:
  """Returns what is timed, each a function of a folder that does not exist."""
  training = {**TRAINING, "epochs": epochs}
  stream = _stream(parts)

  def learn(folder: Path | None) -> float:
    start = time.perf_counter()
    # Anew, as below: JAX traces nothing again for a network that it knows.
    network = jcl.build_network("mlp", (FEATURES,), CLASSES, width=WIDTH)
    method = jcl.recipes.build(_RECIPE.value)
    jcl.learn(stream, network, method, workdir=folder, **training)
    return time.perf_counter() - start

  def live(folder: Path | None) -> float:
    start = time.perf_counter()
    with jcl.live(
      folder,
      recipe=_RECIPE.value,
      network=f"mlp:width={WIDTH}",
      capacity=CLASSES,
      **training,
    ) as learner:
      for inputs, labels in parts:
        learner.observe(inputs, labels)
        learner.learn()
    return time.perf_counter() - start

  return {
    "learn": lambda _: learn(None),
    "live": lambda _: live(None),
    "learn, folder": learn,
    "live, folder": live,
  }


def _table(times: dict[str, list[float]]) -> pd.DataFrame:
  """Returns a row for each form: seconds, and ratio to what it is beside."""
  rows = []
  for name, seconds in times.items():
    beside = times["learn, folder" if "folder" in name else "learn"]
    ratios = np.divide(seconds, beside)
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    rows.append(
      {
        "form": name,
        "seconds": f"{np.median(seconds):.3f}",
        "ratio": f"{middle:.2f}",
        "quartiles": f"{low:.2f} to {high:.2f}",
      }
    )
  return pd.DataFrame(rows)


if __name__ == "__main__":
  app.run(main)
