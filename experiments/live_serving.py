"""How fast can a camera be while its model is retrained on the same machine?

A thread serves single frames as they arrive; the rest of the process labels and
retrains in turns, all the time, as in Kim et al., "DaCapo: Accelerating
Continuous Learning in Autonomous Systems for Video Analytics", ISCA 2024. A
rate holds where, while retraining, 99 % of the frames are answered within one
frame's time and none is lost. From the highest rate down, each is tried in
three ways:

  queued  one device; steps of an epoch are dispatched ahead of each other
  waited  one device; each step is waited for before the next is dispatched
  apart   as `waited`, serving on one device and retraining on another; on a CPU
          these are two that share its cores

  python experiments/live_serving.py --data_dir=~/data
  python experiments/live_serving.py --data=digits --quick

Kernels are timed first, so that phases last what their work takes where nothing
else runs; "late" is the time that retrainings took beyond that. Checksums are
compared before and after each swap of the weights. Rows are of frames that
arrived while retraining, labelling or neither ran.

RESULTS.md has what it found: other load moves every number. It takes about a
minute a way.
"""

import dataclasses
import json
import os
from pathlib import Path
import subprocess
import sys

from absl import app, flags
import jax
import numpy as np
import pandas as pd

from jcl.control.drift import systems
from jcl.networks import catalogue
from jcl.options import spec
from jcl.serving import books, image_pool, live, measured_times, models, teacher
from jcl.streams import sources

_DATA = flags.DEFINE_string("data", "fashion_mnist", "data set of images")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the data sets")
_STUDENT = flags.DEFINE_string(
  "student", "slim_resnet18:filters=8", "network that serves"
)
_TEACHER = flags.DEFINE_string(
  "teacher", "slim_resnet18:filters=16", "network that labels"
)
_RATES = flags.DEFINE_list("rates", [60, 30, 15, 8, 4], "frames per second")
_SECONDS = flags.DEFINE_float("seconds", 20, "of each trial", lower_bound=1)
_LABELS = flags.DEFINE_integer("labels", 16, "images per turn", lower_bound=1)
_LASTS = flags.DEFINE_float("retrain_seconds", 2, "of a retraining, about")
_BATCH = flags.DEFINE_integer("batch", 16, "images of an update", lower_bound=1)
_IMAGES = flags.DEFINE_integer("images", 2000, "to learn ahead", lower_bound=64)
_ALL = flags.DEFINE_bool("all_rates", False, "go on below a rate that holds")
_WAYS = flags.DEFINE_list("ways", None, "of those above; default all")
_WAY = flags.DEFINE_string("way", None, "a single one, in this process")
_QUICK = flags.DEFINE_bool("quick", False, "2 seconds of 30, an MLP")

# JAX reads both before it finds its devices.
WAITED = {"JAX_CPU_ENABLE_ASYNC_DISPATCH": "false"}
WAYS = {
  "queued": {},
  "waited": WAITED,
  "apart": {
    **WAITED,
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
  },
}
QUICK = (
  *("--rates=30", "--seconds=2", "--images=64", "--retrain_seconds=0.3"),
  *("--student=mlp:width=20", "--teacher=mlp:width=40", "--labels=8"),
)
SHOWN = ("p50", "p95", "p99", "worst")


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  if _WAY.value:
    for row in rows_of(_WAY.value):
      print(json.dumps(row), flush=True)
    return
  ways = _WAYS.value or list(WAYS)
  if wrong := [way for way in ways if way not in WAYS]:
    raise app.UsageError(f"--ways={wrong}: choose from {', '.join(WAYS)}")
  rows = [row for way in ways for row in in_process(way)]
  print(pd.DataFrame(rows).to_string(index=False, float_format="%.2f"))
  for way in ways:
    held = [row["fps"] for row in rows if row["way"] == way and row["holds"]]
    found = f"{max(held)} frames per second" if held else "none of the rates"
    print(f"{way}: {found} held")


