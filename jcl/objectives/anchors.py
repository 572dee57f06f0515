"""A few feature maps of a few images, held where they were.

Wang et al., "LightCL: Compact Continual Learning with Low Memory Footprint For
Edge Device", ASP-DAC 2025, https://arxiv.org/abs/2407.10545: when an experience
begins, the network as it stands computes features of its first images. In a few
channels of the layers that train, these feature maps are anchors for all
updates of that experience.

No example of an earlier experience is needed: the anchors of one experience
are replaced at the next. Below the first unit that trains, the network is a
constant function. Where the network is a chain, the output of that part is
therefore kept in place of the anchors' inputs.
"""

from collections.abc import Callable, Sequence
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.objectives import supervised, teacher
from jcl.objectives import taps as taps_lib
from jcl.options.errors import UsageError

# The paper's count of anchors and size of a map (4 x 4), for which `beta` is
# given; for others the drift is scaled.
_USUAL_ANCHORS, _USUAL_AREA = 15, 16
_CROSS_ENTROPY = supervised.cross_entropy(current=True)


class Anchors(NamedTuple):
  """State of `anchored`; `M` anchors, a tap has `C` channels, `K` are held."""

  held: jax.Array  # [M, ...] inputs of the first trained unit, or raw inputs
  weight: jax.Array  # [M] float32, 0 where there is no anchor
  maps: tuple[jax.Array, ...]  # of each tap [M, ..., K], chosen channels only
  logits: jax.Array  # [M, classes]
  masks: tuple[jax.Array, ...]  # of each tap [C] bool, only ever grown


def anchored(
  beta: float = 2e-4,
  ratio: float = 0.15,
  count: int = 15,
  *,
  begins: Callable[[base.Network], int],
  taps: Sequence[str] = (),
  cap: float = 0.5,
  inner: base.Objective = _CROSS_ENTROPY,
  source: str = "new",
  published: bool = False,
) -> base.Objective:
  """Adds to a loss the drift of a few feature maps and of the logits.

  The drift (the paper's anchor loss) is the sum of squared differences to the
  anchors' maps and logits, `beta` times. When an experience ends, the channels
  that are active in one of its batches join the channels held before.

  Args:
    beta: weight of the drift for 15 anchors and maps of 4 x 4; for other
      counts and sizes the drift is scaled to weigh the same.
    ratio: share of a tap's channels that an experience adds; 1 holds all.
    count: number of anchors.
    begins: maps a network to the position of its first unit that trains.
    taps: outputs to hold, units or places of `Network.places`; (): the places
      of all units that train, or their outputs, without the head.
    cap: bound on the held channels of a tap, as a share of all.
    inner: the loss to add to; it must remember nothing.
    source: "new" takes anchors from the new experience's first batch, "old"
      from the first draw of the memory that `inner` replays.
    published: does as the authors' program. The sum is not scaled and takes all
      logits; a tap holds one channel more, and all that tie with that one,
      without `cap`; anchors are kept as inputs; and from the second experience
      on, passes over the anchors move the statistics of normalisers.

  Raises:
    ValueError: for an argument out of range.
  """
  _check(beta, ratio, count, cap, source, inner)
  settings = _Settings(
    beta,
    ratio,
    count,
    begins,
    tuple(taps),
    1.0 if published else cap,
    inner,
    source == "old",
    published,
  )
  return inner._replace(
    loss=functools.partial(_loss, settings),
    sizes=functools.partial(_sizes, settings),
    init=functools.partial(_init, settings),
    first_batch=functools.partial(_hold, settings),
    last_batch=functools.partial(_grow, settings),
    least_rows=count if source == "new" else 0,
    least_replayed=count if source == "old" else 0,
  )


class _Settings(NamedTuple):
  """The arguments of `anchored`."""

  beta: float
  ratio: float
  anchors: int
  begins: Callable[[base.Network], int]
  taps: tuple[str, ...]
  cap: float  # 1 where `published`
  inner: base.Objective
  from_memory: bool
  published: bool


def _sizes(
  settings: _Settings, network: base.Network
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...], int]:
  """Returns shapes of one anchor and of its maps, and the number of classes."""
  layout = _layout(network, settings)
  x = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  out = jax.eval_shape(
    lambda *args: network.apply(*args, taps=layout.wanted), params, stats, x
  )
  shapes = [out.taps[tap].shape[1:] for tap in layout.taps]
  held = out.taps[layout.below] if layout.below else x
  return held.shape[1:], tuple(shapes), network.num_classes


