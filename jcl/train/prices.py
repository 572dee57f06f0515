"""What an experience's hooks will cost, told before its first update.

Their programs are compiled earlier than they would have been, and nothing runs.
"""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from jcl import base
from jcl.cost import program_cost
from jcl.streams import batching
from jcl.streams import stream as stream_lib
from jcl.train import background, consolidation, hooks, scoring
from jcl.train import learner as learner_lib
from jcl.train import step as step_lib


def closing(
  stream: stream_lib.Stream,
  learner: learner_lib.Learner,
  state: base.LearnerState,
  index: int,
  scope: base.Scope,
  selection: base.Selection,
) -> base.Cost:
  """Returns what closing experience `index` takes, in operations and bytes.

  These are the programs of the hooks behind its last update, times the batches
  that they see, and solving predictions. The review of a memory on the host,
  whose size is not known yet, is left out.

  Args:
    stream: of the run.
    learner: whose method has the hooks.
    state: as the experience begins; only its shapes matter.
    index: of the experience.
    scope: what is known of the classes.
    selection: that trains.
  """
  method, key = learner.method, jax.random.key(0)
  objective, replay = method.objective, method.replay
  rows = len(stream.experiences[index].data)
  num_batches = batching.num_batches(rows, learner.stream_rows)
  batches = _blank(learner)
  steps = np.int32(learner.steps_per_dispatch)

  def once(
    name: Hashable, build: Callable[..., Any], *args: Any
  ) -> background.Program:
    return learner.compiled((name,), build, args)

  def passing(
    visit: hooks.Visit, scope: base.Scope | tuple[()]
  ) -> background.Program:
    return hooks.program(learner, visit, (key, state, batches, steps, scope))

  total = base.Cost()
  if objective.last_batch is not None:
    build = step_lib.build_batch_hook(
      learner.spec, objective.last_batch, selection
    )
    name = hooks.BatchHook("last_batch", selection)
    total += _cost(once(name, build, key, state, batches, scope))
  if objective.accumulate is not None:
    found = passing(hooks.accumulating(learner), scope)
    total += _cost(found, num_batches)
  if objective.finish is not None:
    build = hooks.turning(objective.finish)
    total += _cost(once("finish", build, state, scope))
  if replay.when == "after":
    total += _cost(passing(hooks.adding(learner), ()), num_batches)
  if replay.rebuild is not None:
    size = scoring.EVALUATION_BATCH
    x = np.zeros((size, *np.shape(learner.example.x)), learner.example.x.dtype)
    args = state.train.params, state.train.stats, learner.put(x)
    found = once("features", scoring.reading(learner, "features"), *args)
    total += _cost(found, -(-rows // size))
  if objective.review is not None and state.replay:
    build, inputs = hooks.reviewing(learner, key, state, scope)
    total += _cost(once("review", build, inputs))
  if method.predictor.price is not None:
    flops = method.predictor.price(*method.predictor.recalls(state.objective))
    total += base.Cost(flops=flops)
  return total


def beside(
  stream: stream_lib.Stream,
  learner: learner_lib.Learner,
  state: base.LearnerState,
  scope: base.Scope,
  selection: base.Selection,
  index: int,
) -> base.Cost:
  """Returns what experience `index` takes beside its updates.

  That is opening and closing it, and one comparison by examples set aside;
  arguments and units as for `closing`.
  """
  total = closing(stream, learner, state, index, scope, selection)
  found, key = learner.method.consolidation, jax.random.key(0)
  if found.settle is not None:
    visit = consolidation.settling(learner, found.settle)
    rows = found.rows or learner.stream_rows
    count = batching.num_batches(len(stream.experiences[index].data), rows)
    shape = (1, rows) if found.rows else None
    batches, steps = _blank(learner, shape), learner.steps_per_dispatch
    args = key, state, batches, np.int32(steps), scope
    total += _cost(hooks.program(learner, visit, args), count)
  if found.price is not None:
    total += base.Cost(flops=found.price(state.objective))
  if found.told is not None:
    total += comparison(learner, state, scope)
  return total


def comparison(
  learner: learner_lib.Learner, state: base.LearnerState, scope: base.Scope
) -> base.Cost:
  """Returns what a look at examples set aside takes, in operations and bytes.

  Arguments as for `closing`.
  """
  build, inputs = hooks.reviewing(learner, jax.random.key(0), state, scope)
  return _cost(learner.compiled(("review",), build, (inputs,)))


def update(
  learner: learner_lib.Learner, selection: base.Selection
) -> base.Cost:
  """Returns what an update of the selected tensors takes.

  That is in operations and bytes; its program is compiled.
  """
  return _cost(learner.step_program(selection))


def _cost(program: background.Program, times: int = 1) -> base.Cost:
  """Returns the operations and bytes moved of some calls."""
  cost: program_cost.ProgramCost = program.cost
  each = base.Cost(flops=cost.flops, bytes=cost.bytes_accessed)
  return times * each


def _blank(
  learner: learner_lib.Learner, shape: tuple[int, int] | None = None
) -> base.Batch:
  """Returns batches [K, B, ...] on the device; None: like the stream's."""
  shape = shape or (learner.steps_per_dispatch, learner.batch_size)
  example = learner.example._replace(extras={})
  return learner.put_batches(
    jax.tree.map(
      lambda leaf: np.zeros((*shape, *np.shape(leaf)), leaf.dtype), example
    )
  )
