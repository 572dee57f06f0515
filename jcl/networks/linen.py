"""A user's Linen module as a network."""

from collections.abc import Callable, Mapping
import inspect
from typing import Any

from flax import linen as nn
from flax.linen.module import InterceptorContext
import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import adapter, check
from jcl.options.errors import UsageError

# Arguments by which modules are switched, with their values in training.
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

  The module is called as `module(x)`, plus the keyword in its signature that
  switches it to training: `train`, `training` or `is_training`, or, with the
  opposite meaning, `deterministic` or `use_running_average`.

  Units are the top-level keys of its "params". All other collections are
  statistics, as `{unit: {collection: arrays}}`, except those that grow with
  every call. A module cannot be switched unit by unit: it runs in training
  mode where any unit trains, and the statistics of units outside `training`
  are returned unchanged.

  `taps` are the names of submodules that are called, and "NAME.input" for
  their inputs. A `key` feeds dropout and any other random stream.

  Args:
    module: returns logits [B, num_classes].
    input_shape: of one example, without the batch axis.
    num_classes: width of the logits.
    name: of the network; the class's by default.
    training_argument: another keyword that is True in training, for modules
      with none of the names above.
    features: tap that the head reads; by default the input of the last unit,
      if its shape is [B, D].

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

  def zeros() -> jax.Array:
    return jnp.zeros((1, *input_shape), jnp.float32)

  states = _states(module, mode, zeros)

  def init(key: base.Key) -> tuple[base.Params, base.Stats]:
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


def _mode(
  name: str, module: nn.Module, argument: str | None
) -> Callable[[bool], dict[str, Any]]:
  """Returns the keywords that put the module in a mode, as a function."""
  parameters = inspect.signature(type(module).__call__).parameters
  found = [argument] if argument else [n for n in _MODES if n in parameters]
  if argument and argument not in parameters:
    raise UsageError(
      f"{name} takes no argument {argument!r}; training_argument must be one "
      f"of {', '.join(n for n in parameters if n != 'self')}"
    )
  return lambda training: {n: training == _MODES.get(n, True) for n in found}


def _states(
  module: nn.Module,
  mode: Callable[[bool], dict[str, Any]],
  zeros: Callable[[], jax.Array],
) -> tuple[str, ...]:
  """Names the collections that keep their form from call to call.

  A collection that a module sows into (losses, activations) is longer after
  every call: it records one call and is no state.
  """

  def call(key):
    variables = dict(module.init(key, zeros(), **mode(False)))
    others = [part for part in variables if part != "params"]
    _, updated = module.apply(
      variables, zeros(), rngs=_streams(key), mutable=others, **mode(True)
    )
    return variables, updated

  before, after = jax.eval_shape(call, jax.random.key(0))

  def form(tree: Any) -> Any:
    return jax.tree.structure(tree)

  return tuple(
    part for part in after if form(after[part]) == form(before[part])
  )


def _streams(key: base.Key | None) -> dict[str, base.Key] | None:
  # Linen draws streams without a key of their own from "params".
  if key is None:
    return None
  dropout, others = jax.random.split(key)
  return {"dropout": dropout, "params": others}


def _transpose(tree: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """Swaps the two outer levels of a nested dict."""
  swapped: dict = {}
  for outer, parts in tree.items():
    for inner, value in parts.items():
      swapped.setdefault(inner, {})[outer] = value
  return swapped


def _record(
  next_fn: Callable[..., Any],
  args: tuple[Any, ...],
  kwargs: dict[str, Any],
  context: InterceptorContext,
) -> Any:
  """Keeps the inputs and outputs of direct submodules, for taps."""
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
