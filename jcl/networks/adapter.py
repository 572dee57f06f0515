"""Makes a network of a user's module, given as two pure functions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import check, order
from jcl.options.errors import UsageError

# run(params, stats, x, training, key) -> (logits, stats, recorded): `training`
# is a frozenset of unit names; `recorded` maps each submodule that was called
# to its output, and f"{submodule}.input" to its first argument, both of its
# last call.
Run = Callable[..., tuple[jax.Array, base.Stats, dict[str, Any]]]


def adapt(
  name: str,
  init: Callable[[base.Key], tuple[base.Params, base.Stats]],
  run: Run,
  input_shape: tuple[int, ...],
  num_classes: int,
  features: str | None,
) -> base.Network:
  """Builds a network from functions of a module that is not a chain.

  Its units are the top-level keys of the parameters, in execution order.
  Statistics of units outside `training` are returned unchanged; statistics that
  belong to no unit are updated while any unit trains.

  Args:
    name: of the network.
    init: draws parameters and statistics, both nested by top-level name.
    run: see `Run`.
    input_shape: of one example, without the batch axis.
    num_classes: width of the logits.
    features: tap that the head reads; None: the input of the last unit, if its
      shape is [B, D].

  Raises:
    ValueError: where the module does not return logits [B, num_classes], has
      no parameters, or no submodule that `features` names.
  """
  check.sizes(name, input_shape, num_classes)
  x = jax.ShapeDtypeStruct((2, *input_shape), jnp.float32)
  params, stats = jax.eval_shape(init, jax.random.key(0))
  if not jax.tree.leaves(params):
    raise UsageError(f"{name} has no parameters to learn")

  def evaluate(
    params: base.Params, stats: base.Stats, x: jax.Array
  ) -> tuple[jax.Array, dict[str, Any]]:
    logits, _, recorded = run(params, stats, x, frozenset(), None)
    return logits, recorded

  logits, recorded = jax.eval_shape(evaluate, params, stats, x)
  check.logits(name, logits, num_classes)
  units, tensors = order.layout(
    lambda *args: evaluate(*args)[0], params, stats, x
  )
  tappable = {tap: len(array.shape) for tap, array in recorded.items()}
  if features is not None:
    check.known(name, "submodule", (features,), tappable)
  elif tappable.get(f"{units[-1]}.input") == 2:
    features = f"{units[-1]}.input"

  def apply(params, stats, x, *, training=(), key=None, taps=()):
    check.known(name, "unit", training, units)
    check.known(name, "tap", taps, tappable)
    logits, updated, recorded = run(params, stats, x, frozenset(training), key)
    check.logits(name, logits, num_classes)
    moving = set(stats) - (set(units) - set(training)) if training else set()
    stats = {
      part: updated[part] if part in moving else old
      for part, old in stats.items()
    }
    return base.Output(logits, stats, {tap: recorded[tap] for tap in taps})

  return base.Network(
    name,
    units,
    tensors,
    init,
    apply,
    tuple(input_shape),
    num_classes,
    features,
  )
