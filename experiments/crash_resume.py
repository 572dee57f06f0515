"""Does a run that is killed again and again end as one that never was?

A process that trains is sent SIGKILL at random moments, uniform over the time
that an undisturbed run takes: while it compiles, trains or writes a checkpoint.
Each time another one goes on in the same folder, until the run is over. Its
last checkpoint (parameters, statistics, optimiser, memory), records and curve
are then compared bit for bit with those of the undisturbed run; wall time,
joules and peak memory are left out. Whenever a run is over, another one begins
in an empty folder, until all kills are spent.

  python experiments/crash_resume.py --kills=50 --model=mlp
  python experiments/crash_resume.py --kills=50 --epochs=1 \\
      --model=slim_resnet18:filters=2

On two cores of a server's processor the first takes about seven minutes, the
second about eleven. Both must end with every comparison identical.
"""

from collections import Counter
import functools
import pathlib
import random
import tempfile
import time
import warnings

from absl import app, flags, logging
import forked
import jax
import numpy as np
import orbax.checkpoint  # noqa: F401  # once, for all processes

from jcl import base
from jcl.report import encoding, summary
from jcl.run import checkpoint, session
from jcl.run import setup as setups
from jcl.streams import scenarios, sources

_KILLS = flags.DEFINE_integer("kills", 50, "signals to send")
_MODEL = flags.DEFINE_string("model", "mlp", "network, as for run.py")
_RECIPE = flags.DEFINE_string("recipe", "er:buffer=50", "as for run.py")
_EPOCHS = flags.DEFINE_integer("epochs", 40, "passes over an experience")
_EVERY = flags.DEFINE_float("every", 0.2, "seconds between checkpoints")
_SEED = flags.DEFINE_integer("seed", 0, "of the moments of the kills")


def main(argv):
  del argv
  logging.set_verbosity(logging.WARNING)
  # This process has one thread: no program runs in it.
  warnings.filterwarnings("ignore", message=".*fork.*")
  with tempfile.TemporaryDirectory() as folder:
    return compare(pathlib.Path(folder))


def assemble():
  """Returns the run that is killed, and its options."""
  digits = sources.load("digits")
  train, test = digits.train, digits.test
  x_train, x_test = train.x[::2], test.x[::2]
  if not _MODEL.value.startswith("mlp"):  # networks for images take channels
    x_train, x_test = (x.reshape(-1, 8, 8, 1) for x in (x_train, x_test))
  source = sources.arrays(
    x_train, train.y[::2], x_test, test.y[::2], scale=16.0
  )
  stream = scenarios.class_incremental(source, tasks=5)
  setup = setups.Setup(
    model=_MODEL.value,
    training=base.Training(
      epochs=_EPOCHS.value, learning_rate=0.05, momentum=0.9, batch_size=10
    ),
    options=session.Options(
      checkpoint_seconds=_EVERY.value, evaluate_every=50, progress=False
    ),
  )
  return setups.assemble(setup, _RECIPE.value, stream=stream), setup.options


def train(folder: pathlib.Path) -> None:
  """Carries out the run, or the rest of it."""
  job, options = assemble()
  session.run(job, folder, options)


def compare(folder: pathlib.Path) -> int:
  """Kills runs and compares them; returns the number that differ."""
  chance = random.Random(_SEED.value)
  sources.load("digits")  # what is imported here, no process imports again
  started = time.monotonic()
  forked.in_child(train, folder / "undisturbed")
  duration = time.monotonic() - started
  expected = forked.in_child(outcome, folder / "undisturbed")
  print(f"undisturbed: {duration:.1f} s, {len(expected)} things to compare")

  moments: Counter[str] = Counter()
  differing, runs = 0, 0
  while moments.total() < _KILLS.value:
    runs += 1
    path = folder / f"run_{runs}"
    kills, started = 0, time.monotonic()
    while True:
      partial = _partial(path)
      if moments.total() == _KILLS.value:
        forked.in_child(train, path)
        break
      work = functools.partial(train, path)
      if not forked.killed(work, chance.uniform(0, duration)):
        break
      kills += 1
      moments[_moment(path, partial)] += 1
    if not kills:  # the machine may have been busy before
      duration = min(duration, time.monotonic() - started)
    found = forked.in_child(outcome, path)
    names = sorted(expected.keys() | found.keys())
    wrong = [name for name in names if expected.get(name) != found.get(name)]
    differing += bool(wrong)
    verdict = f"DIFFERS in {', '.join(wrong)}" if wrong else "identical"
    print(f"run {runs}: {kills} kills, {verdict}", flush=True)
  print()
  for moment, count in moments.most_common():
    print(f"{count:4} kills {moment}")
  print(f"{moments.total():4} kills in all")
  print(f"identical {runs - differing} of {runs} runs")
  return differing


def _partial(folder: pathlib.Path) -> set[str]:
  """Names checkpoints that were begun and are not complete."""
  return {path.name for path in (folder / "checkpoints").glob("*tmp*")}


def _moment(folder: pathlib.Path, partial: set[str]) -> str:
  """Says at what stage a run was, from what the kill left behind."""
  if _partial(folder) - partial:
    return "while a checkpoint was being written"
  if any((folder / "checkpoints").glob("[0-9]*")):
    return "after a checkpoint, between two or during a restart"
  return "before the first checkpoint"


def outcome(folder: pathlib.Path) -> dict[str, object]:
  """Returns all that must be the same, by name, in comparable form."""
  job, _ = assemble()
  checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
  snapshot = checkpoints.restore(job.template)
  checkpoints.close()
  if snapshot is None:
    return {}
  leaves, _ = jax.tree_util.tree_flatten_with_path(snapshot.state)
  found: dict[str, object] = {
    f"state{jax.tree_util.keystr(path)}": np.asarray(leaf).tobytes()
    for path, leaf in leaves
  }
  run = summary.read_run(folder)
  for record in run.records:
    fields = encoding.to_json(record)
    del fields["costs"], fields["peak_bytes"]
    found[f"record {record.experience}"] = str(fields)
  timed = ("seconds", "steps_per_second")
  found["curve"] = [
    [(name, value) for name, value in point.items() if name not in timed]
    for point in run.curve
  ]
  return found


if __name__ == "__main__":
  app.run(main)
