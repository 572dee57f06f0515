"""The types through which the parts of jcl meet. No behaviour lives here.

A `NamedTuple` holds arrays that cross `jax.jit`, or a bundle of functions; a
frozen dataclass stays on the host. Passing a host record into a jitted function
is then an error instead of a silent trace. There is a module per concern; other
parts of jcl import `base` and write `base.X`.

Letters in shape comments: `B` batch, `N` examples, `C` classes, `D` features,
`W` trainable arrays, `M` memory slots, `R` replayed examples, `T` experiences.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from jcl.base.arrays import (
    Array,
    Batch,
    Key,
    LearnerState,
    Params,
    ReplayState,
    Scope,
    Stats,
    TrainState,
  )
  from jcl.base.control import (
    UNLIMITED,
    Allocation,
    Change,
    Controller,
    Cost,
    Decision,
    Held,
    Moment,
    Observation,
  )
  from jcl.base.hierarchy import (
    Gate,
    Hierarchy,
    Judge,
    Keep,
    Policy,
    Remainder,
    Trials,
  )
  from jcl.base.method import (
    EXPAND,
    Draw,
    Expansion,
    Govern,
    Interlude,
    Method,
    Outlook,
    Phase,
    Pruning,
    Removal,
    Sparsity,
    Training,
  )
  from jcl.base.network import (
    Block,
    Network,
    Output,
    Selection,
    Tensor,
  )
  from jcl.base.objective import (
    Aux,
    Forward,
    Loss,
    LossInputs,
    Objective,
    Traced,
  )
  from jcl.base.parts import (
    Consolidation,
    Predictor,
    Probe,
    Replay,
    Rewrite,
    Selector,
  )
  from jcl.base.records import (
    Choice,
    Dataset,
    Experience,
    Record,
  )

# Modules of the names, each imported when one of its names is first used: what
# a run recorded is read without JAX.
_HOMES = {
  **dict.fromkeys(
    ("Array", "Batch", "Key", "LearnerState", "Params", "ReplayState"), "arrays"
  ),
  **dict.fromkeys(("Scope", "Stats", "TrainState"), "arrays"),
  **dict.fromkeys(
    ("UNLIMITED", "Allocation", "Change", "Controller", "Cost"), "control"
  ),
  **dict.fromkeys(("Decision", "Held", "Moment", "Observation"), "control"),
  **dict.fromkeys(
    ("Gate", "Hierarchy", "Judge", "Keep", "Policy", "Remainder", "Trials"),
    "hierarchy",
  ),
  **dict.fromkeys(
    ("EXPAND", "Draw", "Expansion", "Govern", "Method", "Outlook", "Pruning"),
    "method",
  ),
  **dict.fromkeys(
    ("Interlude", "Phase", "Removal", "Sparsity", "Training"), "method"
  ),
  **dict.fromkeys(
    ("Block", "Network", "Output", "Selection", "Tensor"), "network"
  ),
  **dict.fromkeys(
    ("Aux", "Forward", "Loss", "LossInputs", "Objective", "Traced"), "objective"
  ),
  **dict.fromkeys(
    ("Consolidation", "Predictor", "Probe", "Replay", "Rewrite", "Selector"),
    "parts",
  ),
  **dict.fromkeys(("Choice", "Dataset", "Experience", "Record"), "records"),
}

# From the inside out, as the page of types shows them.
__all__ = [
  "Array",
  "Key",
  "Params",
  "Stats",
  "Batch",
  "Scope",
  "TrainState",
  "ReplayState",
  "LearnerState",
  "Output",
  "Tensor",
  "Block",
  "Network",
  "Selection",
  "Aux",
  "Traced",
  "Forward",
  "LossInputs",
  "Loss",
  "Objective",
  "Replay",
  "Probe",
  "Selector",
  "Predictor",
  "Consolidation",
  "Rewrite",
  "Cost",
  "UNLIMITED",
  "Allocation",
  "Change",
  "Decision",
  "Held",
  "Moment",
  "Observation",
  "Controller",
  "Policy",
  "Judge",
  "Gate",
  "Keep",
  "Remainder",
  "Trials",
  "Hierarchy",
  "Training",
  "Pruning",
  "Sparsity",
  "EXPAND",
  "Expansion",
  "Govern",
  "Removal",
  "Draw",
  "Phase",
  "Interlude",
  "Method",
  "Outlook",
  "Dataset",
  "Experience",
  "Choice",
  "Record",
]


def __getattr__(name: str) -> Any:
  """Returns a type at its first use."""
  if name not in _HOMES:
    raise AttributeError(f"module 'jcl.base' has no attribute {name!r}")
  found = getattr(importlib.import_module(f"jcl.base.{_HOMES[name]}"), name)
  globals()[name] = found
  return found


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
