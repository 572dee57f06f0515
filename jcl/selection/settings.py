"""Settings of elastic selection, by concern; each field is an option."""

import dataclasses
from typing import Literal

from jcl.options import kinds


@dataclasses.dataclass(frozen=True)
class Importance:
  """How elastic selection scores the worth of a tensor."""

  # "update" times gradient as in the paper's section 4, or the magnitude of its
  # "gradient" or its "weight" (section 8.4).
  metric: Literal["update", "gradient", "weight"] = "update"
  # Where "update" takes the gradient, "after" or "before" the update; see
  # `importance.update_times_gradient`.
  point: Literal["after", "before"] = "after"
  # The update that "update" looks at: of the run's "optimizer", or of plain
  # "sgd", which does not favour tensors that have been training.
  step: Literal["optimizer", "sgd"] = "optimizer"
  probes: kinds.Count = 1  # scores to average, each of one random batch
  # Whether a score takes update and gradient from two random batches, which
  # removes the gradient noise from it; for "update" only.
  fresh_pair: bool = False


@dataclasses.dataclass(frozen=True)
class Knapsack:
  """How elastic selection finds the tensors of most worth within a budget."""

  # How far the chain of gradients reaches, see `chain.times_of`: "arrival", or
  # the paper's readings "inclusive" and "exclusive".
  cost_model: Literal["arrival", "inclusive", "exclusive"] = "arrival"
  # How the knapsack is solved; see `knapsack.select`.
  mode: Literal["exact", "reference", "greedy", "brute"] = "exact"
  # "tensor", or "block", which trains a unit's tensors together or not at all.
  # A unit's worth is the sum over all its tensors, negative ones included, and
  # its chain is the chain of its deepest tensor.
  granularity: Literal["tensor", "block"] = "tensor"
  # 0, or the number of different selections that may occur in a run. Each
  # selection is a program to compile. A menu's selections consist of whole
  # units and follow from the times alone (see `menu.prepare`), so that `mode`
  # and `granularity` have no effect.
  menu: kinds.Natural = 0
  # Whether the last unit trains whatever its worth, so that new classes can be
  # learned. Its time is paid first; the other tensors are chosen, just as
  # exactly, within the time that remains.
  always_train_head: bool = True
