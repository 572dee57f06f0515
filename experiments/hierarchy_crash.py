"""Does a memory hierarchy survive being killed, and stay within its limit?

A process learns digits by replay over memory and storage, with a checkpoint
every 0.1 s, and is sent SIGKILL at random moments, uniform over the time that
an undisturbed run takes. After each kill another process looks at what is left:
every example that was acknowledged as stored must be readable, with its pixels,
class and checksum; the ids that the latest checkpoint names must be there; and
index and segments must agree. Then the run goes on.

Two kinds of runs take turns. "fixed": no exchanges, one limit; when it is over,
its last checkpoint must equal that of the undisturbed run. "changing": all that
is replayed is exchanged, and the file that limits memory is rewritten three
times a second, at times with less than an example of every class; what the
regions of memory and stream buffer occupy is read from outside meanwhile (Linux
only), and compared with the limit that was lowered a second before or earlier.

  python experiments/hierarchy_crash.py --kills=200

Must end with 0 lost, 0 wrong, 0 missing and every comparison identical.
"""

from collections import Counter
import contextlib
import dataclasses
import os
from pathlib import Path
import random
import re
import signal
import tempfile
import time
from typing import Any
from unittest import mock
import warnings

from absl import app, flags, logging
import forked
import jax
import numpy as np
import orbax.checkpoint  # noqa: F401  # once, for all processes

from jcl import base, recipes
from jcl.networks import catalogue
from jcl.replay.store import check, store
from jcl.report import lines
from jcl.run import checkpoint, session
from jcl.streams import scenarios, sources

_KILLS = flags.DEFINE_integer("kills", 200, "signals to send", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 4, "passes over an experience")
_SEED = flags.DEFINE_integer("seed", 0, "of the moments of the kills")

RECIPES = {
  "fixed": "carm:em=300,sb=100,swap=0",
  "changing": "carm:em=300,sb=100,swap=1",
}
# Bytes: room for all, less of it, and less than an example of every class.
LIMITS = (2**20, 48 * 2**10, 32 * 2**10, 20 * 2**10, 2**12)
GRACE = 1.0  # seconds in which less must be taken
REGIONS = re.compile(r"memfd:(episodic-memory|stream-buffer)")


@dataclasses.dataclass
class Found:
  """Findings over all kills."""

  counts: Counter = dataclasses.field(default_factory=Counter)
  moments: Counter = dataclasses.field(default_factory=Counter)
  late: float = 0.0  # seconds, at most, that a limit was exceeded after GRACE


def main(argv):
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.FATAL)
  # This process has one thread: no program runs in it.
  warnings.filterwarnings("ignore", message=".*fork.*")
  with tempfile.TemporaryDirectory() as folder:
    return compare(Path(folder))


def compare(folder: Path) -> int:
  """Kills runs and looks at what is left; returns whether any was wrong."""
  chance, found = random.Random(_SEED.value), Found()
  if jax.config.jax_compilation_cache_dir is None:
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  sources.load("digits")  # what is imported here, no process imports again
  started = time.monotonic()
  Run(folder / "undisturbed", "fixed").finish()
  duration = time.monotonic() - started
  expected = forked.in_child(outcome, folder / "undisturbed")
  print(f"undisturbed: {duration:.1f} s, {len(expected)} things to compare")
  runs, same = 0, Counter()
  paths: dict[str, Path] = {}  # of the present run of each kind
  told: Counter = Counter()  # examples that were acknowledged, by path
  while found.counts["kills"] < _KILLS.value:
    kind = tuple(RECIPES)[found.counts["kills"] % 2]
    if kind not in paths:
      runs += 1
      paths[kind] = folder / f"run_{runs}"
    path, started = paths[kind], time.monotonic()
    run = Run(path, kind)
    if run.wait(chance.uniform(0, duration), chance, found):
      del paths[kind]
      if not told[path]:  # it was never killed
        duration = min(duration, time.monotonic() - started)
      if kind == "fixed":
        same[forked.in_child(outcome, path) == expected] += 1
      continue
    told[path] = max(told[path], run.kill())
    found.counts["kills"] += 1
    found.moments[moment(path)] += 1
    found.counts.update(forked.in_child(examine, path, kind, told[path]))
  for kind, path in paths.items():
    Run(path, kind).finish()
    if kind == "fixed":
      same[forked.in_child(outcome, path) == expected] += 1
  return report(found, same, runs)


