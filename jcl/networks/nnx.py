"""A user's NNX module as a network."""

from collections.abc import Callable, Mapping, Sequence
import functools
import operator
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import adapter, variances


def from_nnx(
  model: nnx.Module | Callable[[nnx.Rngs], nnx.Module],
  input_shape: tuple[int, ...],
  num_classes: int,
  *,
  name: str | None = None,
  features: str | None = None,
) -> base.Network:
  """Builds a network from an NNX module, unchanged.

  The module is called as `model(x)` and switched by its `train()` and
  `eval()`, unit by unit. Layers that belong to no unit, such as a dropout layer
  of the model itself, are in training mode where any unit trains.

  Units are the model's attributes that hold an `nnx.Param`, so give each part
  that should train or freeze alone an attribute of its own. All other
  variables are statistics. Numbers in paths become strings, and random keys
  become uint32 words.

  `taps` are the names of attributes that are called, and "NAME.input" for
  their inputs. Where a `key` is given, the model's random streams start from
  it; otherwise they go on from the counts in the statistics.

  Args:
    model: a function from `nnx.Rngs` to the module, so that `init` can draw
      new weights: `lambda rngs: Net(rngs=rngs)`. With an instance, `init`
      ignores its key and returns the weights that the instance has now.
    input_shape: of one example, without the batch axis.
    num_classes: width of the logits.
    name: of the network; the class's by default.
    features: tap that the head reads; by default the input of the last unit,
      if its shape is [B, D].

  Raises:
    ValueError: where the module does not return logits of that width.
  """
  draw = None if isinstance(model, nnx.Module) else model
  # Built for real, not traced: plain arrays among a module's attributes belong
  # to its definition and would be tracers in it.
  template = model if isinstance(model, nnx.Module) else model(nnx.Rngs(0))
  title = name or type(template).__name__
  definition, *states, rest = _split(template)
  forms = [_slots(state) for state in states]
  params_form, stats_form = forms
  weights = list(map(_read, states, forms)) if draw is None else None

  def init(key: base.Key) -> tuple[base.Params, base.Stats]:
    if draw is None:
      params, stats = jax.tree.map(jnp.copy, weights)
    else:
      drawn = _split(draw(nnx.Rngs(key)))[1:3]
      params, stats = map(_read, drawn, forms)
    return params, stats

  def run(params, stats, x, training, key):
    started = stats if key is None else _restart(stats, stats_form, key)
    copy = nnx.merge(
      definition, _write(params, params_form), _write(started, stats_form), rest
    )
    copy.eval()
    if training:
      copy.train()
      for unit in params.keys() - training:
        for _, module in nnx.iter_modules(getattr(copy, unit)):
          module.eval()
    variances.prepare(copy)
    recorded: dict[str, jax.Array] = {}
    for part, child in vars(copy).items():
      if isinstance(child, nnx.Module) and callable(child):
        _record(part, child, recorded)
    logits = copy(x)
    updated = _read(_split(copy)[2], stats_form)
    if key is not None:
      updated = _with_streams(updated, stats, stats_form)
    return logits, updated, recorded

  return adapter.adapt(title, init, run, input_shape, num_classes, features)


class _Slot(NamedTuple):
  """A variable's places in the module and in the tree of arrays."""

  path: tuple[Any, ...]
  keys: tuple[str, ...]
  variable: nnx.Variable  # with shapes instead of arrays
  impl: Any  # of a random key, else None


def _split(
  model: nnx.Module,
) -> tuple[nnx.GraphDef, nnx.State, nnx.State, nnx.State]:
  """Splits off definition, parameters and other variables; arrays are left."""
  others = nnx.All(nnx.Variable, nnx.Not(nnx.Intermediate))
  parts: tuple[Any, ...] = nnx.split(model, nnx.Param, others, ...)
  definition, params, stats, rest = parts
  return definition, params, stats, rest


def _slots(state: nnx.State) -> list[_Slot]:
  slots = []
  for path, variable in nnx.to_flat_state(state):
    value = variable.get_value()
    impl = jax.random.key_impl(value) if _is_key(value) else None
    abstract = variable.replace(jax.eval_shape(lambda value=value: value))
    slots.append(_Slot(path, tuple(map(str, path)), abstract, impl))
  return slots


def _is_key(value: Any) -> bool:
  return isinstance(value, jax.Array) and jnp.issubdtype(
    value.dtype, jax.dtypes.prng_key
  )


def _read(state: nnx.State, slots: list[_Slot]) -> dict[str, Any]:
  variables = dict(nnx.to_flat_state(state))
  tree: dict = {}
  for slot in slots:
    value = variables[slot.path].get_value()
    if slot.impl is not None:
      value = jax.random.key_data(value)
    _put(tree, slot.keys, value)
  return tree


def _write(tree: Mapping[str, Any], slots: list[_Slot]) -> nnx.State:
  flat = []
  for slot in slots:
    value = _get(tree, slot.keys)
    if slot.impl is not None:
      value = jax.random.wrap_key_data(value, impl=slot.impl)
    flat.append((slot.path, slot.variable.replace(value)))
  return nnx.from_flat_state(flat)


def _restart(
  stats: base.Stats, slots: list[_Slot], key: base.Key
) -> base.Stats:
  """Returns statistics whose random streams start from `key`."""
  tree = jax.tree.map(lambda leaf: leaf, stats)
  for index, slot in enumerate(slots):
    if slot.impl is not None:
      words = _get(tree, slot.keys)
      fresh = jax.random.fold_in(key, index)
      _put(tree, slot.keys, jax.random.bits(fresh, words.shape, words.dtype))
  return tree


def _with_streams(
  updated: base.Stats, stats: base.Stats, slots: list[_Slot]
) -> base.Stats:
  """Returns `updated` with the random streams as they are in `stats`."""
  for slot in slots:
    if isinstance(slot.variable, nnx.RngState):
      _put(updated, slot.keys, _get(stats, slot.keys))
  return updated


def _get(tree: Mapping[str, Any], keys: Sequence[str]) -> Any:
  return functools.reduce(operator.getitem, keys, tree)


def _put(tree: dict[str, Any], keys: Sequence[str], value: jax.Array) -> None:
  for key in keys[:-1]:
    tree = tree.setdefault(key, {})
  tree[keys[-1]] = value


def _record(
  name: str, module: nnx.Module, recorded: dict[str, jax.Array]
) -> None:
  """Makes a submodule record its input and output, for taps."""
  plain = type(module)

  class Recorded(plain):  # type: ignore[valid-type, misc]
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
      output = super().__call__(*args, **kwargs)
      if args and isinstance(args[0], jax.Array):
        recorded[f"{name}.input"] = args[0]
      if isinstance(output, jax.Array):
        recorded[name] = output
      return output

  module.__class__ = Recorded
