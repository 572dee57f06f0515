"""A memory of which one part is shown again and the other is kept unseen.

Which examples are kept from training is a rule about their number in the
stream. Losses and memories that follow the same rule need no word between them,
and an example stays on its side in every epoch and after every stop.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.errors import UsageError
from jcl.replay import memory, sampling

# 2**32 over the golden ratio: multiples of it, modulo 2**32, fall evenly.
_STRIDE = np.uint32(2654435769)

# ids [B] int32 -> [B] bool, which of the examples are held out
Rule = Callable[[base.Array], jax.Array]


class Part(NamedTuple):
  """What one of the two memories remembers beside its slots."""

  seen: jax.Array  # [] int32, examples offered to it
  policy: Any


def by_number(share: float) -> Rule:
  """Returns a rule that holds out `share` of the examples, by their number.

  Of any N examples in a row it holds out `share` * N, to within a few.

  Args:
    share: above 0 and below 1.

  Raises:
    ValueError: for another share.
  """
  if not 0 < share < 1:
    raise UsageError(
      f"held_out is {share}: give a share above 0 and below 1, such as 0.1"
    )
  below = np.uint32(share * 2**32)

  def is_held_out(ids):
    return jnp.asarray(ids).astype(jnp.uint32) * _STRIDE < below

  return is_held_out


def held_out(
  make: Callable[[int, int], base.Replay],
  capacity: int | str,
  num_samples: int,
  share: float = 0.1,
) -> base.Replay:
  """Keeps two memories in one: what is drawn, and what never is.

  The last `share` of the slots hold examples that `by_number(share)` names, the
  other slots the rest. Each part is filled by a policy of its own, and takes
  examples in when an experience has been learned.

  Args:
    make: (slots, examples per draw) -> a memory with an `add` that reads its
      sizes off its state, such as `balanced.ring` or `reservoir.reservoir`.
    capacity: of both parts, in slots or in bytes such as "2MB".
    num_samples: examples per draw.
    share: of examples and slots that are held out, above 0 and below 1.

  Raises:
    ValueError: for another share; when its state is made, where there are too
      few slots for two parts.
  """
  memory.check_sizes(capacity, num_samples)
  is_held_out = by_number(share)

  def num_drawn(num_slots):
    drawn = num_slots - max(1, round(share * num_slots))
    if drawn < 1:
      raise UsageError(
        f"a memory of {num_slots} slots with held_out={share} leaves none to "
        "draw from: give it more slots, or hold out less"
      )
    return drawn

  def init(example):
    num_slots = memory.capacity_in_slots(capacity, example)
    drawn = num_drawn(num_slots)
    return _join(
      make(drawn, num_samples).init(example),
      make(num_slots - drawn, 0).init(example),
    )

  def add(key, state, batch):
    num_slots = state.items.weight.shape[0]
    drawn = num_drawn(num_slots)
    held = is_held_out(batch.ids)
    sizes, kept = (drawn, num_slots - drawn), (~held, held)
    return _join(
      *(
        make(size, num_samples).add(
          part_key, part, batch._replace(weight=batch.weight * rows)
        )
        for size, part_key, part, rows in zip(
          sizes, jax.random.split(key), _split(state, drawn), kept, strict=True
        )
      )
    )

  def sample(key, state, scope):
    # Empty slots are not drawn from.
    items = state.items
    num_slots = items.weight.shape[0]
    shown = np.arange(num_slots) < num_drawn(num_slots)
    items = items._replace(weight=jnp.where(shown, items.weight, 0.0))
    return sampling.sample(
      key,
      state._replace(items=items),
      scope,
      num_samples=num_samples,
      current=True,
    )

  return base.Replay(capacity, num_samples, init, add, sample, when="after")


def _join(drawn: base.ReplayState, held: base.ReplayState) -> base.ReplayState:
  items = jax.tree.map(
    lambda *parts: jnp.concatenate(parts), drawn.items, held.items
  )
  parts = tuple(Part(part.seen, part.policy) for part in (drawn, held))
  return base.ReplayState(items, drawn.seen + held.seen, parts)


def _split(state: base.ReplayState, drawn: int) -> list[base.ReplayState]:
  return [
    base.ReplayState(
      jax.tree.map(lambda leaf, rows=rows: leaf[rows], state.items), *part
    )
    for rows, part in zip(
      (slice(drawn), slice(drawn, None)), state.policy, strict=True
    )
  ]
