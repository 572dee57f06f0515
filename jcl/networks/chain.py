"""A network as a plain chain of Linen modules, one per unit."""

from collections.abc import Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import blocks as blocks_lib
from jcl.networks import check, order

_PLACES = "intermediates"  # Linen's collection of what modules sow


def chain(
  name: str,
  units: Sequence[tuple[str, nn.Module]],
  input_shape: tuple[int, ...],
  num_classes: int,
) -> base.Network:
  """Builds a network whose units run one after the other.

  What a module sows into its collection "intermediates" is a place of the
  network, which taps can name as "unit/name".

  Every module is called as `module(x, training)`, where `training` is a bool:
  True puts its normalisers in batch mode and its dropout to work. The unit
  ahead of the last, the head, must return features [B, D].

  Parameters are `{unit: arrays}` and statistics `{unit: {collection: arrays}}`;
  units that have none have no key. Each unit draws from its own random key,
  `jax.random.fold_in(key, position of the unit)`.

  Args:
    name: of the network.
    units: names and modules, input side first.
    input_shape: of one example, without the batch axis.
    num_classes: width of the logits.

  Raises:
    ValueError: for unit names that repeat, features that are not [B, D], or
      logits that are not [B, num_classes].
  """
  check.sizes(name, input_shape, num_classes)
  names = tuple(unit for unit, _ in units)
  if not names or len(set(names)) < len(names):
    raise ValueError(f"{name}: unit names must differ, got {list(names)}")
  inputs = _input_shapes(name, units, tuple(input_shape), num_classes)
  blocks = tuple(
    _block(unit, module, x)
    for (unit, module), x in zip(units, inputs, strict=True)
  )

  def init(key):
    params, stats = {}, {}
    keys = jax.random.split(key, len(units))
    for (unit, module), x, unit_key in zip(units, inputs, keys, strict=True):
      variables = dict(module.lazy_init(unit_key, x, False))
      arrays = variables.pop("params", None)
      if arrays:
        params[unit] = arrays
      if variables:
        stats[unit] = variables
    return params, stats

  apply = blocks_lib.apply_fn(name, blocks)
  params, stats = jax.eval_shape(init, jax.random.key(0))
  tensors = order.tensors(
    lambda params, stats, x: apply(params, stats, x).logits,
    params,
    stats,
    inputs[0],
  )
  return base.Network(
    name,
    names,
    tensors,
    init,
    apply,
    tuple(input_shape),
    num_classes,
    features=names[-2] if len(names) > 1 else None,
    blocks=blocks,
    places=blocks_lib.places(blocks),
  )


def _block(name: str, module: nn.Module, x) -> base.Block:
  def run(params, stats, x, training, key, more):
    rngs = None if key is None else {"dropout": key}
    x, updated = module.apply(
      {"params": params, **stats},
      x,
      training,
      rngs=rngs,
      mutable=[*(stats if training else ()), *more],
    )
    updated = dict(updated)
    sown = updated.pop(_PLACES, {})
    return x, {**stats, **updated}, {k: found[-1] for k, found in sown.items()}

  def apply(params, stats, x, training, key):
    return run(params, stats, x, training, key, ())[:2]

  def watched(params, stats, x, training, key):
    return run(params, stats, x, training, key, (_PLACES,))

  return base.Block(name, apply, watched, _sown(module, x))


def _input_shapes(name, units, input_shape, num_classes):
  """Returns what each unit reads, as shapes, and checks what comes out."""
  x = jax.ShapeDtypeStruct((2, *input_shape), jnp.float32)
  inputs = []
  for index, (unit, module) in enumerate(units):
    if index == len(units) - 1 and index > 0 and len(x.shape) != 2:
      raise ValueError(
        f"{name}: unit {units[index - 1][0]!r} feeds the head and must return "
        f"[B, D], got shape {x.shape}; flatten or pool in it"
      )
    inputs.append(x)
    x, _ = jax.eval_shape(
      lambda key, x, module=module: module.init_with_output(key, x, False),
      jax.random.key(0),
      x,
    )
    if not isinstance(x, jax.ShapeDtypeStruct):
      raise ValueError(
        f"{name}: unit {unit!r} must return one array, got {type(x).__name__}"
      )
  check.logits(name, x, num_classes)
  return inputs


def _sown(module: nn.Module, x) -> tuple[str, ...]:
  """Names what a module sows, in the order of execution."""
  found = jax.eval_shape(
    lambda key, x: module.init_with_output(
      key, x, False, mutable=["params", "batch_stats", _PLACES]
    )[1].get(_PLACES, {}),
    jax.random.key(0),
    x,
  )
  return tuple(
    name for name, value in found.items() if isinstance(value, tuple)
  )
