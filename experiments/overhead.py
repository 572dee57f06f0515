"""What jcl costs on top of the arithmetic it runs.

  python experiments/overhead.py --data_dir=~/data
  python experiments/overhead.py --parts=step,imports
  python experiments/overhead.py --quick

Four questions, each a ratio of two things timed in turns in one session, after
a warm-up; the table shows medians over rounds and the ratio's quartiles.

  host     A step of `loop.run`, all events consumed, against the compiled
           program called back to back on inputs that lie ready: with and
           without a work directory, for an MLP 784-100-100-10 at 10 + 10
           examples and a slim ResNet-18 at 32 + 32 of 32x32x3. What happens
           once per experience (evaluation, checkpoints) is left out.
  step     That program for the MLP against a loop written by hand in plain JAX
           that does the same work: draw 10 of a memory of 200 without
           replacement, one SGD step on 20, reservoir insertion of 10.
  imports  All that jcl names and `run.py --help` against `import jax, flax,
           optax, orbax.checkpoint`, in fresh interpreters.
  memory   Peak memory of a run on Fashion-MNIST, report included, against
           that of a process that imports the same and reads the same data
           (Linux only).

Targets: host 1.25 (MLP) and 1.03 (ResNet), step 1.3, imports 1.3, memory 600
MB above the data; RESULTS.md has what it found. It takes about six minutes;
other load widens the quartiles.
"""

import functools
import itertools
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from absl import app, flags, logging
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jcl import base, recipes
from jcl.run import loop
from jcl.run import setup as setups
from jcl.run import workdir as workdir_lib
from jcl.streams import scenarios, sources
from jcl.train import gather

ROOT = Path(__file__).parent.parent
PARTS = ("host", "step", "imports", "memory")
MEMORY = 200
RATE = 0.03
LIBRARIES = "import jax, flax, optax, orbax.checkpoint"

_PARTS = flags.DEFINE_list("parts", list(PARTS), "of " + ", ".join(PARTS))
_DATA = flags.DEFINE_string("data", "fashion_mnist", "data set of `memory`")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the data sets")
_ROUNDS = flags.DEFINE_integer("rounds", 10, "repetitions", lower_bound=2)
_QUICK = flags.DEFINE_bool(
  "quick", False, "two rounds, host and step for a short MLP stream only"
)


class Row(NamedTuple):
  """One comparison: what each side took, round by round."""

  what: str
  unit: str
  ours: list[float]
  theirs: list[float]
  target: str


def main(argv):
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)  # checkpoints tell much else
  wrong = [part for part in _PARTS.value if part not in PARTS]
  if wrong:
    raise app.UsageError(f"--parts={wrong}: choose from {', '.join(PARTS)}")
  parts, rounds = _PARTS.value, _ROUNDS.value
  if _QUICK.value:
    parts, rounds = ["host", "step"], 2
  rows = []
  grey = mlp(1_280 if _QUICK.value else 38_400)
  if "host" in parts:
    rows += host_rows("mlp", grey, rounds, "1.25")
    if not _QUICK.value:
      rows += host_rows("slim_resnet18", resnet(20 * 32), rounds, "1.03")
  if "step" in parts:
    rows.append(step_row(grey, rounds))
  if "imports" in parts:
    rows += import_rows(rounds)
  if "memory" in parts:
    rows.append(memory_row(min(rounds, 3)))
  print(text(rows))


def text(rows: list[Row]) -> str:
  """The comparisons as an aligned table."""
  import pandas as pd

  lines = []
  for row in rows:
    ratios = np.divide(row.ours, row.theirs)
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    lines.append(
      {
        "what": row.what,
        "unit": row.unit,
        "jcl": f"{statistics.median(row.ours):.4g}",
        "reference": f"{statistics.median(row.theirs):.4g}",
        "ratio": f"{middle:.3f}",
        "quartiles": f"{low:.3f} to {high:.3f}",
        "target": row.target,
      }
    )
  return pd.DataFrame(lines).to_string(index=False)


def mlp(examples: int) -> loop.Job:
  """Replay at 10 + 10 on one experience of grey images."""
  return _setting("mlp:width=100,depth=2", (28, 28, 1), examples, 10)


def resnet(examples: int) -> loop.Job:
  """Replay at 32 + 32 on one experience of small colour images."""
  return _setting("slim_resnet18", (32, 32, 3), examples, 32)