def in_process(way: str) -> list[dict]:
  """Returns the rows of a way, from a process that JAX is set up for it in."""
  extra = QUICK if _QUICK.value else ()
  done = subprocess.run(
    [sys.executable, __file__, *extra, *sys.argv[1:], f"--way={way}"],
    env={**os.environ, **WAYS[way]},
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return [json.loads(line) for line in done.stdout.splitlines()]


def rows_of(way: str) -> list[dict]:
  """Returns the rows of all rates tried, from the highest down."""
  serving, *others = jax.devices()[:2]
  training = others[0] if way == "apart" else serving
  rows: list[dict] = []
  with jax.default_device(training):
    source = sources.load(*_loaded(_DATA.value))
    images, labels = image_pool.pool(source, source.train.num_classes)
    student, weights, label = _models(images, labels, training)
    times = measured_times.times(student, weights, images, labels, label)
    for fps in sorted(map(int, _RATES.value), reverse=True):
      found = _trial(
        fps, student, weights, label, images, labels, times, serving
      )
      rows += [{"way": way, "fps": fps, **row} for row in found]
      if rows[-1]["holds"] and not _ALL.value:
        break
  return rows


def _loaded(text):
  name, options = spec.parse(text)
  if options:
    raise app.UsageError(f"--data={text}: give the name of a set of images")
  return name, Path(_DATA_DIR.value)


def _models(images, labels, device):
  """Returns the student, its first weights and what labels."""
  mean, std = teacher.standardisation(images)
  classes, shape = int(labels.max()) + 1, images.shape[1:]
  learned = np.random.default_rng(0).permutation(len(images))[: _IMAGES.value]
  ready = []
  for text in (_STUDENT.value, _TEACHER.value):
    name, options = spec.parse(text)
    network = catalogue.build(name, shape, classes, **options)
    epochs = 1 + 2 * len(ready)  # the teacher's are more
    arrays = models.pretrain(
      network,
      images[learned],
      labels[learned],
      mean=mean,
      std=std,
      epochs=epochs,
      seed=0,
    )
    ready.append((network, arrays))
  (small, known), (large, more) = ready
  # Few rows at once: serving waits for whatever runs.
  student = models.Student(
    small,
    mean=mean,
    std=std,
    training=dataclasses.replace(models.TRAINING, batch_size=_BATCH.value),
    rows=_BATCH.value,
    devices=[device],
  )
  tutor = teacher.Teacher(large, *more, mean=mean, std=std, rows=_BATCH.value)
  return student, student.begin(*known), tutor.label


def _trial(fps, student, weights, label, images, labels, times, serving):
  """Returns a row for each kind of work at a rate."""
  drawn = np.random.default_rng(1).integers(
    len(images), size=round(fps * _SECONDS.value)
  )
  frames = books.LabelledFrames(images[drawn], labels[drawn], fps)
  steps = -(-3 * _LABELS.value // times.batch)
  epochs = max(1, round(_LASTS.value / (steps * times.train)))
  found = live.run(
    systems.dacapo(times, labels=_LABELS.value, first=2, epochs=epochs),
    student,
    weights,
    frames,
    labeller=label,
    devices=[serving],
    checked=True,
  )
  retraining = found.summary("retrain")
  holds = retraining.drop_ratio == 0 and retraining.p99 <= 1 / fps
  late = sum(span.late for span in found.spans if span.kind == "retrain")
  rows = []
  for kind in ("idle", "label", "retrain"):
    summary = found.summary(kind)
    if not summary.frames and kind != "retrain":
      continue
    rows.append(
      {
        "frames of": kind,
        "frames": summary.frames,
        **{f"{name} ms": 1e3 * getattr(summary, name) for name in SHOWN},
        "lost %": 100 * summary.drop_ratio,
        "behind s": summary.behind_seconds,
        "age s": summary.age_seconds,
        "swaps": len(found.times) - 1,
        "step ms": 1e3 * times.train,
        "late s": late,
        "right %": 100 * found.log.correct().mean(),
        "holds": bool(holds),
      }
    )
  return rows


if __name__ == "__main__":
  app.run(main)