def _init(
  settings: _Settings,
  params: base.Params,
  stats: base.Stats,
  held: tuple[int, ...],
  shapes: Sequence[tuple[int, ...]],
  num_classes: int,
) -> Anchors:
  """Returns the state ahead of the first experience, from `_sizes`."""
  del params, stats
  slots = [_slots(shape[-1], settings.cap) for shape in shapes]
  zeros = functools.partial(jnp.zeros, dtype=jnp.float32)
  return Anchors(
    zeros((settings.anchors, *held)),
    zeros(settings.anchors),
    tuple(
      zeros((settings.anchors, *shape[:-1], k))
      for shape, k in zip(shapes, slots, strict=True)
    ),
    zeros((settings.anchors, num_classes)),
    tuple(jnp.zeros(shape[-1], bool) for shape in shapes),
  )


def _hold(
  settings: _Settings, forward: base.Forward, inputs: base.LossInputs
) -> tuple[Anchors, base.Stats]:
  """Takes the anchors of an experience, ahead of its first update."""
  scope, state, stats = inputs.scope, inputs.state, inputs.stats
  layout = _layout(forward.network, settings)
  chosen = inputs.memory[0] if settings.from_memory else inputs.batch
  x = jnp.asarray(chosen.x[: settings.anchors], jnp.float32)
  out = forward(inputs.params, stats, x, inputs.key, taps=layout.wanted)
  state = state._replace(
    held=out.taps[layout.below] if layout.below else x,
    weight=jnp.where(scope.task > 0, chosen.weight[: settings.anchors], 0.0),
    maps=tuple(
      _held(out.taps[tap], mask, old.shape[-1])
      for tap, mask, old in zip(
        layout.taps, state.masks, state.maps, strict=True
      )
    ),
    logits=out.logits,
  )
  if not settings.published:
    return state, stats
  return state, _moved(stats, out.stats, scope)


def _grow(
  settings: _Settings, forward: base.Forward, inputs: base.LossInputs
) -> tuple[Anchors, base.Stats]:
  """Adds the channels that an experience made active, after its last update."""
  batch, state, stats = inputs.batch, inputs.state, inputs.stats
  layout = _layout(forward.network, settings)
  evaluate = not settings.published
  out = forward(
    inputs.params,
    stats,
    batch.x,
    inputs.key,
    taps=layout.taps,
    evaluate=evaluate,
  )
  masks = tuple(
    _grown(mask, out.taps[tap], batch.weight, settings, old.shape[-1])
    for tap, mask, old in zip(layout.taps, state.masks, state.maps, strict=True)
  )
  return state._replace(masks=masks), stats if evaluate else out.stats


def _loss(
  settings: _Settings, forward: base.Forward, inputs: base.LossInputs
) -> tuple[jax.Array, base.Aux]:
  """Returns the loss of `inner` plus the drift."""
  key, drift_key = jax.random.split(inputs.key)
  held, moved = _drift(settings, forward, inputs._replace(key=drift_key))
  stats = inputs.stats
  if settings.published:
    stats = _moved(stats, moved, inputs.scope)
  value, aux = settings.inner.loss(
    forward, inputs._replace(stats=stats, state=(), key=key)
  )
  return value + held, aux._replace(info={**aux.info, "anchors": held})


def _drift(
  settings: _Settings, forward: base.Forward, inputs: base.LossInputs
) -> tuple[jax.Array, base.Stats]:
  """Returns `beta` times the drift, and statistics after the anchors' pass."""
  state = inputs.state
  layout = _layout(forward.network, settings)
  first = layout.units.index(forward.trained[0])
  start = layout.units[layout.first] if layout.below else None
  # Below the deepest unit that trains nothing can drift.
  live = [layout.units.index(tap.split("/")[0]) >= first for tap in layout.taps]
  taps = tuple(tap for tap, yes in zip(layout.taps, live, strict=True) if yes)
  out = forward(
    inputs.params,
    inputs.stats,
    state.held,
    inputs.key,
    taps=taps,
    start=start,
  )
  published = settings.published
  scale = 1.0 if published else _USUAL_ANCHORS / _total(state.weight)
  total = jnp.float32(0)
  parts = zip(layout.taps, state.masks, state.maps, live, strict=True)
  for tap, mask, old, yes in parts:
    if not yes:
      continue
    area = math.prod(old.shape[1:-1])
    part = _squares(_held(out.taps[tap], mask, old.shape[-1]) - old)
    total += (1.0 if published else scale * _USUAL_AREA / area) * jnp.sum(
      part * state.weight
    )
  change = out.logits - state.logits
  if not published:
    earlier = teacher.earlier_classes(inputs.scope)
    change = jnp.where(earlier, change, 0.0)
  total += scale * jnp.sum(_squares(change) * state.weight)
  return settings.beta * total, out.stats


def _moved(
  before: base.Stats, after: base.Stats, scope: base.Scope
) -> base.Stats:
  """Returns statistics after a pass over anchors.

  The first experience has no anchors, so it keeps the statistics `before`.
  """
  return jax.tree.map(
    lambda old, new: jnp.where(scope.task > 0, new, old), before, after
  )


