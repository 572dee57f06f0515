"""A step's time by tensor, from timing each unit of a chain by itself.

Each unit's forward pass and its gradients with respect to its parameters, its
input and both are compiled and timed. Their differences tell forming the
parameters' gradients from passing the gradient on; within a unit the analytic
profile decides. Fusion across units is lost, so the sums are scaled to what
forward and backward pass of the whole network take.
"""

from collections.abc import Callable
import functools
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jcl import base
from jcl.errors import UsageError
from jcl.selection import mask, times
from jcl.train import optimizer as optimizers
from jcl.train import step
from jcl.train.kernels import lowering
from jcl.train.profiling import analytic, calibrated


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
    network: what to profile; one with `blocks`.
    params: its parameters.
    stats: its statistics.
    x: a normalised batch [B, ...].
    rates: of the analytic profile that splits a unit's time.
    norms: "frozen" or "batch"; see `base.Training`.
    optimizer: its update of all tensors is timed, and spread by the prior.
    rounds: timed runs of each program, after three that warm up.

  Returns:
    Times whose `about["closure"]` is the sum of the units' backward times over
    the whole network's before the former were scaled to the latter, None where
    noise left nothing of the latter; `compile_seconds` is that of the whole
    gradient.

  Raises:
    ValueError: for a network that is no chain, or what `analytic.profile`
      rejects.
  """
  if not network.blocks:
    raise UsageError(
      f"network {network.name!r} is not a chain of units that can be timed one "
      "by one: profile it with method 'analytic' or 'calibrated'"
    )
  prior = analytic.profile(
    network, params, stats, x, rates=rates, norms=norms, optimizer=optimizer
  )
  training = step.modes(network, mask.everything(network), norms)
  programs, num_whole, compile_seconds = _programs(
    network, params, stats, jnp.asarray(x, jnp.float32), training, optimizer
  )
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
  """Of one unit: forward pass alone, and with gradients of what it names."""

  forward: float
  params: float
  input: float
  both: float

  @property
  def weight_grad(self) -> float:
    """Forming the parameters' gradients once the gradient is at each."""
    return max(0.0, self.both - self.input)

  @property
  def leaving(self) -> float:
    """From the unit's first tensor on to its input."""
    return max(0.0, self.both - self.params)

  @property
  def inside(self) -> float:
    """From the unit's output to its first tensor."""
    return max(0.0, self.params - self.forward - self.weight_grad)


def _rows(values: list[float]) -> list[list[float]]:
  return [values[i : i + 4] for i in range(0, len(values), 4)]


def _spread(network, prior, blocks) -> tuple[list[float], list[float]]:
  """Splits the units' seconds among their tensors, by the prior's shares."""
  arrival = [0.0] * len(network.tensors)
  weight_grad = list(arrival)
  # What a unit passes on is paid on arrival at the next one with tensors.
  coming = 0.0
  for block, seconds in zip(
    reversed(network.blocks), reversed(blocks), strict=True
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


def _in_proportion(shares, total: float) -> list[float]:
  whole = math.fsum(shares)
  if whole > 0:
    return [share / whole * total for share in shares]
  return [total / len(shares)] * len(shares)


def _programs(
  network, params, stats, x, training, optimizer
) -> tuple[list[Callable[[], None]], int, float]:
  """Compiles all that is timed: three of the whole network, four per unit."""
  key = jax.random.key(0)
  labels = jnp.zeros(len(x), jnp.int32)
  advance = optimizers.at_start(optimizer)

  def loss_fn(params, x, stats, key):
    out = network.apply(params, stats, x, training=training, key=key)
    losses = optax.softmax_cross_entropy_with_integer_labels(out.logits, labels)
    return losses.mean(), out.stats

  def update(grads, slots, params):
    changes, slots = advance(grads, slots, params)
    return optax.apply_updates(params, changes), slots

  start = time.perf_counter()
  whole = _compiled(
    jax.value_and_grad(loss_fn, has_aux=True), params, x, stats, key
  )
  compile_seconds = time.perf_counter() - start
  slots = jax.jit(optimizer.init)(params)
  programs = [
    _compiled(loss_fn, params, x, stats, key),
    whole,
    _compiled(update, params, slots, params),
  ]
  num_whole = len(programs)
  for index, block in enumerate(network.blocks):
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


def _run_block(block, training, params, x, stats, key):
  return block.apply(params, stats, x, training, key)


def _pull(apply, argnums, grad, *args):
  """Runs a unit and takes a gradient back to some of its arguments."""

  def chosen(*values):
    filled = list(args)
    for argnum, value in zip(argnums, values, strict=True):
      filled[argnum] = value
    return apply(*filled)

  out, vjp, stats = jax.vjp(chosen, *(args[i] for i in argnums), has_aux=True)
  return out, stats, vjp(grad)


def _compiled(fn: Callable[..., Any], *args: Any) -> Callable[[], None]:
  call = lowering.lower(fn, args).compile()

  def run():
    jax.block_until_ready(call(*args))

  return run
