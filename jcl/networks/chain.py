"""A network as a plain chain of Linen modules, one per unit."""

from collections.abc import Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import blocks as blocks_lib
from jcl.networks import check, order
from jcl.options import errors
from jcl.options.errors import UsageError

_PLACES = "intermediates"  # Linen's collection of what modules sow


def chain(
  name: str,
  units: Sequence[tuple[str, nn.Module]],
  input_shape: tuple[int, ...],
  num_classes: int,
) -> base.Network:
  """Builds a network whose units run one after the other.

  Every module is called as `module(x, training)`, where `training` is a bool:
  True switches its normalisers to batch mode and its dropout on. The last unit
  is the head; the unit ahead of it must return features [B, D].

  Arrays that a module sows into its collection "intermediates" are places of
  the network, which taps name as "unit/name".

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

  >>> class Layer(nn.Module):
  ...   width: int
  ...   @nn.compact
  ...   def __call__(self, x, training):
  ...     return nn.Dense(self.width)(x)
  >>> network = chain("tiny", [("body", Layer(8)), ("head", Layer(3))], (4,), 3)
  >>> network.units, network.features
  (('body', 'head'), 'body')
  """
  check.sizes(name, input_shape, num_classes)
  names = tuple(unit for unit, _ in units)
  if not names or len(set(names)) < len(names):
    raise UsageError(
      f"{name}: unit names must differ, got {errors.names(names)}"
    )
  inputs, sown = _traced(name, units, tuple(input_shape), num_classes)
  blocks = tuple(
    _block(unit, module, places)
    for (unit, module), places in zip(units, sown, strict=True)
  )

  def init(key: base.Key) -> tuple[base.Params, base.Stats]:
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


def _block(name: str, module: nn.Module, places: tuple[str, ...]) -> base.Block:
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

  return base.Block(name, apply, watched, places)


def _traced(
  name: str,
  units: Sequence[tuple[str, nn.Module]],
  input_shape: tuple[int, ...],
  num_classes: int,
) -> tuple[list[jax.ShapeDtypeStruct], list[tuple[str, ...]]]:
  """Checks the shapes that come out of the units.

  Returns the input shape of each unit and the names that it sows, in the order
  of execution.
  """
  x = jax.ShapeDtypeStruct((2, *input_shape), jnp.float32)
  inputs, sown = [], []
  for index, (unit, module) in enumerate(units):
    if index == len(units) - 1 and index > 0 and len(x.shape) != 2:
      raise UsageError(
        f"{name}: unit {units[index - 1][0]!r} feeds the head and must return "
        f"[B, D], got shape {x.shape}; flatten or pool in it"
      )
    inputs.append(x)
    names: list[str] = []

    # Taken inside the trace: dicts that leave it have their keys sorted.
    def run(key, x, module=module, names=names):
      x, variables = module.init_with_output(key, x, False, mutable=True)
      found = variables.get(_PLACES, {})
      names.extend(k for k, value in found.items() if isinstance(value, tuple))
      return x

    x = jax.eval_shape(run, jax.random.key(0), x)
    sown.append(tuple(names))
    if not isinstance(x, jax.ShapeDtypeStruct):
      raise UsageError(
        f"{name}: unit {unit!r} must return one array, got {type(x).__name__}"
      )
  check.logits(name, x, num_classes)
  return inputs, sown
