"""A step's time by tensor, from timing each unit of a chain by itself.

For each unit, four programs are compiled and timed: its forward pass, and its
gradients with respect to its parameters, to its input and to both. Their
differences separate computing the parameters' gradients from passing the
gradient on; within a unit, the analytic profile divides the time. Fusion across
units is lost, so the sums are scaled to the forward and backward pass of the
whole network.
"""

from collections.abc import Callable, Sequence
import functools
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jcl import base
from jcl.options.errors import UsageError
from jcl.selection import times
from jcl.train import optimizer as optimizers
from jcl.train.kernels import lowering
from jcl.train.profiling import analytic, calibrated
from jcl.train.profiling import subject as subjects


def profile(
  network: base.Network,
  params: base.Params,
  stats: base.Stats,
  x: base.Array,
  *,
  rates: analytic.Rates = analytic.TYPICAL,
  norms: str = "frozen",
  optimizer: optax.GradientTransformation = analytic.MOMENTUM,
  rounds: int = 20,
) -> times.TensorTimes:
  """Times a chain of units one by one, on the default device.

  Args:
    network: the model to profile; it must have `blocks`.
    params: its parameters.
    stats: its statistics.
    x: a normalised batch [B, ...].
    rates: of the analytic profile that divides a unit's time.
    norms: "frozen" or "batch"; see `base.Training`.
    optimizer: its update of all tensors is timed, and divided by the prior.
    rounds: timed runs of each program, after three that warm up.

  Returns:
    Times whose `about["closure"]` is the sum of the units' backward times over
    the backward time of the whole network, before scaling; None if the latter
    is not positive because of noise. `compile_seconds` belongs to the gradient
    of the whole network.

  Raises:
    ValueError: for a network that is no chain, or as `analytic.profile`.
  """
  if not network.blocks:
    raise UsageError(
      f"network {network.name!r} is not a chain of units that can be timed one "
      "by one: profile it with method 'analytic' or 'calibrated'"
    )
  subject = subjects.Subject(network, params, stats, x, norms, optimizer)
  prior = analytic.seconds_of(subject, rates)
  programs, num_whole, compile_seconds = _programs(subject)
  seconds = calibrated.measure(programs, rounds).tolist()
  forward, whole, update = seconds[:num_whole]
  blocks = [_Seconds(*row) for row in _rows(seconds[num_whole:])]
  backward = max(0.0, whole - forward)

  arrival, weight_grad = _spread(network, prior, blocks)
  summed = math.fsum(arrival) + math.fsum(weight_grad)
  scale = backward / summed if summed > 0 else 0.0
  share = forward / prior.always
  updates = _in_proportion(prior.update, update)
  return times.TensorTimes(
    forward=tuple(each * share for each in prior.forward),
    arrival=tuple(each * scale for each in arrival),
    weight_grad=tuple(each * scale for each in weight_grad),
    update=tuple(updates),
    fixed=prior.fixed * share,
    method="timed",
    backward_total=backward,
    compile_seconds=compile_seconds,
    about={
      **prior.about,
      "closure": summed / backward if backward > 0 else None,
      "rounds": rounds,
    },
  )


class _Seconds(NamedTuple):
  """Measured seconds of one unit."""

  forward: float  # forward pass alone
  params: float  # and gradients of the parameters
  input: float  # and gradient of the input
  both: float  # and both gradients

  @property
  def weight_grad(self) -> float:
    """Seconds of the parameters' gradients, without carrying the gradient."""
    return max(0.0, self.both - self.input)

  @property
  def leaving(self) -> float:
    """Seconds to carry the gradient from the first tensor to the input."""
    return max(0.0, self.both - self.params)

  @property
  def inside(self) -> float:
    """Seconds to carry the gradient from the output to the first tensor."""
    return max(0.0, self.params - self.forward - self.weight_grad)


def _rows(values: list[float]) -> list[list[float]]:
  return [values[i : i + 4] for i in range(0, len(values), 4)]


