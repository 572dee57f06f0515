"""What a frozen trunk saves of the memory of a training step, as compiled.

Question: how much less memory does a step take that differentiates the last
stage of a ResNet-18 and its head only, and does computing all gradients and
multiplying most of them by 0 save any?

  python experiments/step_memory.py
  python experiments/step_memory.py --quick

Steps of 32 images, and of 32 with 15 replayed ones, are compiled and not run.
"temp" is what XLA reserves for gradients, activations and scratch; "peak" adds
arguments and outputs. In pieces, the trunk and what trains are programs of
their own, composed by the host. Ratios are the temp and the peak of the whole
step with replay that trains everything over those of the line. Targets, of the
peak with 64 filters: 3.4 at 32x32 pixels and 5.6 at 64x64.

Wang et al., "LightCL: Compact Continual Learning with Low Memory Footprint For
Edge Device", ASP-DAC 2025, arXiv 2407.10545, freeze these units.
"""

import dataclasses

from absl import app, flags
import jax
import numpy as np
import optax
import pandas as pd

from jcl import base, recipes
from jcl.cost import devices, step_memory
from jcl.cost import ledger as ledger_lib
from jcl.networks import resnet
from jcl.selection import mask
from jcl.train import augment as augmentation
from jcl.train import learner as learner_lib
from jcl.train import optimizer as optimizers
from jcl.train import slots, step_spec

_FILTERS = flags.DEFINE_integer("filters", 64, "of the first stage")
_SIZES = flags.DEFINE_multi_integer("size", [32, 64], "pixels of a side")
_QUICK = flags.DEFINE_bool("quick", False, "8 filters, unless told otherwise")

TARGETS = {32: 3.4, 64: 5.6}  # with 64 filters
BATCH, BUFFER, RATE = 32, 15, 0.01
FIRST = "block_6"  # that trains: the fourth stage and the head
FULL, REPLAY = f"full, {BATCH}", f"full, {BATCH} + {BUFFER}"
MASKED = f"all gradients times a 0/1 mask, {BATCH} + {BUFFER}"
FROZEN = f"frozen up to {FIRST}, {BATCH} + {BUFFER}"
APART = f"{FROZEN}, in pieces"


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  filters = _FILTERS.value
  if _QUICK.value and not _FILTERS.present:
    filters = 8
  for size in _SIZES.value:
    print(f"{filters} filters, {size}x{size} pixels, MiB")
    print(table(filters, size).to_string(float_format="%.2f"))
    if filters == 64 and size in TARGETS:
      print(f"target of the peak's ratio, frozen: >= {TARGETS[size]}")
    print()


def table(filters: int, size: int) -> pd.DataFrame:
  """Returns the memory of each step, in MiB, and what full replay takes."""
  network = resnet.resnet18((size, size, 3), 10, filters=filters)
  everything, tail = mask.everything(network), frozen(network)
  er = recipes.er(buffer=BUFFER, minibatch=BUFFER)
  masked = _learner(network, er, sparsity=times_mask(network, tail))
  rows = {
    FULL: (_learner(network, recipes.finetune()), everything),
    REPLAY: (_learner(network, er), everything),
    MASKED: (masked, everything),
    FROZEN: (_learner(network, er), tail),
    APART: (_learner(network, er, "pieces"), tail),
  }
  lines = {name: _line(*row) for name, row in rows.items()}
  frame = pd.DataFrame.from_dict(lines, orient="index")
  for column in ("temp", "peak"):
    frame[f"{column} ratio"] = frame.loc[REPLAY, column] / frame[column]
  return frame


def frozen(network: base.Network) -> base.Selection:
  """Selects the tensors from `FIRST` on."""
  units = network.units[network.units.index(FIRST) :]
  return mask.select(network, lambda tensor: tensor.unit in units)


def times_mask(
  network: base.Network, selection: base.Selection
) -> base.Sparsity:
  """Returns what sets other gradients than the selected ones to 0."""

  def wrap(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    optimizer = slots.per_tensor(rule)

    def update(grads, state, params=None):
      chosen = mask.as_mask(grads, network, selection)
      grads = jax.tree.map(lambda grad, yes: grad * float(yes), grads, chosen)
      return optimizer.update(grads, state, params)

    return optax.GradientTransformation(optimizer.init, update)

  return base.Sparsity(
    start=lambda params: params, wrap=wrap, restart=lambda slots: slots
  )


def _learner(
  network, method, executor="whole", sparsity=None
) -> learner_lib.Learner:
  training = base.Training(
    optimizer="sgd", momentum=0.0, learning_rate=RATE, batch_size=BATCH
  )
  spec = step_spec.StepSpec(
    network,
    method,
    optimizers.complete(training),
    augmentation.Preprocess(np.float32(0), np.float32(1)),
    sparsity=sparsity,
  )
  return learner_lib.Learner(
    spec,
    np.zeros(network.input_shape, np.uint8),
    ledger_lib.Ledger(devices.detect()),
    steps_per_dispatch=1,
    executor=executor,
    devices=jax.devices()[:1],
  )


def _line(learner, selection) -> dict[str, float]:
  cost = learner.step_program(selection).cost
  memory = step_memory.split(learner, selection)
  if memory is None:
    raise ValueError("this backend tells no memory: give JAX_PLATFORMS=cpu")
  parts = dataclasses.asdict(memory)
  return {
    **{name: parts[name] / 2**20 for name in ("weights", "gradients", "kept")},
    "temp": cost.temp_bytes / 2**20,
    "peak": cost.peak_bytes / 2**20,
  }


if __name__ == "__main__":
  jax.config.update("jax_compilation_cache_dir", None)
  app.run(main)
