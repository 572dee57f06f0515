"""A user's NNX module as a network."""

from collections.abc import Callable

from flax import nnx, traverse_util
import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import adapter


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
  definition, *states, rest = _split(template)
  templates = [jax.eval_shape(dict, nnx.to_flat_state(s)) for s in states]
  fresh = [_to_arrays(state) for state in states] if fixed else None

  def init(key):
    if fresh is not None:
      return tuple(jax.tree.map(jnp.copy, part) for part in fresh)
    return tuple(map(_to_arrays, _split(model(nnx.Rngs(_typed(key))))[1:3]))

  def run(params, stats, x, training, key):
    held = map(_to_state, templates, (params, stats))
    copy = nnx.merge(definition, *held, rest)
    copy.eval()
    if training:
      copy.train()
      for unit in set(params) - training:
        _evaluate(getattr(copy, unit))
    if key is not None:
      _reseed(copy, _typed(key))
    recorded: dict[str, jax.Array] = {}
    for part, child in vars(copy).items():
      if isinstance(child, nnx.Module) and callable(child):
        _record(part, child, recorded)
    logits = copy(x)
    updated = _to_arrays(_split(copy)[2])
    return logits, updated, recorded

  title = name or type(template).__name__
  return adapter.adapt(title, init, run, input_shape, num_classes, features)
