"""What emulating MX formats costs on top of the same step in float32.

  python experiments/mx_overhead.py
  python experiments/mx_overhead.py --filters=64 --batch_size=16
  python experiments/mx_overhead.py --quick

A step of SGD of a ResNet-18, compiled whole, in float32 and with all layers in
an MX format, forward and backward, timed in turns. The table has medians, the
median of the rounds' ratios with its quartiles, seconds of compiling, and the
bytes of scratch; rows beyond the first are the same step with other formats or
roundings. Inputs are noise: nothing here says anything about accuracy. The
target is 3 times the time of float32.

RESULTS.md has what it found.
"""

import time

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd

from jcl import base
from jcl.cost import program_cost
from jcl.networks import catalogue
from jcl.networks.mx import layers

_FILTERS = flags.DEFINE_integer("filters", 64, "of the first stage")
_SIDE = flags.DEFINE_integer("side", 32, "pixels of an image's side")
_BATCH = flags.DEFINE_integer("batch_size", 16, "images per step")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "timed steps of each form")
_FORMS = flags.DEFINE_list(
  "forms",
  ["mx9:rne", "mx6:rne", "mx9:trunc"],
  "FORMAT:ROUNDING, such as mx9:stochastic",
)
_QUICK = flags.DEFINE_bool("quick", False, "a network of two layers, one form")


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  filters, side, batch = _FILTERS.value, _SIDE.value, _BATCH.value
  rounds, forms = _ROUNDS.value, _FORMS.value
  if _QUICK.value:
    batch, rounds, forms = 2, 3, forms[:1]
    network = catalogue.build("conv1d", (8, 3), 10, width=4, depth=1)
  else:
    network = catalogue.build("resnet18", (side, side, 3), 10, filters=filters)
  networks = {"float32": network}
  for form in forms:
    fmt, _, rounding = form.partition(":")
    try:
      networks[form] = layers.policy(
        network, fmt_infer=fmt, fmt_train=fmt, rounding=rounding or "rne"
      )
    except ValueError as error:
      raise app.UsageError(f"--forms={form}: {error}") from error
  print(_compared(networks, batch, rounds).to_string(index=False))


def _compared(
  networks: dict[str, base.Network], batch: int, rounds: int
) -> pd.DataFrame:
  steps, compiled, scratch = {}, {}, {}
  for name, network in networks.items():
    started = time.perf_counter()
    program, arguments = _step(network, batch)
    compiled[name] = time.perf_counter() - started
    scratch[name] = program_cost.of_compiled(program).temp_bytes
    steps[name] = program, arguments
  taken: dict[str, list[float]] = {name: [] for name in steps}
  for turn in range(rounds + 1):
    for name, (program, arguments) in steps.items():
      started = time.perf_counter()
      jax.block_until_ready(program(*arguments))
      if turn:  # the first round warms up
        taken[name].append(time.perf_counter() - started)
  lines = []
  for name, seconds in taken.items():
    ratios = np.divide(seconds, taken["float32"])
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    lines.append(
      {
        "form": name,
        "ms/step": f"{1e3 * np.median(seconds):.1f}",
        "ratio": f"{middle:.2f}",
        "quartiles": f"{low:.2f} to {high:.2f}",
        "compile s": f"{compiled[name]:.1f}",
        "scratch MB": f"{scratch[name] / 1e6:.1f}",
      }
    )
  return pd.DataFrame(lines)


def _step(network: base.Network, batch: int):
  """Compiles a step of SGD, all of it trained; returns it with arguments."""
  params, stats = network.init(jax.random.key(0))
  optimizer = optax.sgd(1e-3, momentum=0.9)
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(batch, *network.input_shape)), jnp.float32)
  y = jnp.asarray(rng.integers(0, network.num_classes, batch))

  def step(params, stats, opt_state, x, y, key):
    def loss_fn(params):
      out = network.apply(params, stats, x, training=network.units, key=key)
      losses = optax.softmax_cross_entropy_with_integer_labels(out.logits, y)
      return losses.mean(), out.stats

    grads, stats_now = jax.grad(loss_fn, has_aux=True)(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), stats_now, opt_state

  arguments = params, stats, optimizer.init(params), x, y, jax.random.key(1)
  return jax.jit(step).lower(*arguments).compile(), arguments


if __name__ == "__main__":
  app.run(main)
