"""Running variances as PyTorch keeps them.

Flax averages the plain variance of a batch. In expectation it is (n-1)/n times
the variance of the distribution, with n the number of values of a channel:
batch times height times width. PyTorch averages n/(n-1) times the plain
variance. Both normalise by the plain variance.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
import contextlib
import contextvars
import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

from flax import linen as nn
from flax.linen.module import InterceptorContext
import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import blocks as blocks_lib
from jcl.options.errors import UsageError

if TYPE_CHECKING:
  from flax import nnx

# Names of running variances, at any depth of the statistics.
_VARIANCE = re.compile(r"(.*_)?var(iance)?")

# Modules corrected so far within a call of an unbiased network; None outside
# one. A context variable, since NNX has no interceptors as Linen has.
_corrected: contextvars.ContextVar[dict[Any, Any] | None] = (
  contextvars.ContextVar("corrected", default=None)
)


def unbiased(network: base.Network) -> base.Network:
  """Returns the network with running variances of n/(n-1) times a batch's.

  All else stays, outputs included. The variance of a single value stays too;
  PyTorch raises an error for it. Applied twice, the change is made once.

  Args:
    network: a model whose normalisers are Linen's or NNX's `BatchNorm`, or of
      classes derived from these.

  Raises:
    ValueError: where other running variances change in training.
  """

  def change(inner: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*args: Any, **options: Any) -> Any:
      with _correcting():
        return inner(*args, **options)

    return apply

  _check(network)
  blocks = network.blocks and tuple(
    blocks_lib.changed(block, change) for block in network.blocks
  )
  return dataclasses.replace(
    network, apply=change(network.apply), blocks=blocks
  )


def prepare(model: "nnx.Module") -> None:
  """Makes an NNX model's normalisers unbiased within an unbiased network."""
  if _corrected.get() is None:
    return
  from flax import nnx  # no other network needs it

  for _, module in nnx.iter_modules(model):
    if isinstance(module, nnx.BatchNorm):
      module.__class__ = _of_nnx(type(module))


def _check(network: base.Network) -> None:
  """Raises ValueError unless all running variances are of known modules."""
  moved: list[str] = []
  known: dict[Any, Any] = {}

  def apply(key: base.Key, x: jax.Array) -> None:
    params, stats = network.init(key)
    with _correcting() as found:
      out = network.apply(params, stats, x, training=network.units, key=key)
    known.update(found)
    before = jax.tree_util.tree_leaves_with_path(stats)
    for (path, old), new in zip(
      before, jax.tree.leaves(out.stats), strict=True
    ):
      keys = [str(key.key) for key in path]
      if any(map(_VARIANCE.fullmatch, keys)) and new is not old:
        moved.append("/".join(keys))

  x = jax.ShapeDtypeStruct((2, *network.input_shape), jnp.float32)
  jax.eval_shape(apply, jax.random.key(0), x)
  if len(moved) > len(known):
    raise UsageError(
      f"network {network.name!r} keeps {len(moved)} running variances, such as "
      f"{moved[0]!r}, but {len(known)} layers of flax.linen.BatchNorm or "
      "flax.nnx.BatchNorm: variance=unbiased (which published=True asks for) "
      "knows no other normalisers; leave it out, or use these"
    )


@contextlib.contextmanager
def _correcting() -> Iterator[dict[Any, Any]]:
  outer = _corrected.get()
  if outer is not None:
    yield outer
    return
  found: dict[Any, Any] = {}
  token = _corrected.set(found)
  try:
    with nn.intercept_methods(_in_linen):
      yield found
  finally:
    _corrected.reset(token)


def _note(key: Hashable, holder: Any) -> None:
  found = _corrected.get()
  if found is not None:
    found[key] = holder  # kept, as its identity is part of the key


def _in_linen(
  next_fn: Callable[..., Any],
  args: tuple[Any, ...],
  kwargs: dict[str, Any],
  context: InterceptorContext,
) -> Any:
  module, at = context.module, ("batch_stats", "var")
  before: Any
  after: Any
  if not (
    isinstance(module, nn.BatchNorm)
    and context.method_name == "__call__"
    and module.has_variable(*at)
  ):
    return next_fn(*args, **kwargs)
  before = module.get_variable(*at)
  output = next_fn(*args, **kwargs)
  after = module.get_variable(*at)
  if after is not before:
    count = _count(module.axis, *args, **kwargs)
    module.put_variable(*at, _correct(before, after, module.momentum, count))
    root = module.scope and module.scope.root
    _note((id(root), module.path), root)
  return output


def _of_nnx(plain: type) -> type:
  class Corrected(plain):
    def __call__(self, *args: Any, **kwargs: Any) -> jax.Array:
      before = self.var.get_value()
      output = super().__call__(*args, **kwargs)
      after = self.var.get_value()
      if after is not before:
        count = _count(self.axis, *args, **kwargs)
        self.var.set_value(_correct(before, after, self.momentum, count))
        _note(id(self), self)
      return output

  return Corrected


def _count(
  axis: int | Sequence[int],
  x: jax.Array,
  *_: Any,
  mask: jax.Array | None = None,
  **__: Any,
) -> int | jax.Array:
  """Returns how many values of each channel a normaliser averages."""
  channels = {i % x.ndim for i in ((axis,) if isinstance(axis, int) else axis)}
  averaged = tuple(i for i in range(x.ndim) if i not in channels)
  if mask is None:
    return math.prod(x.shape[i] for i in averaged)
  return jnp.sum(jnp.broadcast_to(mask, x.shape).astype(bool), averaged)


def _correct(
  before: jax.Array, after: jax.Array, momentum: float, count: int | jax.Array
) -> jax.Array:
  # `after` less `momentum` times `before` is the share of this batch.
  return after + (after - momentum * before) / jnp.maximum(count - 1, 1)
