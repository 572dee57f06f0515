"""Random draws of a memory's slots, for replay."""

import jax
import jax.numpy as jnp

from jcl import base
from jcl.options.errors import UsageError
from jcl.replay import memory


def uniform(key: base.Key, allowed: base.Array, num_samples: int) -> jax.Array:
  """Draws slots uniformly without replacement.

  Robert Floyd's method (Bentley and Floyd, "Programming Pearls: A Sample of
  Brilliance", CACM 1987, https://doi.org/10.1145/30401.315746) over the n
  allowed slots: draw number k takes a rank t_k from 0 .. n - R + k, or rank
  n - R + k itself if t_k is taken already. All t together determine which draws
  find their rank taken, so there is no loop over the draws and no sort of the
  memory.

  Args:
    key: consumed.
    allowed: [M] bool, slots to draw from.
    num_samples: R.

  Returns:
    [R] int32 slots. If fewer than R are allowed, each of them comes once,
    followed by M for the rest.
  """
  capacity = allowed.shape[0]
  num_upto = jnp.cumsum(allowed)
  num_allowed = num_upto[-1]
  num_drawn = jnp.minimum(num_allowed, num_samples)
  draw = jnp.arange(num_samples)
  first = num_allowed - num_drawn
  top = first + draw
  rank = jax.random.randint(key, (num_samples,), 0, top + 1)
  # Rank t is taken if an earlier draw had the same t, or if t is the top of an
  # earlier draw that found its own t taken. The second case is a chain of
  # draws, which is followed to its end by doubling.
  taken = jnp.any(jnp.tril(rank[:, None] == rank, -1), axis=1)
  earlier = jnp.where((rank >= first) & (rank < top), rank - first, draw)
  for _ in range(num_samples.bit_length()):
    taken |= _at(taken, earlier)
    earlier = _at(earlier, earlier)
  rank = jnp.where(taken, top, rank)
  slots = jnp.searchsorted(num_upto, rank + 1, method="scan_unrolled")
  return jnp.where(draw < num_drawn, slots, capacity).astype(jnp.int32)


def _at(values: jax.Array, places: jax.Array) -> jax.Array:
  """Returns `values[places]` for places that are inside."""
  return values.at[places].get(
    mode="promise_in_bounds", wrap_negative_indices=False
  )


def sample(
  key: base.Key,
  state: base.ReplayState,
  scope: base.Scope,
  *,
  num_samples: int,
  current: bool,
) -> base.Batch:
  """Returns `num_samples` filled slots, padded with rows of weight 0.

  Args:
    key: consumed.
    state: the memory.
    scope: tells the current experience.
    num_samples: R.
    current: whether examples of the current experience may be drawn.
  """
  allowed = state.items.weight > 0
  if not current:
    allowed &= state.items.task != scope.task
  return memory.read(state.items, uniform(key, allowed, num_samples))


def replaying(method: base.Method, rows: int) -> base.Method:
  """Returns a method whose steps replay another number of examples.

  Args:
    method: draws from a memory on the device.
    rows: examples of a step, at least 1, shared by its draws; each of these
      gets one at least.

  Raises:
    ValueError: where the method draws from no memory on the device.
  """
  replay, draws = method.replay, method.objective.num_draws
  if not draws or replay.on_host:
    raise UsageError(
      f"replay: {rows} examples of a step are to be replayed, but the recipe "
      "draws from no memory on the device: leave replay out, or take a recipe "
      "such as er or derpp"
    )
  size = max(1, round(rows / draws))
  times = -(-size // replay.num_samples)

  def sample(
    key: base.Key, state: base.ReplayState, scope: base.Scope
  ) -> base.Batch:
    drawn = [
      replay.sample(jax.random.fold_in(key, i), state, scope)
      for i in range(times)
    ]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:size], *drawn)

  changed = replay._replace(num_samples=size, sample=sample)
  return method._replace(replay=changed)
