"""Does a learner that lives for a long time stay within what it was given?

A live learner takes in examples of 16 features, most with a label, some with
none, some whose label comes later or is corrected. A hundred classes arrive one
after another until three quarters of the stream have passed. Experiences end by
size, a budget and a bound of the store are on, and predictions are asked for in
between. At equal distances the process is looked at, after a collection of
garbage and no other cleaning: resident memory, open files, threads, and bytes
on disk, of the bounded log and of all else in the folder.

  python experiments/live_soak.py
  python experiments/live_soak.py --quick

From the first sample on, memory may grow by 1 MB at most from one to the next,
on average; files and threads may not, and the log stays within its bound. The
command ends with 1 where one of these fails. Memory of compilers rises when the
head grows, and the system takes it back some time later.
"""

import csv
import gc
import os
from pathlib import Path
import tempfile
import time

from absl import app, flags, logging
import numpy as np

import jcl
from jcl.living import live
from jcl.options import plain

_EXAMPLES = flags.DEFINE_integer("examples", 1_000_000, "that arrive")
_SAMPLES = flags.DEFINE_integer("samples", 10, "looks at the process")
_EXPERIENCE = flags.DEFINE_integer("experience", 1000, "examples of each")
_BATCH = flags.DEFINE_integer("batch", 500, "examples observed at once")
_RECIPE = flags.DEFINE_string("recipe", "er:buffer=500", "as for run.py")
_STORE = flags.DEFINE_string("store", "8MB", "bound of the log")
_BESIDE = flags.DEFINE_bool("beside", False, "learn in a thread beside")
_TABLE = flags.DEFINE_string("table", None, "CSV file of the samples")
_QUICK = flags.DEFINE_bool("quick", False, "3000 examples, and no verdict")

WIDTH, CLASSES = 16, 100
OPEN = ("fd", "task")  # files and threads, of /proc/self
GROWTH = 1.0  # MB of memory, at most, from sample to sample
QUICK = 3000, 8  # examples and classes


def main(argv):
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.ERROR)
  with tempfile.TemporaryDirectory() as folder:
    place = Path(folder) / "device"
    rows = soak(place, *QUICK if _QUICK.value else (_EXAMPLES.value, CLASSES))
  if _TABLE.value:
    with open(_TABLE.value, "w", newline="") as file:
      table = csv.DictWriter(file, list(rows[0]))
      table.writeheader()
      table.writerows(rows)
  return 0 if _QUICK.value else judged(rows)


class Arrivals:
  """Examples as they come, of more and more classes."""

  def __init__(self, examples: int, classes: int) -> None:
    self._classes = classes
    self._rng = np.random.default_rng(0)
    self._centres = self._rng.normal(size=(CLASSES, WIDTH)) * 2
    self._last = 0.75 * examples  # when the last class arrives
    self.arrived = 0

  def batch(self, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns inputs [N, 16] float32 and classes [N]."""
    share = min(1.0, self.arrived / self._last)
    known = 2 + int((self._classes - 2) * share)
    self.arrived += size
    y = self._rng.integers(0, known, size)
    x = self._centres[y] + self._rng.normal(size=(size, WIDTH))
    return x.astype(np.float32), y


def soak(folder: Path, examples: int, classes: int) -> list[dict[str, float]]:
  """Returns a row for every sample."""
  arrivals, started = Arrivals(examples, classes), time.monotonic()
  every = max(examples // _SAMPLES.value, _BATCH.value)
  learner = jcl.live(
    folder,
    recipe=_RECIPE.value,
    network="mlp:width=32,depth=1",
    experience=_EXPERIENCE.value,
    store=_STORE.value,
    budget=jcl.Budget(flops=1e15, seconds=80_000, per="day", ram="64MiB"),
    batch_size=10,
    learning_rate=0.05,
  )
  rows: list[dict[str, float]] = []
  with learner:
    if _BESIDE.value:
      learner.start()
    while arrivals.arrived < examples:
      x, y = arrivals.batch(_BATCH.value)
      names = [f"kind {each}" for each in y]
      silent = len(x) // 20
      ids = learner.observe(x, [None] * silent + names[silent:])
      learner.label(ids[: silent // 2], names[: silent // 2])
      learner.label(ids[-1:], ["kind 0"])  # a correction
      if not _BESIDE.value:
        learner.learn()
      else:
        keep_up(learner)
      if len(learner.classes_):
        learner.predict(x[:1])
        learner.predict(x)
      if arrivals.arrived % every < _BATCH.value:
        served = len(learner.classes_) > 0
        right = learner.evaluate(x, names) if served else 0.0
        rows.append(look(learner, folder, arrivals.arrived, right, started))
        print(told(rows[-1]), flush=True)
  return rows


def keep_up(learner: live.Live) -> None:
  """Returns once no more than one experience waits."""
  while learner.status()["experiences"] - learner.status()["learned"] > 1:
    time.sleep(0.01)


def look(
  learner: live.Live, folder: Path, arrived: int, right: float, started: float
) -> dict[str, float]:
  """Returns what the process and its folder hold."""
  gc.collect()
  log, looks = folder / "log", []
  for _ in range(40):  # a checkpoint may just be written
    looks.append([len(os.listdir(f"/proc/self/{each}")) for each in OPEN])
    time.sleep(0.05)
  files, threads = map(min, zip(*looks, strict=True))
  return {
    "examples": arrived,
    "seconds": time.monotonic() - started,
    "resident_mb": resident("VmRSS") / 1e6,
    "anonymous_mb": resident("RssAnon") / 1e6,
    "files": files,
    "threads": threads,
    "objects": len(gc.get_objects()),
    "log_mb": size(log) / 1e6,
    "other_mb": (size(folder) - size(log)) / 1e6,
    "classes": len(learner.classes_),
    "experiences": learner.status()["learned"],
    "accuracy": right,
  }


def resident(what: str) -> int:
  """Returns bytes of memory: "VmRSS", or "RssAnon" without mapped files."""
  status = Path("/proc/self/status").read_text()
  [line] = [row for row in status.splitlines() if row.startswith(what)]
  return 1024 * int(line.split()[1])


def size(folder: Path) -> int:
  """Returns the bytes of all files of a folder that are there."""
  total = 0
  for place, _, names in os.walk(folder):
    for name in names:
      try:
        total += os.stat(os.path.join(place, name)).st_size
      except FileNotFoundError:
        pass
  return total


def told(row: dict[str, float]) -> str:
  return "  ".join(f"{name} {value:,.6g}" for name, value in row.items())


def judged(rows: list[dict[str, float]]) -> int:
  """Prints what grew; returns 1 where a bound was passed."""
  first, last = rows[0], rows[-1]
  steps = max(len(rows) - 1, 1)
  growth = (last["resident_mb"] - first["resident_mb"]) / steps
  bound = plain.parse_size(_STORE.value) / 1e6
  found = {
    f"memory grows by {growth:.2f} MB a sample": growth < GROWTH,
    f"files {first['files']} to {last['files']}": (
      last["files"] <= first["files"]
    ),
    f"threads {first['threads']} to {last['threads']}": (
      last["threads"] <= first["threads"]
    ),
    f"log {max(row['log_mb'] for row in rows):.2f} of {bound:.2f} MB": all(
      row["log_mb"] <= bound for row in rows
    ),
  }
  for what, holds in found.items():
    print(f"{what}: {'holds' if holds else 'FAILS'}")
  return int(not all(found.values()))


if __name__ == "__main__":
  app.run(main)
