"""A train step's time by tensor, counted from its jaxpr without running it.

The gradient of a classification loss with respect to every tensor, and to the
input as if it were a tensor ahead of the first, is traced once. What training
some tensors costs follows from which operations their gradients need; no
module is known by name, so any network will do.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jcl import base, jaxprs
from jcl.selection import mask, times
from jcl.train import optimizer as optimizers
from jcl.train import step
from jcl.train.kernels import lowering
from jcl.train.profiling import operations

Rates = operations.Rates

# A laptop's core and a half, roughly; for tests and where shares alone matter.
TYPICAL = Rates(
  flops_per_second=5e10, bytes_per_second=1e10, seconds_per_op=2e-6
)
MOMENTUM = optax.sgd(1e-2, momentum=0.9)


def profile(
  network: base.Network,
  params: base.Params,
  stats: base.Stats,
  x: base.Array | jax.ShapeDtypeStruct,
  *,
  rates: Rates = TYPICAL,
  norms: str = "frozen",
  optimizer: optax.GradientTransformation = MOMENTUM,
) -> times.TensorTimes:
  """Returns the seconds that a step's operations take at the given rates.

  An operation that one gradient alone needs is that tensor's `weight_grad`. One
  that several need is on the chain: it is in the `arrival` of the last of them
  in execution order, which is where the gradient first meets it (Huang et al.,
  MobiSys 2023, section 3.3). Every operation counts once, so that the sums are
  those of the whole step. On a plain chain of tensors, each mask's time is
  exact; where branches run side by side, a tensor on one pays for what lies
  behind it on the other as well.

  Args:
    network: what to profile.
    params: its parameters, or their shapes.
    stats: its statistics, or their shapes.
    x: a normalised batch [B, ...], or its shape.
    rates: of the device; see `measure_rates`.
    norms: "frozen" or "batch"; see `base.Training`.
    optimizer: its update is counted on one tensor at a time.

  Raises:
    ValueError: for `norms` other than these two, or an `x` of another shape.
  """
  return _tally(
    network,
    params,
    stats,
    x,
    norms,
    optimizer,
    lambda program: operations.seconds(program, rates),
    {"unit": "seconds", "rates": dataclasses.asdict(rates)},
  )


def flops(
  network: base.Network,
  params: base.Params,
  stats: base.Stats,
  x: base.Array | jax.ShapeDtypeStruct,
  *,
  norms: str = "frozen",
  optimizer: optax.GradientTransformation = MOMENTUM,
  expands_groups: bool = False,
) -> times.TensorTimes:
  """Returns the same as `profile`, in floating-point operations.

  They are counted as XLA counts them ahead of fusion, which recomputes values
  that several fused operations read. `expands_groups` is that of `Rates`.
  """
  return _tally(
    network,
    params,
    stats,
    x,
    norms,
    optimizer,
    lambda program: [
      operations.flops(each, expands_groups) for each in program.operations
    ],
    {"unit": "flops", "expands_groups": expands_groups},
  )


def _tally(
  network, params, stats, x, norms, optimizer, cost, about
) -> times.TensorTimes:
  shape = jnp.shape(x)
  if norms not in ("frozen", "batch"):
    raise ValueError(f"norms={norms!r}: give 'frozen' or 'batch'")
  if tuple(shape[1:]) != tuple(network.input_shape) or not shape[0]:
    raise ValueError(
      f"x has shape {shape}: give a batch of {network.name!r}, "
      f"[B, {', '.join(map(str, network.input_shape))}]"
    )
  traced = _trace(network, params, stats, shape, norms)
  costs = cost(traced.program)
  needs = _needs(traced)
  levels = _levels(traced)
  count = len(network.tensors)
  forward, arrival, weight_grad = ([0.0] * count for _ in range(3))
  fixed = 0.0
  for seconds, need, level in zip(costs, needs, levels, strict=True):
    # Bits of `need`: tensors by their index, then input, network, loss.
    gradients = need & ((1 << count) - 1)
    if need >> (count + 1) & 1 and level >= 0:
      forward[level] += seconds
    elif need >> (count + 1):
      fixed += seconds
    elif not gradients:
      continue  # the input's gradient, which no step forms
    elif gradients & (gradients - 1) or need >> count & 1:
      arrival[gradients.bit_length() - 1] += seconds
    else:
      weight_grad[gradients.bit_length() - 1] += seconds
  leaves = [_leaf(params, tensor) for tensor in network.tensors]
  return times.TensorTimes(
    forward=tuple(forward),
    arrival=tuple(arrival),
    weight_grad=tuple(weight_grad),
    update=tuple(_updates(leaves, optimizer, cost)),
    fixed=fixed,
    method="analytic",
    backward_total=math.fsum(
      seconds
      for seconds, need in zip(costs, needs, strict=True)
      if need & ((1 << count) - 1) and not need >> (count + 1)
    ),
    about={**about, "batch": shape[0], "norms": norms},
  )


@dataclasses.dataclass(frozen=True)
class _Traced:
  """A gradient's program, its outputs as loss, network's, input's, tensors'."""

  program: operations.Program
  tensors: tuple[int, ...]  # input variables
  network: tuple[int | None, ...]  # outputs: logits and statistics
  loss: int | None
  input_grad: int | None
  grads: tuple[int | None, ...]  # [W]


def _trace(network, params, stats, shape, norms) -> _Traced:
  everything = mask.everything(network)
  training = step.modes(network, everything, norms)

  def loss_fn(leaves, x, rest):
    stats, key, y = rest
    whole = _with_leaves(params, network, leaves)
    out = network.apply(whole, stats, x, training=training, key=key)
    losses = optax.softmax_cross_entropy_with_integer_labels(out.logits, y)
    return losses.mean(), (out.logits, out.stats)

  def program(leaves, x, rest):
    # As in a train step: value, what the network returns, gradients.
    (loss, outputs), (grads, input_grad) = jax.value_and_grad(
      loss_fn, argnums=(0, 1), has_aux=True
    )(leaves, x, rest)
    return loss, input_grad, grads, outputs

  def shape_of(leaf):
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))

  leaves = [shape_of(_leaf(params, tensor)) for tensor in network.tensors]
  rest = (
    jax.tree.map(shape_of, stats),
    jax.eval_shape(lambda: jax.random.key(0)),
    jax.ShapeDtypeStruct(shape[:1], jnp.int32),
  )
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  flat = operations.flatten(jaxprs.trace(program, leaves, x, rest))
  loss, input_grad, *others = flat.outputs
  count = len(leaves)
  return _Traced(
    flat,
    flat.inputs[:count],
    tuple(others[count:]),
    loss,
    input_grad,
    tuple(others[:count]),
  )


def _with_leaves(params, network, leaves):
  """Returns parameters shaped as `params`, made of `leaves` [W]."""
  paths = {tensor.path: i for i, tensor in enumerate(network.tensors)}
  return jax.tree_util.tree_map_with_path(
    lambda path, _: leaves[paths[_keys(path)]], params
  )


def _needs(traced: _Traced) -> list[int]:
  """Which results need each operation: bits as `_tally` reads them."""
  needed: dict[int | None, int] = {}

  def want(variable, bit):
    needed[variable] = needed.get(variable, 0) | 1 << bit

  count = len(traced.grads)
  for index, variable in enumerate((*traced.grads, traced.input_grad)):
    want(variable, index)
  for variable in traced.network:
    want(variable, count + 1)
  want(traced.loss, count + 2)
  needed.pop(None, None)  # literals
  found = []
  for operation in reversed(traced.program.operations):
    need = 0
    for variable in operation.outputs:
      need |= needed.get(variable, 0)
    found.append(need)
    for variable in operation.inputs:
      if variable is not None:
        needed[variable] = needed.get(variable, 0) | need
  return found[::-1]


def _levels(traced: _Traced) -> list[int]:
  """The last tensor, in execution order, that each operation depends on.

  -1 for what depends on none, and so runs ahead of the first.
  """
  levels = {variable: i for i, variable in enumerate(traced.tensors)}
  found = []
  for operation in traced.program.operations:
    level = max(
      (levels.get(v, -1) for v in operation.inputs if v is not None),
      default=-1,
    )
    found.append(level)
    levels.update(dict.fromkeys(operation.outputs, level))
  return found


def _updates(
  leaves: Sequence[jax.ShapeDtypeStruct],
  optimizer: optax.GradientTransformation,
  cost: Callable[[operations.Program], Sequence[float]],
) -> list[float]:
  """Costs of updating each tensor by itself."""
  found: dict[tuple, float] = {}
  advance = optimizers.at_start(optimizer)

  def update(grad, slots, param):
    change, slots = advance([grad], slots, [param])
    return optax.apply_updates([param], change), slots

  results = []
  for leaf in leaves:
    key = (jnp.shape(leaf), str(jnp.result_type(leaf)))
    if key not in found:
      like = jax.ShapeDtypeStruct(key[0], jnp.result_type(leaf))
      slots = jax.eval_shape(lambda p: optimizer.init([p]), like)
      program = jaxprs.trace(update, like, slots, like)
      found[key] = math.fsum(cost(operations.flatten(program)))
    results.append(found[key])
  return results


def measure_rates(rounds: int = 20) -> Rates:
  """Measures the rates of the default device, in a second or two.

  The rate of arithmetic is the geometric mean of a matrix product's and a
  convolution's, that of memory a sum of two long vectors', and the constant is
  what a chain of many small sums adds per sum. A depthwise convolution has a
  rate of its own.
  """
  rows, channels, length, links = 512, 32, 1 << 22, 40
  matrix = jnp.ones((rows, rows))
  images = jnp.ones((16, 32, 32, channels))
  kernel = jnp.ones((3, 3, channels, channels))
  vector = jnp.ones(length)

  def convolve(x, w):
    return jax.lax.conv_general_dilated(
      x,
      w,
      (1, 1),
      "SAME",
      feature_group_count=channels // w.shape[2],
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  def chain(x):
    for _ in range(links):  # sums over all rows, which XLA does not fuse
      x = x + jnp.sum(x, axis=0, keepdims=True) * 1e-3
    return x

  def rate(fn, *args):
    program = operations.flatten(jaxprs.trace(fn, *args))
    return sum(map(operations.flops, program.operations)) / run(fn, *args)

  def run(fn, *args):
    return _median(lowering.lower(fn, args).compile(), args, rounds)

  moved = 3.0 * vector.size * vector.dtype.itemsize
  return Rates(
    flops_per_second=statistics.geometric_mean(
      [rate(jnp.matmul, matrix, matrix), rate(convolve, images, kernel)]
    ),
    bytes_per_second=moved / run(jnp.add, vector, vector),
    seconds_per_op=run(chain, jnp.ones((8, 8))) / links,
    expands_groups=jax.default_backend() == "cpu" and bool(lowering.why_not()),
    grouped_flops_per_second=rate(convolve, images[:4], kernel[:, :, :1]),
  )


def _median(call, args, rounds: int) -> float:
  seconds = []
  for index in range(rounds + 3):
    start = time.perf_counter()
    jax.block_until_ready(call(*args))
    if index >= 3:
      seconds.append(time.perf_counter() - start)
  return float(np.median(seconds))


def _leaf(params: base.Params, tensor: base.Tensor):
  for name in tensor.path:
    params = params[name]
  return params


def _keys(path) -> tuple[str, ...]:
  return tuple(str(getattr(entry, "key", entry)) for entry in path)
