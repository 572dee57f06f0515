"""A user's Linen module as a network."""

from collections.abc import Callable
import inspect
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from jcl import base
from jcl.errors import UsageError
from jcl.networks import adapter, check

# Names by which modules are told the mode, and what they are told in training.
_MODES = {
  "train": True,
  "training": True,
  "is_training": True,
  "deterministic": False,
  "use_running_average": False,
}
_RECORD = "recorded_calls"  # collection for the calls of submodules


def from_linen(
  module: nn.Module,
  input_shape: tuple[int, ...],
  num_classes: int,
  *,
  name: str | None = None,
  training_argument: str | None = None,
  features: str | None = None,
) -> base.Network:
  """Builds a network from a Linen module, unchanged.

  The module is called as `module(x)`, plus the keyword that switches it to
  training: `train`, `training` or `is_training`, or with the opposite meaning
  `deterministic` or `use_running_average`, whichever its signature has.

  Units are the top-level keys of its "params". All other collections are
  statistics, as `{unit: {collection: arrays}}`, except those that grow with
  every call. A module cannot be switched unit by unit: it runs in training
  mode where any unit trains, and the statistics of units outside `training`
  are returned unchanged.

  `taps` are the names of submodules that are called, and "NAME.input" for
  what they read. A `key` feeds dropout and any other random stream.

  Args:
    module: returns logits [B, num_classes].
    input_shape: of one example, without the batch axis.
    num_classes: width of the logits.
    name: of the network; the class's by default.
    training_argument: keyword that is True in training (False, for the last
      two names above), where it is none of those.
    features: tap that the head reads; by default the input of the last unit,
      where that is [B, D].

  Raises:
    ValueError: where the module does not take `training_argument`, or does
      not return logits of that width.

  >>> network = from_linen(nn.Dense(3), (4,), 3)
  >>> [tensor.path for tensor in network.tensors]
  [('kernel',), ('bias',)]
  """
  name = name or type(module).__name__
  check.sizes(name, input_shape, num_classes)
  mode = _mode(name, module, training_argument)

  def zeros():
    return jnp.zeros((1, *input_shape), jnp.float32)

  states = _states(module, mode, zeros)

  def init(key):
    variables = dict(module.init(key, zeros(), **mode(False)))
    kept = {part: variables[part] for part in states}
    return variables.get("params", {}), _transpose(kept)

  def run(params, stats, x, training, key):
    with nn.intercept_methods(_record):
      logits, updated = module.apply(
        {"params": params, **_transpose(stats)},
        x,
        rngs=_streams(key),
        mutable=[*states, _RECORD],
        **mode(bool(training)),
      )
    recorded = {
      part if what == "output" else f"{part}.{what}": value
      for part, call in updated.get(_RECORD, {}).items()
      for what, value in call.items()
    }
    kept = {part: updated[part] for part in states}
    return logits, _transpose(kept), recorded

  return adapter.adapt(name, init, run, input_shape, num_classes, features)


def _mode(name, module, argument) -> Callable[[bool], dict[str, Any]]:
  """Returns the keywords that put the module in a mode, as a function."""
  parameters = inspect.signature(type(module).__call__).parameters
  found = [argument] if argument else [n for n in _MODES if n in parameters]
  if argument and argument not in parameters:
    raise UsageError(
      f"{name} takes no argument {argument!r}; training_argument must be one "
      f"of {', '.join(n for n in parameters if n != 'self')}"
    )
  return lambda training: {n: training == _MODES.get(n, True) for n in found}


def _states(module, mode, zeros) -> tuple[str, ...]:
  """Names the collections that keep their form from call to call.

  What a module sows (losses, activations) is longer after every call: a
  record of one call rather than a state.
  """

  def call(key):
    variables = dict(module.init(key, zeros(), **mode(False)))
    others = [part for part in variables if part != "params"]
    _, updated = module.apply(
      variables, zeros(), rngs=_streams(key), mutable=others, **mode(True)
    )
    return variables, updated

  before, after = jax.eval_shape(call, jax.random.key(0))

  def form(tree) -> Any:
    return jax.tree.structure(tree)

  return tuple(
    part for part in after if form(after[part]) == form(before[part])
  )


def _streams(key):
  # Linen draws streams that are not named here from "params".
  if key is None:
    return None
  dropout, others = jax.random.split(key)
  return {"dropout": dropout, "params": others}


def _transpose(tree):
  """Swaps the two outer levels of a nested dict."""
  swapped: dict = {}
  for outer, parts in tree.items():
    for inner, value in parts.items():
      swapped.setdefault(inner, {})[outer] = value
  return swapped


def _record(next_fn, args, kwargs, context):
  """Keeps what direct submodules read and return, for taps."""
  output = next_fn(*args, **kwargs)
  module = context.module
  if context.method_name == "__call__" and len(module.path) == 1:
    for what, value in (("input", args[:1]), ("output", (output,))):
      if value and isinstance(value[0], jax.Array):
        module.sow(
          _RECORD,
          what,
          value[0],
          reduce_fn=lambda old, new: new,
          init_fn=lambda: None,
        )
  return output
