"""A memory of two parts: one is replayed, the other is never trained on.

The number of an example in the stream decides whether it is held out. Losses
and memories that follow the same rule thus agree without communication, and an
example stays in its part in every epoch and after every restart.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.replay import memory, sampling

# 2**32 over the golden ratio; its multiples modulo 2**32 are spread evenly.
_STRIDE = np.uint32(2654435769)

# ids [B] int32 -> [B] bool, true for examples that are held out
Rule = Callable[[base.Array], jax.Array]


class Part(NamedTuple):
  """State of one of the two memories beside its slots."""

  seen: jax.Array  # [] int32, examples offered to it
  policy: Any


def by_number(share: float) -> Rule:
  """Returns a rule that holds out `share` of the examples, by their number.

  The rule holds out `share` * N of any N examples in a row, give or take a few.

  Args:
    share: above 0 and below 1.

  Raises:
    ValueError: for another share.

  >>> int(by_number(0.1)(np.arange(1000)).sum())
  100
  """
  if not 0 < share < 1:
    raise UsageError(
      f"held_out is {share}: give a share above 0 and below 1, such as 0.1"
    )
  below = np.uint32(share * 2**32)

  def is_held_out(ids: base.Array) -> jax.Array:
    return jnp.asarray(ids).astype(jnp.uint32) * _STRIDE < below

  return is_held_out


def aside(
  trained: base.Replay, judging: base.Replay, rule: Rule
) -> base.Replay:
  """Keeps examples that a rule holds out in slots behind those of a memory.

  The memory keeps its own rules and never meets an example held out. An example
  that stands among those held out is not offered to them again.

  Args:
    trained: what is replayed; on the device, and with an `add`.
    judging: what keeps the others, of a capacity in examples.
    rule: says which examples are held out.
  """

  def init(example: base.Batch) -> base.ReplayState:
    return _join(trained.init(example), judging.init(example))

  def split(state: base.ReplayState) -> list[base.ReplayState]:
    count = state.items.weight.shape[0]
    return _split(state, count - int(judging.capacity))

  def add(
    key: base.Key, state: base.ReplayState, batch: base.Batch
  ) -> base.ReplayState:
    ours, others = split(state)
    held = rule(batch.ids)
    there = jnp.isin(batch.ids, others.items.ids)
    weights = (batch.weight * ~held, batch.weight * (held & ~there))
    first, second = jax.random.split(key)
    return _join(
      trained.add(first, ours, batch._replace(weight=weights[0])),
      judging.add(second, others, batch._replace(weight=weights[1])),
    )

  def sample(
    key: base.Key, state: base.ReplayState, scope: base.Scope
  ) -> base.Batch:
    return trained.sample(key, split(state)[0], scope)

  return trained._replace(init=init, add=add, sample=sample)


def held_out(
  make: Callable[[int, int], base.Replay],
  capacity: int | str,
  num_samples: int,
  share: float = 0.1,
) -> base.Replay:
  """Keeps two memories in one: examples to replay, and held-out examples.

  The last `share` of the slots hold the examples that `by_number(share)` holds
  out, the other slots all others. Each part has its own policy, and stores
  examples when an experience has been learned.

  Args:
    make: (slots, examples per draw) -> a memory whose `add` reads its sizes
      from its state, such as `balanced.ring` or `reservoir.reservoir`.
    capacity: of both parts, in slots or in bytes such as "2MB".
    num_samples: examples per draw.
    share: of examples and slots that are held out, above 0 and below 1.

  Raises:
    ValueError: for another share; when the state is made, for too few slots for
      two parts.
  """
  memory.check_sizes(capacity, num_samples)
  is_held_out = by_number(share)

  def num_drawn(num_slots: int) -> int:
    drawn = num_slots - max(1, round(share * num_slots))
    if drawn < 1:
      raise UsageError(
        f"a memory of {num_slots} slots with held_out={share} leaves none to "
        "draw from: give it more slots, or hold out less"
      )
    return drawn

  def init(example: base.Batch) -> base.ReplayState:
    num_slots = memory.capacity_in_slots(capacity, example)
    drawn = num_drawn(num_slots)
    return _join(
      make(drawn, num_samples).init(example),
      make(num_slots - drawn, 0).init(example),
    )

  def add(
    key: base.Key, state: base.ReplayState, batch: base.Batch
  ) -> base.ReplayState:
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

  def sample(
    key: base.Key, state: base.ReplayState, scope: base.Scope
  ) -> base.Batch:
    # Held-out slots count as empty, so that they are not drawn.
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
