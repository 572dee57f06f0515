"""A train step's time by tensor, counted from its jaxpr without running it.

The gradient of a classification loss with respect to every tensor and to the
input is traced once. The cost of training some tensors follows from the
operations that their gradients need. No module is known by name, so this works
for any network.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import math
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jcl import base
from jcl.base import jaxprs
from jcl.selection import times
from jcl.train import optimizer as optimizers
from jcl.train.kernels import lowering
from jcl.train.profiling import operations
from jcl.train.profiling import subject as subjects

Rates = operations.Rates

# Roughly a core and a half of a laptop, for uses where only shares matter.
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
  """Computes the seconds of a step's operations at the given rates.

  An operation that only one gradient needs belongs to that tensor's
  `weight_grad`. An operation that several gradients need belongs to the
  `arrival` of the last of their tensors in execution order, where the gradient
  arrives first (Huang et al., "ElasticTrainer", MobiSys 2023, section 3.3,
  https://arxiv.org/abs/2312.14227). Every operation counts once, so that the
  sums are those of the whole step. On a plain chain of tensors, the time of
  each mask is exact; with parallel branches, a tensor on one branch also pays
  for later operations of the other branch.

  Args:
    network: the model to profile.
    params: its parameters, or their shapes.
    stats: its statistics, or their shapes.
    x: a normalised batch [B, ...], or its shape.
    rates: of the device; see `measure_rates`.
    norms: "frozen" or "batch"; see `base.Training`.
    optimizer: its update is counted for one tensor at a time.

  Raises:
    ValueError: for `norms` other than these two, or an `x` of another shape.

  >>> from jcl.networks import mlp
  >>> network = mlp.mlp((8, 8, 1), 10, width=16)
  >>> params, stats = network.init(jax.random.key(0))
  >>> x = jax.ShapeDtypeStruct((32, 8, 8, 1), jnp.float32)
  >>> times = profile(network, params, stats, x)
  >>> len(times.forward) == len(network.tensors), times.method
  (True, 'analytic')
  """
  return seconds_of(
    subjects.Subject(network, params, stats, x, norms, optimizer), rates
  )


def seconds_of(subject: subjects.Subject, rates: Rates) -> times.TensorTimes:
  """Computes the same as `profile`, of a subject."""
  return _tally(
    subject,
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
  """Computes the same as `profile` in floating-point operations.

  They are counted like XLA's before fusion, which recomputes values that
  several fused operations read.

  Args:
    network: the model to profile.
    params: its parameters, or their shapes.
    stats: its statistics, or their shapes.
    x: a normalised batch [B, ...], or its shape.
    norms: "frozen" or "batch"; see `base.Training`.
    optimizer: its update is counted for one tensor at a time.
    expands_groups: see `operations.Rates`.

  Raises:
    ValueError: as `profile`.
  """
  return _tally(
    subjects.Subject(network, params, stats, x, norms, optimizer),
    lambda program: [
      operations.flops(each, expands_groups) for each in program.operations
    ],
    {"unit": "flops", "expands_groups": expands_groups},
  )


Cost = Callable[[operations.Program], Sequence[float]]


def _tally(
  subject: subjects.Subject, cost: Cost, about: dict[str, Any]
) -> times.TensorTimes:
  """Adds up the costs of operations by tensor and part of the step."""
  traced = _trace(subject)
  costs = cost(traced.program)
  needs = _needs(traced)
  levels = _levels(traced)
  tensors = subject.network.tensors
  count = len(tensors)
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
  leaves = [_leaf(subject.params, tensor) for tensor in tensors]
  return times.TensorTimes(
    forward=tuple(forward),
    arrival=tuple(arrival),
    weight_grad=tuple(weight_grad),
    update=tuple(_updates(leaves, subject.optimizer, cost)),
    fixed=fixed,
    method="analytic",
    backward_total=math.fsum(
      seconds
      for seconds, need in zip(costs, needs, strict=True)
      if need & ((1 << count) - 1) and not need >> (count + 1)
    ),
    about={**about, "batch": subject.shape[0], "norms": subject.norms},
  )


@dataclasses.dataclass(frozen=True)
class _Traced:
  """The program of a gradient; variables are numbers, None for a literal."""

  program: operations.Program
  tensors: tuple[int, ...]  # [W] inputs
  network: tuple[int | None, ...]  # outputs: logits and statistics
  loss: int | None
  input_grad: int | None
  grads: tuple[int | None, ...]  # [W]


def _trace(subject: subjects.Subject) -> _Traced:
  """Traces loss and gradients of a step, without running it."""
  network, params, training = subject.network, subject.params, subject.training

  def loss_fn(leaves: list[Any], x: Any, rest: Any) -> Any:
    stats, key, y = rest
    whole = _with_leaves(params, network, leaves)
    out = network.apply(whole, stats, x, training=training, key=key)
    losses = optax.softmax_cross_entropy_with_integer_labels(out.logits, y)
    return losses.mean(), (out.logits, out.stats)

  def program(leaves: list[Any], x: Any, rest: Any) -> Any:
    # Returns the results of a train step: loss, gradients, network's outputs.
    (loss, outputs), (grads, input_grad) = jax.value_and_grad(
      loss_fn, argnums=(0, 1), has_aux=True
    )(leaves, x, rest)
    return loss, input_grad, grads, outputs

  def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))

  leaves = [shape_of(_leaf(params, tensor)) for tensor in network.tensors]
  rest = (
    jax.tree.map(shape_of, subject.stats),
    jax.eval_shape(lambda: jax.random.key(0)),
    jax.ShapeDtypeStruct(subject.shape[:1], jnp.int32),
  )
  x = jax.ShapeDtypeStruct(subject.shape, jnp.float32)
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


def _with_leaves(
  params: base.Params, network: base.Network, leaves: Sequence[Any]
) -> base.Params:
  """Returns `leaves` [W] in the structure of `params`."""
  paths = {tensor.path: i for i, tensor in enumerate(network.tensors)}
  return jax.tree_util.tree_map_with_path(
    lambda path, _: leaves[paths[_keys(path)]], params
  )


def _needs(traced: _Traced) -> list[int]:
  """Returns for each operation the results that need it, as bits (`_tally`)."""
  needed: dict[int | None, int] = {}

  def want(variable: int | None, bit: int) -> None:
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
  """Returns the last tensor that each operation depends on.

  Tensors are numbered in execution order; -1: the operation depends on none.
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
  cost: Cost,
) -> list[float]:
  """Returns the cost of updating each tensor by itself."""
  found: dict[tuple, float] = {}
  advance = optimizers.at_start(optimizer)

  def update(grad: Any, slots: Any, param: Any) -> Any:
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

  The rate of arithmetic is the geometric mean over a matrix product and a
  convolution; a depthwise convolution has a rate of its own. The rate of memory
  is measured by a sum of two long vectors, the constant per operation by a
  chain of many small sums.
  """
  rows, channels, length, links = 512, 32, 1 << 22, 40
  matrix = jnp.ones((rows, rows))
  images = jnp.ones((16, 32, 32, channels))
  kernel = jnp.ones((3, 3, channels, channels))
  vector = jnp.ones(length)

  def convolve(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
      x,
      w,
      (1, 1),
      "SAME",
      feature_group_count=channels // w.shape[2],
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  def chain(x: jax.Array) -> jax.Array:
    for _ in range(links):  # sums over all rows, which XLA does not fuse
      x = x + jnp.sum(x, axis=0, keepdims=True) * 1e-3
    return x

  def rate(fn: Callable[..., Any], *args: jax.Array) -> float:
    program = operations.flatten(jaxprs.trace(fn, *args))
    return sum(map(operations.flops, program.operations)) / run(fn, *args)

  def run(fn: Callable[..., Any], *args: jax.Array) -> float:
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


def _median(
  call: Callable[..., Any], args: Sequence[Any], rounds: int
) -> float:
  """Returns the median seconds of a call, after three that warm up."""
  seconds = []
  for index in range(rounds + 3):
    start = time.perf_counter()
    jax.block_until_ready(call(*args))
    if index >= 3:
      seconds.append(time.perf_counter() - start)
  return float(np.median(seconds))


def _leaf(params: base.Params, tensor: base.Tensor) -> Any:
  for name in tensor.path:
    params = params[name]
  return params


def _keys(path: Iterable[Any]) -> tuple[str, ...]:
  return tuple(str(getattr(entry, "key", entry)) for entry in path)
