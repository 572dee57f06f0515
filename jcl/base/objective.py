"""The loss that a step minimises, and how it sees network and batches."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax

from jcl.base.arrays import Array, Batch, Key, Params, Scope, Stats
from jcl.base.network import Network, Output


class Aux(NamedTuple):
  """Results of a loss beside its value."""

  stats: Stats
  logits: jax.Array  # [B, C] of the current batch, before the update
  extras: dict[str, jax.Array]  # stored with the examples that are kept
  info: dict[str, jax.Array]  # scalars worth logging
  # [R, C] of replayed batches, by draw, of objectives that report them
  replayed: tuple[jax.Array, ...] = ()


class Traced(NamedTuple):
  """One update, as an objective may follow it; selected tensors only."""

  grads: Params  # of the loss, None where a tensor is not selected
  before: Params  # trained parameters ahead of the update
  after: Params  # and behind it


class Forward(Protocol):
  """The network as losses call it."""

  @property
  def network(self) -> Network:
    """The model."""

  @property
  def trained(self) -> tuple[str, ...]:
    """Units with a tensor that trains, input side first."""

  @property
  def normalisation(self) -> tuple[Array, Array]:
    """Mean and deviation that normalise raw inputs."""

  def __call__(
    self,
    params: Params,
    stats: Stats,
    x: Array,
    key: Key | None = None,
    taps: Sequence[str] = (),
    evaluate: bool = False,
    start: str | None = None,
  ) -> Output:
    """Normalises raw inputs and runs the network.

    Args:
      params: of every unit.
      stats: of every unit.
      x: [B, ...] raw inputs, uint8 or float32; with `start`, what that unit
        reads, as it is.
      key: [] random key, for networks with dropout or other noise.
      taps: outputs that are wanted, as of `Network.apply`.
      evaluate: whether all units run in evaluation mode; else those that train
        run in training mode.
      start: the unit that reads `x`, in networks that are chains.
    """


class LossInputs(NamedTuple):
  """The arrays that an objective reads, beside the network.

  A loss that builds on another one passes them on, with `_replace` where the
  other one is to see something else.
  """

  params: Params  # of every unit; the gradient is that of the selected tensors
  stats: Stats
  batch: Batch  # [B, ...] of the stream, augmented
  memory: tuple[Batch, ...]  # draws of the memory [R, ...], augmented
  scope: Scope
  state: Any  # what the objective remembers, () where nothing
  key: Key  # [] for the loss alone


# Returns the loss [] float32 and what else came of computing it.
Loss = Callable[[Forward, LossInputs], tuple[jax.Array, Aux]]


def nothing(*_args: Any, **_kwargs: Any) -> tuple[()]:
  """Returns (), whatever it is given: a default of parts without a state."""
  return ()


def _no_extras(_network: Any) -> dict[str, Array]:
  return {}


class Objective(NamedTuple):
  """The loss that a step minimises, with what it remembers between steps.

  `loss(forward, inputs)` returns `(scalar, Aux)`; `inputs`, a `LossInputs`,
  holds `num_draws` replayed batches. `reference`, of the same arguments, is a
  second loss whose gradient corrects the first one's through `project(grads,
  reference_grads, memory)`. `track(state, traced)` follows every update.

  `begin(state, params, stats, scope)` opens an experience; when it ends,
  `accumulate(forward, inputs)` sees each of its batches once more, without
  replayed ones, after which `finish(state, params, stats, scope)` closes it.
  Once the memory has taken the experience in, `review(forward, inputs)` sees
  the whole memory as its batch [M, ...]. `accumulate` and `review` run the
  network in evaluation mode. All four return the objective's state.

  `first_batch(forward, inputs)` sees a batch of an experience before its first
  update, and `last_batch(forward, inputs)` one after its last, both as updates
  would see them; they return the objective's state and the network's
  statistics.
  """

  loss: Loss
  num_draws: int = 0
  # network -> extras of one example that a memory has to store for this loss
  stores: Callable[[Network], dict[str, Array]] = _no_extras
  init: Callable[..., Any] = nothing  # (params, stats, *sizes(network))
  sizes: Callable[[Network], tuple[Any, ...]] = nothing
  reference: Loss | None = None
  project: Callable[[Params, Params, tuple[Batch, ...]], Params] | None = None
  track: Callable[[Any, Traced], Any] | None = None
  begin: Callable[[Any, Params, Stats, Scope], Any] | None = None
  accumulate: Callable[[Forward, LossInputs], Any] | None = None
  finish: Callable[[Any, Params, Stats, Scope], Any] | None = None
  review: Callable[[Forward, LossInputs], Any] | None = None
  first_batch: Callable[[Forward, LossInputs], tuple[Any, Stats]] | None = None
  last_batch: Callable[[Forward, LossInputs], tuple[Any, Stats]] | None = None
  # Whether `accumulate` takes a row out again where its weight is negative.
  signed: bool = False
  least_rows: int = 0  # examples that a batch of the stream has to hold
  least_replayed: int = 0  # likewise a draw of the memory
  reports: bool = False  # whether `Aux.replayed` has the logits of all draws
