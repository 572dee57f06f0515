"""Networks whose layers multiply in MX formats."""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any

from flax import linen as nn
from flax.linen.module import InterceptorContext
import jax
import jax.numpy as jnp

from jcl import base
from jcl.networks import blocks as blocks_lib
from jcl.networks.mx import formats, matmul
from jcl.options.errors import UsageError


def policy(
  network: base.Network,
  *,
  fmt_infer: formats.Format = "mx6",
  fmt_train: formats.Format = "mx9",
  rounding: formats.Rounding = "rne",
) -> base.Network:
  """Returns the network with its products in MX formats.

  The layers concerned are every `nn.Dense`, `nn.DenseGeneral` and ungrouped
  `nn.Conv`, the first and the last included. Grouped convolutions, biases,
  normalisers, softmax and the products of attention stay as they are, and so do
  parameters, gradients as the optimiser reads them, and statistics (Kim et al.,
  "DaCapo", ISCA 2024, https://arxiv.org/abs/2403.14353).

  Args:
    network: of Linen modules: a chain of units, or from `linen.from_linen`.
    fmt_infer: format of units that do not train: inference, validation, labels.
    fmt_train: format of units in `training`, in all three passes. Runs with
      frozen normalisers leave units with normalisers out of `training`: give
      the same format as `fmt_infer` too, so that these units train in it.
    rounding: in both formats. "stochastic" draws from the key that the network
      is given; without a key, units that do not train round to the nearest.

  Raises:
    ValueError: for other formats or roundings, and for networks without such
      layers.
  """
  formats.mantissa(fmt_infer)
  formats.mantissa(fmt_train)
  if rounding not in formats.ROUNDINGS:
    raise UsageError(
      f"rounding={rounding!r}: choose from {', '.join(formats.ROUNDINGS)}"
    )
  is_chain = network.blocks is not None
  found: set[tuple[str, ...]] = set()

  def layers(training: Sequence[str]) -> "_Layers":
    return _Layers(
      is_chain, frozenset(training), fmt_infer, fmt_train, rounding, found
    )

  def apply(params, stats, x, *, training=(), **options):
    with nn.intercept_methods(layers(training)):
      return network.apply(params, stats, x, training=training, **options)

  def block(inner: Callable[..., Any]) -> Callable[..., Any]:
    def apply_block(*args):
      with nn.intercept_methods(layers(())):
        return inner(*args)

    return apply_block

  x = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
  jax.eval_shape(apply, *jax.eval_shape(network.init, jax.random.key(0)), x)
  if not found:
    raise UsageError(
      f"{network.name} has no Linen layer Dense, DenseGeneral or Conv to "
      "compute in an MX format; build the network of such layers"
    )
  blocks = network.blocks and tuple(
    blocks_lib.changed(each, block) for each in network.blocks
  )
  return dataclasses.replace(network, apply=apply, blocks=blocks)


class _Layers:
  """Makes Linen's layers multiply in MX formats while a network is applied."""

  def __init__(
    self,
    is_chain: bool,
    units: frozenset[str],
    infer: formats.Format,
    train: formats.Format,
    rounding: formats.Rounding,
    found: set[tuple[str, ...]],
  ) -> None:
    self._is_chain = is_chain
    self._units = units
    self._formats = {False: infer, True: train}
    self._rounding = rounding
    self._found = found
    self._training = False  # whether the chain's unit that runs trains

  def __call__(
    self,
    next_fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: InterceptorContext,
  ) -> Any:
    module = context.module
    if context.method_name != "__call__":
      return next_fn(*args, **kwargs)
    if self._is_chain and not module.path:  # a unit: module(x, training)
      self._training = bool(args[1])
    if self._is_chain:
      training = self._training
    else:  # a network of one layer has no path: it trains if any unit does
      training = bool(
        self._units & {*module.path[:1]} if module.path else self._units
      )
    name: str
    of: type
    if isinstance(module, (nn.Dense, nn.DenseGeneral)):
      name, of = "dot_general", _Dot
    elif isinstance(module, nn.Conv) and module.feature_group_count == 1:
      name, of = "conv_general_dilated", _Convolution
    else:
      return next_fn(*args, **kwargs)
    if isinstance(getattr(module, name), of):  # it is the clone made below
      return next_fn(*args, **kwargs)
    self._found.add(module.path)
    product = of(self._formats[training], *self._drawn(module, training))
    changes: dict[str, Any] = {name: product, f"{name}_cls": None}
    return module.clone(parent=module.scope, **changes)(*args, **kwargs)

  def _drawn(
    self, module: nn.Module, training: bool
  ) -> tuple[formats.Rounding, jax.Array | None]:
    if self._rounding != "stochastic":
      return self._rounding, None
    if module.has_rng("dropout"):
      return "stochastic", module.make_rng("dropout")
    if training:
      raise ValueError(
        "stochastic rounding draws in training: give the network a key"
      )
    return "rne", None


@dataclasses.dataclass(frozen=True, eq=False)
class _Dot:
  """In place of `jax.lax.dot_general`, for dense layers."""

  fmt: formats.Format
  rounding: formats.Rounding
  key: jax.Array | None

  def __call__(
    self,
    x: jax.Array,
    w: jax.Array,
    dimension_numbers: jax.lax.DotDimensionNumbers,
    **_: Any,
  ) -> jax.Array:
    (over, of_w), (batch, _batch_of_w) = dimension_numbers
    if batch:
      raise UsageError(
        f"a layer with batch axes {tuple(batch)} is no product of matrices; "
        "give DenseGeneral no batch_dims"
      )
    summed = [axis % x.ndim for axis in over]
    kept = [axis for axis in range(x.ndim) if axis not in summed]
    out = [axis for axis in range(w.ndim) if axis not in of_w]
    terms = math.prod(x.shape[axis] for axis in summed)
    rows = x.transpose(*kept, *summed)
    rows = rows.reshape(*rows.shape[: len(kept)], terms)
    columns = w.transpose(*of_w, *out).reshape(terms, -1)
    y = matmul.matmul(
      rows, columns, fmt=self.fmt, rounding=self.rounding, key=self.key
    )
    return y.reshape(*y.shape[:-1], *(w.shape[axis] for axis in out))


@dataclasses.dataclass(frozen=True, eq=False)
class _Convolution:
  """In place of `jax.lax.conv_general_dilated`, for layers of Linen."""

  fmt: formats.Format
  rounding: formats.Rounding
  key: jax.Array | None

  def __call__(
    self,
    x: jax.Array,
    w: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    lhs_dilation: Sequence[int] | None,
    rhs_dilation: Sequence[int] | None,
    **_: Any,
  ) -> jax.Array:
    return matmul.conv(
      x,
      w,
      strides=strides,
      padding=padding,
      lhs_dilation=lhs_dilation,
      rhs_dilation=rhs_dilation,
      fmt=self.fmt,
      rounding=self.rounding,
      key=self.key,
    )
