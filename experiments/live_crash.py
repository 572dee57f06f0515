"""Does a live learner keep what it acknowledged, and end with the same bits?

kills  Processes in turn observe examples in one folder, one or many at a time,
       with and without labels, label them later, correct them, learn, let the
       head grow, predict, close and open again. Each is sent SIGKILL after a
       random time, or ends itself so at a random call of the operating system.
       After each, all that was acknowledged has to be there: every example byte
       for byte, under its id, with its label.
bits   A learner is given the same arrivals again and again, and is killed
       several times on the way. At the end its state, its records but for time
       and memory, its scores and the order of its classes have to be those of a
       learner that was never killed, for each of several recipes in turn.

  python experiments/live_crash.py --kills=200 --runs=50
  python experiments/live_crash.py --quick

Must end with 0 lost, 0 changed, 0 failed and every run identical.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import functools
import json
import os
from pathlib import Path
import random
import signal
import sys
import tempfile
import threading
import time
from typing import Any
import warnings

from absl import app, flags, logging
import forked
import jax
import numpy as np
import orbax.checkpoint  # noqa: F401  # once, for all processes

import jcl
from jcl.living import live, opening  # noqa: F401
from jcl.living.log import log as log_lib
from jcl.replay.store import records
from jcl.report import encoding, events, page  # noqa: F401

PARTS = ("kills", "bits")

_PARTS = flags.DEFINE_list("parts", list(PARTS), "of " + ", ".join(PARTS))
_KILLS = flags.DEFINE_integer("kills", 200, "signals to send", lower_bound=1)
_RUNS = flags.DEFINE_integer("runs", 50, "that are killed", lower_bound=1)
_RECIPES = flags.DEFINE_list("recipes", None, "of `bits`, names; default all")
_SEED = flags.DEFINE_integer("seed", 0, "of all that is random")
_QUICK = flags.DEFINE_bool("quick", False, "2 kills, and 1 run with 2")

WIDTH, MOST_CLASSES = 8, 24
OPTIONS: dict[str, Any] = {
  "network": "mlp:width=12,depth=1",
  "capacity": 2,
  "normalize": "none",  # the first experience may be of few examples
  "batch_size": 8,
  "learning_rate": 0.05,
  "options": jcl.Options(checkpoint_seconds=0.05),
}
RECIPES: dict[str, dict[str, Any]] = {
  "er": {"recipe": "er:buffer=40"},
  "derpp": {"recipe": "derpp:buffer=40"},
  "slda": {"recipe": "slda"},
  "carm": {"recipe": "carm:em=30,sb=10,swap=0"},
  "elastic": {"recipe": "elastic:rho=0.95"},
  "lightcl": {"recipe": "lightcl:anchors=4"},
  "randumb": {"recipe": "randumb:m=20"},
  "er_ace": {"recipe": "er_ace:buffer=40", "epochs": 3},
  "ewc": {"recipe": "ewc"},
  "bound": {"recipe": "er:buffer=40", "store": 200_000},
  "budget": {
    "recipe": "er:buffer=40",
    "epochs": 9,
    "budget": jcl.Budget(flops=4e5, per="experience"),
  },
}
# Calls of the operating system at which a process may end itself.
CALLS = frozenset(
  "open close write pwrite read pread fsync fdatasync flush rename replace "
  "unlink remove truncate ftruncate mkdir rmdir stat scandir flock".split()
)
_NOISE = np.random.default_rng(0).normal(size=4096).astype(np.float32)


def main(argv):
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  if wrong := [part for part in _PARTS.value if part not in PARTS]:
    raise app.UsageError(f"--parts={wrong}: choose from {', '.join(PARTS)}")
  logging.set_verbosity(logging.FATAL)
  # This process has one thread: no program runs in it.
  warnings.filterwarnings("ignore", message=".*fork.*")
  failed = False
  with tempfile.TemporaryDirectory() as folder:
    jax.config.update("jax_compilation_cache_dir", f"{folder}/compiled")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if "kills" in _PARTS.value:
      failed |= kills(Path(folder), 2 if _QUICK.value else _KILLS.value)
    if "bits" in _PARTS.value:
      failed |= bits(Path(folder), 1 if _QUICK.value else _RUNS.value)
  return int(failed)


def inputs(tokens: np.ndarray) -> np.ndarray:
  """Returns the inputs [N, 8] float32 that tokens [N] stand for."""
  where = (tokens[:, None] * 13 + np.arange(WIDTH)) % len(_NOISE)
  x = _NOISE[where] + 3 * _NOISE[kinds(tokens)[:, None] * 31 + np.arange(WIDTH)]
  x[:, 0] = tokens % 4096 / 4096  # all differ
  x[:, 1] = tokens // 4096 / 4096
  return x.astype(np.float32)


def kinds(tokens: np.ndarray) -> np.ndarray:
  """Returns the classes of tokens [N]; later ones come from more classes."""
  return tokens * 7 % np.minimum(2 + tokens // 60, MOST_CLASSES)


def names(tokens: np.ndarray) -> list[str]:
  return [f"kind {each}" for each in kinds(tokens).tolist()]


# Kills.


class Diary:
  """A file of what a process begins to do and of what was acknowledged."""

  def __init__(self, path: Path) -> None:
    self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

  def tell(self, **said: Any) -> None:
    os.write(self._fd, json.dumps(said).encode() + b"\n")


def read_diary(path: Path) -> Iterator[dict[str, Any]]:
  """Yields what a diary says, but for a last line that was cut."""
  text = path.read_text() if path.exists() else ""
  for line in text.splitlines(keepends=True):
    if line.endswith("\n"):
      yield json.loads(line)


class Acknowledged:
  """All that a learner said that it has: tokens and labels by id."""

  def __init__(self) -> None:
    self.tokens: dict[int, int] = {}
    self.labels: dict[int, set[str | None]] = {}  # more than one: not known
    self.extra = 0  # examples of observations that were not acknowledged
    self.next_token = 0
    self.fresh: list[int] = []  # ids whose bytes nobody has looked at
    self.counts: Counter[str] = Counter()

  def read(self, diary: Path) -> int:
    """Takes over what a process did; returns the size of a pending batch."""
    pending = 0
    for said in read_diary(diary):
      if "observing" in said:
        pending = said["observing"]
        self.next_token = said["token"] + pending
      elif "observed" in said:
        pending, start = 0, said["token"]
        for i, label in zip(said["observed"], said["labels"], strict=True):
          self.counts["changed"] += i in self.tokens  # an id is given once
          self.tokens[i], self.labels[i] = start, {label}
          self.fresh.append(i)
          start += 1
      elif "labelling" in said:
        for i, label in zip(said["labelling"], said["labels"], strict=True):
          self.labels[i].add(label)
      elif "labelled" in said:
        for i, label in zip(said["labelled"], said["labels"], strict=True):
          self.labels[i] = {label}
      else:
        self.counts[said["did"]] += 1
    return pending

  def check(self, log: log_lib.Log, pending: int, everything: bool) -> None:
    """Compares a log with what was acknowledged."""
    found = labels_of(log)
    for i, allowed in self.labels.items():
      if i not in found:
        self.counts["lost"] += 1
      elif found[i] not in allowed:
        self.counts["changed"] += 1
      else:
        self.labels[i] = {found[i]}
    ids = np.array(sorted(self.tokens) if everything else self.fresh, np.int64)
    ids = ids[np.isin(ids, list(found))]
    if len(ids):
      expected = inputs(np.array([self.tokens[i] for i in ids.tolist()]))
      right = (log.read(ids) == expected).all(1)
      self.counts["changed"] += int((~right).sum())
    self.fresh = []
    more = len(log) - len(self.tokens) - self.extra
    self.counts["half"] += more not in (0, pending)
    self.counts["lost"] += len(log.notes)
    self.extra += max(more, 0)


def labels_of(log: log_lib.Log) -> dict[int, Any]:
  """Returns the label of every example by id, as corrected last."""
  found: dict[int, Any] = {}
  history = log._history
  for part in history.columns.parts:
    held = np.flatnonzero(part.experiences != log_lib.history_lib.GONE)
    for i, number in zip(
      (part.first + held).tolist(), part.labels[held].tolist(), strict=True
    ):
      found[i] = history.classes.label(number)
  corrections = log.corrections()
  found.update(zip(corrections.ids.tolist(), corrections.labels, strict=True))
  return found


def kills(folder: Path, count: int) -> bool:
  """Kills a learner again and again; returns whether anything went wrong."""
  chance, known = random.Random(_SEED.value), Acknowledged()
  place, own = folder / "device", 0
  for kill in range(count):
    diary = folder / f"diary_{kill}"
    calls = int(10 ** chance.uniform(0, 3.7)) if kill % 2 else 0
    seconds = 20.0 if calls else chance.uniform(0, chance.choice((1, 4, 12)))
    work = Work(place, diary, chance.random(), known, calls)
    ended = forked.killed(work, seconds)
    own += bool(calls) and ended
    pending = known.read(diary)
    if not (place / "log" / "examples").exists():
      known.counts["lost"] += len(known.tokens)
      continue
    try:
      with log_lib.Log.open(place / "log", readonly=True) as log:
        known.check(log, pending, everything=kill % 20 == 19)
    except records.StoreError as error:
      known.counts["failed"] += 1
      print(f"kill {kill}: {error}", flush=True)
  last = forked.in_child(learn_all, place)
  with log_lib.Log.open(place / "log", readonly=True) as log:
    known.check(log, 0, everything=True)
  counts = known.counts
  did = ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))
  print(
    f"{count} kills, {own} of them at calls of the system: {len(known.tokens)} "
    f"examples acknowledged, {known.extra} more found; {last}; {did}"
  )
  wrong = {name: counts[name] for name in ("lost", "changed", "half", "failed")}
  print(", ".join(f"{n} {name}" for name, n in wrong.items()))
  return any(wrong.values())


@dataclasses.dataclass
class Work:
  """What a process is to do until it is killed."""

  folder: Path
  diary: Path
  seed: float
  known: Acknowledged
  calls: int  # of the system, after which it kills itself; 0: never

  def __call__(self) -> None:
    if self.calls:
      end_at(self.calls)
    chance, diary = random.Random(self.seed), Diary(self.diary)
    self.token = self.known.next_token
    while True:
      rule = chance.choice(("call", "call", "50"))
      with jcl.live(
        self.folder, experience=rule, **{**OPTIONS, **RECIPES["er"]}
      ) as learner:
        diary.tell(did="opened")
        self.ids = sorted(self.known.tokens)[-500:]
        if chance.random() < 0.4:
          learner.start()
        for _ in range(chance.randint(1, 60)):
          self.step(learner, chance, diary)
      diary.tell(did="closed")

  def step(self, learner: live.Live, chance: random.Random, diary: Diary):
    """Does one of all that a learner can."""
    what = chance.random()
    if what < 0.55:
      size = chance.choice((1, 1, 1, chance.randint(2, 40), 120))
      tokens = self.token + np.arange(size)
      labels: list[str | None] = list(names(tokens))
      if chance.random() < 0.3:
        labels = [None if chance.random() < 0.5 else each for each in labels]
      diary.tell(observing=size, token=self.token)
      ids = learner.observe(inputs(tokens), labels).tolist()
      diary.tell(observed=ids, labels=labels, token=self.token)
      self.token += size
      self.ids += ids
    elif what < 0.75 and self.ids:
      ids = chance.sample(self.ids, min(len(self.ids), chance.randint(1, 9)))
      labels = [f"kind {chance.randrange(MOST_CLASSES)}" for _ in ids]
      diary.tell(labelling=ids, labels=labels)
      learner.label(ids, labels)
      diary.tell(labelled=ids, labels=labels)
    elif what < 0.85:
      if learner.status()["learning"]:
        learner.stop()
      learner.learn(chance.choice((0.2, None)))
      diary.tell(did="learned")
    elif what < 0.9 and learner.status()["open"]:
      with contextlib.suppress(jcl.UsageError):  # it may have ended beside
        learner.end_experience()
        diary.tell(did="ended")
    elif len(learner.classes_):
      learner.predict(inputs(np.arange(chance.choice((1, 5)))))
      diary.tell(did="predicted")


def learn_all(folder: Path) -> str:
  """Learns what is left, and returns what there is."""
  with jcl.live(folder, experience="call") as learner:
    learner.learn()
    found = learner.status()
    right = learner.evaluate(inputs(np.arange(50)), names(np.arange(50)))
  kept = {name: found[name] for name in ("experiences", "learned", "classes")}
  return f"{kept}, {right:.2f} of the first 50 right"


def end_at(calls: int) -> None:
  """Has this process kill itself at its N-th call of the system, or behind."""
  left = [calls]

  def look(frame: Any, event: str, function: Any) -> None:
    del frame
    if event in ("c_call", "c_return") and function.__name__ in CALLS:
      left[0] -= 1
      if left[0] <= 0:
        os.kill(os.getpid(), signal.SIGKILL)

  threading.setprofile(look)
  sys.setprofile(look)


# Bits.


def script(recipe: str) -> Iterator[tuple[str, Any]]:
  """Yields what happens to a learner, one thing after another.

  Examples are called by their tokens, which are their ids as well.
  """
  token, many = 0, 16 if recipe == "bound" else 1
  for experience in range(4):
    for size in (30 * many, 1, 1, 17):
      yield "observe", (token, size, True)
      token += size
    yield "observe", (token, 6, False)
    yield "label", (np.arange(token, token + 3), "kind 1")
    yield "label", (np.arange(token - 2, token), "kind 0")
    token += 6
    yield "end", None
    if experience != 1:  # two are learned together
      yield "learn", None
    yield "label", (np.arange(4) * 9 + token - 50, f"kind {experience}")


def follow(folder: Path, recipe: str) -> None:
  """Carries a script out, or the rest of it."""
  with jcl.live(folder, **{**OPTIONS, **RECIPES[recipe]}) as learner:
    steps = list(script(recipe))
    for what, given in steps[begun(learner, steps) :]:
      if what == "observe":
        token, size, labelled = given
        tokens = np.arange(token, token + size)
        learner.observe(inputs(tokens), names(tokens) if labelled else None)
      elif what == "label":
        tokens, label = given
        learner.label(tokens, [label] * len(tokens))
      elif what == "end":
        learner.end_experience()
      else:
        learner.learn()


def begun(learner: live.Live, steps: Sequence[tuple[str, Any]]) -> int:
  """Returns the first step behind those whose effect is durable.

  Labels are given again, which changes nothing.
  """
  held, ended = len(learner), learner.status()["experiences"]
  following = 0
  for at, (what, given) in enumerate(steps):
    if what == "observe":
      held -= given[1]
    elif what == "end":
      ended -= 1
    else:
      continue
    if held < 0 or ended < 0:
      break
    following = at + 1
  return following


def outcome(folder: Path) -> dict[str, Any]:
  """Returns all that must be the same, by name, in comparable form."""
  with jcl.live(folder) as learner:
    learner.learn()
    learning = learner.learning
    leaves, _ = jax.tree_util.tree_flatten_with_path(learning.state)
    found: dict[str, Any] = {
      f"state{jax.tree_util.keystr(path)}": np.asarray(leaf).tobytes()
      for path, leaf in leaves
    }
    for record in learning.records:
      fields = encoding.to_json(record)
      del fields["costs"], fields["peak_bytes"]
      fields["memory"].pop("seconds", None)
      found[f"record {record.experience}"] = json.dumps(fields)
    found["classes"] = learner.classes_.tolist()
    found["scores"] = learner.predict_scores(inputs(np.arange(40))).tobytes()
    found["labels"] = list(labels_of(learner.arrivals.log).values())
  return found


def bits(folder: Path, count: int) -> bool:
  """Compares killed runs with undisturbed ones; returns whether any differs."""
  chance = random.Random(_SEED.value)
  recipes = (_RECIPES.value or list(RECIPES))[:count]
  recipes = ["slda"] if _QUICK.value else recipes
  expected: dict[str, Any] = {}
  lasted: dict[str, float] = {}
  same, sent = Counter[str](), 0
  for run in range(count):
    recipe = recipes[run % len(recipes)]
    if recipe not in expected:
      forked.in_child(follow, folder / f"{recipe}_first", recipe)  # it compiles
      started = time.monotonic()
      forked.in_child(follow, folder / recipe, recipe)
      lasted[recipe] = time.monotonic() - started
      expected[recipe] = forked.in_child(outcome, folder / recipe)
    place = folder / f"{recipe}_{run}"
    kills, wanted = 0, 2 if _QUICK.value else chance.randint(2, 6)
    while kills < wanted:
      seconds = chance.uniform(0.1, 0.8) * lasted[recipe]
      if not forked.killed(functools.partial(follow, place, recipe), seconds):
        break  # it came to its end
      kills += 1
    forked.in_child(follow, place, recipe)
    found = forked.in_child(outcome, place)
    every = sorted(expected[recipe].keys() | found.keys())
    wrong = [n for n in every if expected[recipe].get(n) != found.get(n)]
    same["identical" if not wrong else "different"] += 1
    sent += kills
    verdict = f"DIFFERS in {', '.join(wrong)}" if wrong else "identical"
    print(f"{recipe}: {kills} kills, {verdict}", flush=True)
  print(f"identical {same['identical']} of {count} runs, {sent} kills")
  return same["different"] > 0


if __name__ == "__main__":
  app.run(main)
