"""Does a log keep what it acknowledged, whenever its process is killed?

python tests/living/log_crash.py --kills=200 --folder=FOLDER

One process after the other opens the log, observes, labels, ends experiences
and lets examples leave, until SIGKILL comes at a random moment. Each tells what
it is about to do and what has returned. After each kill the log must be as a
model says that all of this was done to, with the last operation or without it.
"""

import argparse
import json
import os
from pathlib import Path
import random
import shutil
import signal
import sys
import time
from typing import NamedTuple

import log_model
import numpy as np

from jcl.living.log import columns
from jcl.living.log.log import Log, StoreFull
from jcl.replay.store.records import StoreError

LIMIT = 2**17


class Outcome(NamedTuple):
  """What was counted over all kills."""

  acknowledged: int  # examples
  left: int  # kills whose last operation was done although it did not return
  wrong: list[str]  # what differed, after which kill


def operation(rng, model, log):
  """Returns what a process does next to a log that agrees with a model."""
  count, ended = len(model.labels), len(model.ended)
  kind = rng.random()
  if kind < 0.6 or not count:
    size = rng.choice((1, 1, rng.randint(1, 30), 300))
    names = [None, *(f"c{i}" for i in range(2 + count // 500))]
    return ["observe", [rng.choice(names) for _ in range(size)]]
  if kind < 0.75:
    ids = np.array([rng.randrange(count) for _ in range(rng.randint(1, 20))])
    held = log._history.columns.states(ids) != columns.GONE
    ids = [i for i in ids[held].tolist() if i not in model.taken] + [
      i for i in ids.tolist() if i in model.taken
    ]
    return ["label", ids, [f"l{each % 5}" for each in ids]]
  if kind < 0.9:
    return ["end"]
  return ["drop", rng.randint(0, ended)]


def possible(model, op):
  """Returns whether a log takes an operation."""
  if op[0] == "end":
    return any(
      label is not None and each not in model.taken
      for each, label in enumerate(model.labels)
    )
  return True


def perform(log, model, op):
  if op[0] == "observe":
    first = len(model.labels)
    ids = log.observe(log_model.inputs(range(first, first + len(op[1]))), op[1])
    assert ids.tolist() == list(range(first, first + len(op[1])))
  else:
    getattr(log, op[0])(*op[1:])


def work(folder, pipe, seed, model):
  """Goes on until it is killed; tells the pipe of every operation twice."""

  def tell(value):
    os.write(pipe, json.dumps(value).encode() + b"\n")

  rng = random.Random(seed)
  tell("open")
  log = Log.open(folder, limit_bytes=LIMIT)
  if found := model.differs(log):
    tell(["differs", found])
  while True:
    if rng.random() < 0.02:
      tell("close")
      log.close()
      log = Log.open(folder, limit_bytes=LIMIT)
    op = operation(rng, model, log)
    if not possible(model, op):
      continue
    tell(op)
    try:
      perform(log, model, op)
    except StoreFull:
      tell("full")
      op = ["drop", len(model.ended)]
      if possible(model, ["end"]):
        tell(["end"])
        log.end()
        tell("done")
        model = model.then(["end"])
        op = ["drop", len(model.ended)]
      tell(op)
      log.drop(*op[1:])
    tell("done")
    model = model.then(op)


def kill_one(folder, seed, model, seconds):
  """Runs a process, kills it, and returns what it told."""
  read_end, write_end = os.pipe()
  child = os.fork()
  if not child:
    os.close(read_end)
    try:
      work(folder, write_end, seed, model)
    finally:
      os._exit(1)
  os.close(write_end)
  time.sleep(seconds / 2)
  faults = look(folder)
  time.sleep(seconds / 2)
  os.kill(child, signal.SIGKILL)
  _, status = os.waitpid(child, 0)
  with os.fdopen(read_end, "rb") as pipe:
    lines = pipe.read().splitlines(keepends=True)
  if not os.WIFSIGNALED(status):
    raise AssertionError(f"the writer ended by itself after {lines[-3:]}")
  told = [json.loads(line) for line in lines if line.endswith(b"\n")]
  return [["differs", each] for each in faults] + told


def look(folder):
  """Reads everything beside the writer; returns what is wrong with it."""
  if not (Path(folder) / "examples").is_dir():
    return []
  with Log.open(folder, readonly=True, limit_bytes=LIMIT) as log:
    ids = [i for each in log.experiences for i in each.ids.tolist()]
    try:
      if ids and (log.read(ids) != log_model.inputs(ids)).any():
        return ["a reader finds other inputs"]
    except StoreError as error:  # the writer deletes what is learned
      return [] if "had to leave" in str(error) else [str(error)]
    return list(log.notes)


def kills(folder, count, seed=0, longest=0.15):
  """Kills one process after the other, and looks at the log after each."""
  rng, model, left, wrong = random.Random(seed), log_model.Model(), 0, []
  for kill in range(count):
    if len(model.labels) > 20_000:  # the model is slow
      shutil.rmtree(folder)
      model = log_model.Model()
    told = kill_one(folder, seed + kill, model, rng.uniform(0.0, longest))
    pending = None
    for each in told:
      if isinstance(each, list) and each[0] == "differs":
        wrong.append(f"{kill}: {each[1]}")
      elif isinstance(each, list):
        pending = each
      elif each == "done":
        model, pending = model.then(pending), None
      else:
        pending = None
    candidates = [model] + ([model.then(pending)] if pending else [])
    if not (Path(folder) / "journal").exists() and not model.labels:
      continue
    for readonly in (True, False):
      with Log.open(folder, readonly=readonly, limit_bytes=LIMIT) as log:
        found = [each.differs(log) for each in candidates]
      if all(found):
        return Outcome(len(model.labels), left, [f"{kill}, {pending}: {found}"])
      else:
        candidates = [candidates[found.index("")]]
    left += candidates[0] is not model
    model = candidates[0]
  return Outcome(len(model.labels), left, wrong)


def main(argv):
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=200)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--folder", required=True)
  options = parser.parse_args(argv)
  found = kills(options.folder, options.kills, options.seed)
  print(
    f"{options.kills} kills, {found.acknowledged} examples acknowledged since "
    f"the last fresh log, {found.left} operations done that did not return: "
    f"{len(found.wrong)} wrong"
  )
  print("\n".join(found.wrong[:10]))
  return bool(found.wrong)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
