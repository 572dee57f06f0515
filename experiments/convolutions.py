"""Which way to convolve is fastest here, shape by shape.

  python experiments/convolutions.py
  python experiments/convolutions.py --networks=mobilenet:width=0.25 --batch=10
  python experiments/convolutions.py --quick

Takes every convolution of the networks, as it meets them in training, and times
it forward and for both gradients, in turns:

  xla      `jax.lax.conv_general_dilated` as XLA compiles it
  onednn   the kernel that programs of jcl call, where it is installed
  shifted  one matrix product per tap of the kernel, added up
  im2col   all taps of a window side by side, then one matrix product

The table has GFLOP/s, products with padding left out, medians over rounds; the
fastest is marked, and `share` is its part of what a matrix product of 2048 by
2048 reaches in the same run (256 by 256 with `--quick`). What programs take is
settled by `jcl/train/kernels/choice.py`, from such tables. Stop everything else
meanwhile.
"""

from collections.abc import Callable, Iterator
import itertools
import statistics
import time
from typing import Any, NamedTuple

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tqdm

from jcl.base import jaxprs
from jcl.networks import catalogue
from jcl.options import spec
from jcl.train.kernels import lowering
from jcl.train.profiling import operations

SHAPE = (32, 32, 3)
_IN_A_ROW = 5  # calls
PASSES = ("forward", "inputs", "weights")

_NETWORKS = flags.DEFINE_list(
  "networks", ["resnet18", "slim_resnet18"], "whose convolutions are timed"
)
_BATCH = flags.DEFINE_integer("batch", 32, "examples at once", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "repetitions", lower_bound=3)
_QUICK = flags.DEFINE_bool(
  "quick", False, "two shapes of a network of 4 filters, 3 rounds"
)


class Shape(NamedTuple):
  """A convolution over images, channels last."""

  x: tuple[int, ...]
  w: tuple[int, ...]
  stride: int
  padding: tuple[tuple[int, int], ...]
  groups: int

  def __str__(self) -> str:
    size, _, _, channels = self.x
    text = f"{size} x {self.x[1]}x{self.x[2]}x{channels}, "
    text += f"{self.w[0]}x{self.w[1]} to {self.w[3]}"
    text += f", stride {self.stride}" if self.stride > 1 else ""
    return text + (f", {self.groups} groups" if self.groups > 1 else "")


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  networks, rounds = _NETWORKS.value, _ROUNDS.value
  if _QUICK.value:
    networks, rounds = ["slim_resnet18:filters=4"], 3
  print(f"programs convolve by {lowering.describe()}")
  peak = _matmul_peak(256 if _QUICK.value else 2048)
  print(f"matrix products reach {peak:.0f} GFLOP/s", flush=True)
  shapes = dict.fromkeys(
    itertools.chain.from_iterable(map(convolutions, networks))
  )
  lines, most = [], 2 if _QUICK.value else None
  for shape in tqdm.tqdm(list(shapes)[:most], leave=False):
    lines += compare(shape, rounds, peak)
  print(pd.DataFrame(lines).fillna("").to_string(index=False))


def convolutions(text: str) -> Iterator[Shape]:
  """Yields the convolutions of a network, in the order of execution."""
  name, options = spec.parse(text)
  network = catalogue.build(name, SHAPE, 10, **options)
  x = jax.ShapeDtypeStruct((_BATCH.value, *SHAPE), jnp.float32)
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  traced = jax.make_jaxpr(
    lambda params, stats, x: network.apply(params, stats, x).logits
  )(*shapes, x)
  for each in operations.flatten(traced).operations:
    if each.name == "conv_general_dilated":
      yield Shape(
        each.takes[0].shape,
        each.takes[1].shape,
        each.params["window_strides"][0],
        tuple(each.params["padding"]),
        each.params["feature_group_count"],
      )


