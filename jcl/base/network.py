"""A network cut into units, and the tensors of it that train."""

from collections.abc import Callable
import dataclasses
from typing import Any, Literal, NamedTuple

import jax

from jcl.base.arrays import Key, Params, Stats


class Output(NamedTuple):
  """A network's outputs for a batch."""

  logits: jax.Array  # [B, C]
  stats: Stats  # updated where a unit's normalisers are in training mode
  taps: dict[str, jax.Array]  # outputs of the units asked for, by name


@dataclasses.dataclass(frozen=True)
class Tensor:
  """One trainable array of a network: the finest thing one can select."""

  path: tuple[str, ...]  # keys from the root of the parameters
  unit: str  # the first of them
  kind: Literal["kernel", "bias", "scale", "shift", "other"]
  shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Block:
  """One unit of a network that is a plain chain of units."""

  name: str
  # (params of the unit, stats of the unit, x, training, key) -> (x, stats)
  apply: Callable[[Params, Stats, jax.Array, bool, Key | None], Any]
  # The same and, by name, what stood at the places within the unit.
  watched: (
    Callable[[Params, Stats, jax.Array, bool, Key | None], Any] | None
  ) = None
  places: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Network:
  """A model cut into ordered units, as pure functions.

  `apply(params, stats, x, *, training=(), key=None, taps=())` returns an
  `Output`. `training` names the units whose normalisers use and update batch
  statistics and whose dropout is active; all others run in evaluation mode and
  return their statistics unchanged. `taps` names units whose output is wanted,
  or places within them. `key` is needed only by networks with dropout or other
  noise. Chains take `start` as well: the unit that reads `x`, all before it
  being left out.
  """

  name: str
  units: tuple[str, ...]  # execution order, input side first; the last: head
  tensors: tuple[Tensor, ...]  # [W] execution order, input side first
  init: Callable[[Key], tuple[Params, Stats]]
  apply: Callable[..., Output]
  input_shape: tuple[int, ...]  # of one example, without the batch axis
  num_classes: int
  features: str | None  # tap [B, D] that the head reads
  blocks: tuple[Block, ...] | None = None  # where the network is a chain
  places: tuple[str, ...] = ()  # taps within units, "unit/name", in order
  pretrained: bool = False  # whether `init` gives learned weights
  offset: int = 0  # units that were cut off ahead of the first one here
  # How to build it again, as `networks.origin.build` reads it; JSON-ready. None
  # where only the program that made it can.
  origin: dict[str, Any] | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class Selection:
  """The tensors of a network that train. Hashable: it keys compiles."""

  trainable: tuple[bool, ...]  # [W], in the order of `Network.tensors`