def _setting(model: str, shape, examples: int, size: int) -> loop.Job:
  rng = np.random.default_rng(0)
  y = np.arange(examples + 100) % 10
  x = rng.integers(0, 256, (len(y), *shape), np.uint8)
  source = sources.arrays(x[100:], y[100:], x[:100], y[:100], name="noise")
  stream = scenarios.class_incremental(source, tasks=1)
  training = base.Training(learning_rate=RATE, batch_size=size, epochs=1)
  setup = setups.Setup(model=model, training=training)
  method = recipes.er(buffer=MEMORY, minibatch=size)
  return setups.assemble(setup, method, stream=stream)


def host_rows(name, job, rounds, target) -> list[Row]:
  """Times steps of the loop against calls of its program."""
  calls = _Calls(job)
  times = []
  for _ in range(rounds + 1):
    with tempfile.TemporaryDirectory() as folder:
      times.append(
        (
          calls.seconds_per_step(),
          _loop_seconds_per_step(job, None),
          _loop_seconds_per_step(job, Path(folder)),
        )
      )
  # The first round warms up.
  bare, plain, kept = (1e6 * np.array(times[1:])).T.tolist()
  return [
    Row(f"host, {name}", "us/step", plain, bare, target),
    Row(f"host, {name}, work directory", "us/step", kept, bare, target),
  ]


class _Calls:
  """The compiled program of a setting, with its inputs lying ready."""

  def __init__(self, job: loop.Job):
    learner = job.learner
    state, _ = loop.start(job)
    self._scope = learner.put(
      base.Scope(np.array(0, np.int32), *(np.ones(10, bool),) * 3)
    )
    self._key, self._state = job.key, state
    self._program = learner.step_program(job.trainee.selection)
    source = gather.training_set("current", job.stream, 0, None)
    shape = -1, learner.steps_per_dispatch, learner.batch_size
    rows = np.arange(len(source), dtype=np.int32).reshape(shape)
    self.inputs = [
      learner.put_batches(source.batch(rows[i])) for i in range(len(rows))
    ]
    self._steps = np.int32(learner.steps_per_dispatch)

  def seconds_per_step(self) -> float:
    jax.block_until_ready((self.inputs, self._state))
    started = time.perf_counter()
    for batches in self.inputs:
      self._state, _ = self._program.call(
        self._key, self._state, batches, self._steps, self._scope
      )
    jax.block_until_ready(self._state)
    took = time.perf_counter() - started
    return took / (len(self.inputs) * int(self._steps))


def _loop_seconds_per_step(job, path: Path | None) -> float:
  """Times the loop from its first dispatch to its last."""
  folder = workdir_lib.Folder(path, {"recipe": "er"})
  state, place = loop.start(job)
  folder.begin(job, place)
  marks = []
  for event in loop.run(job, state, place):
    if event.kind == "steps":
      marks.append((event.place.step, time.perf_counter()))
    folder.note(event)
  folder.close()
  (first, started), (last, ended) = marks[0], marks[-1]
  return (ended - started) / (last - first)


def step_row(job, rounds) -> Row:
  """Times the learner's program against a loop written by hand."""
  calls = _Calls(job)
  inputs = [(batches.x, batches.y) for batches in calls.inputs]
  num_steps = sum(len(y) for _, y in inputs)
  state = by_hand_start()
  ours, theirs = [], []
  for i in range(rounds + 1):
    took = calls.seconds_per_step()
    jax.block_until_ready(state)
    started = time.perf_counter()
    for x, y in inputs:
      state, _ = by_hand(state, x, y)
    jax.block_until_ready(state)
    ended = time.perf_counter()
    if i:
      ours.append(1e6 * took)
      theirs.append(1e6 * (ended - started) / num_steps)
  return Row("step, mlp 10 + 10", "us/step", ours, theirs, "1.3")


def by_hand_start():
  """Parameters, memory and key of the loop that uses nothing of jcl."""
  key = jax.random.key(0)
  sizes = (784, 100, 100, 10)
  initializer = jax.nn.initializers.lecun_normal()
  params = [
    (initializer(jax.random.fold_in(key, i), (fan_in, width)), jnp.zeros(width))
    for i, (fan_in, width) in enumerate(itertools.pairwise(sizes))
  ]
  x = jnp.zeros((MEMORY, 28, 28, 1), jnp.uint8)
  memory = x, jnp.zeros(MEMORY, jnp.int32)
  return params, memory, jnp.int32(0), key


