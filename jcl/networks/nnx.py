"""A user's NNX module as a network."""

from collections.abc import Callable
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
  `eval()`, unit by unit: what belongs to no unit, such as a dropout layer of
  the model itself, is in training mode where any unit trains.

  Units are the model's attributes that hold an `nnx.Param`, so give each part
  that should train or freeze alone an attribute of its own. All other
  variables are statistics. Numbers in paths become strings, random keys the
  uint32 words they are made of.

  `taps` are the names of attributes that are called, and "NAME.input" for
  what they read. Where a `key` is given, the model's random streams start
  from it; otherwise they go on from where the statistics say they are.

  Args:
    model: a function from `nnx.Rngs` to the module, so that `init` can draw
      new weights: `lambda rngs: Net(rngs=rngs)`. With an instance, `init`
      ignores its key and returns the weights that the instance has now.
    input_shape: of one example, without the batch axis.
    num_classes: width of the logits.
    name: of the network; the class's by default.
    features: tap that the head reads; by default the input of the last unit,
      where that is [B, D].

  Raises:
    ValueError: where the module does not return logits of that width.
  """
  fixed = isinstance(model, nnx.Module)
  # Built for real, not traced: plain arrays among a module's attributes belong
  # to its definition and would be tracers in it.
  template = model if fixed else model(nnx.Rngs(0))
  title = name or type(template).__name__
  definition, *states, rest = _split(template)
  forms = [_slots(state) for state in states]
  params_form, stats_form = forms
  weights = list(map(_read, states, forms)) if fixed else None

  def init(key):
    if weights is not None:
      return tuple(jax.tree.map(jnp.copy, weights))
    return tuple(map(_read, _split(model(nnx.Rngs(key)))[1:3], forms))

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
  """Where a variable is, in the module and in the tree made of it."""

  path: tuple[Any, ...]
  keys: tuple[str, ...]
  variable: nnx.Variable  # with shapes instead of arrays
  impl: Any  # of a random key, else None


def _split(model):
  """Returns definition, parameters, other variables and the arrays left."""
  others = nnx.All(nnx.Variable, nnx.Not(nnx.Intermediate))
  return nnx.split(model, nnx.Param, others, ...)


def _slots(state) -> list[_Slot]:
  slots = []
  for path, variable in nnx.to_flat_state(state):
    value = variable.get_value()
    impl = jax.random.key_impl(value) if _is_key(value) else None
    abstract = variable.replace(jax.eval_shape(lambda value=value: value))
    slots.append(_Slot(path, tuple(map(str, path)), abstract, impl))
  return slots


def _is_key(value) -> bool:
  return isinstance(value, jax.Array) and jnp.issubdtype(
    value.dtype, jax.dtypes.prng_key
  )


def _read(state, slots: list[_Slot]) -> dict:
  variables = dict(nnx.to_flat_state(state))
  tree: dict = {}
  for slot in slots:
    value = variables[slot.path].get_value()
    if slot.impl is not None:
      value = jax.random.key_data(value)
    _put(tree, slot.keys, value)
  return tree


def _write(tree, slots: list[_Slot]):
  flat = []
  for slot in slots:
    value = _get(tree, slot.keys)
    if slot.impl is not None:
      value = jax.random.wrap_key_data(value, impl=slot.impl)
    flat.append((slot.path, slot.variable.replace(value)))
  return nnx.from_flat_state(flat)


def _restart(stats, slots: list[_Slot], key):
  """Returns statistics whose random streams start from `key`."""
  tree = jax.tree.map(lambda leaf: leaf, stats)
  for index, slot in enumerate(slots):
    if slot.impl is not None:
      words = _get(tree, slot.keys)
      fresh = jax.random.fold_in(key, index)
      _put(tree, slot.keys, jax.random.bits(fresh, words.shape, words.dtype))
  return tree


def _with_streams(updated, stats, slots: list[_Slot]):
  """Returns `updated` with the random streams as they are in `stats`."""
  for slot in slots:
    if isinstance(slot.variable, nnx.RngState):
      _put(updated, slot.keys, _get(stats, slot.keys))
  return updated


def _get(tree, keys):
  return functools.reduce(operator.getitem, keys, tree)


def _put(tree, keys, value):
  for key in keys[:-1]:
    tree = tree.setdefault(key, {})
  tree[keys[-1]] = value


def _record(name: str, module: nnx.Module, recorded: dict) -> None:
  """Makes a submodule write down what it reads and returns, for taps."""
  plain = type(module)

  class Recorded(plain):  # type: ignore[valid-type, misc]
    def __call__(self, *args, **kwargs):
      output = super().__call__(*args, **kwargs)
      if args and isinstance(args[0], jax.Array):
        recorded[f"{name}.input"] = args[0]
      if isinstance(output, jax.Array):
        recorded[name] = output
      return output

  module.__class__ = Recorded
