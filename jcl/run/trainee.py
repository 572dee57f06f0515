"""Trainee: what trains, and with which program. The seam between run and steps.

A thread compiles the program of a new choice of tensors while training goes on
with the old one, or with the new one composed of parts that are there already.
The step of the switch is fixed when the choice is made, even if the program is
not there by then, so that a run repeats itself.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from jcl import base, keys
from jcl.options import errors
from jcl.replay import sampling
from jcl.report import decoding, encoding
from jcl.selection import times as times_lib
from jcl.streams import batching
from jcl.train import background, choosing, chunks
from jcl.train import learner as learner_lib


class At(NamedTuple):
  """Where a run stands."""

  experience: int
  epoch: int
  batch: int
  step: int  # updates since the start of the run


class Trainee:
  """Learner with the selection of tensors that train.

  Args:
    learner: whose steps train.
    seed: of the run.
  """

  def __init__(self, learner: learner_lib.Learner, seed: int) -> None:
    self.learner, self.seed = learner, seed
    # The profile of the tensors, where a selector asks for one.
    self.times: times_lib.TensorTimes | None = None
    # Updates between a choice and its switch, while its program compiles.
    self.compile_ahead = 0
    # By share: learners whose steps replay another share than the recipe's.
    self._by_share: dict[float, learner_lib.Learner] = {}
    self.start(None)

  def start(self, selection: base.Selection | None) -> None:
    """Begins a run with a selection; None before the learner has one."""
    self._selection = selection
    self.pending: base.Selection | None = None  # chosen, not yet trained
    # Step from which the latest choice trains, by its own program.
    self.switch_step = 0
    self.chosen_epoch = -1  # epoch of the experience's latest choice
    self.choices: list[base.Choice] = []  # of the experience

  def open(self) -> None:
    """Begins an experience, for which nothing is chosen yet."""
    self.chosen_epoch, self.choices = -1, []

  @property
  def selection(self) -> base.Selection:
    """The tensors that train."""
    assert self._selection is not None
    return self._selection

  def program(
    self,
    state: base.LearnerState,
    at: At,
    scope: base.Scope,
    source: chunks.Source,
    decision: base.Decision,
  ) -> tuple[base.LearnerState, background.Program]:
    """Returns the compiled step of this place, having waited for it.

    Chooses tensors at the start of an experience, and every so many epochs.

    Args:
      state: before the step.
      at: where the run stands.
      scope: what is known of the classes.
      source: the experience's training set, to draw probe batches from.
      decision: epochs of the experience, and share of a full step's time.

    Returns:
      The state, whose optimiser slots fit the selection, and the program.
    """
    state = self.choose(state, at, scope, source, decision)
    return self.ready(state, at, decision)

  def ready(
    self, state: base.LearnerState, at: At, decision: base.Decision
  ) -> tuple[base.LearnerState, background.Program]:
    """Returns the compiled step of the selection, after waiting for it."""
    arrived = at.step >= self.switch_step
    if arrived:
      state = self._switch(state)
    learner = self._replaying(decision.allocation.replay)
    return state, learner.step_program(self.selection, exact=arrived)

  def _replaying(self, share: float | None) -> learner_lib.Learner:
    """Returns the learner whose steps replay a share of their rows."""
    if share is None:
      return self.learner
    if share not in self._by_share:
      method = self.learner.method
      rows = share / (1 - share) * self.learner.stream_rows
      method = sampling.replaying(method, max(1, round(rows)))
      self._by_share[share] = self.learner.rebuilt(method=method)
    return self._by_share[share]

  def until_switch(self, step: int) -> float:
    """Returns the updates from `step` to the next switch; inf for none."""
    left = self.switch_step - step
    return left if left > 0 else math.inf

  def _due(self, at: At) -> bool:
    every = self.learner.method.selector.every
    if at.batch or at.epoch == self.chosen_epoch:
      return False
    return self.chosen_epoch < 0 or bool(every and at.epoch % every == 0)

  def choose(
    self,
    state: base.LearnerState,
    at: At,
    scope: base.Scope,
    source: chunks.Source,
    decision: base.Decision,
  ) -> base.LearnerState:
    """Chooses tensors where a choice is due; arguments as for `program`."""
    if not self._due(at):
      return state
    learner, selector = self.learner, self.learner.method.selector
    state = self._switch(state)
    with learner.ledger.timed("data"):
      probes = self._probes(at, source, selector.num_probes)
    key = keys.key(self.seed, keys.Purpose.PROBE, at.experience, at.epoch)
    allowance = choosing.Allowance(self.times, decision.allocation.rho)
    state, chosen = choosing.choose(
      learner, key, state, probes, scope, allowance
    )
    self.chosen_epoch = at.epoch
    serves = learner.takes_pieces  # the choice can run of parts until then
    first = at.step == 0  # no other program is compiled yet
    if chosen != self.selection:
      epochs = selector.every or decision.epochs
      per_epoch = batching.num_batches(len(source), learner.stream_rows)
      # Half of the interval at most, so that a choice is trained as well.
      ahead = min(self.compile_ahead, epochs * per_epoch // 2)
      ahead = 0 if selector.prompt else ahead
      self.pending, self.switch_step = chosen, at.step + ahead
      if serves or first:
        state = self._switch(state)
      if first and not serves:
        self.switch_step = at.step
      elif ahead:
        learner.prepare(chosen)
    if first and selector.every:
      learner.prepare_all()
    seconds = share = math.nan
    if self.times is not None:
      seconds = self.times.step(chosen.trainable)
      share = seconds / self.times.full
    started = at.step if self.pending is None else self.switch_step
    self.choices.append(
      base.Choice(at.step, at.epoch, chosen.trainable, share, started, seconds)
    )
    return state

  def _switch(self, state: base.LearnerState) -> base.LearnerState:
    """Switches to the latest choice."""
    if self.pending is None:
      return state
    old, self._selection = self.selection, self.pending
    self.pending = None
    return choosing.switch(self.learner, state, old, self.selection)

  def _probes(
    self, at: At, source: chunks.Source, count: int
  ) -> tuple[base.Batch, ...]:
    """Returns random batches of the training set, on the device."""
    if not count:
      return ()
    learner = self.learner
    generator = keys.rng(self.seed, keys.Purpose.PROBE, at.experience, at.epoch)
    rows = np.full((count, learner.batch_size), -1, np.int32)
    for row in rows:
      drawn = generator.permutation(len(source))[: learner.stream_rows]
      row[: len(drawn)] = drawn
    batches = learner.put_batches(source.batch(rows))
    return tuple(
      jax.tree.map(lambda leaf, i=i: leaf[i], batches) for i in range(count)
    )

  def state(self) -> dict[str, Any]:
    """Returns all that resuming needs beside the learner's state, for JSON."""
    return {
      "selection": _listed(self._selection),
      "pending": _listed(self.pending),
      "switch_step": self.switch_step,
      "chosen_epoch": self.chosen_epoch,
      "choices": encoding.encode(self.choices),
    }

  def restore(self, state: dict[str, Any]) -> None:
    """Goes on from what `state` returned; ValueError for all else."""
    try:
      self._restore(state)
    except (KeyError, TypeError) as error:
      raise errors.UsageError(
        f"not the trainee of a run ({errors.short(error, 120)})"
      ) from error

  def _restore(self, state: dict[str, Any]) -> None:
    self._selection = _selected(state["selection"])
    self.pending = _selected(state["pending"])
    self.switch_step = state["switch_step"]
    self.chosen_epoch = state["chosen_epoch"]
    self.choices = [decoding.choice(each) for each in state["choices"]]


def _listed(selection: base.Selection | None) -> list[bool] | None:
  return None if selection is None else list(selection.trainable)


def _selected(trainable: list[bool] | None) -> base.Selection | None:
  if trainable is None:
    return None
  return base.Selection(tuple(bool(each) for each in trainable))