def _layout(network: base.Network, settings: _Settings) -> taps_lib.Layout:
  """Returns where the network is tapped; see `anchored`."""
  first = settings.begins(network)
  keeps_inputs = settings.published
  return taps_lib.layout(network, first, settings.taps, keeps_inputs)


def choose_channels(
  maps: jax.Array,
  weight: base.Array,
  ratio: float,
  published: bool = False,
) -> jax.Array:
  """Returns [C] bool: the channels that are most active.

  These are the round(ratio * C) channels with the largest sums of magnitudes;
  among equals the first ones are taken, and silent channels never.

  Args:
    maps: [B, ..., C].
    weight: [B], 0 leaving an example out.
    ratio: share of the channels, in [0, 1]; 1 keeps all.
    published: does as the authors' program: takes one channel more and all that
      tie with that one, silent channels included.

  >>> maps = jnp.array([[[0.0, 3.0], [1.0, -2.0]]])  # [1, 2, 2]
  >>> choose_channels(maps, jnp.ones(1), ratio=0.5).tolist()
  [False, True]
  """
  width = maps.shape[-1]
  if ratio == 1:
    return jnp.ones(width, bool)
  importance = _importance(maps, weight)
  number = math.floor(width * ratio + 0.5)
  if published:
    threshold = jnp.sort(importance)[max(1, width - number) - 1]
    return importance >= threshold
  order = jnp.argsort(-importance, stable=True)
  best = jnp.zeros(width, bool).at[order[:number]].set(True)
  return best & (importance > 0)


def _importance(maps: jax.Array, weight: base.Array) -> jax.Array:
  """Returns [C], the weighted sum of magnitudes of each channel."""
  magnitude = jnp.sum(jnp.abs(maps), axis=tuple(range(1, maps.ndim - 1)))
  return jnp.sum(magnitude * jnp.asarray(weight)[:, None], axis=0)


def _grown(
  mask: jax.Array,
  maps: jax.Array,
  weight: base.Array,
  settings: _Settings,
  slots: int,
) -> jax.Array:
  """Returns [C] bool: held channels and new ones, `slots` of them at most.

  Where there is no room for all new ones, the most active of them join.
  """
  new = choose_channels(maps, weight, settings.ratio, settings.published)
  union = mask | new
  if slots == mask.shape[0]:
    return union
  importance = _importance(maps, weight)
  rank = jnp.where(mask, jnp.inf, jnp.where(new, importance, -1.0))
  order = jnp.argsort(-rank, stable=True)
  allowed = jnp.zeros_like(mask).at[order[:slots]].set(True)
  return union & allowed


def _slots(channels: int, cap: float) -> int:
  """Returns the number K of channels that a tap may hold."""
  return max(1, math.floor(channels * cap + 0.5))


def _held(maps: jax.Array, mask: jax.Array, slots: int) -> jax.Array:
  """Returns the masked channels [..., K] in order, filled up with 0."""
  if slots == mask.shape[0]:
    return jnp.where(mask, maps, 0.0)
  (index,) = jnp.nonzero(mask, size=slots, fill_value=mask.shape[0])
  return jnp.take(maps, index, axis=-1, mode="fill", fill_value=0)


def _squares(values: jax.Array) -> jax.Array:
  """Returns [B], the sum of squares of each example."""
  return jnp.sum(jnp.square(values), axis=tuple(range(1, values.ndim)))


def _total(weight: jax.Array) -> jax.Array:
  return jnp.maximum(jnp.sum(weight), 1.0)


def _check(
  beta: float,
  ratio: float,
  count: int,
  cap: float,
  source: str,
  inner: base.Objective,
) -> None:
  """Raises UsageError for an argument of `anchored` out of range."""
  if not beta >= 0:
    raise UsageError(f"beta weighs a loss and is {beta}: give 0 or more")
  if not 0 <= ratio <= 1:
    raise UsageError(
      f"ratio={ratio}: give the share of channels to hold, in [0, 1]; 1 holds "
      "all of them"
    )
  if not (isinstance(count, int) and count >= 1):
    raise UsageError(f"count={count!r}: give the number of anchors, 1 or more")
  if not 0 < cap <= 1:
    raise UsageError(f"cap={cap}: give a share of the channels above 0, to 1")
  if source not in ("new", "old"):
    raise UsageError(f"source={source!r}: give new or old")
  if source == "old" and not inner.num_draws:
    raise UsageError(
      "source='old' takes anchors from a memory, and the loss replays none: "
      "give a buffer, or source='new'"
    )
  supervised.without_state(inner)


def density(state: Any) -> tuple[float, ...]:
  """Returns the share of each tap's channels that is held."""
  return tuple(float(jnp.mean(mask)) for mask in state.masks)
