"""Steps composed of separately compiled parts, which serve every selection.

A new selection starts at once, as its parts are there already. Below its
deepest block only plain forward parts run and nothing is kept. Where a block
trains some of its tensors, the parts for all of them serve until those for
exactly these are compiled.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jcl import base
from jcl.cost import program_cost
from jcl.options.errors import UsageError
from jcl.selection import mask
from jcl.train import (
  actions,
  background,
  blocks,
  composed,
  footprint,
  plan,
  slots,
  step_spec,
)
from jcl.train import step as step_lib


class Pieces:
  """Builds the steps of a learner from parts.

  Args:
    spec: of a network that is a chain, so that it has `blocks`.
    compiler: keeps the programs.
    shapes: of (key, state, batch, scope), every tensor selected in the state.

  Raises:
    ValueError: where the network or the method cannot be taken apart.
  """

  def __init__(
    self,
    spec: step_spec.StepSpec,
    compiler: background.Compiler,
    shapes: tuple[Any, base.LearnerState, base.Batch, base.Scope],
  ) -> None:
    if not spec.network.blocks:
      raise UsageError(
        f"network {spec.network.name!r} is not a plain chain of units: train "
        "it with executor=whole"
      )
    self._spec, self._network, self._method = spec, spec.network, spec.method
    self._compiler, self._shapes = compiler, _structs(shapes)
    self._acts = actions.Actions(spec, self._shapes)
    everything = slots.names(self._shapes[1].train.params)
    self._positions = {name: i for i, name in enumerate(everything)}
    self._traced: dict[Any, Any] = {}

  def compose(
    self, selection: base.Selection, exact: bool
  ) -> background.Program:
    """Returns the step of a selection, `call(key, state, batches, 1, scope)`.

    Args:
      selection: which tensors train.
      exact: whether to use, and wait for, parts for exactly these tensors;
        else those for all tensors of a block.
    """
    return self._compiler.get(
      ("composed", selection, exact), lambda: self._build(selection, exact)
    )

  def _build(
    self, selection: base.Selection, exact: bool
  ) -> background.Program:
    if not self._compiler.in_thread:
      wanted: list[tuple[Any, Any]] = []
      self._composed(selection, exact, functools.partial(_noted, wanted))
      # The thread starts at the other end of what is compiled here.
      for key, build in reversed(wanted):
        self._compiler.ahead(key, build)
    step = self._composed(selection, exact, self._now)

    def call(key, state, batches, num_steps, scope):
      del num_steps
      return step.run(composed.execute, key, state, batches, scope)

    meter = footprint.Meter()
    key, state, batch, scope = self._shapes
    names = set(step.names)
    chosen = {k: v for k, v in state.train.opt_state.items() if k in names}
    train = state.train._replace(opt_state=chosen)
    shapes = key, state._replace(train=train), actions.stacked(batch), scope
    step.run(meter.run, *meter.tokens(shapes))
    return background.Program(call, meter.cost())

  def gradient(
    self,
    key: base.Key,
    params: base.Params,
    state: base.LearnerState,
    batch: base.Batch,
    scope: base.Scope,
  ) -> base.Params:
    """Returns the loss's gradient of every tensor at `params`."""
    step = self._everything
    state = state._replace(train=state.train._replace(params=params))
    with self._compiler.ledger.timed("probe"):
      batches = jax.tree.map(lambda leaf: leaf[None], batch)
      grads = step.gradient(key, state, batches, scope)
      return jax.block_until_ready(grads)

  @functools.cached_property
  def _everything(self) -> composed.Composed:
    everything = mask.everything(self._network)
    return self._composed(everything, False, self._now)

  def prepare(self, selection: base.Selection, exact: bool) -> None:
    """Has a thread trace and compile what `compose` will return."""
    self._compiler.ahead(
      ("composed", selection, exact), lambda: self._build(selection, exact)
    )

  def prepare_all(self) -> None:
    """Has a thread compile the parts of all selections of whole blocks."""
    network = self._network
    for deepest in range(len(network.units)):
      trained = network.units[deepest:]
      # The second of them passes through the blocks that the first trains.
      for wanted in (trained, trained[:1]):
        chosen = tuple(tensor.unit in wanted for tensor in network.tensors)
        if any(chosen):
          self.prepare(base.Selection(chosen), exact=False)

  def _composed(
    self, selection: base.Selection, exact: bool, obtain: Callable[..., Any]
  ) -> composed.Composed:
    key, state, batch, scope = self._shapes
    objective = self._method.objective
    trained, _ = mask.split(state.train.params, self._network, selection)
    names = tuple(slots.names(trained))
    shapes = dict(zip(names, jax.tree.leaves(trained), strict=True))
    held = {name: state.train.opt_state[name] for name in names}
    uses = plan.uses(self._spec, selection, exact)
    opened = self._acts.opened
    project = track = keep = None
    args: tuple[Any, ...]
    if objective.reference is not None and objective.project is not None:
      args = trained, trained, opened.shown.memory
      project = obtain(("project", selection), objective.project, args)
    if objective.track is not None:
      args = state.objective, base.Traced(trained, trained, trained)
      track = obtain(("track", selection), objective.track, args)
    if self._method.replay.when == "step":
      extras = self._acts.extras()
      args = opened.shown.keep_key, state.replay, batch, extras
      keep = obtain(("keep",), self._acts.keeping, args, donate_argnums=1)
    several = sum(len(loss.asked) for loss in self._acts.losses) > 1
    adds = {}
    if several or any(loss.calls.reads_params for loss in self._acts.losses):
      for name, shape in shapes.items():
        args = shape, shape
        adds[name] = obtain(("add", str(shape)), jnp.add, args)
    return composed.Composed(
      structure=jax.tree.structure(trained),
      names=names,
      positions=tuple(self._positions[name] for name in names),
      opening=obtain(
        ("opening",),
        self._acts.opening,
        (key, step_lib.readable(state), actions.stacked(batch), scope),
      ),
      losses=tuple(
        self._links(loss, uses, obtain) for loss in self._acts.losses
      ),
      add=adds,
      updates=tuple(
        self._updates(names, shapes, held, selection, exact, obtain)
      ),
      project=project,
      track=track,
      keep=keep,
    )

  def _now(
    self,
    key: base.Key,
    fn: Callable[..., Any],
    shapes: Any,
    **jit: dict[str, Any],
  ) -> background.Program:
    return self._compiler.get(*_task(key, fn, shapes, jit))

  # Parts.

  def _links(
    self, loss: actions.Loss, uses: Any, obtain: Callable[..., Any]
  ) -> composed.Losses:
    chains = []
    index = self._acts.losses.index(loss)
    for x, keys in self._acts.opened.asked[index]:
      key = None if keys is None else keys[0]
      chain = []
      shapes = self._block_shapes(x, key)
      for block, own, use in zip(
        self._network.blocks or (), shapes, uses, strict=True
      ):
        chain.append(self._link(block, own, use, obtain))
      chains.append(tuple(chain))
    return composed.Losses(
      loss.calls.stats_from,
      tuple(chains),
      obtain(
        ("closing", loss.name),
        functools.partial(self._acts.closing, loss),
        self._acts.closing_shapes(loss),
      ),
      loss.calls.reads_params,
    )

  def _link(
    self,
    block: base.Block,
    shapes: Any,
    use: plan.Use,
    obtain: Callable[..., Any],
  ) -> composed.Link:
    def traced(name, build):
      if name not in self._traced:
        self._traced[name] = build()
      return self._traced[name]

    # Blocks that compute the same share their programs.
    here = (block.name, str(shapes.x), use.training)
    same = traced(
      ("signature", *here),
      lambda: blocks.signature(block, shapes, use.training),
    )
    num_stats = len(jax.tree.leaves(shapes.stats)) if use.training else 0
    if not use.kept:
      key = ("plain", same)
      part = traced(key, lambda: blocks.plain(block, shapes, use.training))
      program = obtain(key, part.fn, part.shapes)
      return composed.Link(block.name, (), False, num_stats, part, program)
    kind = (same, use.trained, use.passes)
    pair = traced(
      ("pair", *kind),
      lambda: blocks.pair(block, shapes, use.training, use.trained, use.passes),
    )
    return composed.Link(
      block.name,
      use.names,
      use.passes,
      num_stats,
      pair.forward,
      obtain(("forward", *kind), pair.forward.fn, pair.forward.shapes),
      pair.backward,
      obtain(("backward", *kind), pair.backward.fn, pair.backward.shapes),
    )

  def _block_shapes(self, x: Any, key: base.Key | None) -> Any:
    name = ("shapes", str(x), key is None)
    if name not in self._traced:
      train = self._shapes[1].train
      self._traced[name] = blocks.shapes_of(
        self._network, train.params, train.stats, x, key
      )
    return self._traced[name]

  def _updates(
    self,
    names: Any,
    shapes: Any,
    held: Any,
    selection: base.Selection,
    exact: bool,
    obtain: Callable[..., Any],
  ) -> Any:
    """Yields one program for all tensors, or one for each that serves any."""
    tracked = self._method.objective.track is not None  # needs what was before
    donate = {"donate_argnums": (1,) if tracked else (1, 2)}
    groups: list[tuple[Any, tuple[str, ...]]] = [
      (("update", str(shapes[name])), (name,)) for name in names
    ]
    if exact:
      groups = [(("update all", selection), names)]
    for key, group in groups:
      leaves = [shapes[name] for name in group]
      args = (
        leaves,
        [held[name] for name in group],
        leaves,
        self._shapes[1].train.step,
        self._shapes[3],
      )
      yield obtain(key, self._acts.update, args, **donate), group


_PENDING = background.Program(
  lambda *args: None, program_cost.ProgramCost(*(0.0,) * 6)
)


def _task(
  key: base.Key, fn: Callable[..., Any], shapes: Any, jit: dict[str, Any]
) -> Any:
  build = functools.partial(background.compile_program, fn, shapes, **jit)
  return ("piece", *key), build


def _noted(
  tasks: Any,
  key: base.Key,
  fn: Callable[..., Any],
  shapes: Any,
  **jit: dict[str, Any],
) -> background.Program:
  tasks.append(_task(key, fn, shapes, jit))
  return _PENDING


def _structs(tree: Any) -> Any:
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)),
    tree,
  )