def report(found: Found, same: Counter, runs: int) -> int:
  """Prints what was seen; returns whether any of it was wrong."""
  counts = found.counts
  for when, count in found.moments.most_common():
    print(f"{count:5} kills {when}")
  print(f"{counts['kills']:5} kills in all, of {runs} runs")
  print(
    f"{counts['read']:5} examples read after them: {counts['lost']} lost, "
    f"{counts['wrong']} wrong, {counts['disagreeing']} on which index and "
    "segments disagree"
  )
  print(f"{counts['named']:5} ids in checkpoints: {counts['missing']} missing")
  print(
    f"{counts['samples']:5} samples of memory under a changing limit: "
    f"{counts['above']} above it, {found.late:.2f} s late at most"
  )
  print(f"identical {same[True]} of {same.total()} runs")
  bad = ("lost", "wrong", "disagreeing", "missing")
  return int(any(counts[name] for name in bad) or same[False] > 0)


class Run:
  """A process that learns, or goes on learning, in a folder."""

  def __init__(self, folder: Path, kind: str):
    self.folder, self.kind = folder, kind
    self.limit = folder.with_suffix(".limit")
    self.lowered: list[tuple[float, int]] = []  # (since when, bytes)
    self.set_limit(LIMITS[0])
    self._told, write_end = os.pipe()
    self.pid = os.fork()
    if not self.pid:
      os.close(self._told)
      forked.child(lambda: train(folder, kind, self.limit, write_end))
    os.close(write_end)

  def set_limit(self, most: int) -> None:
    partial = self.limit.with_suffix(".partial")
    partial.write_text(f"{most}\n")
    os.replace(partial, self.limit)
    self.lowered.append((time.monotonic(), most))

  def wait(self, seconds: float, chance: random.Random, found: Found) -> bool:
    """Lets it learn for a while; returns whether it came to its end."""
    end, change, late = time.monotonic() + seconds, time.monotonic(), None
    while time.monotonic() < end:
      if self._ended():
        return True
      if self.kind == "changing":
        if time.monotonic() > change:
          # Before its first checkpoint, a run that may take nothing gives up.
          begun = any((self.folder / "checkpoints").glob("[0-9]*"))
          self.set_limit(chance.choice(LIMITS if begun else LIMITS[:4]))
          change = time.monotonic() + chance.choice((0.1, 0.4, 2.5))
        late = self._sample(found, late)
      time.sleep(0.03)
    return False

  def kill(self) -> int:
    """Kills it; returns how many examples it was told are stored."""
    os.kill(self.pid, signal.SIGKILL)
    _, status = os.waitpid(self.pid, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
      raise RuntimeError(f"the run in {self.folder} failed")
    with os.fdopen(self._told, "rb") as pipe:
      told = pipe.read()
    return int.from_bytes(told[-8:], "little") if told else 0

  def finish(self) -> None:
    """Waits for its end."""
    _, status = os.waitpid(self.pid, 0)
    os.close(self._told)
    if status:
      raise RuntimeError(f"the run in {self.folder} failed")

  def _ended(self) -> bool:
    pid, status = os.waitpid(self.pid, os.WNOHANG)
    if pid and status:
      raise RuntimeError(f"the run in {self.folder} failed")
    if pid:
      os.close(self._told)
    return bool(pid)

  def _sample(self, found: Found, late: float | None) -> float | None:
    """Compares what is resident with what is allowed for long enough."""
    now = time.monotonic()
    occupied = resident(self.pid)
    if occupied is None:
      return None
    # The most that was allowed at any time within the grace.
    recent = [i for i, (at, _) in enumerate(self.lowered) if at > now - GRACE]
    first = max((recent or [len(self.lowered)])[0] - 1, 0)
    allowed = max(most for _, most in self.lowered[first:])
    found.counts["samples"] += 1
    if occupied <= allowed:
      return None
    found.counts["above"] += 1
    late = late or now
    found.late = max(found.late, now - late)
    return late


def resident(pid: int) -> int | None:
  """Returns the bytes of memory and stream buffer, None where it is gone."""
  total, mine = 0, False
  try:
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as lines:
      for line in lines:
        if line[0] in "0123456789abcdef":
          mine = bool(REGIONS.search(line))
        elif mine and line.startswith("Rss:"):
          total += 1024 * int(line.split()[1])
  except OSError:
    return None
  return total


def assemble(kind: str, limit: Path | None = None):
  """Returns the run that is killed, and its options."""
  digits = sources.load("digits")
  train, test = digits.train, digits.test
  source = sources.arrays(
    train.x[::2], train.y[::2], test.x[::4], test.y[::4], scale=16.0
  )
  stream = scenarios.class_incremental(source, tasks=5)
  network = catalogue.build(
    "mlp", stream.example_shape, stream.num_classes, width=16, depth=1
  )
  options = session.Options(
    checkpoint_seconds=0.1,
    progress=False,
    steps_per_dispatch=4,
    memory_budget=None if limit is None else str(limit),
  )
  training = base.Training(
    epochs=_EPOCHS.value, batch_size=32, learning_rate=0.05
  )
  method = recipes.build(RECIPES[kind])
  return session.assemble(
    stream, network, method, training, 0, options
  ), options


def train(folder: Path, kind: str, limit: Path, told: int) -> None:
  """Carries out a run, or the rest of it; tells what is stored."""
  append = store.Store.append

  def telling(self, *args, **options):
    ids = append(self, *args, **options)
    os.write(told, int(ids[-1] + 1).to_bytes(8, "little"))
    return ids

  job, options = assemble(kind, limit)
  with mock.patch.object(store.Store, "append", telling):
    session.run(job, folder, options)


def examine(folder: Path, kind: str, told: int) -> Counter:
  """Looks at what a kill has left."""
  counts: Counter = Counter()
  job, _ = assemble(kind)
  stream = job.stream
  x = np.concatenate([np.asarray(e.data.x) for e in stream.experiences])
  y = np.concatenate([np.asarray(e.data.y) for e in stream.experiences])
  stored = 0
  if (folder / "store").exists() and told:
    with store.Store.open(folder / "store", mode="r") as opened:
      stored = len(opened)
      counts["lost"] += max(0, told - stored) + len(opened.notes)
      ids = np.arange(stored)
      rows = opened.read(ids)
      names = np.array(opened.classes)[rows.labels]
      expected = np.array(stream.class_names)[y[:stored]]
      right = (rows.x == x[:stored]).reshape(stored, -1).all(1)
      counts["read"] += stored
      counts["wrong"] += int((~right | (names != expected)).sum())
      counts["wrong"] += len(check.verify(opened).damaged)
      labels = opened.labels_of(ids)
    with store.Store.open(folder / "store", mode="r", rebuild=True) as scanned:
      counts["disagreeing"] += abs(len(scanned) - stored)
      both = min(len(scanned), stored)
      again = scanned.labels_of(ids[:both])
      counts["disagreeing"] += int((again != labels[:both]).sum())
  place = latest(folder, job)[1]
  if place is not None:
    tiers = place.feed["tiers"]
    ids = np.array(tiers["memory"]["ids"] + tiers["buffer"], int)
    counts["named"] += len(ids)
    counts["missing"] += int((ids >= stored).sum())
  return counts


def latest(folder: Path, job) -> tuple[Any, Any]:
  """Returns state and place of the latest checkpoint, if there is one."""
  if not (folder / "checkpoints").exists():
    return None, None
  records = lines.Lines(folder / "records.jsonl")
  checkpoints = checkpoint.Checkpoints(folder / "checkpoints", records=records)
  with contextlib.closing(checkpoints):
    snapshot = checkpoints.restore(job.template)
  return (None, None) if snapshot is None else (snapshot.state, snapshot.place)


def outcome(folder: Path) -> dict[str, Any]:
  """Returns all that must be the same, by name, in comparable form."""
  job, _ = assemble("fixed")
  state, place = latest(folder, job)
  leaves, _ = jax.tree_util.tree_flatten_with_path(state)
  found: dict[str, Any] = {
    f"state{jax.tree_util.keystr(path)}": np.asarray(leaf).tobytes()
    for path, leaf in leaves
  }
  found["memory"] = place.feed["tiers"]["memory"]
  found["accuracy"] = [record.accuracy for record in place.records]
  return found


def moment(folder: Path) -> str:
  """Says at what stage a run was, from what the kill left behind."""
  if any((folder / "checkpoints").glob("*tmp*")):
    return "while a checkpoint was being written"
  if any((folder / "checkpoints").glob("[0-9]*")):
    return "after a checkpoint, between two or during a restart"
  return "before the first checkpoint"


if __name__ == "__main__":
  app.run(main)
