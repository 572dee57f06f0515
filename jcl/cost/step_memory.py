"""Parts of the memory of a train step, in bytes.

The peak is that of the compiled step, the parts are the shapes of what it is
given. Wang et al., "LightCL: Compact Continual Learning with Low Memory
Footprint For Edge Device", ASP-DAC 2025, arXiv 2407.10545, compare methods by
such a sum; `published` has their arithmetic, this is what a run takes.
"""

import dataclasses
import math
from typing import Any

import jax

from jcl import base
from jcl.cost import program_cost


@dataclasses.dataclass(frozen=True)
class StepMemory:
  """Bytes that one dispatch of a train step takes on a device.

  All but `peak` are parts of it. XLA frees activations while gradients fill
  up, so that the peak can be less than all parts had they to live at once:
  `kept` is then short of the activations by what was freed, and 0 at least. It
  has all that is not named, the few numbers of a selector among it.
  """

  trunk: int  # weights below the cut, where the trunk's outputs are cached
  weights: int  # parameters and statistics of all units that a step runs
  gradients: int  # of the selected tensors
  slots: int  # of the optimiser, those of tensors that are away included
  replay: int  # the memory, where it is on the device
  objective: int  # anchors and references: teachers, importances, old logits
  batch: int  # inputs and labels of all updates of a dispatch
  kept: int  # what is left: activations for the backward pass, and scratch
  peak: int  # temporaries + arguments + outputs - aliases, as compiled


def split(
  learner: Any,
  selection: base.Selection,
  *,
  exact: bool = True,
  trunk: Any = None,
) -> StepMemory | None:
  """Returns the memory of the train step of `selection`, part by part.

  The program comes from `learner.step_program`, which compiles it where it was
  not. A whole step's peak is what XLA reports; that of a step in pieces is the
  largest sum, at any of its programs, of that program's outputs and scratch
  and of all arrays alive around it. Both are of one device, on which every
  part but the batch lies in full. Where a trunk runs as a program of its own,
  its weights stay beside the step; should it take more memory than the step,
  beside the learner's state, its peak is the one told.

  Args:
    learner: a `train.learner.Learner`.
    selection: which tensors train.
    exact: that of `step_program`.
    trunk: a `latents.trunk.Trunk` whose outputs are what is learned from.

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
  learner: Any, selection: base.Selection, *, exact: bool = True
) -> bool:
  """Whether `split` will find its program among those of the learner.

  One that a thread is about to compile counts.
  """
  programs = set(learner.compiler)
  whole, composed = ("step", selection), ("composed", selection, exact)
  return whole in programs or composed in programs


def _selected_bytes(network, selection, state: base.LearnerState) -> int:
  chosen = {
    tensor.path
    for tensor, yes in zip(network.tensors, selection.trainable, strict=True)
    if yes
  }
  leaves = jax.tree_util.tree_leaves_with_path(state.train.params)
  return program_cost.num_bytes(
    [leaf for path, leaf in leaves if _names(path) in chosen]
  )


def _names(path) -> tuple[str, ...]:
  return tuple(str(getattr(entry, "key", entry)) for entry in path)