def _spread(
  network: base.Network, prior: times.TensorTimes, blocks: Sequence[_Seconds]
) -> tuple[list[float], list[float]]:
  """Divides the units' seconds among their tensors, by the prior's shares.

  Returns:
    `arrival` [W] and `weight_grad` [W].
  """
  arrival = [0.0] * len(network.tensors)
  weight_grad = list(arrival)
  # The time of leaving a unit counts as arrival at the next unit with tensors.
  coming = 0.0
  for block, seconds in zip(
    reversed(network.blocks or ()), reversed(blocks), strict=True
  ):
    members = [
      i for i, tensor in enumerate(network.tensors) if tensor.unit == block.name
    ]
    if not members:
      coming += max(0.0, seconds.input - seconds.forward)
      continue
    for target, source, total in (
      (arrival, prior.arrival, coming + seconds.inside),
      (weight_grad, prior.weight_grad, seconds.weight_grad),
    ):
      parts = _in_proportion([source[i] for i in members], total)
      for i, part in zip(members, parts, strict=True):
        target[i] = part
    coming = seconds.leaving
  return arrival, weight_grad


def _in_proportion(shares: Sequence[float], total: float) -> list[float]:
  """Divides a total in proportion to shares; equally, if all are 0."""
  whole = math.fsum(shares)
  if whole > 0:
    return [share / whole * total for share in shares]
  return [total / len(shares)] * len(shares)


def _programs(
  subject: subjects.Subject,
) -> tuple[list[Callable[[], None]], int, float]:
  """Compiles the programs to time: of the whole network, and four per unit.

  Returns:
    The programs; how many are of the whole network; seconds of compiling its
    gradient.
  """
  network, params, stats = subject.network, subject.params, subject.stats
  x, training = jnp.asarray(subject.x, jnp.float32), subject.training
  key = jax.random.key(0)
  labels = jnp.zeros(len(x), jnp.int32)
  advance = optimizers.at_start(subject.optimizer)

  def loss_fn(params: Any, x: Any, stats: Any, key: base.Key) -> Any:
    out = network.apply(params, stats, x, training=training, key=key)
    losses = optax.softmax_cross_entropy_with_integer_labels(out.logits, labels)
    return losses.mean(), out.stats

  def update(grads: Any, slots: Any, params: Any) -> Any:
    changes, slots = advance(grads, slots, params)
    return optax.apply_updates(params, changes), slots

  start = time.perf_counter()
  whole = _compiled(
    jax.value_and_grad(loss_fn, has_aux=True), params, x, stats, key
  )
  compile_seconds = time.perf_counter() - start
  slots = jax.jit(subject.optimizer.init)(params)
  programs = [
    _compiled(loss_fn, params, x, stats, key),
    whole,
    _compiled(update, params, slots, params),
  ]
  num_whole = len(programs)
  for index, block in enumerate(network.blocks or ()):
    apply = functools.partial(_run_block, block, block.name in training)
    args = (
      params.get(block.name, {}),
      x,
      stats.get(block.name, {}),
      jax.random.fold_in(key, index),
    )
    out = jax.jit(apply)(*args)[0]
    grad = jnp.ones_like(out)
    programs.append(_compiled(apply, *args))
    for argnums in ((0,), (1,), (0, 1)):
      pull = functools.partial(_pull, apply, argnums)
      programs.append(_compiled(pull, grad, *args))
    x = out
  return programs, num_whole, compile_seconds


def _run_block(
  block: base.Block,
  training: bool,
  params: base.Params,
  x: jax.Array,
  stats: base.Stats,
  key: base.Key,
) -> Any:
  return block.apply(params, stats, x, training, key)


def _pull(
  apply: Callable[..., Any],
  argnums: Sequence[int],
  grad: jax.Array,
  *args: Any,
) -> Any:
  """Runs a unit and carries a gradient back to some of its arguments."""

  def chosen(*values: Any) -> Any:
    filled = list(args)
    for argnum, value in zip(argnums, values, strict=True):
      filled[argnum] = value
    return apply(*filled)

  out, vjp, stats = jax.vjp(chosen, *(args[i] for i in argnums), has_aux=True)
  return out, stats, vjp(grad)


def _compiled(fn: Callable[..., Any], *args: Any) -> Callable[[], None]:
  call = lowering.lower(fn, args).compile()

  def run() -> None:
    jax.block_until_ready(call(*args))

  return run
