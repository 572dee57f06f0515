"""The parts that train steps are made from, and the batches of one step."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jcl import base
from jcl.options.errors import UsageError
from jcl.selection import mask
from jcl.train import augment, slots
from jcl.train import optimizer as optimizers


@dataclasses.dataclass(frozen=True)
class Forward:
  """The network as losses call it; see `base.Forward`."""

  network: base.Network
  preprocess: augment.Preprocess
  training: tuple[str, ...] = ()  # units in training mode, unless told not to
  trained: tuple[str, ...] = ()  # units with a tensor that trains

  @property
  def normalisation(self) -> tuple[base.Array, base.Array]:
    """Mean and deviation of raw inputs."""
    return self.preprocess.mean, self.preprocess.std

  def __call__(
    self,
    params: base.Params,
    stats: base.Stats,
    x: base.Array,
    key: base.Key | None = None,
    taps: Sequence[str] = (),
    evaluate: bool = False,
    start: str | None = None,
  ) -> base.Output:
    return self.network.apply(
      params,
      stats,
      self.preprocess.normalise(x) if start is None else x,
      training=() if evaluate else self.training,
      key=None if evaluate else key,
      taps=taps,
      **({} if start is None else {"start": start}),
    )


def modes(
  network: base.Network, selection: base.Selection, norms: str = "batch"
) -> tuple[str, ...]:
  """Returns the units that run in training mode.

  They are those with a selected tensor; with `norms` "frozen" only those of
  them that have no running statistics, so that dropout alone is active; with
  "moving" all units.
  """
  if norms == "moving":
    return network.units
  trained = mask.trained_units(network, selection)
  if norms == "batch":
    return trained
  _, stats = jax.eval_shape(network.init, jax.random.key(0))
  return tuple(unit for unit in trained if not stats.get(unit))


class StepInputs(NamedTuple):
  """The batches that one step looks at, and its random keys."""

  stream: base.Batch  # as it came, without what a host's memory added
  batches: tuple[base.Batch, ...]  # augmented: the stream's, then replayed
  memory: tuple[base.Batch, ...]  # replayed, as stored
  loss_key: base.Key
  keep_key: base.Key

  def for_loss(
    self, state: base.LearnerState, scope: base.Scope
  ) -> base.LossInputs:
    """Returns what the step passes to its losses."""
    now, *past = self.batches
    return base.LossInputs(
      params=state.train.params,
      stats=state.train.stats,
      batch=now,
      memory=tuple(past),
      scope=scope,
      state=state.objective,
      key=self.loss_key,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class StepSpec:
  """The parts of a run's train steps, whichever tensors train.

  Args:
    network: the model.
    method: objective and memory act within a step, the other parts between.
    training: complete hyper-parameters; see `optimizer.complete`.
    preprocess: augmentation and normalisation of raw inputs.
    accumulate: number of parts that each batch is cut into; their gradients
      are averaged into one update. Normalisers see one part at a time.
    sparsity: which weights are held at zero, None for none.

  Raises:
    UsageError: for hyper-parameters out of range, and where an optimiser of
      one's own cannot do what is asked.
  """

  network: base.Network
  method: base.Method
  training: base.Training
  preprocess: augment.Preprocess
  accumulate: int = 1
  sparsity: base.Sparsity | None = None

  def __post_init__(self) -> None:
    own = optimizers.is_own(self.training)
    if own and self.sparsity is not None:
      raise UsageError(
        "weights are held at zero by rules that act on every weight alone: "
        "give optimizer=sgd, adam or adamw"
      )
    if own and self.method.selector.slots == "decay":
      raise UsageError(
        "slots=decay knows what fades in the slots of sgd, adam and adamw, not "
        "in those of an optimizer of one's own: give slots=keep or slots=reset"
      )
    _ = self.rule  # tells of hyper-parameters out of range

  def with_parts(
    self,
    network: base.Network | None = None,
    method: base.Method | None = None,
    training: base.Training | None = None,
  ) -> "StepSpec":
    """Returns the same with other parts, where they are given."""
    return dataclasses.replace(
      self,
      network=network or self.network,
      method=method or self.method,
      training=training or self.training,
    )

  @functools.cached_property
  def rule(self) -> optax.GradientTransformation:
    """The update rule of one array, or of all for an optimiser of one's own.

    It is told the step and the scope.
    """
    return optimizers.build(self.training, self.method.restart)

  @functools.cached_property
  def optimizer(self) -> optax.GradientTransformation:
    """The update rule of the selected tensors, with slots by tensor."""
    if self.sparsity is not None:
      return self.sparsity.wrap(self.rule)
    own = optimizers.is_own(self.training)
    return slots.together(self.rule) if own else slots.per_tensor(self.rule)

  @property
  def norms(self) -> str:
    """How normalisers of trained units run; see `base.Training`."""
    return self.training.norms or "batch"

  def modes(self, selection: base.Selection) -> tuple[str, ...]:
    """Returns the units that run in training mode under a selection."""
    return modes(self.network, selection, self.norms)

  def forward(self, selection: base.Selection | None = None) -> Forward:
    """Returns the network as steps of a selection call it.

    Without a selection, it runs in evaluation mode.
    """
    if selection is None:
      return Forward(self.network, self.preprocess)
    return Forward(
      self.network,
      self.preprocess,
      self.modes(selection),
      mask.trained_units(self.network, selection),
    )

  @property
  def fed_rows(self) -> int:
    """Rows that a memory on the host adds behind those of the stream."""
    method = self.method
    draws = method.objective.num_draws if method.replay.on_host else 0
    return draws * method.replay.num_samples

  def draw(
    self,
    key: base.Key,
    replay_state: Any,  # a `base.ReplayState`, () without a memory
    batch: base.Batch,
    scope: base.Scope,
  ) -> StepInputs:
    """Draws from the memory and augments what a step sees."""
    draw_key, show_key, loss_key, keep_key = jax.random.split(key, 4)
    replay = self.method.replay
    draws, size = range(self.method.objective.num_draws), replay.num_samples
    if replay.on_host:
      rows = len(batch.y) - self.fed_rows
      memory = tuple(_rows(batch, rows + i * size, size) for i in draws)
      batch = _rows(batch, 0, rows)._replace(extras={})
    else:
      memory = tuple(
        replay.sample(jax.random.fold_in(draw_key, i), replay_state, scope)
        for i in draws
      )
    augmented = self.preprocess.augment
    batches = tuple(
      b._replace(x=augmented(jax.random.fold_in(show_key, i), jnp.asarray(b.x)))
      for i, b in enumerate((batch, *memory))
    )
    return StepInputs(batch, batches, memory, loss_key, keep_key)


def _rows(batch: base.Batch, start: int, size: int) -> base.Batch:
  return jax.tree.map(lambda leaf: leaf[start : start + size], batch)
