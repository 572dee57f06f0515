"""One side of `benchmark.py`: a process that trains when it is told to.

  python experiments/contenders.py jcl slim_resnet18_32

It prints a line of JSON when it stands ready, then one for each line it reads:
`N` makes a step, then N steps, and prints the seconds that these took. Data are
noise, since only time is looked at. All contenders of a workload learn the same
architecture with plain SGD; those that replay draw as many examples again from
a memory of 200.
"""

from collections.abc import Callable
import json
import sys
import time
from typing import Any, NamedTuple

import numpy as np

MEMORY = 200
RATE = 0.01
CLASSES = 10
ROWS = 1280  # examples that lie ready


class Workload(NamedTuple):
  """Model that is trained, and how many examples it is shown at once."""

  model: str
  options: dict[str, Any]
  shape: tuple[int, int, int]
  batch: int
  replays: bool = False


_COLOUR = (32, 32, 3)
_MLP = {"width": 400, "depth": 2}
WORKLOADS = {
  "mlp_10": Workload("mlp", _MLP, (28, 28, 1), 10, True),
  "mlp_64": Workload("mlp", _MLP, (28, 28, 1), 64, True),
  "slim_resnet18_10": Workload("slim_resnet18", {}, _COLOUR, 10, True),
  "slim_resnet18_64": Workload("slim_resnet18", {}, _COLOUR, 64, True),
  "slim_resnet18_b32": Workload("slim_resnet18", {}, _COLOUR, 32),
  "slim_resnet18_b64": Workload("slim_resnet18", {}, _COLOUR, 64),
  "resnet18_b32": Workload("resnet18", {}, _COLOUR, 32),
  "resnet18_b64": Workload("resnet18", {}, _COLOUR, 64),
  "mobilenet_b32": Workload("mobilenet", {"width": 0.25}, _COLOUR, 32),
  "vit_b32": Workload(
    "vit", {"width": 64, "depth": 4, "heads": 4, "patch": 4}, _COLOUR, 32
  ),
}


def noise(work: Workload) -> tuple[np.ndarray, np.ndarray]:
  """Returns images uint8 [ROWS, H, W, C] and classes [ROWS]."""
  rng = np.random.default_rng(0)
  x = rng.integers(0, 256, (ROWS, *work.shape), np.uint8)
  return x, np.arange(ROWS) % CLASSES


