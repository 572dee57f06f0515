"""Parts of the memory of a train step, in bytes.

The peak is read off the compiled step, the parts are computed from the shapes
of its arguments. Wang et al., "LightCL: Compact Continual Learning with Low
Memory Footprint For Edge Device", ASP-DAC 2025,
https://arxiv.org/abs/2407.10545, compare methods by a sum of such parts:
`published` has their arithmetic, this module the memory that a run takes.
"""

from collections.abc import Iterable
import dataclasses
import math
from typing import Any, Protocol

import jax

from jcl import base
from jcl.cost import program_cost


class Program(Protocol):
  """A compiled step with its cost, such as `train.executors` has."""

  @property
  def cost(self) -> program_cost.ProgramCost: ...


class Learner(Protocol):
  """The part of a `train.learner.Learner` that `split` reads."""

  @property
  def network(self) -> base.Network: ...

  @property
  def mesh(self) -> jax.sharding.Mesh: ...

  @property
  def example(self) -> base.Batch: ...  # one row, as the stream gives it

  @property
  def batch_size(self) -> int: ...

  @property
  def fed_rows(self) -> int: ...  # replayed rows of a step, from the host

  @property
  def steps_per_dispatch(self) -> int: ...

  @property
  def compiler(self) -> Iterable[Any]: ...  # keys of its programs

  def step_program(
    self, selection: base.Selection, *, exact: bool = True
  ) -> Program: ...

  def template(self, selection: base.Selection) -> base.LearnerState: ...


class Trunk(Protocol):
  """The part of a `replay.latents.trunk.Trunk` that `split` reads."""

  @property
  def weight_bytes(self) -> int: ...

  @property
  def peak_bytes(self) -> float: ...


@dataclasses.dataclass(frozen=True)
class StepMemory:
  """Bytes that one dispatch of a train step takes on a device.

  All fields but `peak` are parts of the peak. XLA frees activations while
  gradients fill up, so that the peak can be less than the sum of all parts:
  `kept` is then less than the activations by the bytes that were freed, and at
  least 0. Whatever has no field, such as the few numbers of a selector, is in
  `kept` as well.
  """

  trunk: int  # weights below the cut, where the trunk's outputs are cached
  weights: int  # parameters and statistics of all units that a step runs
  gradients: int  # of the selected tensors
  slots: int  # of the optimiser, for tensors that do not train now as well
  replay: int  # the memory, where it is on the device
  objective: int  # anchors and references: teachers, importances, old logits
  batch: int  # inputs and labels of all updates of a dispatch
  kept: int  # the rest: activations for the backward pass, and scratch
  peak: int  # temporaries + arguments + outputs - aliases, as compiled


def split(
  learner: Learner,
  selection: base.Selection,
  *,
  exact: bool = True,
  trunk: Trunk | None = None,
) -> StepMemory | None:
  """Returns the memory of the train step of `selection`, part by part.

  The program comes from `learner.step_program`, which compiles it if needed.
  The peak of a whole step is the one that XLA reports. The peak of a step in
  pieces is the largest sum, at any of its programs, of that program's outputs
  and scratch and of all arrays alive around it. Both are for one device, on
  which every part but the batch lies in full. Where a trunk runs as a program
  of its own, its weights stay in memory beside the step; if the trunk beside
  the learner's state takes more than the step, the trunk's peak is returned.

  Args:
    learner: holds the compiled step and the shapes of its arguments.
    selection: which tensors train.
    exact: passed to `step_program`.
    trunk: its outputs take the place of inputs; None: there is none.

  Returns:
    None where the backend does not tell the memory of its programs.
  """
  peak = learner.step_program(selection, exact=exact).cost.peak_bytes
  if math.isnan(peak):
    return None
  state = learner.template(selection)
  rows = (learner.batch_size + learner.fed_rows) // learner.mesh.size
  example = learner.example
  if not learner.fed_rows:  # stored with the examples of a memory only
    example = example._replace(extras={})
  parts = {
    "trunk": 0 if trunk is None else trunk.weight_bytes,
    "weights": program_cost.num_bytes((state.train.params, state.train.stats)),
    "gradients": _selected_bytes(learner.network, selection, state),
    "slots": program_cost.num_bytes((state.train.opt_state, state.parked)),
    "replay": program_cost.num_bytes(state.replay),
    "objective": program_cost.num_bytes(state.objective),
    "batch": learner.steps_per_dispatch
    * rows
    * program_cost.num_bytes(example),
  }
  peak = int(peak) + parts["trunk"]
  if trunk is not None:
    state_parts = ("weights", "slots", "replay", "objective")
    state_bytes = sum(parts[name] for name in state_parts)
    peak = max(peak, int(trunk.peak_bytes) + state_bytes)
  kept = max(0, peak - sum(parts.values()))
  return StepMemory(**parts, kept=kept, peak=peak)


def is_compiled(
  learner: Learner, selection: base.Selection, *, exact: bool = True
) -> bool:
  """Returns whether the learner has the program that `split` needs.

  A program that a thread is about to compile counts.
  """
  programs = set(learner.compiler)
  whole, composed = ("step", selection), ("composed", selection, exact)
  return whole in programs or composed in programs


def _selected_bytes(
  network: base.Network, selection: base.Selection, state: base.LearnerState
) -> int:
  chosen = {
    tensor.path
    for tensor, yes in zip(network.tensors, selection.trainable, strict=True)
    if yes
  }
  leaves = jax.tree_util.tree_leaves_with_path(state.train.params)
  return program_cost.num_bytes(
    [leaf for path, leaf in leaves if _names(path) in chosen]
  )


def _names(path: Iterable[Any]) -> tuple[str, ...]:
  """Returns the keys of a path of `jax.tree_util`, as text."""
  return tuple(str(getattr(entry, "key", entry)) for entry in path)
