"""How long do a live learner's answers take, and does learning delay them?

observe  Seconds until an example of 3 KiB, or 256 of them, are acknowledged,
         in turns with a plain write and fdatasync of as many bytes.
predict  Seconds that a prediction of one image of 32 x 32 x 3 takes while
         nothing else runs, and while a thread learns beside. Its p99 may be 1.5
         times as long beside, and the time of one update longer. Every answer
         has to be that of one published model, to the bit.
grow     The same while the head grows from 16 to 32 classes: no prediction may
         take 50 ms more than the p99 beside. The weights there were have to
         stay to the bit, and the logits of known classes to 1e-6.

  python experiments/live_latency.py
  python experiments/live_latency.py --quick

  python experiments/live_latency.py --as_device

With `--as_device` the process is set up as `jcl device` does it: threads take
turns more often, and collections of garbage leave out what is there from the
start. The last lines tell what the interpreter itself makes a thread wait.

Other load of the machine moves every number; rounds alternate what is compared.
The command ends with 1 where an answer is torn or a weight has changed.
"""

from collections.abc import Callable, Iterator
import contextlib
import gc
import os
from pathlib import Path
import tempfile
import threading
import time
from typing import Any
from unittest import mock

from absl import app, flags, logging
import jax
import numpy as np

import jcl
from jcl import base
from jcl.living import answers, growing, interpreter, live

PARTS = ("observe", "predict", "grow")
NETWORKS = ("mlp", "slim_resnet18:filters=8")

_PARTS = flags.DEFINE_list("parts", list(PARTS), "of " + ", ".join(PARTS))
_NETWORKS = flags.DEFINE_list("networks", list(NETWORKS), "that predict")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "of each comparison")
_SECONDS = flags.DEFINE_float("seconds", 8.0, "of predictions, each way")
_WRITES = flags.DEFINE_integer("writes", 150, "of each size, in a round")
_FOLDER = flags.DEFINE_string("folder", None, "for the files")
_AS_DEVICE = flags.DEFINE_bool(
  "as_device", False, "set the process up as `jcl device` does"
)
_QUICK = flags.DEFINE_bool("quick", False, "one short round of an MLP")

SHAPE = (32, 32, 3)
PAUSE = 0.005  # seconds between predictions
COLLECTIONS: list[float] = []  # seconds of each, since a learner was opened


def main(argv):
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  if wrong := [part for part in _PARTS.value if part not in PARTS]:
    raise app.UsageError(f"--parts={wrong}: choose from {', '.join(PARTS)}")
  logging.set_verbosity(logging.ERROR)
  networks, rounds, seconds = _NETWORKS.value, _ROUNDS.value, _SECONDS.value
  if _QUICK.value:
    networks, rounds, seconds = ["mlp:width=16,depth=1"], 1, 0.5
  failed = False
  gc.callbacks.append(note_collection)
  with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
    if "observe" in _PARTS.value:
      observing(Path(folder), rounds, 5 if _QUICK.value else _WRITES.value)
    for number, network in enumerate(networks):
      place = Path(folder) / f"learner_{number}"
      if "predict" in _PARTS.value:
        failed |= predicting(place, network, rounds, seconds)
      if "grow" in _PARTS.value:
        failed |= growth(place.with_suffix(".grown"), network, seconds)
  late = lateness(seconds)
  if COLLECTIONS:
    print(
      f"{len(COLLECTIONS)} collections of all garbage, the longest "
      f"{1e3 * max(COLLECTIONS):.0f} ms"
    )
  print(f"load of the last minute: {os.getloadavg()[0]:.1f}")
  print(f"a thread beside plain Python wakes late: {quantiles(late)}", end=", ")
  print(f"worst {1e3 * max(late):.1f} ms")
  return int(failed)


def images(count: int, classes: int, seed: int) -> tuple[np.ndarray, list[str]]:
  """Returns images [N, 32, 32, 3] uint8 of random classes, and their names."""
  rng = np.random.default_rng(seed)
  y = np.arange(count) % classes
  rng.shuffle(y)
  level = 40 + 170 * y[:, None] / classes
  x = np.clip(rng.normal(level, 20, (count, int(np.prod(SHAPE)))), 0, 255)
  return x.astype(np.uint8).reshape(-1, *SHAPE), [f"kind {i}" for i in y]