def jcl(work: Workload) -> Callable[[int], None]:
  """A run's own compiled program, with its inputs lying ready."""
  import jax

  from jcl import base, recipes
  from jcl.networks import catalogue
  from jcl.run import loop, session
  from jcl.streams import scenarios, sources
  from jcl.train import gather

  x, y = noise(work)
  source = sources.arrays(x, y, x[:100], y[:100], name="noise")
  stream = scenarios.class_incremental(source, tasks=1)
  network = catalogue.build(work.model, work.shape, CLASSES, **work.options)
  method = recipes.finetune()
  if work.replays:
    method = recipes.er(buffer=MEMORY, minibatch=work.batch)
  training = base.Training(learning_rate=RATE, batch_size=work.batch, epochs=1)
  job = session.assemble(stream, network, method, training)
  learner = job.learner
  state, _ = loop.start(job)
  every = np.ones(CLASSES, bool)
  scope = learner.put(base.Scope(np.array(0, np.int32), every, every, every))
  program = learner.step_program(job.trainee.selection)
  most = learner.steps_per_dispatch
  data = gather.training_set("current", job.stream, 0, None)
  count = -(-ROWS // (most * work.batch))
  rows = np.arange(count * most * work.batch, dtype=np.int32) % ROWS
  batches = [
    learner.put_batches(data.batch(each))
    for each in rows.reshape(count, most, work.batch)
  ]

  def run(steps):
    nonlocal state
    for i in range(-(-steps // most)):
      state, _ = program.call(
        job.key, state, batches[i % count], np.int32(most), scope
      )
    jax.block_until_ready(state)

  run.whole, run.text = most, program.call.as_text
  return run


def jax_plain(work: Workload) -> Callable[[int], None]:
  """Flax modules, a jitted step and XLA's own convolutions."""
  import jax
  import jax.numpy as jnp
  import optax

  from jcl.networks import catalogue

  network = catalogue.build(work.model, work.shape, CLASSES, **work.options)
  optimizer = optax.sgd(RATE)

  def loss(params, stats, x, y):
    x = x.astype(jnp.float32) / 255.0
    out = network.apply(params, stats, x, training=network.units)
    losses = optax.softmax_cross_entropy_with_integer_labels(out.logits, y)
    return jnp.mean(losses), out.stats

  def step(state, x, y):
    params, stats, slots, (kept_x, kept_y), key = state
    whole_x, whole_y = x, y
    if work.replays:
      key, draw_key, keep_key = jax.random.split(key, 3)
      shape = (work.batch,)
      drawn = jax.random.choice(draw_key, MEMORY, shape, replace=False)
      whole_x = jnp.concatenate([x, kept_x[drawn]])
      whole_y = jnp.concatenate([y, kept_y[drawn]])
      slot = jax.random.randint(keep_key, shape, 0, 10 * MEMORY)
      kept_x = kept_x.at[slot].set(x, mode="drop")
      kept_y = kept_y.at[slot].set(y, mode="drop")
    grads, stats = jax.grad(loss, has_aux=True)(params, stats, whole_x, whole_y)
    updates, slots = optimizer.update(grads, slots, params)
    params = optax.apply_updates(params, updates)
    return params, stats, slots, (kept_x, kept_y), key

  program = jax.jit(step, donate_argnums=0)
  params, stats = network.init(jax.random.key(0))
  x, y = map(jnp.asarray, noise(work))
  memory = x[:MEMORY].copy(), y[:MEMORY].copy()
  slots = optimizer.init(params)
  state = params, stats, slots, memory, jax.random.key(1)
  arguments = state, x[: work.batch], y[: work.batch]
  shapes = jax.eval_shape(lambda *each: each, *arguments)
  run = _dealt(
    work, x, y, lambda batch: program(*batch), state, jax.block_until_ready
  )
  run.text = lambda: program.lower(*shapes).compile().as_text()
  return run


def _dealt(work, x, y, step, state, wait):
  """Runs a step with a state over batches that lie ready."""
  size = work.batch
  ends = range(size, ROWS + 1, size)
  batches = [(x[end - size : end], y[end - size : end]) for end in ends]

  def run(steps):
    nonlocal state
    for i in range(steps):
      state = step((state, *batches[i % len(batches)]))
    wait(state)

  return run


def torch_eager(work: Workload) -> Callable[[int], None]:
  """PyTorch as most write it."""
  return _torch(work)


def torch_channels_last(work: Workload) -> Callable[[int], None]:
  """PyTorch with channels last."""
  return _torch(work, channels_last=True)


def torch_compiled(work: Workload) -> Callable[[int], None]:
  """PyTorch through its compiler, channels last."""
  return _torch(work, channels_last=True, compiled=True)


def _torch(work, channels_last=False, compiled=False):
  import peers
  import torch
  from torch.nn import functional

  torch.set_num_threads(_cores())
  layout = torch.channels_last if channels_last else torch.contiguous_format
  model = peers.build(work, CLASSES).to(memory_format=layout)
  optimizer = torch.optim.SGD(model.parameters(), RATE)
  forward = torch.compile(model) if compiled else model
  x, y = noise(work)
  x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
  y = torch.from_numpy(y)
  kept_x, kept_y = x[:MEMORY].clone(), y[:MEMORY].clone()

  def step(batch):
    _, x, y = batch
    whole_x, whole_y = x, y
    if work.replays:
      drawn = torch.randperm(MEMORY)[: work.batch]
      whole_x = torch.cat([x, kept_x[drawn]])
      whole_y = torch.cat([y, kept_y[drawn]])
      slot = torch.randint(10 * MEMORY, (work.batch,))
      kept = slot < MEMORY
      kept_x[slot[kept]], kept_y[slot[kept]] = x[kept], y[kept]
    optimizer.zero_grad()
    logits = forward(whole_x.float() / 255.0)
    functional.cross_entropy(logits, whole_y).backward()
    optimizer.step()

  return _dealt(work, x, y, step, None, lambda state: None)


def avalanche(work: Workload) -> Callable[[int], None]:
  """Avalanche's replay strategy, its loaders and plugins included."""
  import peers

  if not work.replays:
    raise ValueError("for workloads that replay")
  return peers.avalanche(work, noise(work), MEMORY, RATE, _cores())


def _cores() -> int:
  import os

  return len(os.sched_getaffinity(0))


CONTENDERS: dict[str, Callable[[Workload], Callable[[int], None]]] = {
  "jcl": jcl,
  "jax": jax_plain,
  "torch": torch_eager,
  "torch channels last": torch_channels_last,
  "torch.compile": torch_compiled,
  "avalanche": avalanche,
}


def main(name: str, workload: str) -> None:
  """Answers the parent's lines until there are no more."""
  started = time.perf_counter()
  try:
    run = CONTENDERS[name](WORKLOADS[workload])
    run(1)
  except Exception as error:  # whatever ails a peer is told in its row
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
    return
  ready = {"first": time.perf_counter() - started}
  print(json.dumps({**ready, "whole": getattr(run, "whole", 1)}), flush=True)
  for line in sys.stdin:
    run(1)  # a system may have taken back what lay idle
    started = time.perf_counter()
    run(int(line))
    took = time.perf_counter() - started
    print(json.dumps({"seconds": took, "peak": _peak()}), flush=True)


def _peak() -> int:
  """Returns the most memory that this process has held, in bytes."""
  with open("/proc/self/status", encoding="ascii") as status:
    for line in status:
      if line.startswith("VmHWM:"):
        return 1024 * int(line.split()[1])
  return 0


if __name__ == "__main__":
  main(*sys.argv[1:])