def compare(shape: Shape, rounds: int, peak: float) -> list[dict[str, Any]]:
  """Times all ways, forward and backward; returns three lines of the table."""
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=shape.x), jnp.float32)
  w = jnp.asarray(rng.normal(size=shape.w), jnp.float32)
  whole = _whole(shape)
  g = jnp.ones(jax.eval_shape(whole, x, w).shape)
  ways: dict[str, Callable[..., Any]] = {"xla": whole}
  if not lowering.why_not():
    ways["onednn"] = whole
  if shape.groups == 1:
    ways |= {"shifted": _shifted(shape), "im2col": _im2col(shape)}
  lines = []
  for index, part in enumerate(PASSES):
    if part == "inputs" and shape.x[-1] == 3:
      continue  # nothing asks for the gradient of images
    programs = {
      name: _compiled(name, _part(way, index), (x, w, g))
      for name, way in ways.items()
    }
    times = _timed(programs, (x, w, g), rounds)
    work = _flops(_part(whole, index), (x, w, g)) / 1e9
    rates = {name: work / taken for name, taken in times.items()}
    best = max(rates, key=lambda name: rates[name])
    lines.append(
      {
        "convolution": str(shape),
        "pass": part,
        **{name: f"{rate:.0f}" for name, rate in rates.items()},
        "fastest": best,
        "share": f"{rates[best] / peak:.2f}",
      }
    )
  return lines


def _whole(shape: Shape) -> Callable[..., jax.Array]:
  return lambda x, w: jax.lax.conv_general_dilated(
    x,
    w,
    (shape.stride,) * 2,
    shape.padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=shape.groups,
  )


def _windows(shape: Shape, x) -> Iterator[jax.Array]:
  """Yields what each tap of the kernel sees, [B, H, W, C]."""
  x = jnp.pad(x, ((0, 0), *shape.padding, (0, 0)))
  height, width, step = *shape.w[:2], shape.stride
  for i, j in itertools.product(range(height), range(width)):
    ends = x.shape[1] - height + i + 1, x.shape[2] - width + j + 1
    yield x[:, i : ends[0] : step, j : ends[1] : step]


def _shifted(shape: Shape) -> Callable[..., jax.Array]:
  def run(x, w):
    taps = w.reshape(-1, *w.shape[2:])
    seen = _windows(shape, x)
    return sum(each @ tap for each, tap in zip(seen, taps, strict=True))

  return run


def _im2col(shape: Shape) -> Callable[..., jax.Array]:
  def run(x, w):
    seen = jnp.concatenate(list(_windows(shape, x)), axis=-1)
    return seen @ w.reshape(-1, w.shape[-1])

  return run


def _part(way, index: int) -> Callable[..., Any]:
  """Returns one of the passes, as a function of inputs, weights, gradient."""
  if not index:
    return lambda x, w, g: way(x, w)
  return lambda x, w, g: jax.vjp(way, x, w)[1](g)[index - 1]


def _compiled(name, fn, args):
  if name == "onednn":
    return lowering.lower(fn, args).compile()
  return jax.jit(fn).lower(*args).compile()


def _timed(programs, args, rounds) -> dict[str, float]:
  """Returns the seconds of a call, of turns of several calls in a row.

  As in a step, where a kernel follows others of its kind, and not threads of
  another that still wait for work.
  """
  times: dict[str, list[float]] = {name: [] for name in programs}
  for index in range(rounds + 1):
    for name, program in programs.items():
      jax.block_until_ready(program(*args))
      started = time.perf_counter()
      for _ in range(_IN_A_ROW):
        jax.block_until_ready(program(*args))
      if index:  # the first warms up
        times[name].append((time.perf_counter() - started) / _IN_A_ROW)
  return {name: statistics.median(taken) for name, taken in times.items()}


def _flops(fn, args) -> float:
  program = operations.flatten(jaxprs.trace(fn, *args))
  return max(map(operations.flops, program.operations))


def _matmul_peak(size: int) -> float:
  ones = jnp.ones((size, size))
  program = jax.jit(jnp.matmul).lower(ones, ones).compile()
  taken = _timed({"": program}, (ones, ones), 10)[""]
  return 2.0 * size**3 / taken / 1e9


if __name__ == "__main__":
  app.run(main)
