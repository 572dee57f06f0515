"""One update as a sequence of compiled programs, run by the host."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, NamedTuple

import jax

from jcl import base
from jcl.train import background, blocks, calls, step_spec
from jcl.train import step as step_lib

Run = Callable[..., Any]  # run(program, *args)
Named = dict[str, Any]  # arrays by the tensor's path


def execute(program: background.Program, *args: Any) -> Any:
  """Runs a program on the device."""
  return program.call(*args)


class Link(NamedTuple):
  """One block in one call of the network."""

  unit: str
  names: tuple[str | None, ...]  # trained leaves; None: gradient is dropped
  passes: bool  # whether the gradient goes on to the block before
  num_stats: int  # arrays of statistics that it updates
  ahead: blocks.Part
  forward: background.Program
  back: blocks.Part | None = None  # None: forward only
  backward: background.Program | None = None


class Losses(NamedTuple):
  """One loss: its calls of the network, block by block, and what follows."""

  stats_from: tuple[int, ...]
  chains: tuple[tuple[Link, ...], ...]  # by call
  closing: background.Program  # (answers, inputs, batch) -> info, aux, grads
  reads_params: bool


class Opened(NamedTuple):
  """Results of the first program of a step."""

  batch: base.Batch  # the stream's, as stored
  shown: step_spec.StepInputs
  asked: tuple[Any, ...]  # (x, keys by block or None) by loss and call
  step: Any  # [] int32, the count after this update


@dataclasses.dataclass(frozen=True)
class Composed:
  """The programs of one selection's step.

  `updates` holds (program, names) pairs; a program takes gradients, slots and
  parameters of its names as lists, the step and the scope, and returns the new
  parameters and slots.
  """

  structure: Any  # of the trained parameters, None where frozen
  names: tuple[str, ...]  # of its leaves
  positions: tuple[int, ...]  # of these among the leaves of all parameters
  opening: background.Program
  losses: tuple[Losses, ...]  # the loss, and the reference where there is one
  add: dict[str, background.Program]  # gradient + gradient, by tensor
  updates: tuple[tuple[background.Program, tuple[str, ...]], ...]
  project: background.Program | None
  track: background.Program | None
  keep: background.Program | None

  def run(
    self,
    run: Run,
    key: base.Key,
    state: base.LearnerState,
    batches: base.Batch,
    scope: base.Scope,
  ) -> Any:
    """Makes the update; see `step.build_step` for what it does."""
    train = state.train
    opened = run(self.opening, key, step_lib.readable(state), batches, scope)
    batch, shown, opt_state = opened.batch, opened.shown, train.opt_state
    inputs = shown.for_loss(state, scope)
    info, aux, grads = self._gradient(run, 0, opened.asked, inputs, batch)
    if self.project is not None:
      _, _, reference = self._gradient(run, 1, opened.asked, inputs, batch)
      projected = run(
        self.project, self._tree(grads), self._tree(reference), shown.memory
      )
      grads = self._named(projected)
    before = dict(zip(self.names, self._trained(train.params), strict=True))
    after, traced = dict(before), self._tree(grads)
    opt_state = dict(opt_state)
    for program, names in self.updates:
      trees = grads, opt_state, before
      args = [[tree[n] for n in names] for tree in trees]
      for name in names:
        del grads[name]
      params, fresh = run(program, *args, train.step, scope)
      after.update(zip(names, params, strict=True))
      opt_state.update(zip(names, fresh, strict=True))
    remembered, kept = state.objective, state.replay
    if self.track is not None:
      change = base.Traced(traced, self._tree(before), self._tree(after))
      remembered = run(self.track, remembered, change)
    del traced
    if self.keep is not None:
      kept = run(self.keep, shown.keep_key, kept, batch, aux.extras)
    params = self._merged(train.params, after)
    train = base.TrainState(opened.step, params, aux.stats, opt_state)
    state = state._replace(train=train, replay=kept, objective=remembered)
    return state, info

  def gradient(
    self,
    key: base.Key,
    state: base.LearnerState,
    batches: base.Batch,
    scope: base.Scope,
  ) -> Any:
    """Returns the loss's gradient of the trained tensors, others None."""
    opened = execute(
      self.opening, key, step_lib.readable(state), batches, scope
    )
    inputs = opened.shown.for_loss(state, scope)
    _, _, grads = self._gradient(execute, 0, opened.asked, inputs, opened.batch)
    return self._tree(grads)

  def _gradient(
    self,
    run: Run,
    which: int,
    asked: Any,
    inputs: base.LossInputs,
    batch: base.Batch,
  ) -> Any:
    """Returns info, aux and the gradients of the trained tensors by name."""
    loss = self.losses[which]
    answers: list[calls.Answer] = []
    saved = []
    for chain, (x, keys), source in zip(
      loss.chains, asked[which], loss.stats_from, strict=True
    ):
      stats = inputs.stats if source < 0 else answers[source].stats
      answer, kept = _ahead(run, chain, inputs.params, stats, x, keys)
      answers.append(answer)
      saved.append(kept)
    info, aux, grads = run(loss.closing, tuple(answers), inputs, batch)
    found: Named = {}
    if loss.reads_params:
      direct = self._trained(grads[1])
      found = dict(zip(self.names, direct, strict=True))
    gradients = list(grads[0])
    del grads, answers
    while saved:
      chain, kept = loss.chains[len(saved) - 1], saved.pop()
      for name, grad in _back(run, chain, kept, gradients.pop()):
        if name in found:
          found[name] = run(self.add[name], found[name], grad)
        else:
          found[name] = grad
    return info, aux, found

  def _tree(self, named: Named) -> Any:
    return jax.tree.unflatten(self.structure, [named[n] for n in self.names])

  def _named(self, tree: Any) -> Named:
    return dict(zip(self.names, jax.tree.leaves(tree), strict=True))

  def _trained(self, params: base.Params) -> list[Any]:
    leaves = jax.tree.leaves(params)
    return [leaves[position] for position in self.positions]

  def _merged(self, params: base.Params, after: Named) -> Any:
    leaves, structure = jax.tree.flatten(params)
    for name, position in zip(self.names, self.positions, strict=True):
      leaves[position] = after[name]
    return jax.tree.unflatten(structure, leaves)


def _ahead(
  run: Any,
  chain: Sequence[Link],
  params: base.Params,
  stats: base.Stats,
  x: jax.Array,
  keys: Any,
) -> Any:
  """Runs the blocks; returns the answer and what their backward parts need."""
  stats, saved = dict(stats), []
  for index, link in enumerate(chain):
    key = None if keys is None else keys[index]
    own = stats.get(link.unit, {})
    args = jax.tree.leaves((params.get(link.unit, {}), own, x, key))
    outs = run(link.forward, *args)
    x, *rest = link.ahead.results(args, outs)
    if link.num_stats:
      updated = rest[: link.num_stats]
      stats[link.unit] = jax.tree.unflatten(jax.tree.structure(own), updated)
    if link.backward is not None:
      saved.append(rest[link.num_stats :])
  return calls.Answer(x, stats), saved


def _back(run: Any, chain: Sequence[Link], saved: Any, gradient: Any) -> Any:
  """Yields (name, gradient) from the head down to the deepest block."""
  flowing = [gradient]  # so that no other reference keeps its buffer
  del gradient
  for link in reversed(chain):
    if link.back is None:
      return
    args = [*saved.pop(), flowing.pop()]
    grads = link.back.results(args, run(link.backward, *args))
    del args
    if link.passes:
      flowing.append(grads.pop())
    for name in reversed(link.names):
      grad = grads.pop()
      if name is not None:
        yield name, grad
      del grad