def _by_hand_loss(params, x, y, weight):
  x = x.reshape(len(x), -1) / 255.0
  *hidden, (kernel, bias) = params
  for inner_kernel, inner_bias in hidden:
    x = jax.nn.relu(x @ inner_kernel + inner_bias)
  losses = optax.softmax_cross_entropy_with_integer_labels(x @ kernel + bias, y)
  return jnp.sum(losses * weight) / jnp.sum(weight)


@functools.partial(jax.jit, donate_argnums=0)
def by_hand(state, xs, ys):
  """Steps over batches [K, B, ...]: draw, learn, insert."""

  def step(state, batch):
    params, (kept_x, kept_y), seen, key = state
    x, y = batch
    size = len(y)
    key, draw_key, keep_key = jax.random.split(key, 3)
    filled = jnp.arange(MEMORY) < seen
    order = jnp.where(filled, jax.random.uniform(draw_key, (MEMORY,)), -1.0)
    _, drawn = jax.lax.top_k(order, size)
    loss, grads = jax.value_and_grad(_by_hand_loss)(
      params,
      jnp.concatenate([x, kept_x[drawn]]),
      jnp.concatenate([y, kept_y[drawn]]),
      jnp.concatenate([jnp.ones(size), filled[drawn]]),
    )
    params = jax.tree.map(lambda p, g: p - RATE * g, params, grads)
    number = seen + jnp.arange(size)
    slot = jax.random.randint(keep_key, (size,), 0, number + 1)
    slot = jnp.where(number < MEMORY, number, slot)
    memory = (
      kept_x.at[slot].set(x, mode="drop"),
      kept_y.at[slot].set(y, mode="drop"),
    )
    return (params, memory, seen + size, key), loss

  return jax.lax.scan(step, state, (xs, ys))


def import_rows(rounds) -> list[Row]:
  """Times fresh interpreters, in turns."""
  commands = {
    "libraries": ["-c", LIBRARIES],
    "import of jcl": ["-c", "from jcl import *"],
    "run.py --help": [str(ROOT / "run.py"), "--help"],
  }
  times: dict[str, list[float]] = {name: [] for name in commands}
  for i in range(rounds + 1):
    for name, command in commands.items():
      started = time.perf_counter()
      done = subprocess.run([sys.executable, *command], capture_output=True)
      took = time.perf_counter() - started
      if done.returncode:
        raise RuntimeError(done.stderr.decode())
      if i:
        times[name].append(took)
  theirs = times.pop("libraries")
  return [Row(name, "s", ours, theirs, "1.3") for name, ours in times.items()]


def memory_row(rounds) -> Row:
  """Compares peaks of a run's process with one that holds its data only."""
  data, data_dir = _DATA.value, str(Path(_DATA_DIR.value).expanduser())
  report = (
    "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
  )
  load = (
    "from jcl import recipes; from jcl.run import session; "
    "from jcl.streams import sources; "
    f"source = sources.load({data!r}, {data_dir!r}); {report}"
  )
  run = (
    "import atexit, runpy, sys; "
    f"atexit.register(lambda: {report}); "
    f"runpy.run_path({str(ROOT / 'run.py')!r}, run_name='__main__')"
  )
  ours, theirs = [], []
  for _ in range(rounds):
    theirs.append(_peak_megabytes("-c", load))
    with tempfile.TemporaryDirectory() as folder:
      ours.append(
        _peak_megabytes(
          "-c",
          run,
          f"--data={data}",
          f"--data_dir={data_dir}",
          f"--workdir={folder}",
          "--recipe=er:buffer=500",
          "--compare=none",
          "--model=mlp:width=100,depth=2",
        )
      )
  above = statistics.median(np.subtract(ours, theirs))
  what = f"peak memory ({above:.0f} MB above the data)"
  return Row(what, "MB", ours, theirs, "600 MB above")


def _peak_megabytes(*command: str) -> float:
  done = subprocess.run(
    [sys.executable, *command], capture_output=True, text=True
  )
  if done.returncode:
    raise RuntimeError(done.stderr)
  return int(done.stdout.split()[-1]) * 1024 / 1e6


if __name__ == "__main__":
  app.run(main)
