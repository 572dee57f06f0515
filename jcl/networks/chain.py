"""A network as a plain chain of Linen modules, one per unit."""

from collections.abc import Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import check, order


def chain(
  name: str,
  units: Sequence[tuple[str, nn.Module]],
  input_shape: tuple[int, ...],
  num_classes: int,
) -> base.Network:
  """Builds a network whose units run one after the other.

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
  blocks = tuple(_block(unit, module) for unit, module in units)

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

  def apply(params, stats, x, *, training=(), key=None, taps=()):
    check.known(name, "unit", (*training, *taps), names)
    stats, tapped = dict(stats), {}
    for index, block in enumerate(blocks):
      unit, unit_key = block.name, key
      if key is not None:
        unit_key = jax.random.fold_in(key, index)
      x, updated = block.apply(
        params.get(unit, {}),
        stats.get(unit, {}),
        x,
        unit in training,
        unit_key,
      )
      if updated:
        stats[unit] = updated
      if unit in taps:
        tapped[unit] = x
    return base.Output(x, stats, tapped)

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
  )


def _block(name: str, module: nn.Module) -> base.Block:
  def apply(params, stats, x, training, key):
    rngs = None if key is None else {"dropout": key}
    x, updated = module.apply(
      {"params": params, **stats},
      x,
      training,
      rngs=rngs,
      mutable=list(stats) if training else [],
    )
    return x, {**stats, **updated}

  return base.Block(name, apply)


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
