"""Keeps statistics of features beside an objective."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple
import zlib

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import statistics as statistics_lib


class Kept(NamedTuple):
  """State of `statistics`."""

  inner: Any  # of the objective that trains
  sums: Any  # what the rule keeps


class Rule(NamedTuple):
  """A way to keep what rows tell.

  `zeros(num_classes, width)` makes its state, and `add(state, x, y, weight,
  source)` takes in rows [B, D] of classes [B] and weights [B]; `source()`
  returns what `Statistics.source` holds. Where it is `signed`, a negative
  weight takes a row out.
  """

  zeros: Callable[[int, int], Any]
  add: Callable[..., Any]
  signed: bool = False


def sums(decay: float = 1.0) -> Rule:
  """Keeps sums; see `statistics.add` for the decay."""

  def add(state, x, y, weight, source):
    known = jax.lax.cond(state.begun, lambda: state.source, source)
    taken = statistics_lib.add(state, x, y, weight, decay)
    return taken._replace(source=known)

  return Rule(statistics_lib.zeros, add, signed=decay == 1)


def statistics(
  inner: base.Objective, kept: Rule | None = None, tap: str = "features"
) -> base.Objective:
  """Keeps statistics of features beside an objective.

  When an experience ends, each of its batches is seen once more, in evaluation
  mode. Nothing ahead of the tap may ever change once the first row is in.

  Args:
    inner: what trains; all of its hooks go on.
    kept: how rows are kept; None: as sums, of which nothing is forgotten.
    tap: output [B, D] to read, summed in float32; "features" is what the head
      reads.
  """
  kept = sums() if kept is None else kept

  def place(network: base.Network) -> str:
    return str(network.features) if tap == "features" else tap

  def sizes(network):
    x = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
    params, stats = jax.eval_shape(network.init, jax.random.key(0))
    name = place(network)
    out = jax.eval_shape(
      lambda *args: network.apply(*args, taps=(name,)), params, stats, x
    )
    width = out.taps[name].shape[-1]
    return inner.sizes(network), network.num_classes, width

  def init(params, stats, own, num_classes, width):
    return Kept(inner.init(params, stats, *own), kept.zeros(num_classes, width))

  def accumulate(forward, inputs):
    state, batch = inputs.state, inputs.batch
    own = state.inner
    if inner.accumulate is not None:
      own = inner.accumulate(forward, inputs._replace(state=own))
    name = place(forward.network)
    out = forward(
      inputs.params, inputs.stats, batch.x, taps=(name,), evaluate=True
    )
    rows = jnp.asarray(out.taps[name], jnp.float32)
    source = functools.partial(_source, forward, inputs, name)
    return Kept(own, kept.add(state.sums, rows, batch.y, batch.weight, source))

  return inner._replace(
    **passed_on(inner),
    sizes=sizes,
    init=init,
    accumulate=accumulate,
    signed=kept.signed and inner.accumulate is None,
  )


def passed_on(inner: base.Objective) -> dict[str, Any]:
  """Returns the hooks of an objective for a state that holds the objective's.

  The state has it under the name `inner`. Hooks that it has not are left out,
  as is `accumulate`.
  """

  def of_inputs(hook):
    return lambda forward, inputs: hook(
      forward, inputs._replace(state=inputs.state.inner)
    )

  def of_state(hook):
    return lambda state, *more: state._replace(inner=hook(state.inner, *more))

  def reviewed(hook):
    def review(forward, inputs):
      own = hook(forward, inputs._replace(state=inputs.state.inner))
      return inputs.state._replace(inner=own)

    return review

  def of_batch(hook):
    def show(forward, inputs):
      own, stats = hook(forward, inputs._replace(state=inputs.state.inner))
      return inputs.state._replace(inner=own), stats

    return show

  wrappers = {
    **dict.fromkeys(("loss", "reference"), of_inputs),
    **dict.fromkeys(("track", "begin", "finish"), of_state),
    "review": reviewed,
    **dict.fromkeys(("first_batch", "last_batch"), of_batch),
  }
  hooks = {name: getattr(inner, name) for name in wrappers}
  return {
    name: wrappers[name](hook)
    for name, hook in hooks.items()
    if hook is not None
  }


def _source(
  forward: base.Forward, inputs: base.LossInputs, tap: str
) -> jax.Array:
  """Returns digests [3] uint32 of all that makes rows of raw inputs."""
  network = forward.network
  last = network.units.index(tap.split("/")[0])
  ahead = network.units[: last + 1]
  of_unit = {
    unit: (inputs.params.get(unit, {}), inputs.stats.get(unit, {}))
    for unit in ahead
  }
  random = of_unit.pop(base.EXPAND, ())
  parts = of_unit, forward.normalisation, random
  return jnp.stack([_digest(part) for part in parts])


def _digest(tree: Any) -> jax.Array:
  """Returns a digest [] uint32 of the bits of a tree's arrays."""
  total = jnp.uint32(0)
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    bits = _bits(jnp.asarray(leaf)).reshape(-1)
    place = jnp.arange(bits.size, dtype=jnp.uint32)
    mixed = (bits ^ (bits >> 15)) * jnp.uint32(0x2C1B3C6D)
    mixed = (mixed ^ (place * jnp.uint32(0x9E3779B9))) * jnp.uint32(0x297A2D39)
    name = zlib.crc32(jax.tree_util.keystr(path).encode())
    of_leaf = jnp.sum(mixed ^ (mixed >> 15), dtype=jnp.uint32)
    total = total * jnp.uint32(31) + (of_leaf ^ jnp.uint32(name))
  return total


def _bits(leaf: jax.Array) -> jax.Array:
  """Returns the bits of each entry as uint32."""
  if leaf.dtype == bool:
    return leaf.astype(jnp.uint32)
  whole = jnp.dtype(f"uint{8 * leaf.dtype.itemsize}")
  return jax.lax.bitcast_convert_type(leaf, whole).astype(jnp.uint32)