def quantiles(taken: list[float]) -> str:
  low, high = 1e3 * np.percentile(taken, (50, 99))
  return f"p50 {low:.2f} ms, p99 {high:.2f} ms"


def note_collection(phase: str, about: dict[str, int]) -> None:
  """Notes the seconds of a collection of all garbage, a callback of Python."""
  if about["generation"] == 2:
    if phase == "start":
      COLLECTIONS.append(-time.perf_counter())
    elif COLLECTIONS:
      COLLECTIONS[-1] += time.perf_counter()


def lateness(seconds: float) -> list[float]:
  """Returns how late a thread wakes while another one computes in Python.

  No answer beside learning can be better than this on the same machine.
  """
  goes_on, late = lasting(seconds), []

  def work() -> None:
    while goes_on():
      sum(range(1000))

  thread = threading.Thread(target=work)
  thread.start()
  while goes_on():
    late.append(timed(lambda: time.sleep(PAUSE)) - PAUSE)
  thread.join()
  return late


# Observing.


def observing(folder: Path, rounds: int, writes: int) -> None:
  """Prints how long durable observations take."""
  x, names = images(256, 10, 0)
  path = folder / "plain"
  with (
    jcl.live(folder / "observer", network="mlp") as learner,
    open(path, "wb", buffering=0) as file,
  ):
    for size, count in ((1, writes), (256, max(writes // 10, 2))):
      part, data = x[:size], x[:size].tobytes()

      def plain(data: bytes = data) -> None:
        file.write(data)
        os.fdatasync(file.fileno())

      def observe(part: np.ndarray = part) -> None:
        learner.observe(part, names[: len(part)])

      taken: dict[str, list[float]] = {"plain": [], "observe": []}
      for _ in range(rounds):
        for _ in range(count):
          taken["plain"].append(timed(plain))
          taken["observe"].append(timed(observe))
      share = np.median(taken["plain"]) / np.median(taken["observe"])
      total = sum(taken["plain"]) / sum(taken["observe"])
      for what, found in taken.items():
        print(f"{size} of 3 KiB, {what}: {quantiles(found)}", flush=True)
      print(
        f"{size} of 3 KiB: {100 * share:.0f} % of plain writes by the median, "
        f"{100 * total:.0f} % by the sum"
      )


def timed(work: Callable[[], Any]) -> float:
  start = time.perf_counter()
  work()
  return time.perf_counter() - start


# Predicting.


class Watched:
  """A learner whose published models are kept, for a look at answers."""

  def __init__(self, learner: live.Live) -> None:
    self.learner = learner
    self.published: list[answers.Answers] = []
    self.scores: list[np.ndarray] = []  # that predictions had
    self.x = images(1, 10, 7)[0]
    publish = learner._publish

    def kept(made: Any) -> None:
      publish(made)
      self.published.append(learner._answers)

    learner.learning._published = kept

  def predict(self, goes_on: Callable[[], bool]) -> list[float]:
    """Predicts again and again; returns the seconds that each one took."""
    taken = []
    while goes_on():
      start = time.perf_counter()
      found = self.learner.predict_scores(self.x)
      taken.append(time.perf_counter() - start)
      self.scores.append(found)
      time.sleep(PAUSE)
    return taken

  def torn(self) -> int:
    """Returns how many answers are those of no published model."""
    known = {each.scores(self.x).tobytes() for each in self.published}
    return sum(found.tobytes() not in known for found in self.scores)


def lasting(seconds: float) -> Callable[[], bool]:
  until = time.monotonic() + seconds
  return lambda: time.monotonic() < until


@contextlib.contextmanager
def opened(folder: Path, network: str, classes: int) -> Iterator[Watched]:
  """Opens a learner of images that has learned some, programs compiled."""
  with jcl.live(
    folder,
    network=network,
    recipe="er:buffer=200",
    batch_size=10,
    learning_rate=0.01,
    epochs=2,
  ) as learner:
    watched = Watched(learner)
    for seed in range(2):
      learner.observe(*images(100, classes, seed))
      learner.learn()
    watched.predict(lasting(0.2))
    if _AS_DEVICE.value:
      interpreter.answer_soon()
    COLLECTIONS.clear()
    yield watched


def step_seconds(learner: live.Live) -> float:
  """Returns the time of an update, of the latest experience."""
  record = learner.learning.records[-1]
  spent = record.costs["train"] + record.costs["replay"]
  return spent.seconds / record.steps


def predicting(folder: Path, network: str, rounds: int, seconds: float) -> bool:
  """Prints how long predictions take; returns whether any was torn."""
  with opened(folder, network, 10) as watched:
    learner = watched.learner
    step = step_seconds(learner)
    idle: list[float] = []
    beside: list[float] = []
    limits = []
    for seed in range(rounds):
      quiet = watched.predict(lasting(seconds))
      feeding = threading.Event()
      feeder = threading.Thread(target=feed, args=(learner, feeding, seed))
      learner.start()
      feeder.start()
      busy = watched.predict(lasting(seconds))
      feeding.set()
      feeder.join()
      learner.stop()
      limit = 1.5 * np.percentile(quiet, 99) + step
      limits.append(np.percentile(busy, 99) / limit)
      idle += quiet
      beside += busy
    torn = watched.torn()
  print(f"{network}, idle: {quantiles(idle)}")
  print(
    f"{network}, beside: {quantiles(beside)}, worst {1e3 * max(beside):.1f}"
  )
  print(
    f"{network}: p99 beside is {np.median(limits):.2f} of 1.5 x idle + an "
    f"update of {1e3 * step:.1f} ms, the median of {rounds} rounds; {torn} of "
    f"{len(watched.scores)} answers torn, of {len(watched.published)} models",
    flush=True,
  )
  return torn > 0


def feed(learner: live.Live, done: threading.Event, seed: int) -> None:
  """Observes, so that there is always something to learn."""
  x, names = images(200, 10, seed)
  while not done.is_set():
    status = learner.status()
    if status["experiences"] - status["learned"] < 2 and not status["open"]:
      learner.observe(x, names)
    done.wait(0.05)


# Growing.


def growth(folder: Path, network: str, seconds: float) -> bool:
  """Prints what a growing head does; returns whether it changed a weight."""
  grown: list[tuple[base.LearnerState, base.LearnerState]] = []
  networks: list[base.Network] = []

  def keeping(learner: Any, seed: int, state: Any, selection: Any) -> Any:
    before = jax.tree.map(np.array, state)
    found = growing_fn(learner, seed, state, selection)
    grown.append((before, jax.tree.map(np.array, found)))
    networks.append(learner.network)
    return found

  growing_fn = growing.grown
  with (
    opened(folder, network, 16) as watched,
    mock.patch.object(growing, "grown", keeping),
  ):
    learner = watched.learner
    small = watched.published[-1].model.inputs.network
    learner.start()
    learner.observe(*images(100, 16, 3))
    before = watched.predict(lasting(seconds))
    learner.observe(*images(200, 20, 4))
    during = watched.predict(lambda: len(learner.classes_) < 20)
    during += watched.predict(lasting(1.0))
    learner.stop()
    torn = watched.torn()
  changed = sum(map(differs, *map(jax.tree.leaves, grown[0])))
  x = np.float32(watched.x) / 255
  old, new = (
    made.apply(state.train.params, state.train.stats, x).logits[:, :16]
    for made, state in zip((small, networks[0]), grown[0], strict=True)
  )
  apart = float(np.abs(old - new).max())
  later = 1e3 * (max(during) - np.percentile(before, 99))
  print(
    f"{network}, growing: {quantiles(during)}, the latest {later:.1f} ms "
    f"beyond the p99 before; {torn} answers torn, {changed} arrays changed, "
    f"logits {apart:.1e} apart",
    flush=True,
  )
  return torn > 0 or changed > 0 or apart > 1e-6


def differs(old: np.ndarray, new: np.ndarray) -> bool:
  """Tells whether an array changed ahead of what is new in it."""
  corner = tuple(slice(0, size) for size in np.shape(old))
  if np.issubdtype(old.dtype, jax.dtypes.prng_key):
    return False
  return np.asarray(new)[corner].tobytes() != np.asarray(old).tobytes()


if __name__ == "__main__":
  app.run(main)
